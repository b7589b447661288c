//! A worker is stepped through claiming a task and committing its result, one instruction after the other, and
//! killed after each: the host always comes to the one right outcome.
//!
//! Every instruction is tried with `WATERTIGHT_LONG=1`, and every so many-th otherwise. What a host can see of a
//! result is less, and tried always: it looks at nothing behind the position up to which a worker says it has
//! written, so a death changes nothing for it but after a store into the lane's words of control, and after a
//! system call.
//!
//! The test is the worker's debugger. A mark in the task, a signal that is ignored by whoever is not debugged,
//! shows where the task begins and ends.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test says what it saw")]

#[path = "support/debugger.rs"]
mod debugger;
mod support;
#[cfg(target_arch = "x86_64")]
#[path = "support/tripwire.rs"]
mod tripwire;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use debugger::{MARK, Stepped, Stop};
use nix::sys::signal::raise;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use support::{Random, Target, is_long};
use watertight::{AsyncResult, Output, Pool, Signal, TaskError};

/// Where a task leaves a byte when it runs.
const LOG: &str = "WATERTIGHT_TEST_LOG";

/// Longer than the ring of a lane.
const LARGE: usize = 300_000;

type Value = (u32, Vec<u8>, Mark);
type Outcome = Result<Value, TaskError>;

/// Shows the debugger that it is read or written: as the last argument, that the task was claimed and found; as
/// the end of the value, that all is there for the result.
struct Mark;

impl Serialize for Mark {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        raise(MARK).map_err(serde::ser::Error::custom)?;
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for Mark {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Mark, D::Error> {
        raise(MARK).map_err(serde::de::Error::custom)?;
        <()>::deserialize(deserializer).map(|()| Mark)
    }
}

/// Returns who ran it, and so many bytes.
fn task(length: usize, mark: Mark) -> Value {
    static LOG_FILE: OnceLock<File> = OnceLock::new();
    let open = || OpenOptions::new().append(true).open(std::env::var(LOG).unwrap()).unwrap();
    LOG_FILE.get_or_init(open).write_all(b".").unwrap();
    (std::process::id(), content(length), mark)
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

/// A pool of one worker, and what its tasks left.
struct Stage {
    pool: Pool,
    log: File,
    _folder: tempfile::TempDir,
}

/// What came of one killing.
struct Killing {
    victim: u32,
    outcome: Outcome,
    /// How often the task ran.
    runs: u64,
    /// Whether the host had its outcome before the kill.
    over: bool,
}

impl Stage {
    fn set() -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = File::create(&path).unwrap();
        let pool = Pool::builder().workers(1).stderr(Output::Null).env(LOG, path).start().unwrap();
        Stage { pool, log, _folder: folder }
    }

    /// Stops an idle worker, gives it a task, lets `torment` bring it to where it is killed, and kills it.
    /// `torment` says whether the host had the outcome by then.
    fn kill_one(&self, length: usize, torment: impl FnOnce(&Stepped) -> bool) -> Killing {
        // A worker that has settled a task, with all that it needs for the next.
        let (victim, ..) = self.pool.apply(task, (1, Mark)).unwrap();
        self.log.set_len(0).unwrap();
        let target = Target::open(victim).unwrap();
        let stepped = Stepped::stop(victim);
        let handle = self.pool.apply_async(task, (length, Mark)).unwrap();
        let over = std::thread::scope(|scope| {
            scope.spawn(|| tell_outcome(&handle, &target));
            let over = torment(&stepped);
            stepped.kill();
            over
        });
        let outcome =
            handle.get_timeout(Duration::from_secs(60)).expect("the host should come to an outcome");
        Killing { victim, outcome, runs: self.log.metadata().unwrap().len(), over }
    }
}

/// Wakes the debugger, which may wait for a worker that sleeps, as soon as the host has its outcome.
fn tell_outcome(handle: &AsyncResult<Value>, target: &Target) {
    assert!(handle.wait(Duration::from_secs(60)), "the host should come to an outcome");
    target.signal(rustix::process::Signal::URG);
}

impl Killing {
    /// Whether the outcome is a value, of this process; if not it must be the death of the victim.
    fn value_of(&self, length: usize) -> Option<u32> {
        match &self.outcome {
            Ok((pid, bytes, _)) => {
                assert!(*bytes == content(length), "a wrong value");
                assert_eq!(self.runs, 1);
                Some(*pid)
            }
            Err(error) => {
                assert_eq!((error.signal(), error.pid()), (Some(Signal::SIGKILL), Some(self.victim)));
                None
            }
        }
    }
}

/// Steps `count` instructions, or until `end`; true if that came.
fn step(stepped: &Stepped, count: u64, end: Stop) -> bool {
    (0..count).any(|_| stepped.step() == end)
}

/// Calls `kill_at` with one number of instructions after the other until it says that the window is over. Without
/// much time they are `stride` apart and begin anywhere, and beyond `dense` they are further apart.
fn sweep(window: &str, stride: u64, dense: u64, mut kill_at: impl FnMut(u64) -> bool) {
    let (mut at, mut kills) = (if is_long() { 0 } else { Random::new().below(stride) }, 1);
    let start = Instant::now();
    while !kill_at(at) {
        at += match at < dense {
            _ if is_long() => 1,
            true => stride,
            false => 20 * stride,
        };
        kills += 1;
    }
    println!("{window}: {at} instructions, {kills} kills, {:?}", start.elapsed());
    assert!(kills > 10, "{window}: the window is too short to be one");
}

#[watertight::test(timeout = "3600s")]
fn a_worker_killed_anywhere_in_a_claim_costs_the_task_or_nothing() {
    let stage = Stage::set();
    let (mut untouched, mut lost) = (0, 0);
    sweep("claim", 23, 1500, |count| {
        let mut over = false;
        let killing = stage.kill_one(1, |stepped| {
            over = step(stepped, count, Stop::Mark);
            false
        });
        assert!(!killing.over);
        match killing.value_of(1) {
            // It had not claimed the task, which ran elsewhere.
            Some(pid) => {
                assert_ne!(pid, killing.victim);
                untouched += 1;
            }
            // It had, and the task was lost before it could run.
            None => {
                assert_eq!(killing.runs, 0);
                lost += 1;
            }
        }
        over
    });
    println!("not claimed {untouched}, claimed {lost}");
    assert!(untouched > 0 && lost > 0);
}

/// What became of results.
#[derive(Debug, Default)]
struct Tally {
    lost: u64,
    kept: u64,
}

impl Tally {
    fn count(&mut self, killing: &Killing, length: usize) {
        assert_eq!(killing.runs, 1);
        match killing.value_of(length) {
            Some(pid) => {
                assert_eq!(pid, killing.victim);
                self.kept += 1;
            }
            None => {
                assert!(!killing.over);
                self.lost += 1;
            }
        }
    }
}

/// Past the mark of the argument to that of the value.
fn run_to_result(stepped: &Stepped) {
    stepped.run_to_mark();
    stepped.run_to_mark();
}

#[watertight::test(timeout = "3600s")]
fn a_worker_killed_anywhere_in_a_commit_leaves_the_value_or_its_death() {
    let stage = Stage::set();
    let mut tally = Tally::default();
    sweep("commit", 41, u64::MAX, |count| {
        let killing = stage.kill_one(1, |stepped| {
            run_to_result(stepped);
            step(stepped, count, Stop::Over)
        });
        tally.count(&killing, 1);
        killing.over
    });
    println!("{tally:?}");
    assert!(tally.lost > 0 && tally.kept > 0);
}

#[watertight::test(timeout = "3600s")]
fn a_worker_killed_at_any_system_call_of_a_large_result_leaves_the_value_or_its_death() {
    let stage = Stage::set();
    let mut tally = Tally::default();
    let beyond: &[u64] = if is_long() { &[0, 1, 2, 5, 20, 100, 500, 2000, 10_000] } else { &[0, 100] };
    for &steps in beyond {
        let mut over = false;
        for calls in 0.. {
            let killing = stage.kill_one(LARGE, |stepped| {
                run_to_result(stepped);
                over = (0..calls).any(|_| stepped.run_to_syscall() == Stop::Over);
                over || step(stepped, steps, Stop::Over)
            });
            tally.count(&killing, LARGE);
            if over {
                println!("{calls} entries and returns, {steps} instructions after each: {tally:?}");
                break;
            }
        }
    }
    assert!(tally.lost > 0 && tally.kept > 0);
}

#[watertight::test(timeout = "3600s")]
fn a_worker_killed_at_any_time_of_a_large_result_leaves_the_value_or_its_death() {
    let stage = Stage::set();
    let mut tally = Tally::default();
    let mut random = Random::new();
    // Its whole time is tried, whatever the machine makes of it: every other kill follows the moment at which
    // the host has all, and those between come at any time before.
    let mut longest = Duration::from_micros(100);
    for round in 0..if is_long() { 5_000 } else { 60 } {
        let follows = round % 2 == 0;
        let part = if follows { 1.0 } else { random.below(1000) as f64 / 1000.0 };
        let kept_before = tally.kept;
        let killing = stage.kill_one(LARGE, |stepped| {
            run_to_result(stepped);
            stepped.run_for(longest.mul_f64(part));
            false
        });
        tally.count(&killing, LARGE);
        if follows {
            longest = longest.mul_f64(if tally.kept > kept_before { 0.8 } else { 2.0 });
        }
    }
    println!("{tally:?}, {longest:?}");
    assert!(tally.lost > 0 && tally.kept > 0);
}

/// The words of a lane before its rings.
#[cfg(target_arch = "x86_64")]
fn words_of_control(line: &str, (start, _): (u64, u64)) -> Option<(u64, u64)> {
    line.contains("/memfd:").then_some((start, start + 2 * tripwire::PAGE))
}

#[cfg(target_arch = "x86_64")]
#[watertight::test(timeout = "3600s")]
fn a_worker_killed_after_any_change_that_its_host_can_see_leaves_the_value_or_its_death() {
    use tripwire::{Point, Tripwire};

    let stage = Stage::set();
    for length in [1, LARGE] {
        let (mut tally, mut most) = (Tally::default(), 0);
        for count in 0.. {
            let killing = stage.kill_one(length, |stepped| {
                run_to_result(stepped);
                let mut wire = Tripwire::new(stepped.pid(), words_of_control);
                wire.span().unwrap();
                (0..count).any(|_| wire.next() == Point::Over)
            });
            tally.count(&killing, length);
            if killing.over {
                break;
            }
            most = count;
        }
        println!("{length} bytes: {most} changes, {tally:?}");
        assert!(tally.lost > 0 && tally.kept > 0);
    }
}
