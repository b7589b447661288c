//! procspawn, used as its documentation says.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procspawn::Pool;
use serde::{Serialize, de::DeserializeOwned};
use watertight::Bytes;

use super::{Side, die, median_of, p50, rate, seconds, square};
use crate::answer::Answer;
use crate::program::Program;
use crate::work::{LARGE, MANY, Work};

pub(super) struct Procspawn;

const TASKS: i64 = 2000;
/// Each queued task holds three descriptors.
const IN_FLIGHT: usize = 64;
/// One a worker: a larger argument than its socket takes waits for a worker that takes it.
const LARGE_IN_FLIGHT: usize = 2;
const LARGE_ARGUMENTS: usize = 8;

impl Side for Procspawn {
    type Held = Pool;

    fn measure(work: Work) -> Answer {
        match work {
            Work::Apply => apply(),
            Work::MapSingle => map(),
            // It has no map, so no chunks and no lazy iterator either.
            Work::MapChunks | Work::Imap => Answer::Absent,
            Work::Bytes => large(Bytes::from(vec![7; LARGE]), |bytes| bytes.len() as u64),
            Work::Vector => large(vec![7_u8; LARGE], |bytes| bytes.len() as u64),
            Work::SpawnJoin => Answer::Value(p50(|| {
                procspawn::spawn(7_i64, square).join().expect("an answer");
            })),
            Work::FirstWorker => median_of(|| Program::FirstProcspawn.measure()),
            Work::KilledIdle => killed_idle(),
            Work::KilledBusy => killed_busy(),
            Work::Start64 => Answer::Value(seconds(Procspawn::hold)),
            // It shares no memory.
            Work::Increments | Work::Lock | Work::SquaresFirst | Work::Squares => Answer::Absent,
            Work::IdleWakes | Work::IdleMemory => Answer::Absent,
        }
    }

    fn hold() -> Option<Pool> {
        let pool = Pool::new(MANY).ok()?;
        let mut answered = HashSet::new();
        while answered.len() < MANY {
            let handles: Vec<_> = (0..MANY).map(|_| pool.spawn((), doze)).collect();
            for handle in handles {
                answered.insert(handle.join().ok()?);
            }
        }
        Some(pool)
    }
}

fn doze((): ()) -> u32 {
    std::thread::sleep(Duration::from_millis(1));
    std::process::id()
}

fn apply() -> Answer {
    let pool = Pool::new(1).expect("a pool");
    Answer::Value(p50(|| {
        pool.spawn(7, square).join().expect("an answer");
    }))
}

fn map() -> Answer {
    let pool = Pool::new(2).expect("a pool");
    windowed(&pool, IN_FLIGHT, 0..8, square);
    rate(TASKS as usize, || windowed(&pool, IN_FLIGHT, 0..TASKS, square))
}

/// Runs `function` over all inputs, with a bounded number of handles at a time.
fn windowed<A, R>(pool: &Pool, window: usize, inputs: impl Iterator<Item = A>, function: fn(A) -> R) -> Vec<R>
where
    A: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned + Send + 'static,
{
    let mut handles = VecDeque::new();
    let mut values = Vec::new();
    for input in inputs {
        if handles.len() == window {
            values.extend(
                handles.pop_front().map(|handle: procspawn::JoinHandle<R>| handle.join().expect("an answer")),
            );
        }
        handles.push_back(pool.spawn(input, function));
    }
    values.extend(handles.into_iter().map(|handle| handle.join().expect("an answer")));
    values
}

fn large<T: Clone + Serialize + DeserializeOwned>(argument: T, function: fn(T) -> u64) -> Answer {
    let pool = Pool::new(2).expect("a pool");
    let send =
        |count| windowed(&pool, LARGE_IN_FLIGHT, std::iter::repeat_n(argument.clone(), count), function);
    send(2);
    rate(LARGE_ARGUMENTS * LARGE, || send(LARGE_ARGUMENTS))
}

fn killed_idle() -> Answer {
    let pool = Pool::new(1).expect("a pool");
    let pid = || pool.spawn((), |()| std::process::id()).join();
    let mut current = pid().expect("an answer");
    Answer::Value(p50(|| {
        let _ = kill(Pid::from_raw(current as i32), Signal::SIGKILL);
        // The dying worker may still answer, or the task may end with it.
        let killed = current;
        while current == killed {
            current = pid().unwrap_or(killed);
        }
    }))
}

fn killed_busy() -> Answer {
    let pool = Pool::new(1).expect("a pool");
    pool.spawn(7, square).join().expect("an answer");
    Answer::Value(p50(|| {
        pool.spawn(7, die).join().expect_err("a death");
        pool.spawn(7, square).join().expect("an answer");
    }))
}
