//! Sleeping on words, as `src/sys/futex.rs` has the kernel do it. A time-out is one more word: the clock's.

use std::time::Duration;

use super::clock;
use crate::primitive::Word;
use crate::words;

pub(crate) use crate::words::wake;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slept {
    Woken,
    Unsupported,
}

pub(crate) fn wait(_: &Word, _: u32, _: Option<Duration>) {
    unreachable!("this kernel waits for two words");
}

pub(crate) fn wait_for_either(words: [(&Word, u32); 2], deadline: Option<u64>) -> Slept {
    let [one, two] = words;
    match deadline {
        Some(_) => words::sleep(&[one, two, (clock::word(), 0)]),
        None => words::sleep(&words),
    }
    Slept::Woken
}
