//! A clock that goes on once, when a model says so: every time is over then.

use loom::sync::atomic::Ordering;

use crate::primitive::Word;
use crate::words;

loom::lazy_static! {
    static ref CLOCK: Word = Word::new(0);
}

/// What the clock shows when it has gone on.
pub(super) const LATER: u64 = 1 << 62;

pub(crate) fn word() -> &'static Word {
    &CLOCK
}

pub(crate) fn monotonic_nanos() -> u64 {
    u64::from(CLOCK.load(Ordering::Acquire)) * LATER
}

/// All waits with a time-out are over.
pub(crate) fn go_on() {
    CLOCK.swap(1, Ordering::AcqRel);
    words::wake(&CLOCK, u32::MAX);
}
