//! Idle costs nothing (P9): no thread of host, keeper or worker is woken while nothing is to be done.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::time::Duration;

use common::{Gate, pipe_as_stderr, stop_at, until, wakings};
use watertight::{Pool, Process};

/// For so long nothing may happen.
const WHILE: Duration = Duration::from_secs(1);

/// Waits for a while in which nothing happens. What ticks never has one, and the test's deadline ends it.
fn is_idle(pool: &Pool, workers: usize) {
    until(|| pool.pids().len() == workers);
    let keeper = common::status(&pool.pids()[0].to_string(), "PPid").parse().unwrap();
    let mut pids = pool.pids();
    pids.extend([keeper, std::process::id()]);
    loop {
        let before = wakings(&pids);
        assert!(before.len() > workers + 1, "{before:?}");
        std::thread::sleep(WHILE);
        if wakings(&pids) == before {
            return;
        }
    }
}

#[watertight::test]
fn a_pool_that_was_never_used_sleeps() {
    is_idle(&Pool::new(3).unwrap(), 3);
}

#[watertight::test]
fn a_pool_sleeps_between_its_tasks() {
    let pool = Pool::new(2).unwrap();
    for _ in 0..2 {
        pool.map(|x: u64| x + 1, 0..10_000).unwrap();
        pool.imap(|x: u64| x + 1, 0..100).for_each(drop);
        pool.apply(|| (), ()).unwrap();
        is_idle(&pool, 2);
    }
}

#[watertight::test]
fn a_pool_with_every_option_sleeps() {
    let builder = Pool::builder().workers(2).spare_workers(1).timeout(Duration::from_secs(600)).attempts(3);
    let builder = builder.cpu_limit(Duration::from_secs(60)).max_tasks_per_worker(1000);
    let pool = builder.initializer(|| 5, ()).start().unwrap();
    pool.map(|x: u64| x + 1, 0..100).unwrap();
    is_idle(&pool, 3);
}

#[watertight::test]
fn a_pool_sleeps_while_a_task_does() {
    let gate = Gate::new();
    let pool = Pool::builder().workers(2).timeout(Duration::from_secs(600)).start().unwrap();
    let later = pool.apply_async(|gate: PathBuf| stop_at(&gate), (gate.path(),)).unwrap();
    let queued: Vec<_> = (0..3).map(|_| pool.apply_async(|| (), ()).unwrap()).collect();
    let held = gate.wait_for_task();
    until(|| queued.iter().all(watertight::AsyncResult::ready));
    is_idle(&pool, 2);
    drop(held);
    later.get().unwrap();
}

#[watertight::test]
fn a_pool_sleeps_while_much_waits_behind_a_task_that_does() {
    let (gate, pool) = (Gate::new(), Pool::builder().workers(1).chunk_size(1000).start().unwrap());
    let inputs = std::iter::once(Some(gate.path())).chain(std::iter::repeat_n(None, 999));
    let later = pool.map_async(|gate: Option<PathBuf>| gate.map(|gate| stop_at(&gate)), inputs).unwrap();
    let held = gate.wait_for_task();
    is_idle(&pool, 1);
    drop(held);
    later.get().unwrap();
}

#[watertight::test]
fn a_pool_whose_results_nobody_reads_sleeps() {
    let pool = Pool::builder().workers(2).buffer(50).start().unwrap();
    let mut outcomes = pool.imap(|x: u64| x, 0..);
    assert_eq!(outcomes.next().unwrap().unwrap(), 0);
    is_idle(&pool, 2);
}

#[watertight::test]
fn a_process_that_waits_costs_nothing_to_who_waits_for_it() {
    let gate = Gate::new();
    let process = Process::spawn(|gate: PathBuf| stop_at(&gate), (gate.path(),)).unwrap();
    let held = gate.wait_for_task();
    let pids = [std::process::id(), process.pid()];
    std::thread::scope(|scope| {
        let joined = scope.spawn(|| process.join());
        loop {
            let before = wakings(&pids);
            std::thread::sleep(WHILE);
            if wakings(&pids) == before {
                break;
            }
        }
        drop(held);
        joined.join().unwrap().unwrap();
    });
}

#[watertight::test]
fn a_pool_whose_stderr_nobody_reads_sleeps() {
    let (reader, _own) = pipe_as_stderr();
    drop(reader);
    let pool = Pool::new(2).unwrap();
    pool.map(|x: u64| writeln!(std::io::stderr(), "{x}").is_ok(), 0..100).unwrap();
    is_idle(&pool, 2);
}

#[watertight::test]
fn a_pool_sleeps_while_the_reader_of_its_stderr_is_slow_and_a_worker_has_closed_its_own() {
    let (reader, _own) = pipe_as_stderr();
    let pool = Pool::new(1).unwrap();
    // What this program's pipe holds, and what the pool holds for it: all beyond that stays in the worker's pipe.
    let much = || std::io::stderr().write_all(&[b'.'; (64 + 256 + 4) * 1024]).is_ok();
    assert!(pool.apply(much, ()).unwrap());
    let leave = || {
        let _ = std::io::stderr().write_all(b"last words!");
        nix::unistd::close(2).is_ok()
    };
    assert!(pool.apply(leave, ()).unwrap());
    is_idle(&pool, 1);
    let mut all = BufReader::new(reader);
    assert!(all.skip_until(b'!').unwrap() > 64 * 1024);
    is_idle(&pool, 1);
}
