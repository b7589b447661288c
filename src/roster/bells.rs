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
pub(super) struct Bells {
    segment: Segment,
    /// Who sleeps in this process, a bit a slot. What others write into the roster cannot keep these from being
    /// told of a death.
    asleep: [AtomicU64; MAX_THREADS / 64 + 1],
}

/// Whom to wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Everybodys,
    /// The sleepers of this process.
    Own,
}

impl Bells {
    pub(super) fn new(segment: Segment) -> Bells {
        Bells { segment, asleep: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    pub(super) fn segment(&self) -> &Segment {
        &self.segment
    }

    /// How many processes have joined.
    pub(super) fn joins(&self) -> &AtomicU64 {
        self.segment.word(layout::AT_JOINS)
    }

    pub(super) fn word(&self, slot: usize, at: usize) -> &AtomicU64 {
        self.segment.word(layout::thread(slot) + at)
    }

    pub(super) fn half_word(&self, slot: usize, at: usize) -> &AtomicU32 {
        self.segment.half_word(layout::thread(slot) + at)
    }

    pub(super) fn state(&self, slot: usize) -> State {
        State::from_word(self.word(slot, layout::IN_STATE).load(Ordering::Acquire))
    }

    /// Whether a thread of this process sleeps.
    pub(super) fn is_asleep(&self, slot: usize) -> bool {
        self.asleep[slot / 64].load(Ordering::SeqCst) >> (slot % 64) & 1 == 1
    }

    /// In a thread of this process: it sleeps from now on, or does not any more.
    pub(super) fn note_sleep(&self, slot: usize, sleeps: bool) {
        let bit = 1 << (slot % 64);
        match sleeps {
            true => self.asleep[slot / 64].fetch_or(bit, Ordering::SeqCst),
            false => self.asleep[slot / 64].fetch_and(!bit, Ordering::SeqCst),
        };
        self.half_word(slot, layout::IN_SLEEPING).store(u32::from(sleeps), Ordering::SeqCst);
    }

    /// Has sleepers look again.
    pub(super) fn ring(&self, whose: Whose) {
        fence();
        for slot in 1..=MAX_THREADS {
            let elsewhere = || self.half_word(slot, layout::IN_SLEEPING).load(Ordering::SeqCst) != 0;
            if self.is_asleep(slot) || whose == Whose::Everybodys && elsewhere() {
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
