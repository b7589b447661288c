//! Workers are forked from one process, and yet have nothing in common.
#![allow(clippy::unwrap_used, reason = "a test says what it saw")]

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};

use watertight::Process;

#[watertight::test]
fn each_worker_has_random_numbers_of_its_own() {
    let draw = || (RandomState::new().build_hasher().finish(), fastrand::u64(..));
    let draws = (0..10).map(|_| Process::spawn(draw, ()).unwrap().join().unwrap());
    let (keys, numbers): (HashSet<u64>, HashSet<u64>) = draws.unzip();
    assert_eq!((keys.len(), numbers.len()), (10, 10));
}
