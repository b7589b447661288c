//! The three kinds of tables with names: programs, pools and groups.

use std::path::Path;

use super::options;
use super::reader::{Fields, Value};
use crate::supervisor::specification::{Group, Pool, Program, RestartPolicy};

/// `[program.NAME]`.
pub(super) fn program(name: &str, fields: Fields<'_>, base: &Path) -> Program {
    let mut program = Program::new(name, Vec::new());
    let mut shell = false;
    fields.read("shell", &mut shell, Value::flag);
    let split = if shell { options::shell_command } else { options::command };
    match fields.get("command") {
        // A command that cannot be read was complained about; the rules of the whole need one.
        Some(command) => program.command = split(&command).unwrap_or_else(|| vec!["?".to_owned()]),
        None => {
            fields.mistake(format!("`{name}` needs a `command`"));
            program.command.push("?".to_owned());
        }
    }
    fields.read("arguments", &mut Vec::new(), |value| {
        program.command.extend(value.texts()?);
        Some(Vec::<String>::new())
    });
    fields.read("environment", &mut program.environment, options::environment);
    fields.read("inherit_environment", &mut program.inherit_environment, Value::flag);
    fields.read_some("folder", &mut program.folder, |value| options::path(value, base));
    fields.read_some("user", &mut program.user, user);
    fields.read("replicas", &mut program.replicas, replicas);
    fields.read("autostart", &mut program.autostart, Value::flag);
    fields.read("depends_on", &mut program.depends_on, options::depends_on);
    fields.read("restart", &mut program.restart, options::restart);
    fields.read("backoff", &mut program.backoff, options::backoff);
    fields.read("success", &mut program.success, success);
    fields.read("significant", &mut program.significant, Value::flag);
    fields.read("ready", &mut program.readiness, options::readiness);
    fields.read("ready_within", &mut program.ready_within, Value::some_duration);
    let within =
        |value: &Value<'_>| Some(crate::supervisor::specification::Watchdog { within: value.duration()? });
    fields.read_some("watchdog", &mut program.watchdog, within);
    fields.read("stop", &mut program.stop, options::stop);
    fields.read("limits", &mut program.limits, options::limits);
    fields.read("log", &mut program.log, |value| options::log(value, base));
    fields.finish();
    program
}

/// More would not get descriptors.
const MOST_REPLICAS: u32 = 10_000;

fn replicas(value: &Value<'_>) -> Option<u32> {
    let replicas = value.some_number()?;
    let few = if replicas <= MOST_REPLICAS { Ok(replicas) } else { Err(format!("at most {MOST_REPLICAS}")) };
    value.noted(few)
}

fn success(value: &Value<'_>) -> Option<Vec<i32>> {
    let codes = value.items()?.into_iter().filter_map(|item| item.number::<u8>().map(i32::from));
    Some(codes.collect())
}

/// A name that the machine knows, or a number.
fn user(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    if text.parse::<u32>().is_ok() {
        return Some(text);
    }
    match nix::unistd::User::from_name(&text) {
        Ok(Some(_)) => Some(text),
        Ok(None) => value.noted(Err(format!("there is no user `{text}`"))),
        Err(errno) => value.noted(Err(format!("the user `{text}` cannot be looked up: {}", errno.desc()))),
    }
}

/// `[pool.NAME]`.
pub(super) fn pool(name: &str, fields: Fields<'_>, base: &Path) -> Pool {
    let mut pool = Pool::new(name);
    fields.read_some("worker", &mut pool.worker, |value| options::path(value, base));
    fields.read_some("size", &mut pool.size, Value::some_number);
    fields.read("spares", &mut pool.spares, Value::number);
    fields.read_some("max_tasks_per_worker", &mut pool.max_tasks_per_worker, Value::some_number);
    fields.read_some("timeout", &mut pool.timeout, Value::some_duration);
    fields.read_some("grace", &mut pool.grace, Value::duration);
    fields.read("attempts", &mut pool.attempts, Value::some_number);
    fields.read_some("max_pending", &mut pool.max_pending, Value::some_number);
    fields.read_some("memory", &mut pool.memory, Value::size);
    fields.read_some("cpu_time", &mut pool.cpu_time, Value::some_duration);
    fields.read("environment", &mut pool.environment, options::environment);
    fields.read_some("folder", &mut pool.folder, |value| options::path(value, base));
    fields.read("depends_on", &mut pool.depends_on, options::depends_on);
    fields.read("restart", &mut pool.restart, options::restart);
    fields.read("backoff", &mut pool.backoff, options::backoff);
    fields.read("significant", &mut pool.significant, Value::flag);
    fields.read("log", &mut pool.log, |value| options::log(value, base));
    fields.finish();
    pool
}

/// `[group.NAME]`.
pub(super) fn group(name: &str, fields: Fields<'_>) -> Group {
    let mut group = Group {
        name: name.to_owned(),
        children: Vec::new(),
        supervision: options::supervision(&fields),
        restart: RestartPolicy::default(),
        significant: false,
        depends_on: Vec::new(),
    };
    fields.read("children", &mut group.children, children);
    fields.read("restart", &mut group.restart, options::restart);
    fields.read("significant", &mut group.significant, Value::flag);
    fields.read("depends_on", &mut group.depends_on, options::depends_on);
    fields.finish();
    group
}

fn children(value: &Value<'_>) -> Option<Vec<String>> {
    let names = value.items()?.into_iter().filter_map(|item| {
        let name = item.text()?;
        item.is_item(&name, None);
        Some(name)
    });
    Some(names.collect())
}
