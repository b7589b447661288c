//! Watertight itself.

use std::collections::HashSet;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use watertight::{Bytes, Pool, Process};

use super::shared::{self, Pass};
use super::{Side, die, median_of, p50, rate, seconds, square};
use crate::answer::Answer;
use crate::program::Program;
use crate::work::{LARGE, MANY, Work};

pub(super) struct Watertight;

const SINGLE_TASKS: i64 = 500_000;
const CHUNKED_TASKS: i64 = 4_000_000;
const LAZY_TASKS: i64 = 1_000_000;
const LARGE_ARGUMENTS: usize = 64;

impl Side for Watertight {
    type Held = Pool;

    fn measure(work: Work) -> Answer {
        match work {
            Work::Apply => apply(),
            Work::MapSingle => map(Pool::builder().chunk_size(1).workers(2).start(), SINGLE_TASKS),
            Work::MapChunks => map(Pool::new(2), CHUNKED_TASKS),
            Work::Imap => imap(),
            Work::Bytes => large(Bytes::from(vec![7; LARGE]), |bytes: Bytes| bytes.len() as u64),
            Work::Vector => large(vec![7; LARGE], |bytes: Vec<u8>| bytes.len() as u64),
            Work::SpawnJoin => spawn_and_join(),
            Work::FirstWorker => median_of(|| Program::FirstWatertight.measure()),
            Work::KilledIdle => killed_idle(),
            Work::KilledBusy => killed_busy(),
            Work::Start64 => Answer::Value(seconds(Watertight::hold)),
            Work::Increments => shared::increments(),
            Work::Lock => shared::lock_and_unlock(),
            Work::SquaresFirst => shared::squares(Pass::First),
            Work::Squares => shared::squares(Pass::Second),
            Work::IdleWakes | Work::IdleMemory => Answer::Absent,
        }
    }

    fn hold() -> Option<Pool> {
        let pool = Pool::builder().chunk_size(1).workers(MANY).start().ok()?;
        let mut answered = HashSet::new();
        while answered.len() < MANY {
            answered.extend(pool.map(doze, 0..MANY as u32).ok()?);
        }
        Some(pool)
    }
}

/// Busy for so long that every worker gets its turn.
fn doze(_: u32) -> u32 {
    std::thread::sleep(Duration::from_millis(1));
    std::process::id()
}

fn apply() -> Answer {
    let pool = Pool::new(1).expect("a pool");
    Answer::Value(p50(|| {
        pool.apply(square, (7,)).expect("an answer");
    }))
}

fn map(pool: watertight::Result<Pool>, tasks: i64) -> Answer {
    let pool = pool.expect("a pool");
    pool.map(square, 0..1000).expect("answers");
    rate(tasks as usize, || pool.map(square, 0..tasks).expect("answers"))
}

fn imap() -> Answer {
    let pool = Pool::new(2).expect("a pool");
    pool.map(square, 0..1000).expect("answers");
    rate(LAZY_TASKS as usize, || {
        let values = pool.imap(square, 0..LAZY_TASKS).map(|outcome| outcome.expect("an answer"));
        values.fold(0_i64, i64::wrapping_add)
    })
}

fn large<T: Clone + watertight::Transfer>(
    argument: T,
    function: impl Fn(T) -> u64 + Copy + Send + 'static,
) -> Answer {
    let pool = Pool::new(2).expect("a pool");
    let send = |count| pool.map(function, std::iter::repeat_n(argument.clone(), count)).expect("answers");
    send(4);
    rate(LARGE_ARGUMENTS * LARGE, || send(LARGE_ARGUMENTS))
}

fn spawn_and_join() -> Answer {
    // The keeper runs as long as somebody of this program wants it.
    let keeping = Pool::new(1).expect("a pool");
    let median = p50(|| {
        Process::spawn(square, (7,)).expect("a process").join().expect("an answer");
    });
    drop(keeping);
    Answer::Value(median)
}

fn killed_idle() -> Answer {
    let pool = Pool::new(1).expect("a pool");
    let answer = || pool.apply(std::process::id, ());
    let mut current = answer().expect("an answer");
    Answer::Value(p50(|| {
        let _ = kill(Pid::from_raw(current as i32), Signal::SIGKILL);
        // The dying worker may still answer, or the task may end with it.
        let killed = current;
        while current == killed {
            current = answer().unwrap_or(killed);
        }
    }))
}

fn killed_busy() -> Answer {
    let pool = Pool::new(1).expect("a pool");
    pool.apply(square, (7,)).expect("an answer");
    Answer::Value(p50(|| {
        pool.apply(die, (7,)).expect_err("a death");
        pool.apply(square, (7,)).expect("an answer");
    }))
}
