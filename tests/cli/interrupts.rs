//! Ctrl-C, and a reader that leaves.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Child;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::piped;

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
}

/// Starts a map that has printed its first result, and whose stdin stays open.
fn running(arguments: &[&str], first: &str, line: &str) -> Child {
    let mut child = piped(arguments);
    writeln!(child.stdin.as_mut().unwrap(), "{first}").unwrap();
    let mut text = String::new();
    BufReader::with_capacity(1, child.stdout.as_mut().unwrap()).read_line(&mut text).unwrap();
    assert!(text.contains(line), "{text}");
    child
}

fn rest(child: &mut Child) -> (String, String) {
    let (mut stdout, mut stderr) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    (stdout, stderr)
}

#[watertight::test]
fn an_interruption_ends_a_map_whose_input_stays_open() {
    let mut child = running(&["map", "square"], "3", "9");
    signal(&child, Signal::SIGINT);
    let (_, stderr) = rest(&mut child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(stderr.contains("interrupted"), "{stderr}");
}

#[watertight::test]
fn tasks_that_run_are_let_to_end_and_printed() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let (begun, go) = (place("begun"), place("go"));
    nix::unistd::mkfifo(begun.as_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    nix::unistd::mkfifo(go.as_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut child = piped(&["map", "-j1", "run"]);
    let stdin = child.stdin.as_mut().unwrap();
    writeln!(stdin, "echo > {begun}; read x < {go}; echo ended by itself").unwrap();
    writeln!(stdin, "echo never begun").unwrap();
    assert_eq!(std::fs::read_to_string(&begun).unwrap(), "\n");
    signal(&child, Signal::SIGTERM);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    stderr.read_line(&mut said).unwrap();
    assert!(said.contains("interrupted"), "{said}");
    std::fs::write(&go, "go\n").unwrap();
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(stdout.contains("ended by itself"), "{stdout}");
    assert!(!stdout.contains("never begun"), "{stdout}");
}

#[watertight::test]
fn a_second_interruption_kills_what_runs() {
    let folder = tempfile::tempdir().unwrap();
    let begun = folder.path().join("begun");
    nix::unistd::mkfifo(&begun, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut child = piped(&["map", "-j1", "run"]);
    writeln!(child.stdin.as_mut().unwrap(), "echo $$ > {}; exec sleep 3600", begun.display()).unwrap();
    let pid: u32 = std::fs::read_to_string(&begun).unwrap().trim().parse().unwrap();
    signal(&child, Signal::SIGINT);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    stderr.read_line(&mut said).unwrap();
    assert!(said.contains("interrupted"), "{said}");
    signal(&child, Signal::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "it ran, and is killed");
}

#[watertight::test]
fn a_reader_that_leaves_ends_the_map_quietly() {
    let mut child = running(&["map", "square"], "3", "9");
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    // Until the program has gone.
    while stdin.write_all(b"4\n").is_ok() {}
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
}

#[watertight::test]
fn a_killed_map_takes_its_workers_along() {
    let mut child = running(&["map", "-j2", "--json", "square"], "3", "pid");
    child.kill().unwrap();
    child.wait().unwrap();
    // The pipe ends when the last process that holds it has gone: workers and keeper write to stderr.
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(stderr, "");
}
