//! From a pool's start to its end, and what is left then: nothing.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a test says what it saw")]

mod common;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::Duration;

use common::{Gate, note, notes, runs, stop_at, until};
use watertight::{Pool, Signal, TaskErrorKind, worker};

fn square(x: i64) -> i64 {
    x * x
}

fn stop_and_return(gate: PathBuf, x: i64) -> i64 {
    stop_at(&gate);
    x
}

#[watertight::test]
fn a_pool_that_is_dropped_at_once_leaves_nothing() {
    for round in 0..150 {
        let pool = Pool::new(1 + round % 4).unwrap();
        drop(pool);
    }
}

#[watertight::test]
fn workers_that_die_at_once_leave_nothing() {
    for _ in 0..20 {
        let pool = Pool::new(2).unwrap();
        let outcomes = pool.outcomes(|x: i32| if x >= 0 { std::process::exit(1) } else { x }, 0..10);
        assert!(outcomes.iter().all(Result::is_err));
    }
}

#[watertight::test]
fn a_call_of_a_closed_pool_is_refused_as_a_whole() {
    let pool = Pool::new(1).unwrap();
    pool.close();
    let inputs = || (0..3).inspect(|_| panic!("an input was pulled"));
    let refused = pool.map(square, inputs()).unwrap_err();
    assert!(refused.to_string().ends_with("not run: the pool is closed"), "{refused}");
    assert_eq!((refused.failed(), refused.first().index()), (1, None));
    for outcomes in [
        pool.outcomes(square, inputs()),
        pool.imap(square, inputs()).collect(),
        pool.imap_unordered(square, inputs()).collect(),
    ] {
        assert!(matches!(&outcomes[..], [Err(error)] if error.is_closed() && error.index().is_none()));
    }
    pool.join().unwrap();
}

#[watertight::test]
fn a_closed_pool_finishes_what_it_has_and_takes_no_more() {
    let (gate, pool) = (Gate::new(), Pool::new(1).unwrap());
    let later = pool.apply_async(stop_and_return, (gate.path(), 3)).unwrap();
    let many = pool.map_async(square, 0..100).unwrap();
    pool.close();
    assert!(pool.apply_async(square, (1,)).unwrap_err().is_closed());
    assert!(pool.apply(square, (1,)).unwrap_err().is_closed());
    assert!(pool.resize(2).unwrap_err().is_closed());
    assert!(!pool.join_timeout(Duration::from_millis(20)).unwrap(), "a task still runs");
    drop(gate.wait_for_task());
    pool.join().unwrap();
    assert_eq!((later.get().unwrap(), many.get().unwrap()[99]), (3, 9801));
    assert!(pool.pids().is_empty());
    pool.close();
    pool.join().unwrap();
}

#[watertight::test]
fn a_map_that_has_begun_is_finished_by_a_pool_that_closes_meanwhile() {
    let pool = Pool::new(2).unwrap();
    for asynchronous in [false, true] {
        let pool = if asynchronous { &Pool::new(2).unwrap() } else { &pool };
        let ((asked, is_asked), (tx, rx)) = (channel(), channel::<i64>());
        std::thread::scope(|scope| {
            let inputs = rx.into_iter().inspect(move |_| asked.send(()).unwrap());
            let call = scope.spawn(move || match asynchronous {
                false => pool.map(square, inputs),
                true => pool.map_async(square, inputs).unwrap().get(),
            });
            tx.send(2).unwrap();
            is_asked.recv().unwrap();
            pool.close();
            // All workers may go, and yet the call has more to submit.
            assert!(!pool.join_timeout(Duration::from_millis(50)).unwrap());
            tx.send(3).unwrap();
            drop(tx);
            assert_eq!(call.join().unwrap().unwrap(), [4, 9]);
        });
        pool.join().unwrap();
    }
}

#[watertight::test]
fn a_map_whose_input_panics_does_not_keep_a_pool_from_closing() {
    let pool = Pool::new(1).unwrap();
    let inputs = || (0..10).map(|x: i64| if x == 5 { panic!("no input") } else { x });
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pool.map(square, inputs())));
    assert!(caught.is_err());
    let submit = || pool.map_async(square, inputs()).map(drop);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(submit)).is_err());
    pool.close();
    pool.join().unwrap();
}

#[watertight::test]
fn joining_an_open_pool_is_an_error_and_not_a_hang() {
    let pool = Pool::new(1).unwrap();
    assert!(pool.join().unwrap_err().is_option());
    assert!(pool.join_timeout(Duration::ZERO).unwrap_err().is_option());
    assert_eq!(pool.apply(square, (2,)).unwrap(), 4);
}

#[watertight::test]
fn terminating_ends_running_and_waiting_tasks_at_once() {
    let (gate, pool) = (Gate::new(), Pool::new(1).unwrap());
    let running = pool.apply_async(stop_and_return, (gate.path(), 3)).unwrap();
    let waiting = pool.map_async(square, 0..10).unwrap();
    let _held = gate.wait_for_task();
    until(|| pool.pids().len() == 1);
    let pid = pool.pids()[0];
    pool.terminate();
    assert!(running.get().unwrap_err().is_terminated());
    assert!(
        waiting.get().unwrap_err().into_outcomes().iter().all(|o| o.as_ref().unwrap_err().is_terminated())
    );
    pool.join().unwrap();
    assert!(!runs(pid));
    assert!(pool.apply(square, (1,)).unwrap_err().is_closed());
    pool.terminate();
}

/// Leaves the group by which its keeper ends it, and does not end.
fn leave_and_spin(note_to: PathBuf) {
    let keeper = nix::unistd::getppid();
    nix::unistd::setpgid(nix::unistd::Pid::from_raw(0), keeper).unwrap();
    note(&note_to, &std::process::id().to_string());
    loop {
        std::hint::spin_loop();
    }
}

#[watertight::test]
fn a_task_that_leaves_its_group_is_ended_and_nobody_else() {
    let (gate, bystander) = (Gate::new(), Pool::new(1).unwrap());
    let unharmed = bystander.apply_async(stop_and_return, (gate.path(), 3)).unwrap();
    let task = gate.wait_for_task();
    let folder = tempfile::tempdir().unwrap();
    let (cancelled, terminated) = (folder.path().join("cancelled"), folder.path().join("terminated"));

    let pool = Pool::builder().workers(1).grace(Duration::from_millis(10)).start().unwrap();
    let late = pool.apply_async(leave_and_spin, (cancelled.clone(),)).unwrap();
    until(|| notes(&cancelled).len() == 1);
    late.cancel();
    assert!(late.get().unwrap_err().is_cancelled());

    let ended = pool.apply_async(leave_and_spin, (terminated.clone(),)).unwrap();
    until(|| notes(&terminated).len() == 1);
    drop(pool);
    assert!(ended.get().unwrap_err().is_terminated());
    for path in [cancelled, terminated] {
        assert!(!runs(notes(&path)[0].parse().unwrap()));
    }
    drop(task);
    assert_eq!(unharmed.get().unwrap(), 3, "a keeper that had to be killed would have taken it along");
}

#[watertight::test]
fn dropping_a_pool_ends_all_its_processes_and_their_children() {
    let (gate, pool) = (Gate::new(), Pool::new(3).unwrap());
    let child = pool.apply(
        || std::process::Command::new("sleep").arg("1000").spawn().map(|child| child.id()).unwrap(),
        (),
    );
    let child = child.unwrap();
    let running = pool.apply_async(stop_and_return, (gate.path(), 3)).unwrap();
    let _held = gate.wait_for_task();
    until(|| pool.pids().len() == 3);
    let pids = pool.pids();
    assert!(pids.iter().all(|pid| runs(*pid)) && runs(child));
    drop(pool);
    assert!(!pids.iter().any(|pid| runs(*pid)) && !runs(child));
    drop(running);
}

#[watertight::test]
fn a_waiting_call_ends_when_another_thread_terminates_the_pool() {
    let (gate, pool) = (Gate::new(), Pool::new(1).unwrap());
    let path = gate.path();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| pool.apply(stop_and_return, (path, 1)));
        let _held = gate.wait_for_task();
        pool.terminate();
        assert!(call.join().unwrap().unwrap_err().is_terminated());
    });
}

#[watertight::test]
fn a_pool_grows_and_shrinks_while_it_works() {
    let pool = Pool::new(1).unwrap();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| pool.map(|x: i64| x * x, 0..20_000));
        for workers in [4, 1, 3, 2, 6, 1, 2] {
            pool.resize(workers).unwrap();
            assert_eq!(pool.stats().workers, workers);
        }
        assert_eq!(call.join().unwrap().unwrap()[19_999], 19_999 * 19_999);
    });
    // Those that are leaving may still be among the pids, but get no tasks.
    let gates = [Gate::new(), Gate::new()];
    let own = |gate: PathBuf| {
        stop_at(&gate);
        std::process::id()
    };
    let both = gates.each_ref().map(|gate| pool.apply_async(own, (gate.path(),)).unwrap());
    drop(gates.each_ref().map(Gate::wait_for_task));
    let before: BTreeSet<u32> = both.into_iter().map(|later| later.get().unwrap()).collect();
    until(|| pool.pids().len() == 2);
    pool.resize(3).unwrap();
    until(|| pool.pids().len() == 3);
    assert!(before.is_subset(&pool.pids().into_iter().collect()), "growing keeps the workers");
    pool.resize(1).unwrap();
    until(|| pool.pids().len() == 1);
    assert_eq!(pool.apply(square, (5,)).unwrap(), 25);
}

#[watertight::test]
fn shrinking_lets_running_tasks_end() {
    let gates = [Gate::new(), Gate::new()];
    let pool = Pool::new(2).unwrap();
    let later: Vec<_> =
        gates.iter().map(|gate| pool.apply_async(stop_and_return, (gate.path(), 7)).unwrap()).collect();
    let held: Vec<_> = gates.iter().map(Gate::wait_for_task).collect();
    pool.resize(1).unwrap();
    drop(held);
    assert!(later.into_iter().all(|later| later.get() == Ok(7)));
    until(|| pool.pids().len() == 1);
}

#[watertight::test]
fn an_idle_worker_that_is_killed_is_replaced() {
    let pool = Pool::new(2).unwrap();
    until(|| pool.pids().len() == 2);
    let before = pool.pids();
    for pid in &before {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid as i32), nix::sys::signal::SIGKILL).unwrap();
    }
    until(|| pool.pids().len() == 2 && pool.pids().iter().all(|pid| !before.contains(pid)));
    assert_eq!(pool.map(square, 1..=3).unwrap(), [1, 4, 9]);
    assert_eq!((pool.stats().crashed, pool.stats().restarted, pool.stats().failed), (2, 2, 0));
}

#[watertight::test]
fn counters_tell_what_happened() {
    let pool = Pool::builder().workers(1).attempts(3).backoff(Duration::from_millis(1)).start().unwrap();
    let outcomes = pool.outcomes(|x: i64| if x == 2 { std::process::exit(0) } else { x }, 0..5);
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 4);
    until(|| pool.stats().restarted == 3);
    let stats = pool.stats();
    assert_eq!((stats.done, stats.failed, stats.crashed, stats.retried), (4, 1, 3, 2));
    assert_eq!((stats.in_flight, stats.queued, stats.workers), (0, 0, 1));
}

#[watertight::test]
fn workers_that_the_pool_ends_itself_are_no_crashes() {
    let gate = Gate::new();
    let pool = Pool::builder().workers(1).grace(Duration::from_millis(1)).start().unwrap();
    let later = pool.apply_async(stop_and_return, (gate.path(), 3)).unwrap();
    let _held = gate.wait_for_task();
    later.cancel();
    assert!(later.get().unwrap_err().is_cancelled());
    until(|| pool.stats().restarted == 1);
    pool.resize(2).unwrap();
    pool.resize(1).unwrap();
    until(|| pool.pids().len() == 1);
    pool.terminate();
    pool.join().unwrap();
    assert_eq!(pool.stats().crashed, 0);
}

#[watertight::test]
fn the_death_of_the_keeper_costs_what_ran_and_nothing_else() {
    let (gate, pool) = (Gate::new(), Pool::new(2).unwrap());
    assert_eq!(pool.apply(square, (2,)).unwrap(), 4);
    let keeper = pool.apply(std::os::unix::process::parent_id, ()).unwrap();
    let running = pool.apply_async(stop_and_return, (gate.path(), 1)).unwrap();
    let held = gate.wait_for_task();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(keeper as i32), nix::sys::signal::SIGKILL).unwrap();
    let error = running.get().unwrap_err();
    assert!(matches!(error.kind(), TaskErrorKind::Lost), "{error}");
    drop(held);
    assert_eq!(pool.map(square, 0..100).unwrap()[99], 9801);
    assert_ne!(pool.apply(std::os::unix::process::parent_id, ()).unwrap(), keeper);
}

#[watertight::test]
fn with_attempts_left_a_task_outlives_the_keeper_too() {
    let gate = Gate::new();
    let pool = Pool::builder().workers(1).attempts(2).start().unwrap();
    let keeper = pool.apply(std::os::unix::process::parent_id, ()).unwrap();
    let running = pool.apply_async(stop_and_return, (gate.path(), 8)).unwrap();
    let held = gate.wait_for_task();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(keeper as i32), nix::sys::signal::SIGKILL).unwrap();
    until(|| pool.stats().retried == 1);
    let _all = gate.open();
    drop(held);
    assert_eq!(running.get().unwrap(), 8);
}

#[watertight::test]
fn an_initializer_runs_once_in_each_worker_before_its_tasks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("starts");
    fn start(path: PathBuf, base: i64) -> i64 {
        note(&path, &std::process::id().to_string());
        base
    }
    let add = |x: i64| x + worker::state::<i64>().copied().unwrap();
    let pool = Pool::builder().workers(3).initializer(start, (path.clone(), 1000)).start().unwrap();
    assert_eq!(pool.map(add, 0..500).unwrap(), (1000..1500).collect::<Vec<i64>>());
    // A worker may work before its pool has heard its number.
    until(|| notes(&path).len() == 3 && pool.pids().len() == 3);
    let started: BTreeSet<String> = notes(&path).into_iter().collect();
    let pids: BTreeSet<String> = pool.pids().iter().map(u32::to_string).collect();
    assert_eq!(started, pids);
    // A replacement is initialized too.
    assert!(pool.apply(|| -> u8 { std::process::abort() }, ()).is_err());
    assert_eq!(pool.apply(add, (1,)).unwrap(), 1001);
    until(|| notes(&path).len() == 4);
    // Other types are not there.
    assert!(pool.apply(|| worker::state::<String>().is_none(), ()).unwrap());
    assert_eq!(pool.stats().failed, 1);
}

#[watertight::test]
fn an_initializer_that_fails_makes_the_pool_fail_loudly() {
    fn panics() {
        panic!("no model");
    }
    fn exits() {
        eprintln!("cannot go on");
        std::process::exit(3);
    }
    fn crashes() {
        std::process::abort();
    }
    let pools = [
        (
            Pool::builder().workers(2).env("RUST_BACKTRACE", "0").initializer(panics, ()).start().unwrap(),
            "no model",
        ),
        (Pool::builder().workers(2).initializer(exits, ()).start().unwrap(), "exited with code 3"),
        (Pool::builder().workers(2).initializer(crashes, ()).start().unwrap(), "SIGABRT"),
    ];
    for (pool, text) in pools {
        let error = pool.apply(square, (1,)).unwrap_err();
        assert!(matches!(error.kind(), TaskErrorKind::NoWorker { .. }), "{error}");
        assert!(error.to_string().contains(text), "{error}");
        let outcomes = pool.outcomes(square, 0..3);
        assert!(outcomes.iter().all(|outcome| outcome.as_ref().is_err_and(|e| e.to_string().contains(text))));
        let error = pool.apply_async(square, (1,)).unwrap_err();
        assert!(error.is_worker_start() && error.to_string().contains(text), "{error}");
        pool.close();
        pool.join().unwrap();
    }
}

#[watertight::test]
fn spare_workers_take_over_and_are_replaced() {
    let pool = Pool::builder().workers(1).spare_workers(1).start().unwrap();
    until(|| pool.pids().len() == 2);
    let before: BTreeSet<u32> = pool.pids().into_iter().collect();
    let ran: BTreeSet<u32> = pool.map(|_: u32| std::process::id(), 0..200).unwrap().into_iter().collect();
    assert_eq!(ran.len(), 1, "a spare takes no tasks");
    assert!(pool.apply(|x: i32| -> i32 { if x > 0 { std::process::abort() } else { x } }, (1,)).is_err());
    let next = pool.apply(std::process::id, ()).unwrap();
    assert!(before.contains(&next) && !ran.contains(&next), "the spare took over");
    until(|| pool.pids().len() == 2);
}

#[watertight::test]
fn a_pool_made_on_a_thread_that_ends_keeps_its_workers() {
    let pool = std::thread::spawn(|| Pool::new(2).unwrap()).join().unwrap();
    let pid = pool.apply(std::process::id, ()).unwrap();
    until(|| pool.pids().len() == 2);
    let pids: BTreeSet<u32> = pool.map(|_: u32| std::process::id(), 0..100).unwrap().into_iter().collect();
    assert!(pids.len() <= 2 && pool.pids().contains(&pid));
    assert_eq!(pool.stats().crashed, 0);
}

#[watertight::test]
fn workers_end_with_their_keeper_and_a_stopped_one_too() {
    let pool = Pool::new(2).unwrap();
    until(|| pool.pids().len() == 2);
    let pids = pool.pids();
    let keeper = pool.apply(std::os::unix::process::parent_id, ()).unwrap();
    let kill = |pid: u32, signal: Signal| {
        let signal = nix::sys::signal::Signal::try_from(signal.number()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), signal).unwrap();
    };
    kill(pids[0], Signal::SIGSTOP);
    kill(keeper, Signal::SIGKILL);
    until(|| !pids.iter().any(|pid| runs(*pid)));
}

extern "C" fn hang() {
    loop {
        std::thread::park();
    }
}

/// Has this process hang when it exits.
#[expect(unsafe_code, reason = "what runs at an exit is registered with the C library")]
fn hang_at_exit(x: u32) -> u32 {
    // SAFETY: the function is `extern "C"`, takes nothing and lives as long as the process.
    assert_eq!(unsafe { libc::atexit(hang) }, 0);
    x
}

#[watertight::test]
fn a_worker_that_hangs_in_its_exit_does_not_hang_the_pool() {
    let pool = Pool::builder().workers(1).max_tasks_per_worker(1).start().unwrap();
    assert_eq!(pool.apply(hang_at_exit, (1,)).unwrap(), 1);
    assert_eq!(pool.apply(hang_at_exit, (2,)).unwrap(), 2, "another one takes its place");
    pool.close();
    pool.join().unwrap();
    assert_eq!(pool.stats().crashed, 0, "it was told to go");
}

/// The first worker stops itself, the second one does not.
#[expect(unsafe_code, reason = "a process is stopped by a signal")]
fn stop_once(path: PathBuf) {
    if std::fs::File::create_new(path).is_ok() {
        // SAFETY: the call takes a number.
        unsafe { libc::raise(libc::SIGSTOP) };
    }
}

#[watertight::test]
fn a_stopped_initializer_is_ended_by_its_time_out_or_by_the_end_of_the_pool() {
    let folder = tempfile::tempdir().unwrap();
    let once = |name: &str| Pool::builder().workers(1).initializer(stop_once, (folder.path().join(name),));
    let pool = once("first").initializer_timeout(Duration::from_secs(2)).start().unwrap();
    assert_eq!(pool.apply(|x: i32| x, (1,)).unwrap(), 1);
    let pool = once("second").start().unwrap();
    until(|| folder.path().join("second").exists());
    pool.close();
    pool.join().unwrap();
}
