//! Watertight's shared objects, and the work on them that others do as well.

use watertight::sync::{Barrier, Chunk, Lock};
use watertight::{Array, Pool, Process, Value};

use super::{p50_of_batches, pin_to, seconds};
use crate::answer::Answer;
use crate::work::{INCREMENTS, NUMBERS, PARTS};

/// Whether the workers have seen the array before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    First,
    Second,
}

/// Two processes count under one lock, each on a processor of its own if there are two, from the moment at
/// which both are ready.
pub(super) fn increments() -> Answer {
    let (count, start) = (Value::new(0_u64).expect("memory"), Barrier::new(2).expect("memory"));
    let spawn = |place| Process::spawn(increment, (place, count.clone(), start.clone())).expect("a process");
    let times = [0, 1].map(spawn).map(|process| process.join().expect("a time"));
    assert_eq!(count.get().ok(), Some(u64::from(2 * INCREMENTS)));
    Answer::Value(times.into_iter().fold(0.0, f64::max))
}

fn increment(place: usize, count: Value<u64>, start: Barrier) -> f64 {
    pin_to(place).expect("the right to choose a processor");
    start.wait().expect("the other one");
    seconds(|| (0..INCREMENTS).for_each(|_| *count.lock().expect("nobody dies") += 1))
}

pub(super) fn lock_and_unlock() -> Answer {
    let lock = Lock::new().expect("memory");
    Answer::Value(p50_of_batches(1000, || drop(std::hint::black_box(&lock).lock())))
}

pub(super) fn squares(pass: Pass) -> Answer {
    let array = Array::from_items(numbers()).expect("memory");
    let pool = Pool::builder().chunk_size(1).workers(2).start().expect("a pool");
    pool.map(super::square, 0..4).expect("answers");
    let once = || -> f64 {
        let parts = array.chunks(PARTS).expect("nobody holds it");
        pool.map(sum_in_place, parts).expect("sums").into_iter().sum()
    };
    let first = seconds(once);
    match pass {
        Pass::First => Answer::Value(first),
        Pass::Second => Answer::Value(seconds(once)),
    }
}

fn sum_in_place(part: Chunk<f64>) -> f64 {
    sum_of_squares(&part.lock().expect("nobody dies"))
}

/// What everybody does with a part of the numbers.
pub(super) fn sum_of_squares(part: &[f64]) -> f64 {
    part.iter().map(|x| x * x).sum()
}

pub(super) fn numbers() -> impl ExactSizeIterator<Item = f64> {
    (0..NUMBERS).map(|x| (x % 1000) as f64)
}
