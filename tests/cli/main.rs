//! The program `watertight`, as a person or a script uses it.

mod failures;
mod inputs;
mod interrupts;
mod results;
mod surroundings;
mod terminal;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

/// The program, beside which the stock worker was built.
fn program() -> PathBuf {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_watertight"));
    let worker = program.with_file_name("watertight-worker");
    assert!(worker.exists(), "{} is missing: run `cargo build`, or test the workspace", worker.display());
    program
}

fn watertight(arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(arguments).stdin(Stdio::null());
    command
}

/// What a run printed, and how it ended.
#[derive(Debug)]
struct Run {
    stdout: String,
    stderr: String,
    code: Option<i32>,
}

impl Run {
    fn of(output: Output) -> Run {
        let text = |bytes| String::from_utf8(bytes).expect("the program writes UTF-8");
        Run { stdout: text(output.stdout), stderr: text(output.stderr), code: output.status.code() }
    }

    /// The lines of stdout.
    fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }

    /// What went to stderr besides the summary.
    fn complaints(&self) -> Vec<&str> {
        self.stderr.lines().filter(|line| !line.contains(" done, ")).collect()
    }

    fn records(&self) -> Vec<serde_json::Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn run(arguments: &[&str]) -> Run {
    Run::of(watertight(arguments).output().unwrap())
}

/// Runs it with this on its stdin.
fn run_with(arguments: &[&str], input: &[u8]) -> Run {
    let mut child = piped(arguments);
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // It may leave before it has read everything.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let run = Run::of(child.wait_with_output().unwrap());
    writer.join().unwrap();
    run
}

/// Starts it with all three streams in our hands.
fn piped(arguments: &[&str]) -> Child {
    let mut command = watertight(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Runs a shell's line in which `$W` is the program.
fn shell(line: &str, folder: &Path) -> Run {
    let mut command = Command::new("sh");
    command.args(["-c", line]).env("W", program()).current_dir(folder).stdin(Stdio::null());
    Run::of(command.output().unwrap())
}
