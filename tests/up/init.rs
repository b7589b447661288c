//! The supervisor as process 1, as it is in a container.

use std::fs;
use std::process::{Command, Stdio};

use crate::common::{runs, until};
use crate::{NAP, Up, configure, supervise};

/// `watertight up` as process 1 of a namespace of its own; `None` where that is not allowed.
fn start(configuration: &str) -> Option<Up> {
    let words = ["--pid", "--fork", "--mount-proc", "--kill-child"];
    let allowed = Command::new("unshare").args(words).arg("true").stderr(Stdio::null()).status();
    if !allowed.is_ok_and(|status| status.success()) {
        println!("skipped: no namespace of processes may be made here");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    configure(folder.path(), configuration);
    let mut command = Command::new("unshare");
    command.args(words).arg(env!("CARGO_BIN_EXE_watertight")).arg("up");
    command.current_dir(folder.path()).env("XDG_RUNTIME_DIR", folder.path()).stdin(Stdio::null());
    let (child, stdout, stderr) = supervise(&mut command);
    Some(Up { folder, child, stdout, stderr })
}

/// Process 1 of the namespace, as it is numbered here: the only child of `unshare`.
fn init(up: &Up) -> u32 {
    let children = format!("/proc/{0}/task/{0}/children", up.child.id());
    let read = || fs::read_to_string(&children).ok()?.split_whitespace().next()?.parse().ok();
    until(|| read().is_some());
    read().unwrap()
}

fn signal(pid: u32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), signal).unwrap();
}

/// Whom a process has for children, zombies too.
fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

#[watertight::test]
fn as_process_1_it_reaps_orphans_that_are_nobodys() {
    let Some(up) = start(NAP) else { return };
    assert_eq!(up.run_when_up(&["wait", "nap", "--timeout", "20s"]).code, Some(0));
    let init = init(&up);
    let before = children(init);
    // Somebody enters the container from outside, and leaves a child behind, which ends a little later.
    let mut enter = Command::new("nsenter");
    enter.args(["--target", &init.to_string(), "--pid", "--mount"]);
    let script = format!("(sleep 0.2; touch {0}/ended) & echo left > {0}/left", up.folder.path().display());
    assert!(enter.args(["sh", "-c", &script]).status().unwrap().success());
    until(|| up.path("ended").exists());
    until(|| children(init) == before);
}

#[watertight::test]
fn as_process_1_it_stops_everything_at_a_signal() {
    let Some(mut up) = start(
        "[program.polite]\ncommand = [\"sh\", \"-c\", \"trap 'echo goodbye; exit' TERM; echo hello; while :; do sleep 0.05; done\"]\n",
    ) else {
        return;
    };
    up.read_until("hello");
    signal(init(&up), nix::sys::signal::Signal::SIGTERM);
    let (code, rest, errors) = up.wait();
    assert!(rest.contains("goodbye"), "{rest} {errors}");
    assert_eq!(code, Some(0));
}

#[watertight::test]
fn signals_without_a_meaning_of_their_own_are_passed_on() {
    let mut up = Up::start(
        "[program.listener]\nreplicas = 2\ncommand = [\"sh\", \"-c\", \
         \"trap 'echo one' USR1; trap 'echo two' USR2; echo hello; while :; do sleep 0.05; done\"]\n",
    );
    for _ in 0..2 {
        up.read_until("| hello");
    }
    up.signal(libc::SIGUSR1);
    up.read_until("listener   | one");
    up.signal(libc::SIGUSR2);
    up.read_until("listener.2 | two");
    assert_eq!(up.run(&["down"]).code, Some(0));
    assert_eq!(up.wait().0, Some(0));
}

#[watertight::test]
fn whatever_a_killed_process_1_supervised_is_gone() {
    let Some(mut up) = start(
        "[program.away]\ncommand = [\"sh\", \"-c\", \"setsid sh -c 'exec sleep 1000' & sleep 1000\"]\n",
    ) else {
        return;
    };
    assert_eq!(up.run_when_up(&["wait", "away", "--timeout", "20s"]).code, Some(0));
    let init = init(&up);
    let below: Vec<u32> = children(init).into_iter().flat_map(children).collect();
    assert!(!below.is_empty());
    signal(init, nix::sys::signal::Signal::SIGKILL);
    up.child.wait().unwrap();
    until(|| !below.iter().any(|pid| runs(*pid)));
}
