//! Tests whose code may do anything: `#[watertight::test]`, `assert_dies!`, `isolate`.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a test says what it saw")]

mod common;

use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use watertight::{Dies, Signal, TaskErrorKind, assert_dies, isolate};

/// Runs one of the tests below that are ignored because they fail.
fn run(name: &str) -> (bool, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let Output { status, stdout, .. } =
        command.args(["--ignored", "--exact", name]).env("RUST_BACKTRACE", "0").output().unwrap();
    let text = String::from_utf8(stdout).unwrap();
    assert!(text.contains("running 1 test"), "{text}");
    (status.success(), text)
}

fn fails_with(name: &str, expected: &str) {
    let (passed, text) = run(name);
    assert!(!passed && text.contains(expected), "{name}: {text}");
}

#[watertight::test]
#[ignore = "it fails on purpose"]
fn leaves_a_descriptor() {
    std::mem::forget(std::fs::File::open("/dev/null").unwrap());
}

#[watertight::test]
#[ignore = "it fails on purpose"]
fn leaves_a_child() {
    std::mem::forget(Command::new("sleep").arg("1000").spawn().unwrap());
}

#[watertight::test]
#[ignore = "it fails on purpose"]
fn leaves_a_thread() {
    std::thread::spawn(std::thread::park);
}

#[watertight::test]
#[ignore = "it fails on purpose"]
fn leaves_a_pool() {
    std::mem::forget(watertight::Pool::new(1).unwrap());
}

#[watertight::test]
#[ignore = "it fails on purpose"]
fn leaves_a_name() {
    let name = format!("/dev/shm/left-{}-behind", std::process::id());
    std::fs::write(name, "x").unwrap();
}

#[watertight::test(leftovers = "allow")]
#[ignore = "for another test"]
fn leaves_what_it_may() {
    std::mem::forget(std::fs::File::open("/dev/null").unwrap());
}

#[watertight::test(timeout = "50ms")]
#[ignore = "it fails on purpose"]
fn never_ends() {
    std::thread::park();
}

#[watertight::test]
#[ignore = "it fails on purpose"]
fn crashes() {
    println!("seen on stdout");
    eprintln!("seen on stderr");
    std::process::abort();
}

#[watertight::test]
#[ignore = "it fails on purpose"]
fn fails_an_assertion() {
    assert_eq!(1 + 1, 3, "sums are {}", "hard");
}

#[watertight::test]
#[ignore = "it fails on purpose"]
fn returns_an_error() -> Result<(), std::num::ParseIntError> {
    "x".parse::<i32>().map(drop)
}

#[watertight::test]
#[ignore = "it fails on purpose"]
fn expects_another_death() {
    assert_dies!(Signal::SIGSEGV, || std::process::abort());
}

#[watertight::test]
#[ignore = "it fails on purpose"]
fn expects_a_death_of_what_lives() {
    assert_dies!(Dies::Exit(0), || ());
}

#[watertight::test]
#[should_panic(expected = "as expected")]
fn a_panic_may_be_expected() {
    panic!("as expected");
}

#[watertight::test]
fn a_test_may_return_a_result() -> watertight::Result<()> {
    let pool = watertight::Pool::new(1)?;
    assert_eq!(pool.apply(|x: i32| x + 1, (1,))?, 2);
    Ok(())
}

#[test]
fn what_a_test_leaves_behind_fails_it() {
    fails_with("leaves_a_descriptor", "the test left behind: descriptor");
    fails_with("leaves_a_child", "(sleep, state");
    fails_with("leaves_a_thread", "the test left behind: 1 threads");
    fails_with("leaves_a_pool", "child process");
    let (passed, text) = run("leaves_a_name");
    assert!(!passed && text.contains("/dev/shm/left-"), "{text}");
    remove_left_names(&text);
    assert!(run("leaves_what_it_may").0);
}

#[test]
fn however_a_test_fails_it_is_told() {
    fails_with("never_ends", "timed out (50.0 ms allowed)");
    fails_with("crashes", "killed by SIGABRT");
    fails_with("crashes", "seen on stdout");
    fails_with("crashes", "seen on stderr");
    fails_with("fails_an_assertion", "sums are hard");
    fails_with("returns_an_error", "InvalidDigit");
    fails_with("expects_another_death", "the code should be killed by SIGSEGV, but: ");
    fails_with("expects_another_death", "tests/isolation.rs:");
    fails_with("expects_a_death_of_what_lives", "the code should exit with code 0, but it returned");
}

/// What nextest does: lists the tests, and starts this executable once for each.
fn as_nextest_does(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments).env("NEXTEST", "1").env("NEXTEST_EXECUTION_MODE", "process-per-test");
    command.env("RUST_BACKTRACE", "0").process_group(0).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn each_test_may_run_in_a_process_of_its_own() {
    let list = |more: &[&str]| {
        let arguments = [&["--list", "--format", "terse"], more].concat();
        let output = as_nextest_does(&arguments).output().unwrap();
        assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]));
        String::from_utf8(output.stdout).unwrap()
    };
    let (all, ignored) = (list(&[]), list(&["--ignored"]));
    let expected = [
        ("a_panic_may_be_expected", false, Some(0), "... ok"),
        ("a_test_may_return_a_result", false, Some(0), "... ok"),
        ("leaves_what_it_may", true, Some(0), "... ok"),
        ("crashes", true, Some(101), "killed by SIGABRT"),
        ("never_ends", true, Some(101), "timed out (50.0 ms allowed)"),
        ("leaves_a_child", true, Some(101), "the test left behind: "),
    ];
    let runs = expected.map(|(name, is_ignored, ..)| {
        assert!(all.lines().any(|line| line == format!("{name}: test")), "{all}");
        assert_eq!(ignored.lines().any(|line| line == format!("{name}: test")), is_ignored, "{ignored}");
        let more: &[&str] = if is_ignored { &["--ignored"] } else { &[] };
        as_nextest_does(&[&["--exact", name, "--nocapture"], more].concat()).spawn().unwrap()
    });
    for (run, (name, _, code, text)) in runs.into_iter().zip(expected) {
        let output = run.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), code, "{name}: {said}");
        assert!(said.contains("running 1 test") && said.contains(text), "{name}: {said}");
    }
}

#[test]
fn the_other_tests_of_a_run_go_on() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--ignored"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("running 12 tests"), "{text}");
    assert!(text.contains("1 passed; 11 failed"), "{text}");
    remove_left_names(&text);
}

/// Removes the names that a run says were left behind, and not those of another one.
fn remove_left_names(text: &str) {
    let names = text.split("/dev/shm/left-").skip(1).filter_map(|rest| rest.split_once("-behind"));
    let pids: std::collections::BTreeSet<&str> = names.map(|(pid, _)| pid).collect();
    assert!(!pids.is_empty(), "{text}");
    pids.iter().for_each(|pid| std::fs::remove_file(format!("/dev/shm/left-{pid}-behind")).unwrap());
}

#[test]
fn isolated_code_is_judged_from_outside_in_a_plain_test_too() {
    watertight::test_init!();
    let outcome = isolate(|| {
        println!("out");
        eprintln!("err");
        vec![1, 2, 3]
    });
    let outcome = outcome.run();
    assert_eq!((&*outcome.stdout(), &*outcome.stderr()), ("out\n", "err\n"));
    assert!(outcome.is_ok() && outcome.error().is_none());
    assert_eq!(outcome.into_result().unwrap(), [1, 2, 3]);
    let outcome = isolate(|| std::process::exit(9)).run::<()>();
    assert_eq!((outcome.exit_code(), outcome.signal(), outcome.is_ok()), (Some(9), None, false));
    let outcome = isolate(std::thread::park).timeout(Duration::from_millis(20)).run();
    assert!(outcome.is_timeout() && !outcome.is_panic());
    let outcome = isolate(|| panic!("no")).run::<()>();
    assert!(outcome.is_panic() && !outcome.is_timeout());
    assert!(outcome.stderr().contains("no"), "a panic is told on stderr as usual");
}

#[watertight::test]
fn isolated_code_runs_where_and_with_what_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let tell = || (std::env::current_dir().unwrap(), std::env::var("COLOUR").unwrap());
    let outcome = isolate(tell).current_dir(&folder).env("COLOUR", "grey").run();
    assert_eq!(outcome.into_result().unwrap(), (folder, "grey".to_owned()));
    let error = isolate(|| ()).current_dir("/no/such/folder").run().into_result().unwrap_err();
    assert!(matches!(error.kind(), TaskErrorKind::NoWorker { .. }), "{error}");
}

#[watertight::test]
fn what_isolated_code_starts_ends_with_it() {
    let leave = || Command::new("sleep").arg("1000").spawn().unwrap().id();
    let pid = isolate(leave).run().into_result().unwrap();
    assert!(!common::runs(pid));
}

#[watertight::test]
fn a_time_out_ends_isolated_code_that_has_stopped_the_keeper() {
    let stop_keeper = || {
        // Who sleeps has told of the start.
        let keeper = nix::unistd::getppid().to_string();
        common::until(|| common::status(&keeper, "State").starts_with('S'));
        nix::sys::signal::kill(nix::unistd::getppid(), nix::sys::signal::SIGSTOP).unwrap();
        loop {
            std::thread::park();
        }
    };
    let outcome = isolate(stop_keeper).timeout(Duration::from_millis(500)).run::<()>();
    assert!(outcome.is_timeout(), "{outcome:?}");
    assert!(isolate(|| ()).run().is_ok(), "there is another keeper");
}
