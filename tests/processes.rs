//! One function in a process of its own.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::zombie_processes,
    reason = "a test says what it saw"
)]

mod common;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use common::{Gate, runs, status, stop_at, until};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use watertight::{
    Dies, ExitStatus, Process, ProcessHandle, Signal, StartMethod, Stdio, active_children, assert_dies,
    current_process, parent_process,
};

const MOMENT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(60);

fn add(a: i64, b: i64) -> i64 {
    a + b
}

fn wait_at(gate: PathBuf) -> u8 {
    stop_at(&gate);
    7
}

fn hang() {
    loop {
        std::thread::park();
    }
}

fn is_readable(process: &ProcessHandle, timeout: PollTimeout) -> bool {
    let mut fds = [PollFd::new(process.sentinel(), PollFlags::POLLIN)];
    poll(&mut fds, timeout).unwrap() == 1
}

#[watertight::test]
fn a_process_returns_its_functions_value() {
    assert_eq!(Process::spawn(add, (1, 2)).unwrap().join().unwrap(), 3);
    let large = Process::spawn(|count: usize| vec![1_u64; count], (2_000_000,)).unwrap();
    assert_eq!(large.join().unwrap().len(), 2_000_000);
    let large = Process::spawn(|text: String| text.len(), ("x".repeat(5_000_000),)).unwrap();
    assert_eq!(large.join().unwrap(), 5_000_000);
}

#[watertight::test]
fn deaths_are_told() {
    assert_dies!(Signal::SIGABRT, || std::process::abort());
    assert_dies!(Dies::Exit(3), || std::process::exit(3));
    assert_dies!(Dies::Panic("out of bounds"), || Vec::<u8>::new()[std::hint::black_box(7)]);
}

#[watertight::test]
fn a_process_has_a_name_a_pid_and_a_life() {
    let gate = Gate::new();
    let process = Process::builder().name("potter").spawn(wait_at, (gate.path(),)).unwrap();
    assert_eq!(process.name(), "potter");
    let held = gate.wait_for_task();
    assert_eq!(status(&process.pid().to_string(), "Name"), "potter");
    assert!(process.is_alive() && !process.is_daemon());
    assert_eq!(process.exit_status(), None);
    assert!(!is_readable(&process, PollTimeout::ZERO));
    let process = process.join_timeout(MOMENT).unwrap_err().into_inner();
    let process = process.join_timeout(Duration::ZERO).unwrap_err().into_inner();
    drop(held);
    assert!(is_readable(&process, PollTimeout::NONE));
    assert!(!process.is_alive());
    assert_eq!(process.exit_status(), Some(ExitStatus::Code(0)));
    let handle = process.handle();
    assert_eq!(process.join_timeout(LONG).unwrap().unwrap(), 7);
    assert!(!handle.is_alive() && handle.exit_status() == Some(ExitStatus::Code(0)));
}

#[watertight::test]
fn names_are_counted_if_none_is_given() {
    let first = Process::spawn(add, (1, 1)).unwrap();
    let second = Process::spawn(add, (1, 1)).unwrap();
    let number = |name: &str| name.strip_prefix("Process-").unwrap().parse::<u32>().unwrap();
    assert_eq!(number(first.name()) + 1, number(second.name()));
}

#[watertight::test]
fn a_process_ends_by_the_signal_that_it_is_sent() {
    let send = |process: &ProcessHandle, signal: Signal| match signal {
        Signal::SIGTERM => process.terminate().unwrap(),
        Signal::SIGKILL => process.kill().unwrap(),
        Signal::SIGINT => process.interrupt().unwrap(),
        other => process.signal(other).unwrap(),
    };
    for signal in [Signal::SIGTERM, Signal::SIGKILL, Signal::SIGINT, Signal::SIGUSR1, Signal::from_number(40)]
    {
        let process = Process::spawn(hang, ()).unwrap();
        send(&process, signal);
        let handle = process.handle();
        assert_eq!(process.join().unwrap_err().signal(), Some(signal));
        assert_eq!(handle.exit_status().unwrap().signal(), Some(signal));
        // Nobody there is no error.
        send(&handle, signal);
    }
}

#[watertight::test]
fn a_process_in_another_threads_hands_can_be_ended() {
    let process = Process::spawn(hang, ()).unwrap();
    let handle = process.handle();
    std::thread::scope(|scope| {
        let joined = scope.spawn(|| process.join());
        handle.kill().unwrap();
        assert_eq!(joined.join().unwrap().unwrap_err().signal(), Some(Signal::SIGKILL));
    });
}

#[watertight::test]
fn a_handle_that_is_dropped_waits_and_a_daemons_kills() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("done");
    let write = |path: PathBuf| std::fs::write(path, "done").unwrap();
    drop(Process::spawn(write, (path.clone(),)).unwrap());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "done");
    let daemon = Process::builder().daemon(true).spawn(hang, ()).unwrap();
    let pid = daemon.pid();
    assert!(daemon.is_daemon() && runs(pid));
    drop(daemon);
    assert!(!runs(pid));
    // A test that fails must not wait for what it started.
    let caught = std::panic::catch_unwind(|| {
        let _process = Process::spawn(hang, ()).unwrap();
        panic!("the test fails");
    });
    assert!(caught.is_err());
}

#[watertight::test]
fn killing_a_process_ends_its_children() {
    let leave_one = |gate: PathBuf| {
        let child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        std::fs::write(gate.with_file_name("pid"), child.id().to_string()).unwrap();
        stop_at(&gate);
    };
    let gate = Gate::new();
    let process = Process::spawn(leave_one, (gate.path(),)).unwrap();
    let held = gate.wait_for_task();
    let pid = std::fs::read_to_string(gate.path().with_file_name("pid")).unwrap().parse().unwrap();
    assert!(runs(pid));
    process.kill().unwrap();
    assert!(process.join().is_err());
    assert!(!runs(pid));
    drop(held);
    // One that returns leaves no child behind either.
    let process = Process::spawn(leave_one, (gate.path(),)).unwrap();
    drop(gate.wait_for_task());
    process.join().unwrap();
    let pid = std::fs::read_to_string(gate.path().with_file_name("pid")).unwrap().parse().unwrap();
    assert!(!runs(pid));
}

#[watertight::test]
fn active_children_are_those_that_live() {
    let names = || active_children().iter().map(|child| child.name().to_owned()).collect::<Vec<_>>();
    assert!(names().is_empty());
    let gate = Gate::new();
    let first = Process::builder().name("one").spawn(wait_at, (gate.path(),)).unwrap();
    let second = Process::builder().name("two").spawn(add, (1, 2)).unwrap();
    assert!(is_readable(&second, PollTimeout::NONE));
    assert_eq!(names(), ["one"]);
    active_children()[0].kill().unwrap();
    assert!(first.join().is_err());
    assert!(names().is_empty());
    second.join().unwrap();
}

#[watertight::test]
fn a_process_knows_itself_and_its_parent() {
    let know = || (current_process().name, current_process().pid, current_process().daemon);
    let process = Process::builder().name("child").daemon(true).spawn(know, ()).unwrap();
    let pid = process.pid();
    assert_eq!(process.join().unwrap(), ("child".to_owned(), pid, true));
    let parent = || {
        let parent = parent_process().unwrap();
        (parent.name.clone(), parent.pid, parent.is_alive(), current_process().depth)
    };
    let me = current_process();
    let expected = (me.name, std::process::id(), true, me.depth + 1);
    assert_eq!(Process::spawn(parent, ()).unwrap().join().unwrap(), expected);
}

#[test]
fn the_main_process_has_no_parent() {
    let me = current_process();
    assert_eq!(
        (me.name.as_str(), me.pid, me.daemon, me.depth),
        ("MainProcess", std::process::id(), false, 0)
    );
    assert!(parent_process().is_none());
}

#[watertight::test]
fn a_process_runs_where_and_with_what_its_builder_says() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let tell = || {
        let here = std::env::current_dir().unwrap();
        (here, std::env::var("COLOUR").ok(), std::env::var("PATH").ok(), std::env::vars().count())
    };
    for method in [StartMethod::Fork, StartMethod::Exec] {
        let builder = Process::builder().current_dir(&folder).env("COLOUR", "red").env_remove("PATH");
        let (here, colour, path, _) = builder.start_method(method).spawn(tell, ()).unwrap().join().unwrap();
        assert_eq!((here, colour, path), (folder.clone(), Some("red".to_owned()), None));
        let builder = Process::builder().env("GONE", "1").env_clear().env("COLOUR", "green");
        let (_, colour, path, count) = builder.start_method(method).spawn(tell, ()).unwrap().join().unwrap();
        assert_eq!((colour, path, count), (Some("green".to_owned()), None, 1));
    }
    assert!(Process::builder().current_dir("/no/such/folder").spawn(tell, ()).is_err());
}

#[watertight::test]
fn an_executed_process_that_ends_at_once_has_started() {
    for _ in 0..40 {
        let process = Process::builder().start_method(StartMethod::Exec).spawn(add, (1, 2)).unwrap();
        assert_eq!(process.join().unwrap(), 3);
    }
}

#[watertight::test]
fn its_streams_go_where_they_are_sent() {
    let shout = || {
        let text = std::io::read_to_string(std::io::stdin()).unwrap();
        println!("{}", text.to_uppercase());
        eprintln!("{} bytes", text.len());
    };
    for method in [StartMethod::Fork, StartMethod::Exec] {
        let (stdin, mut ours) = std::io::pipe().unwrap();
        let mut out = tempfile::tempfile().unwrap();
        let mut err = tempfile::tempfile().unwrap();
        let builder = Process::builder().stdin(stdin).stdout(out.try_clone().unwrap()).start_method(method);
        let process = builder.stderr(err.try_clone().unwrap()).spawn(shout, ()).unwrap();
        ours.write_all(b"hello").unwrap();
        drop(ours);
        process.join().unwrap();
        let read = |file: &mut std::fs::File| {
            let mut text = String::new();
            std::io::Seek::rewind(file).unwrap();
            file.read_to_string(&mut text).unwrap();
            text
        };
        assert_eq!((read(&mut out).as_str(), read(&mut err).as_str()), ("HELLO\n", "5 bytes\n"));
    }
    Process::builder().stdout(Stdio::Null).stderr(Stdio::Null).spawn(shout, ()).unwrap().join().unwrap();
}

#[watertight::test]
fn it_leads_a_group_of_its_own_with_no_descriptor_but_its_own() {
    let tell = || {
        let group = nix::unistd::getpgrp().as_raw() as u32;
        let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let links = links.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        let files = links.filter(|link| link.to_string_lossy().ends_with("hosts_own_file")).count();
        (group, std::process::id(), files)
    };
    let folder = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(folder.path().join("hosts_own_file")).unwrap();
    // Not even one that the host forgot to mark is inherited.
    nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    for method in [StartMethod::Fork, StartMethod::Exec] {
        let (group, pid, files) =
            Process::builder().start_method(method).spawn(tell, ()).unwrap().join().unwrap();
        assert_eq!((group, files), (pid, 0));
    }
}

#[watertight::test]
fn limits_hold_for_a_process() {
    let allocate = || vec![1_u8; 256 << 20].len();
    let builder = Process::builder().memory_limit(64 << 20).stderr(Stdio::Capture);
    let error = builder.spawn(allocate, ()).unwrap().join().unwrap_err();
    assert!(error.is_memory_limit(), "{error}");
    let spin = || {
        loop {
            std::hint::black_box(());
        }
    };
    let process: Process<()> = Process::builder().cpu_limit(MOMENT).spawn(spin, ()).unwrap();
    assert!(process.join().unwrap_err().is_cpu_limit());
}

#[watertight::test]
fn a_process_may_have_processes() {
    let nest = || Process::spawn(add, (20, 22)).unwrap().join().unwrap();
    assert_eq!(Process::spawn(nest, ()).unwrap().join().unwrap(), 42);
}

#[watertight::test]
fn processes_die_with_the_one_that_started_them() {
    let nest = |gate: PathBuf| {
        let child = Process::spawn(hang, ()).unwrap();
        std::fs::write(gate.with_file_name("pid"), child.pid().to_string()).unwrap();
        stop_at(&gate);
    };
    let gate = Gate::new();
    let process = Process::spawn(nest, (gate.path(),)).unwrap();
    let _held = gate.wait_for_task();
    let pid = std::fs::read_to_string(gate.path().with_file_name("pid")).unwrap().parse().unwrap();
    process.kill().unwrap();
    assert_eq!(process.join().unwrap_err().signal(), Some(Signal::SIGKILL));
    until(|| !runs(pid));
}

/// Stands at a gate when the process exits, behind everything that its function did.
struct AtExit(PathBuf);

impl Drop for AtExit {
    fn drop(&mut self) {
        stop_at(&self.0);
    }
}

thread_local! {
    static AT_EXIT: std::cell::RefCell<Option<AtExit>> = const { std::cell::RefCell::new(None) };
}

fn hang_at_exit(gate: PathBuf) -> u8 {
    AT_EXIT.set(Some(AtExit(gate)));
    9
}

#[watertight::test]
fn join_waits_for_the_exit_and_a_kill_in_it_costs_no_value() {
    let gate = Gate::new();
    let process = Process::spawn(hang_at_exit, (gate.path(),)).unwrap();
    let held = gate.wait_for_task();
    let process = process.join_timeout(MOMENT).unwrap_err().into_inner();
    assert!(process.is_alive());
    process.kill().unwrap();
    assert_eq!(process.join().unwrap(), 9);
    drop(held);
}

#[watertight::test]
fn what_a_process_wrote_is_there_if_it_was_captured() {
    let shout = || {
        println!("hello");
        (0..10_000).for_each(|number| eprintln!("line {number}"));
        std::process::exit(3);
    };
    let builder = Process::builder().stdout(Stdio::Capture).stderr(Stdio::Capture);
    let process: Process<()> = builder.spawn(shout, ()).unwrap();
    let handle = process.handle();
    let error = process.join().unwrap_err();
    assert_eq!(handle.stdout().as_deref(), Some(&b"hello\n"[..]));
    let whole: String = (0..10_000).map(|number| format!("line {number}\n")).collect();
    assert_eq!(handle.stderr(), Some(whole.clone().into_bytes()));
    let shown = error.stderr().unwrap();
    assert!(whole.ends_with(shown) && shown.starts_with("line ") && shown.len() <= 8192, "{}", shown.len());
    let silent = Process::spawn(|| (), ()).unwrap();
    assert_eq!((silent.stdout(), silent.stderr()), (None, None));
}

/// The keeper of this process goes on later, or is killed.
fn stop_keeper() -> u32 {
    let keeper = Process::spawn(std::os::unix::process::parent_id, ()).unwrap().join().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(keeper as i32), nix::sys::signal::SIGSTOP).unwrap();
    keeper
}

#[watertight::test]
fn the_exit_status_of_a_dead_process_is_not_waited_for_if_the_keeper_is_stopped() {
    let process = Process::spawn(hang, ()).unwrap();
    let keeper = stop_keeper();
    process.kill().unwrap();
    until(|| !process.is_alive());
    assert_eq!(process.exit_status(), None);
    // Its sockets are closed a moment before it has ended.
    until(|| !runs(keeper));
    assert!(process.join().is_err());
}

#[watertight::test]
fn a_daemon_is_killed_although_the_keeper_is_stopped() {
    let process = Process::builder().daemon(true).spawn(hang, ()).unwrap();
    let (pid, keeper) = (process.pid(), stop_keeper());
    drop(process);
    assert!(!runs(pid));
    until(|| !runs(keeper));
    assert_eq!(Process::spawn(add, (1, 2)).unwrap().join().unwrap(), 3);
}
