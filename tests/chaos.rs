//! Twenty thousand tasks while everything around them is killed, stopped and broken at random.
//!
//! `WATERTIGHT_LONG=1` makes minutes of it; `WATERTIGHT_SEED` repeats the choices of a run.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test says what it saw")]

mod support;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal as Strike;
use support::{Census, Random, Target, comes_to, is_long, keepers, mix};
use watertight::{MapError, Pool, Signal, TaskError, TaskErrorKind};
use watertight_faults::Fault;

const TASKS: u64 = 20_000;
const WORKERS: usize = 4;
const TIMEOUT: Duration = Duration::from_millis(150);

/// Where a task leaves its number when it begins.
const LOG: &str = "WATERTIGHT_TEST_LOG";

/// What a task does beside returning its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Return,
    Work,
    ReturnMuch,
    Strike(Fault),
}

fn deed(index: u64) -> Deed {
    match mix(index) % 1000 {
        0..4 => Deed::Strike(Fault::Segv),
        4..6 => Deed::Strike(Fault::Exit),
        6..8 => Deed::Strike(Fault::Abort),
        8..10 => Deed::Strike(Fault::Panic),
        10 => Deed::Strike(Fault::Stop),
        11 => Deed::Strike(Fault::Hang),
        12..15 => Deed::ReturnMuch,
        15..500 => Deed::Work,
        _ => Deed::Return,
    }
}

/// What a task returns: a few words, or more than a ring holds.
fn value(index: u64) -> Vec<u64> {
    let length = if deed(index) == Deed::ReturnMuch { 100_000 } else { 1 + index % 5 };
    (0..length).map(|number| mix(index ^ (number << 32))).collect()
}

fn task(index: u64) -> Vec<u64> {
    static LOG_FILE: std::sync::OnceLock<File> = std::sync::OnceLock::new();
    let open = || OpenOptions::new().append(true).open(std::env::var(LOG).unwrap()).unwrap();
    // One write, so that it is there as a whole or not at all.
    LOG_FILE.get_or_init(open).write_all(&index.to_le_bytes()).unwrap();
    match deed(index) {
        Deed::Return | Deed::ReturnMuch => {}
        Deed::Work => {
            let end = Instant::now() + Duration::from_micros(mix(index) % 400);
            while Instant::now() < end {}
        }
        Deed::Strike(fault) => drop(fault.strike()),
    }
    value(index)
}

/// How often the monkey did what.
#[derive(Debug, Default)]
struct Harm {
    killed: AtomicU64,
    stopped: AtomicU64,
    segfaulted: AtomicU64,
    keepers: AtomicU64,
}

/// Strikes workers, and now and then the keeper, until told to end.
fn rage(pool: &Pool, mut random: Random, harm: &Harm, end: &AtomicBool) {
    let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
    let mut next_keeper = 100;
    for round in 0_u64.. {
        std::thread::park_timeout(Duration::from_micros(random.below(16_000)));
        if end.load(Ordering::Acquire) {
            return;
        }
        if round == next_keeper {
            next_keeper += 100 + random.below(100);
            for keeper in keepers() {
                Target::open(keeper).inspect(|target| target.signal(Strike::KILL));
            }
            count(&harm.keepers);
            continue;
        }
        let pids = pool.pids();
        let Some(&pid) = pids.get(random.below(WORKERS as u64) as usize) else { continue };
        // Once it is open, a pid that is still the pool's cannot be another's.
        let Some(target) = Target::open(pid).filter(|_| pool.pids().contains(&pid)) else { continue };
        match random.below(5) {
            0 => drop((target.signal(Strike::STOP), count(&harm.stopped))),
            1 | 2 => drop((target.signal(Strike::SEGV), count(&harm.segfaulted))),
            _ => drop((target.signal(Strike::KILL), count(&harm.killed))),
        }
    }
}

/// Whether this is an end that the task, or what was done to it, accounts for.
fn is_explained(index: u64, outcome: &Result<Vec<u64>, TaskError>) -> bool {
    let error = match outcome {
        Ok(seen) => return *seen == value(index),
        Err(error) => error,
    };
    let fault = match deed(index) {
        Deed::Strike(fault) => fault,
        _ => Fault::None,
    };
    match error.kind() {
        TaskErrorKind::Died { status, .. } => match (status.signal(), status.code()) {
            (Some(Signal::SIGKILL | Signal::SIGSEGV), _) => true,
            (Some(Signal::SIGABRT), _) => fault == Fault::Abort,
            (None, Some(code)) => fault == Fault::Exit && code == 3,
            _ => false,
        },
        TaskErrorKind::Panicked(panic) => fault == Fault::Panic && panic.message.contains("panic"),
        // Whoever is stopped is only slow.
        TaskErrorKind::TimedOut { limit } => *limit == TIMEOUT,
        TaskErrorKind::Lost => true,
        _ => false,
    }
}

/// How often each task has begun.
fn beginnings(log: &Path) -> HashMap<u64, u32> {
    let mut bytes = Vec::new();
    File::open(log).unwrap().read_to_end(&mut bytes).unwrap();
    let mut counts = HashMap::new();
    for index in bytes.chunks_exact(8) {
        *counts.entry(u64::from_le_bytes(index.try_into().unwrap())).or_default() += 1;
    }
    counts
}

fn check(tasks: u64, outcomes: &[Result<Vec<u64>, TaskError>], log: &Path) {
    assert_eq!(outcomes.len() as u64, tasks);
    let beginnings = beginnings(log);
    let mut kinds = HashMap::<&str, u64>::new();
    for (index, outcome) in (0..).zip(outcomes) {
        assert!(is_explained(index, outcome), "task {index}, {:?}: {outcome:?}", deed(index));
        let begun = beginnings.get(&index).copied().unwrap_or(0);
        assert!(begun <= 1, "task {index} ran {begun} times: {outcome:?}");
        assert!(begun == 1 || outcome.is_err(), "task {index} has a value and did not run");
        *kinds.entry(outcome.as_ref().map_or_else(TaskError::word, |_| "value")).or_default() += 1;
    }
    println!("{kinds:?}");
    let values = kinds["value"];
    assert!(values * 10 > tasks * 8, "most tasks should come through: {kinds:?}");
}

/// A folder, and an empty log in it.
fn new_log() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    File::create(&log).unwrap();
    (folder, log)
}

fn wreak_havoc(tasks: u64) {
    let mut random = Random::new();
    let (_folder, log) = new_log();
    let pool = Pool::builder()
        .workers(WORKERS)
        .timeout(TIMEOUT)
        .grace(Duration::from_millis(20))
        .stderr(watertight::Output::Null)
        .env(LOG, &log)
        .start()
        .unwrap();
    let (harm, end) = (Harm::default(), AtomicBool::new(false));
    let monkey = Random::from(random.next());
    let outcomes = std::thread::scope(|scope| {
        let monkey = scope.spawn(|| rage(&pool, monkey, &harm, &end));
        let outcomes = pool.outcomes(task, 0..tasks);
        end.store(true, Ordering::Release);
        monkey.thread().unpark();
        outcomes
    });
    println!("{harm:?}, {:?}", pool.stats());
    let harms = [&harm.killed, &harm.stopped, &harm.segfaulted, &harm.keepers];
    assert!(harms.iter().all(|count| count.load(Ordering::Relaxed) > 0), "{harm:?}");
    assert!(pool.stats().restarted > 0);
    check(tasks, &outcomes, &log);
    // Nobody strikes any more: all is well again.
    let quiet: Vec<u64> = (0..200).filter(|index| deed(*index) == Deed::Return).collect();
    let expected: Vec<Vec<u64>> = quiet.iter().map(|index| value(*index)).collect();
    comes_to(true, || pool.outcomes(task, quiet.clone()).into_iter().flatten().eq(expected.iter().cloned()));
    let before = Census::of(std::process::id());
    assert!(before.descriptors < 100 && before.threads < 10, "{before:?}");
    // The last blow may have been the keeper's.
    comes_to(1, || keepers().len());
}

#[watertight::test(timeout = "240s")]
fn twenty_thousand_tasks_each_end_once_whatever_is_killed() {
    wreak_havoc(TASKS);
}

#[watertight::test(timeout = "3600s")]
fn half_a_million_tasks_each_end_once_whatever_is_killed() {
    if is_long() {
        wreak_havoc(500_000);
    }
}

#[watertight::test(timeout = "1200s")]
fn a_task_runs_once_although_the_keeper_dies_while_its_workers_start() {
    let mut random = Random::new();
    for round in 0..if is_long() { 3000 } else { 100 } {
        let (_folder, log) = new_log();
        let pool = Pool::builder().workers(WORKERS).env(LOG, &log).start().unwrap();
        let harmless: Vec<u64> = (0..200).filter(|index| deed(*index) == Deed::Return).collect();
        let running = pool.map_async(task, harmless.clone()).unwrap();
        std::thread::park_timeout(Duration::from_micros(random.below(3_000)));
        keepers().into_iter().filter_map(Target::open).for_each(|keeper| keeper.signal(Strike::KILL));
        let outcomes =
            running.get().map_or_else(MapError::into_outcomes, |values| values.into_iter().map(Ok).collect());
        let beginnings = beginnings(&log);
        for (index, outcome) in harmless.iter().zip(&outcomes) {
            let begun = beginnings.get(index).copied().unwrap_or(0);
            let explained =
                outcome.is_ok() || matches!(outcome, Err(error) if *error.kind() == TaskErrorKind::Lost);
            assert!(explained, "round {round}, task {index}: {outcome:?}");
            assert!(begun <= 1, "round {round}, task {index} ran {begun} times: {outcome:?}");
            assert!(begun == 1 || outcome.is_err(), "task {index} has a value and did not run");
        }
        let lost = outcomes.iter().filter(|outcome| outcome.is_err()).count();
        assert!(lost <= WORKERS, "round {round}: a worker's death costs one task, not {lost}");
    }
}
