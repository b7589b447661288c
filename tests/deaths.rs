//! What many deaths leave behind, in the host and in its keeper: nothing.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test says what it saw")]

mod support;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use support::{Census, comes_to, in_folder_of, keepers};
use watertight::{Pool, Process, Signal, StartMethod, TaskErrorKind, assert_dies};
use watertight_faults::Fault;

/// Dies by a signal that has no name.
fn die_by_a_real_time_signal() {
    let pid = std::process::id().to_string();
    std::process::Command::new("sh").args(["-c", "kill -40 $0", &pid]).status().unwrap();
}

#[watertight::test]
fn a_death_by_a_real_time_signal_is_told_and_reaped() {
    assert_dies!(Signal::from_number(40), die_by_a_real_time_signal);
    let pool = Pool::new(2).unwrap();
    let error = pool.apply(die_by_a_real_time_signal, ()).unwrap_err();
    assert_eq!(error.signal(), Some(Signal::from_number(40)));
    assert_eq!(pool.apply(|x: i32| x + 1, (1,)).unwrap(), 2);
}

#[watertight::test]
fn an_orphan_that_a_real_time_signal_kills_holds_up_nobody() {
    // The shell's child comes to the keeper when the shell ends, and dies there.
    let leave_orphan = || {
        let orphan = "(sh -c 'kill -40 $$') & exit 0";
        std::process::Command::new("sh").args(["-c", orphan]).status().unwrap();
    };
    let pool = Pool::new(2).unwrap();
    for _ in 0..20 {
        pool.apply(leave_orphan, ()).unwrap();
        assert!(pool.apply(|| -> () { std::process::abort() }, ()).is_err());
    }
    let keeper = keepers()[0];
    comes_to(2, || support::children(keeper).len());
}

/// Waits until the host has connected to all its workers, which it does after it gives them tasks: what it has is counted
/// then.
fn all_connected(keeper: u32) {
    // One channel is made ahead.
    comes_to(1, || in_folder_of(keeper).len());
}

#[watertight::test]
fn a_worker_that_dies_before_its_host_connects_leaves_nothing_behind() {
    for method in [StartMethod::Fork, StartMethod::Exec] {
        // Keeps the keeper alive.
        let waiting = Process::builder().daemon(true).spawn(|| Fault::Hang.strike(), ()).unwrap();
        let keeper = keepers()[0];
        all_connected(keeper);
        let before = Census::of(std::process::id());
        for _ in 0..20 {
            let pool = Pool::builder().workers(4).start_method(method);
            let pool = pool.initializer(|| std::process::exit(9), ()).start().unwrap();
            let error = pool.apply(|| (), ()).unwrap_err();
            assert!(error.to_string().contains("exited with code 9"), "{error}");
        }
        before.comes_back(std::process::id());
        all_connected(keeper);
        drop(waiting);
    }
}

#[watertight::test]
fn a_pool_whose_workers_never_start_ends_when_it_is_dropped() {
    let pool = Pool::builder().workers(2).initializer(|| std::process::abort(), ()).start().unwrap();
    assert!(pool.apply(|| (), ()).is_err());
    // Every worker is gone by then, so no event brings the driver round.
    comes_to(0, || support::children(keepers()[0]).len());
    pool.terminate();
    pool.join().unwrap();
}

/// One of many ways to go.
fn die(number: u64) {
    let ways = [Fault::Segv, Fault::Kill, Fault::Exit, Fault::Abort, Fault::Ill, Fault::LeakChild];
    ways[number as usize % ways.len()].strike();
    std::process::exit(0);
}

/// Waits until every worker has taken part.
fn settle(pool: &Pool, workers: usize) {
    let name_yourself = |_: u32| {
        std::thread::sleep(Duration::from_millis(2));
        std::process::id()
    };
    comes_to(workers, || pool.map(name_yourself, 0..32).unwrap().into_iter().collect::<HashSet<_>>().len());
}

#[watertight::test(timeout = "120s")]
fn a_thousand_deaths_leave_nothing_behind() {
    let pool = Pool::builder().workers(4).stderr(watertight::Output::Null).start().unwrap();
    settle(&pool, 4);
    let (host, keeper) = (std::process::id(), keepers()[0]);
    comes_to(4, || support::children(keeper).len());
    all_connected(keeper);
    let (before, keeper_before) = (Census::of(host), Census::of(keeper));
    let outcomes = pool.outcomes(die, 0..1000);
    assert!(outcomes.iter().all(|outcome| outcome.as_ref().is_err_and(|error| error.is_death())));
    settle(&pool, 4);
    before.comes_back(host);
    keeper_before.comes_back(keeper);
    all_connected(keeper);
}

#[watertight::test]
fn a_hundred_deaths_of_processes_leave_nothing_behind() {
    let waiting = Process::builder().daemon(true).spawn(|| Fault::Hang.strike(), ()).unwrap();
    let (host, keeper) = (std::process::id(), keepers()[0]);
    all_connected(keeper);
    let (before, keeper_before) = (Census::of(host), Census::of(keeper));
    for number in 0..100_u64 {
        assert!(Process::spawn(die, (number,)).unwrap().join().unwrap_err().is_death());
    }
    before.comes_back(host);
    keeper_before.comes_back(keeper);
    drop(waiting);
}

#[watertight::test]
fn a_keeper_that_dies_is_replaced_and_leaves_no_zombie() {
    let pool = Pool::new(2).unwrap();
    for _ in 0..5 {
        let old = keepers();
        let folder_before = support::folder_of(old[0]);
        let keeper = support::Target::open(old[0]).unwrap();
        keeper.signal(rustix::process::Signal::KILL);
        assert!(keeper.ends_by(Instant::now() + Duration::from_secs(20)));
        comes_to(true, || pool.apply(|x: i32| x + 1, (1,)).is_ok_and(|two| two == 2));
        comes_to(1, || keepers().len());
        assert_ne!(keepers(), old);
        comes_to(false, || folder_before.exists());
    }
}

#[watertight::test]
fn the_death_of_a_keeper_breaks_no_pool_however_many_workers_were_starting() {
    let dawdle = || std::thread::sleep(Duration::from_millis(50));
    // One that is ready before the keeper is dead may have begun a task.
    let pool = Pool::builder().workers(10).initializer(dawdle, ()).attempts(2).start().unwrap();
    let keeper = keepers()[0];
    comes_to(10, || support::children(keeper).len());
    support::Target::open(keeper).unwrap().signal(rustix::process::Signal::KILL);
    assert_eq!(pool.map(|x: i32| x + 1, 0..100).unwrap(), (1..=100).collect::<Vec<_>>());
}

/// Has a child of its own, and goes on for ever.
fn have_a_child() {
    Fault::LeakChild.strike();
    Fault::Hang.strike();
}

/// Kills the keeper of a worker that has a child, and waits for that child's end.
fn kill_keeper_above(worker: u32) {
    comes_to(1, || support::children(worker).len());
    let child = support::Target::open(support::children(worker)[0]).unwrap();
    support::Target::open(keepers()[0]).unwrap().signal(rustix::process::Signal::KILL);
    assert!(child.ends_by(Instant::now() + Duration::from_secs(20)), "the worker's child lives on");
}

#[watertight::test]
fn a_keeper_that_dies_leaves_no_children_of_its_workers() {
    let process = Process::spawn(have_a_child, ()).unwrap();
    let handle = process.handle();
    std::thread::scope(|scope| {
        let join = scope.spawn(|| process.join());
        kill_keeper_above(handle.pid());
        assert_eq!(*join.join().unwrap().unwrap_err().kind(), TaskErrorKind::Lost);
    });
    let pool = Pool::new(1).unwrap();
    let pid = pool.apply(std::process::id, ()).unwrap();
    let running = pool.apply_async(have_a_child, ()).unwrap();
    kill_keeper_above(pid);
    assert_eq!(*running.get().unwrap_err().kind(), TaskErrorKind::Lost);
}
