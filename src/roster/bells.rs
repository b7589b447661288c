//! The roster's words, and how to wake those who sleep.
//!
//! A sleeper says so in its entry, takes the number of its bell, looks once more at all it waits for, and
//! sleeps only if the bell still has that number. Whoever rings changes the number first.

use crate::primitive::{AtomicU32, AtomicU64, Ordering, fence};
use crate::shm::segment::Segment;
use crate::sys::futex;

use super::layout::{self, MAX_THREADS};
use super::owner::State;

/// The roster's memory.
pub(super) struct Bells(Segment);

/// Whom to wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Everybodys,
    /// The sleepers of this process.
    Own,
}

impl Bells {
    pub(super) fn new(segment: Segment) -> Bells {
        Bells(segment)
    }

    pub(super) fn segment(&self) -> &Segment {
        &self.0
    }

    /// How many processes have joined.
    pub(super) fn joins(&self) -> &AtomicU64 {
        self.0.word(layout::AT_JOINS)
    }

    pub(super) fn word(&self, slot: usize, at: usize) -> &AtomicU64 {
        self.0.word(layout::thread(slot) + at)
    }

    pub(super) fn half_word(&self, slot: usize, at: usize) -> &AtomicU32 {
        self.0.half_word(layout::thread(slot) + at)
    }

    pub(super) fn state(&self, slot: usize) -> State {
        State::from_word(self.word(slot, layout::IN_STATE).load(Ordering::Acquire))
    }

    /// Has sleepers look again.
    pub(super) fn ring(&self, whose: Whose) {
        fence();
        let own = self.0.user();
        for slot in 1..=MAX_THREADS {
            let sleeps = self.half_word(slot, layout::IN_SLEEPING).load(Ordering::SeqCst) != 0;
            if sleeps && (whose == Whose::Everybodys || self.state(slot).user == Some(own)) {
                self.ring_one(slot);
            }
        }
    }

    /// Has one thread look again.
    pub(super) fn ring_one(&self, slot: usize) {
        let bell = self.half_word(slot, layout::IN_BELL);
        bell.fetch_add(1, Ordering::SeqCst);
        futex::wake(bell, 1);
    }
}
