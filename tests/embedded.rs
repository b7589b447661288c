//! A supervision tree inside of a program: commands, functions and pools together.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{note, notes, runs, until};
use watertight::Process;
use watertight::supervisor::specification::{
    AutoShutdown, Pool, Program, Readiness, RestartPolicy, Specification, Strategy,
};
use watertight::supervisor::{State, Supervisor, SupervisorEnd, UnitStatus};

fn hang(notes: PathBuf) {
    note(&notes, &std::process::id().to_string());
    loop {
        std::thread::park();
    }
}

/// Panics the first time.
fn stumble(notes: PathBuf) {
    note(&notes, "began");
    assert!(common::notes(&notes).len() > 1, "a first step");
}

fn nothing() {}

fn tree(programs: Vec<Program>) -> Specification {
    let mut tree = Specification::default();
    for mut program in programs {
        program.backoff.first = Duration::from_millis(1);
        tree.order.push(program.name.clone());
        tree.programs.push(program);
    }
    tree
}

fn hanging(name: &str, notes: &Path) -> Program {
    let notes = notes.join(name);
    Program::process(name, move || Process::spawn(hang, (notes.clone(),)))
}

fn unit(supervisor: &Supervisor, name: &str) -> UnitStatus {
    supervisor.status_of(name).unwrap().remove(0)
}

fn pids(folder: &Path, name: &str) -> Vec<u32> {
    notes(&folder.join(name)).iter().map(|pid| pid.parse().unwrap()).collect()
}

#[watertight::test]
fn a_function_that_is_killed_is_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::start(tree(vec![hanging("one", folder.path())])).unwrap();
    supervisor.wait_until_ready(&["one"]).unwrap();
    until(|| pids(folder.path(), "one").len() == 1);
    let first = unit(&supervisor, "one").pid.unwrap();
    assert_eq!(pids(folder.path(), "one"), [first]);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(first as i32), nix::sys::signal::SIGKILL).unwrap();
    until(|| pids(folder.path(), "one").len() == 2);
    let status = unit(&supervisor, "one");
    assert_eq!((status.restarts, status.deaths[0].pid), (1, Some(first)));
    assert_eq!(status.deaths[0].signal.as_deref(), Some("SIGKILL"));
    assert!(!runs(first));
    supervisor.stop_programs(&["one"]).unwrap();
    let status = unit(&supervisor, "one");
    assert_eq!((status.state, status.deaths[0].signal.as_deref()), (State::Stopped, Some("SIGTERM")));
    assert_eq!(status.deaths[0].cause, "this supervisor sent the signal");
    assert!(!pids(folder.path(), "one").into_iter().any(runs));
}

#[watertight::test]
fn a_panic_is_a_failure_and_a_return_is_success() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes");
    let mut job = Program::process("job", move || Process::spawn(stumble, (path.clone(),)));
    job.restart = RestartPolicy::Transient;
    let supervisor = Supervisor::start(tree(vec![job])).unwrap();
    until(|| unit(&supervisor, "job").state == State::Finished);
    let status = unit(&supervisor, "job");
    let [success, panic] = &status.deaths[..] else { panic!("{status:?}") };
    assert_eq!((success.how.as_str(), success.cause.as_str()), ("returned", "its function returned"));
    assert_eq!(panic.cause, "its function panicked");
    assert!(panic.how.contains("a first step"), "{}", panic.how);
}

#[watertight::test]
fn what_cannot_be_started_fails_alone() {
    let mut bad = Program::process("bad", || -> watertight::Result<Process<()>> { panic!("no") });
    bad.restart = RestartPolicy::Temporary;
    let mut lost = Program::process("lost", || Process::builder().current_dir("/no/such").spawn(nothing, ()));
    lost.restart = RestartPolicy::Temporary;
    let nap = Program::new("nap", vec!["sleep".into(), "1000".into()]);
    let supervisor = Supervisor::start(tree(vec![bad, lost, nap])).unwrap();
    until(|| ["bad", "lost"].iter().all(|name| unit(&supervisor, name).state == State::Failed));
    supervisor.wait_until_ready(&["nap"]).unwrap();
    assert_eq!(unit(&supervisor, "bad").deaths[0].how, "what should start it panicked");
}

#[watertight::test]
fn commands_functions_and_pools_are_one_tree() {
    let folder = tempfile::tempdir().unwrap();
    let nap = Program::new("nap", vec!["sleep".into(), "1000".into()]);
    let mut all = tree(vec![nap, hanging("function", folder.path())]);
    let own = std::env::current_exe().unwrap();
    all.pools.push(Pool { worker: Some(own), size: Some(1), ..Pool::new("pool") });
    all.order.push("pool".into());
    all.root.strategy = Strategy::OneForAll;
    let supervisor = Supervisor::start(all).unwrap();
    supervisor.wait_until_ready(&["nap", "function", "pool"]).unwrap();
    let nap = unit(&supervisor, "nap").pid.unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(nap as i32), nix::sys::signal::SIGKILL).unwrap();
    until(|| ["nap", "function", "pool"].iter().all(|name| unit(&supervisor, name).starts == 2));
    supervisor.wait_until_ready(&["nap", "function", "pool"]).unwrap();
    supervisor.stop();
    assert_eq!(supervisor.wait(), SupervisorEnd::Asked);
    assert!(!pids(folder.path(), "function").into_iter().any(runs));
}

#[watertight::test]
fn the_tree_ends_with_its_significant_function() {
    let mut job = Program::process("job", || Process::spawn(nothing, ()));
    (job.restart, job.significant) = (RestartPolicy::Transient, true);
    let mut all = tree(vec![job, Program::new("nap", vec!["sleep".into(), "1000".into()])]);
    all.root.auto_shutdown = AutoShutdown::AnySignificant;
    assert_eq!(Supervisor::start(all).unwrap().wait(), SupervisorEnd::AutoShutdown);
}

#[watertight::test]
fn a_dropped_supervisor_takes_its_functions_along() {
    let folder = tempfile::tempdir().unwrap();
    let mut many = hanging("many", folder.path());
    many.replicas = 3;
    let supervisor = Supervisor::start(tree(vec![many])).unwrap();
    until(|| pids(folder.path(), "many").len() == 3);
    drop(supervisor);
    assert!(!pids(folder.path(), "many").into_iter().any(runs));
}

#[watertight::test]
fn a_function_is_refused_what_only_a_command_can_have() {
    let mut job = Program::process("job", || Process::spawn(nothing, ()));
    job.readiness = Readiness::Notify;
    let error = Supervisor::start(tree(vec![job])).unwrap_err().to_string();
    assert!(error.contains("a function has no `ready`"), "{error}");
}
