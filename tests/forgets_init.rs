//! A program that uses itself as its worker and calls `init` too late or not at all. It has no test harness,
//! because its `main` is what is tested.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a test says what it saw")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use watertight::{Pool, Process};

/// Where each run of `main` adds a line.
const NOTES: &str = "FORGETS_INIT_NOTES";
/// Whether `main` calls `init` after it has added its line.
const LATE: &str = "FORGETS_INIT_LATE";

fn main() {
    if std::env::args().any(|argument| argument == "--list") {
        // A runner that asks for tests gets this one.
        return println!("forgets_init: test");
    }
    match std::env::var_os(NOTES) {
        None => test(),
        Some(path) => program(Path::new(&path)),
    }
}

fn test() {
    let folder = tempfile::tempdir().unwrap();
    let run = |late: bool| {
        let notes = folder.path().join(late.to_string());
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(NOTES, &notes);
        if late {
            command.env(LATE, "1");
        }
        let status = command.status().unwrap();
        (status.success(), fs::read_to_string(notes).unwrap())
    };
    // The program, and its executable once more as a keeper, which must not have workers of its own.
    assert_eq!(run(false), (true, "main\nmain\nsays so\n".to_owned()));
    assert_eq!(run(true), (true, "main\nmain\n81\n".to_owned()));
    println!("test forgets_init ... ok");
}

fn note(notes: &Path, line: &str) {
    let mut file = fs::OpenOptions::new().append(true).create(true).open(notes).unwrap();
    writeln!(file, "{line}").unwrap();
}

fn program(notes: &Path) {
    note(notes, "main");
    if std::env::var_os(LATE).is_some() {
        watertight::init();
        let pool = Pool::new(2).unwrap();
        return note(notes, &pool.apply(|x: i32| x * x, (9,)).unwrap().to_string());
    }
    let text = "call `watertight::init()`";
    let error = Pool::new(1).unwrap_err();
    if std::env::vars().any(|(name, _)| name.starts_with("WATERTIGHT")) {
        // Started as a keeper, and nobody has noticed.
        assert!(
            error.is_not_initialized() && error.to_string().contains("did not call `watertight::init()`")
        );
        let me = std::env::current_exe().unwrap();
        assert!(Pool::builder().worker(me).start().unwrap_err().is_not_initialized());
        return note(notes, "says so");
    }
    assert!(error.is_not_initialized() && error.to_string().contains(text), "{error}");
    assert!(Process::spawn(|| 1, ()).unwrap_err().is_not_initialized());
    let error = Pool::builder().worker(std::env::current_exe().unwrap()).start().unwrap_err();
    assert!(error.is_worker_start() && error.to_string().contains("does its `main` call"), "{error}");
}
