//! Worker executables: what they offer, and those that are none.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs::{self, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use watertight::{Error, Pool, Shared, TaskErrorKind};

/// The square of a number.
///
/// This is no part of the line.
#[watertight::task]
fn square(x: i64) -> i64 {
    x * x
}

#[watertight::task]
fn describe(name: String, count: u32, tags: Vec<String>) -> Result<String, String> {
    if count == 0 { Err(format!("no {name}")) } else { Ok(format!("{count} {name} {tags:?}")) }
}

#[watertight::task(name = "kitchen::boil")]
fn boil(minutes: Shared<u32>) -> String {
    format!("boiled for {} minutes", *minutes)
}

/// The executable has a task of this name, and of other types.
#[watertight::task(name = "workers::square")]
fn square_of_text(x: String) -> String;

/// Nobody has it.
#[watertight::task]
fn nowhere(x: i64) -> i64;

fn without_a_name(x: i64) -> i64 {
    x
}

/// A copy of this executable that is not the same build: its build id differs in one bit.
fn other_build(folder: &Path) -> PathBuf {
    build(folder, 1)
}

/// Likewise, with these bits.
fn build(folder: &Path, bits: u8) -> PathBuf {
    let mut bytes = fs::read(std::env::current_exe().unwrap()).unwrap();
    let head = b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0";
    if let Some(at) = bytes.windows(head.len()).position(|window| window == head) {
        bytes[at + head.len()] ^= bits;
    }
    let path = folder.join("other-worker");
    // One that is in use cannot be written to.
    let _ = fs::remove_file(&path);
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path
}

#[watertight::test]
fn tasks_of_another_executable_are_called_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let pool = Pool::builder().workers(2).worker(other_build(folder.path())).start().unwrap();
    assert_eq!(pool.map(square, 0..100).unwrap()[99], 9801);
    assert_eq!(pool.imap(square, 0..5).map(Result::unwrap).last(), Some(16));
    let tags = vec!["a".to_owned()];
    let text = pool.apply(describe, ("eggs".to_owned(), 3, tags.clone())).unwrap();
    assert_eq!(text.unwrap(), "3 eggs [\"a\"]");
    assert_eq!(pool.apply(boil, (Shared::new(7),)).unwrap(), "boiled for 7 minutes");
    let called: Result<String, String> = pool.call("describe", ("eggs".to_owned(), 0_u32, tags)).unwrap();
    assert_eq!(called.unwrap_err(), "no eggs");
    let ids = pool.map(square, [3]).unwrap();
    assert_eq!(ids, [9]);
    let error = pool.map(square, [i64::MAX]).unwrap_err();
    assert_eq!((error.first().task(), error.first().is_panic()), ("workers::square", true), "{error}");
}

#[watertight::test]
fn a_task_that_the_executable_lacks_is_told_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let worker = other_build(folder.path());
    let pool = Pool::builder().workers(1).worker(&worker).start().unwrap();
    let unknown = |error: Error, text: &str| {
        assert!(error.is_unknown_task() && error.to_string().contains(text), "{error}");
    };
    unknown(pool.apply_async(nowhere, (1,)).unwrap_err(), "nowhere");
    unknown(
        pool.apply_async(square_of_text, (String::new(),)).unwrap_err(),
        "the worker's `workers::square` is fn(i64) -> i64, and fn(alloc::string::String)",
    );
    unknown(pool.apply_async(without_a_name, (1,)).unwrap_err(), "needs #[watertight::task]");
    unknown(pool.map_async(|x: i64| x, [1]).unwrap_err(), "needs #[watertight::task]");
    let error = pool.apply(nowhere, (1,)).unwrap_err();
    assert!(matches!(error.kind(), TaskErrorKind::UnknownTask { .. }), "{error}");
    assert!(pool.map(without_a_name, 0..3).is_err());
    assert!(pool.imap(without_a_name, 0..3).next().unwrap().is_err());
    assert_eq!(pool.apply(square, (4,)).unwrap(), 16);
    let builder = Pool::builder().worker(&worker).initializer(|| 1, ());
    assert!(builder.start().unwrap_err().is_option());
}

#[watertight::test]
fn calls_by_name_find_unique_ends_and_suggest_the_nearest() {
    let pool = Pool::new(1).unwrap();
    for name in ["workers::square", "square"] {
        assert_eq!(pool.call::<i64, _>(name, (5_i64,)).unwrap(), 25);
    }
    assert_eq!(pool.call::<String, _>("boil", (Shared::new(1_u32),)).unwrap(), "boiled for 1 minutes");
    let error = pool.call::<i64, _>("sqare", (5_i64,)).unwrap_err();
    assert!(matches!(error.kind(), TaskErrorKind::UnknownTask { .. }));
    assert_eq!(error.to_string(), "task sqare: the worker offers no task `sqare`; the nearest: square");
    // A call with other types is the task's error, and the next one is served.
    let error = pool.call::<i64, _>("square", ("text".to_owned(),)).unwrap_err();
    assert!(matches!(error.kind(), TaskErrorKind::Encoding { .. }), "{error}");
    let error = pool.call::<String, _>("square", (5_i64,)).unwrap_err();
    assert!(matches!(error.kind(), TaskErrorKind::Encoding { .. }), "{error}");
    assert_eq!(pool.call::<i64, _>("square", (5_i64,)).unwrap(), 25);
}

#[watertight::test]
fn an_executable_says_what_it_offers() {
    let pool = Pool::new(1).unwrap();
    let tasks = pool.tasks();
    let names: Vec<&str> = tasks.iter().map(|task| task.name.as_str()).collect();
    let mut expected = vec!["kitchen::boil", "workers::describe", "workers::square"];
    expected.retain(|name| !names.contains(name));
    assert!(expected.is_empty() && tasks.len() == 3, "{names:?}");
    let described = tasks.iter().find(|task| task.name == "workers::square").unwrap();
    assert_eq!((described.doc.as_str(), described.result.as_str()), ("The square of a number.", "i64"));
}

fn script(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path
}

fn refused(path: impl Into<PathBuf>, reason: &str) {
    let path = path.into();
    let error = Pool::builder().workers(1).worker(&path).start().unwrap_err();
    assert!(error.is_worker_start(), "{error}");
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot use {} as a worker: ", path.display())), "{text}");
    assert!(text.contains(reason), "{text}");
}

#[watertight::test]
fn an_executable_that_cannot_be_executed_is_told_why() {
    let folder = tempfile::tempdir().unwrap();
    refused("/no/such/worker", "No such file or directory");
    refused(folder.path(), "Permission denied");
    let plain = folder.path().join("plain");
    fs::write(&plain, "text").unwrap();
    refused(&plain, "Permission denied");
    refused(script(folder.path(), "text", "neither a program nor a script"), "Exec format error");
    refused("no\0path", "nul byte");
}

#[watertight::test]
fn an_executable_that_is_no_worker_is_told_what_it_did() {
    let folder = tempfile::tempdir().unwrap();
    let script = |name: &str, text: &str| script(folder.path(), name, &format!("#!/bin/sh\n{text}\n"));
    refused("/bin/true", "it exited with code 0 before it answered; is it built with watertight");
    refused(script("grumpy", "echo 'not today' >&2; exit 9"), "It said: not today");
    refused(script("grumpy", "echo 'not today' >&2; exit 9"), "it exited with code 9 before it answered");
    refused(script("killed", "kill -9 $$"), "it killed by SIGKILL before it answered");
    refused(script("stranger", "printf 'HTTP/1.1 200 OK' >&3; exec sleep 1000"), "did not answer as a");
    let other = r"printf 'WTKEEPER\143\000\000\000and more' >&3; exec sleep 1000";
    refused(script("other", other), "it speaks protocol 99 of watertight, and this program speaks");
}

#[watertight::test]
fn an_executable_that_says_nothing_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let mute = script(folder.path(), "mute", "#!/bin/sh\nexec sleep 1000\n");
    refused(mute, "did not answer as a watertight worker");
}

#[watertight::test]
fn an_executable_may_be_replaced_or_deleted_while_it_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = other_build(folder.path());
    let pool = Pool::builder().workers(1).worker(&path).start().unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "another program").unwrap();
    for _ in 0..3 {
        assert!(pool.map(square, [i64::MAX]).is_err());
        common::until(|| pool.pids().len() == 1);
        let pid = pool.pids()[0];
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::SIGKILL).unwrap();
        common::until(|| !common::runs(pid));
        assert_eq!(pool.apply(square, (4,)).unwrap(), 16);
    }
}

/// Kills the keeper of a pool with one worker, which dies with it.
fn kill_keeper(pool: &Pool) {
    common::until(|| pool.pids().len() == 1);
    let worker = pool.pids()[0];
    let keeper: i32 = common::status(&worker.to_string(), "PPid").parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(keeper), nix::sys::signal::SIGKILL).unwrap();
    common::until(|| !common::runs(worker));
}

#[watertight::test]
fn what_replaced_the_executable_of_a_keeper_that_died_is_used_only_if_it_is_the_same_build() {
    let folder = tempfile::tempdir().unwrap();
    let pool = Pool::builder().workers(1).worker(build(folder.path(), 1)).start().unwrap();
    assert_eq!(pool.apply(square, (3,)).unwrap(), 9);
    build(folder.path(), 1);
    kill_keeper(&pool);
    assert_eq!(pool.apply(square, (4,)).unwrap(), 16);
    let path = build(folder.path(), 2);
    kill_keeper(&pool);
    let error = pool.apply(square, (5,)).unwrap_err();
    assert!(matches!(error.kind(), TaskErrorKind::NoWorker { .. }), "{error}");
    let reason = format!("cannot use {} as a worker: it was replaced by another build", path.display());
    assert!(error.to_string().contains(&reason), "{error}");
    assert!(pool.apply_async(square, (6,)).unwrap_err().is_worker_start());
    let other = Pool::builder().workers(1).worker(&path).start().unwrap();
    assert_eq!(other.apply(square, (7,)).unwrap(), 49);
}

#[watertight::test]
fn a_pool_whose_next_keeper_says_nothing_answers_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let path = other_build(folder.path());
    let pool = Pool::builder().workers(1).worker(&path).start().unwrap();
    assert_eq!(pool.apply(square, (3,)).unwrap(), 9);
    let gate = folder.path().join("gate");
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::remove_file(&path).unwrap();
    script(folder.path(), "other-worker", &format!("#!/bin/sh\nexec sleep 1000 4>{}\n", gate.display()));
    kill_keeper(&pool);
    let sleeper = fs::File::open(&gate).unwrap();
    let (first, second) = (pool.apply_async(square, (4,)).unwrap(), pool.apply_async(square, (5,)).unwrap());
    let first = first.get_timeout(Duration::from_millis(10)).unwrap_err().into_inner();
    first.cancel();
    assert!(first.get().unwrap_err().is_cancelled());
    let mut sleeper = [PollFd::new(sleeper.as_fd(), PollFlags::POLLIN)];
    let ended = poll(&mut sleeper, PollTimeout::ZERO).unwrap() > 0;
    assert!(!ended, "all that was answered before the start was given up");
    pool.terminate();
    assert!(matches!(second.get().unwrap_err().kind(), TaskErrorKind::Terminated));
}

#[watertight::test]
fn one_keeper_serves_all_pools_of_an_executable() {
    let parent = std::os::unix::process::parent_id;
    let (first, second) = (Pool::new(1).unwrap(), Pool::new(1).unwrap());
    assert_eq!(first.apply(parent, ()).unwrap(), second.apply(parent, ()).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let other = Pool::builder().workers(1).worker(other_build(folder.path())).start().unwrap();
    assert_eq!(other.apply(square, (2,)).unwrap(), 4);
    common::until(|| other.pids().len() == 1);
    let keeper = common::status(&other.pids()[0].to_string(), "PPid");
    assert_ne!(keeper, first.apply(parent, ()).unwrap().to_string());
}
