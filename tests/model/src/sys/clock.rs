//! A clock that stands still until a model says that all times are over; then each look finds it much later.

use std::cell::Cell;

use loom::sync::atomic::Ordering;

use crate::primitive::Word;
use crate::words;

/// The first time that comes after all others, and how far it is from one look to the next.
const LATER: u64 = 1 << 62;
const STEP: u64 = 1 << 52;

loom::lazy_static! {
    static ref CLOCK: Word = Word::new(0);
}

loom::thread_local! {
    static LOOKS: Cell<u64> = Cell::new(0);
}

pub(crate) fn word() -> &'static Word {
    &CLOCK
}

pub(crate) fn monotonic_nanos() -> u64 {
    let looks = LOOKS.with(|looks| {
        looks.set(looks.get() + 1);
        looks.get()
    });
    match CLOCK.load(Ordering::Acquire) {
        0 => 0,
        _ => LATER + looks * STEP,
    }
}

/// All waits with a time-out are over, those that begin later too.
pub(crate) fn go_on() {
    CLOCK.swap(1, Ordering::AcqRel);
    words::wake(&CLOCK, u32::MAX);
}
