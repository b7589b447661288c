//! `watertight up` and its verbs, as a person uses them, over programs that misbehave.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../common/mod.rs"]
mod common;

mod control;
mod ends;
mod hung;
mod idle;
mod init;
mod misbehaving;
mod pools;
mod surroundings;
mod top;
mod trees;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};

/// A supervisor with a folder of its own; killed when it is dropped.
struct Up {
    folder: tempfile::TempDir,
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
}

/// What a command printed, and how it ended.
#[derive(Debug)]
struct Ran {
    stdout: String,
    stderr: String,
    code: Option<i32>,
}

fn watertight(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_watertight"));
    // A short path: the name of a socket has little room.
    command.args(words).current_dir(folder).env("XDG_RUNTIME_DIR", folder).stdin(Stdio::null());
    command
}

impl Up {
    /// Starts it with this configuration, in which `@` is the folder.
    fn start(configuration: &str) -> Up {
        Up::start_in(&[], configuration)
    }

    /// As `start`, with these folders in its own.
    fn start_in(folders: &[&str], configuration: &str) -> Up {
        let folder = tempfile::tempdir().unwrap();
        for path in folders.iter().map(|name| folder.path().join(name)) {
            fs::create_dir(&path).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        configure(folder.path(), configuration);
        let (child, stdout, stderr) = supervise(&mut watertight(folder.path(), &["up"]));
        Up { folder, child, stdout, stderr }
    }

    /// Another supervisor in the same place, after the first has ended.
    fn start_again(&mut self) {
        let command = &mut watertight(self.folder.path(), &["up"]);
        (self.child, self.stdout, self.stderr) = supervise(command);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Reads its output up to a line with this text.
    fn read_until(&mut self, text: &str) -> String {
        read_until(&mut self.stdout, text)
    }

    /// Likewise what it complains of.
    fn read_complaint(&mut self, text: &str) -> String {
        read_until(&mut self.stderr, text)
    }

    fn run(&self, words: &[&str]) -> Ran {
        let output = watertight(self.folder.path(), words).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { stdout: text(output.stdout), stderr: text(output.stderr), code: output.status.code() }
    }

    /// As `run`, once the supervisor listens.
    fn run_when_up(&self, words: &[&str]) -> Ran {
        common::until(|| self.run(&["status"]).code != Some(4));
        self.run(words)
    }

    fn status(&self, name: &str) -> serde_json::Value {
        let ran = self.run(&["status", "--json", name]);
        serde_json::from_str(ran.stdout.lines().next().unwrap_or_else(|| panic!("{ran:?}"))).unwrap()
    }

    /// Once it runs: what it writes may be there before the news of its start.
    fn pid(&self, name: &str) -> u32 {
        let mut pid = None;
        common::until(|| {
            pid = self.status(name)["pid"].as_u64();
            pid.is_some()
        });
        pid.map_or(0, |pid| pid as u32)
    }

    fn signal(&self, signal: i32) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::try_from(signal).unwrap()).unwrap();
    }

    /// Its exit code, and what it still wrote.
    fn wait(&mut self) -> (Option<i32>, String, String) {
        let (mut rest, mut errors) = (String::new(), String::new());
        self.stdout.read_to_string(&mut rest).unwrap();
        self.stderr.read_to_string(&mut errors).unwrap();
        (self.child.wait().unwrap().code(), rest, errors)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_until(stream: &mut impl BufRead, text: &str) -> String {
    let mut line = String::new();
    loop {
        line.clear();
        let length = stream.read_line(&mut line).unwrap();
        assert!(length > 0, "it ended before it said {text}");
        if line.contains(text) {
            return line;
        }
    }
}

fn supervise(command: &mut Command) -> (Child, BufReader<ChildStdout>, BufReader<ChildStderr>) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let stderr = BufReader::new(child.stderr.take().unwrap());
    (child, stdout, stderr)
}

fn configure(folder: &Path, configuration: &str) {
    let text = configuration.replace('@', folder.to_str().unwrap());
    fs::write(folder.join("watertight.toml"), text).unwrap();
}

/// Waits until a program has written its number into a file.
fn pid_in(path: &Path) -> u32 {
    let read = || fs::read_to_string(path).ok()?.trim().parse().ok();
    common::until(|| read().is_some());
    read().unwrap()
}

const NAP: &str = "[program.nap]\ncommand = [\"sleep\", \"1000\"]\n";
