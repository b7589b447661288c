//! `watertight tasks`.

use std::io::{self, BufWriter, Write};

use serde::Serialize;

use crate::keeper::handle::{Executable, Keeper};
use crate::task::registry::TaskDescription;

use super::arguments::TasksArguments;
use super::{Exit, Failure};

pub(super) fn run(arguments: &TasksArguments) -> Result<Exit, Failure> {
    let keeper = Keeper::of(&Executable::Path(arguments.worker.path()?))?;
    let mut tasks: Vec<&TaskDescription> = keeper.tasks().iter().collect();
    tasks.sort_by_key(|task| last(&task.name));
    match print(&tasks, arguments.json) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Failed, format!("cannot write to stdout: {error}")))
        }
        _ => Ok(Exit::Success),
    }
}

/// A task as `--json` tells it.
#[derive(Serialize)]
struct JsonTask<'a> {
    name: &'a str,
    doc: &'a str,
    parameters: Vec<JsonParameter<'a>>,
    result: &'a str,
}

#[derive(Serialize)]
struct JsonParameter<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    type_name: &'a str,
}

impl<'a> JsonTask<'a> {
    fn new(task: &'a TaskDescription) -> JsonTask<'a> {
        let parameters = task.parameters.iter();
        let parameters = parameters
            .map(|parameter| JsonParameter { name: &parameter.name, type_name: &parameter.type_name });
        JsonTask { name: &task.name, doc: &task.doc, parameters: parameters.collect(), result: &task.result }
    }
}

fn print(tasks: &[&TaskDescription], json: bool) -> io::Result<()> {
    let mut stdout = BufWriter::new(io::stdout());
    for task in tasks {
        if json {
            serde_json::to_writer(&mut stdout, &JsonTask::new(task))?;
            stdout.write_all(b"\n")?;
        } else {
            writeln!(stdout, "{}", signature(task))?;
            writeln!(stdout, "    {}", task.doc)?;
        }
    }
    stdout.flush()
}

/// `square(x: i64) -> i64`, with the last parts of all names.
fn signature(task: &TaskDescription) -> String {
    let parameters = task.parameters.iter();
    let parameters: Vec<String> =
        parameters.map(|parameter| format!("{}: {}", parameter.name, short(&parameter.type_name))).collect();
    let name = short(&task.name).replace('_', "-");
    format!("{name}({}) -> {}", parameters.join(", "), short(&task.result))
}

/// A type's name without its modules: `Vec<String>`, not `alloc::vec::Vec<alloc::string::String>`.
fn short(name: &str) -> String {
    let mut short = String::new();
    let mut path = String::new();
    for c in name.chars() {
        match c {
            c if c.is_alphanumeric() || matches!(c, '_' | ':') => path.push(c),
            c => {
                short.push_str(last(&path));
                path.clear();
                short.push(c);
            }
        }
    }
    short + last(&path)
}

fn last(path: &str) -> &str {
    path.rsplit("::").next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_types_lose_their_modules() {
        assert_eq!(short("alloc::vec::Vec<alloc::string::String>"), "Vec<String>");
        assert_eq!(short("core::result::Result<(i64, f64), a::b::E>"), "Result<(i64, f64), E>");
        assert_eq!(short("i64"), "i64");
    }
}
