//! Several words that change together, whoever dies at whatever instruction.
//!
//! A monitor is an object's own lock and a redo record. Changes are first written down in the record; the
//! store of its length commits them; then they are applied, and the record is emptied. Whoever inherits the
//! lock from a dead holder applies what the record says once more: doing it twice does no harm.
//!
//! Its lock is held for a few instructions and never while user code runs, so it is no part of any circle.

use crate::primitive::{AtomicU32, AtomicU64, Ordering};
use crate::roster::Target;
use crate::shm::object::{AT_LOCK, HEAD, Kind, Object, Shape};
use crate::sys::clock::monotonic_nanos;

use super::error::LockError;
use super::raw::{self, Patience, RawLock, Refusal, Request};
use super::shared::Shared;

/// Nanoseconds. Nobody who runs is inside for so long.
const LONGEST_INSIDE: u64 = 1_000_000_000;

/// The most words that change in one step.
const MOST: usize = 4;

/// The record's length, then index and value of each change.
const STATE: usize = 1 + 2 * MOST;

/// The shape of an object with `words` words of state.
pub(super) fn shape(kind: Kind, words: usize) -> Option<Shape> {
    Shape::of::<u64>(kind, STATE + words)
}

/// Whether a shape is one with that many words of state.
pub(super) fn fits(found: Shape, kind: Kind, words: usize) -> bool {
    shape(kind, words) == Some(found)
}

/// A word of an object's state.
pub(super) fn word(object: &Object, index: usize) -> &AtomicU64 {
    object.word(HEAD + (STATE + index) * 8)
}

/// The lower half of a word of state, to sleep on.
pub(super) fn half_word(object: &Object, index: usize) -> &AtomicU32 {
    object.half_word(HEAD + (STATE + index) * 8)
}

/// The inside of a monitor.
pub(super) struct Monitor<'a> {
    object: &'a Object,
    lock: RawLock<'a>,
}

impl<'a> Monitor<'a> {
    /// Enters, waiting for whoever is inside.
    pub(super) fn enter(shared: &'a Shared) -> Result<Monitor<'a>, LockError> {
        loop {
            if let Some(monitor) = Monitor::enter_by(shared, Patience::Insist)? {
                return Ok(monitor);
            }
        }
    }

    /// Enters, but for no longer than `patience` and a second: whoever is inside leaves at once, unless it is stopped.
    pub(super) fn enter_soon(
        shared: &'a Shared,
        patience: Patience,
    ) -> Result<Option<Monitor<'a>>, LockError> {
        let soon = monotonic_nanos().saturating_add(LONGEST_INSIDE);
        match patience {
            Patience::Forever | Patience::Insist => Monitor::enter(shared).map(Some),
            Patience::No => Monitor::enter_by(shared, Patience::Until(soon)),
            Patience::Until(deadline) => Monitor::enter_by(shared, Patience::Until(deadline.max(soon))),
        }
    }

    fn enter_by(shared: &'a Shared, patience: Patience) -> Result<Option<Monitor<'a>>, LockError> {
        let (object, lock, me) = (shared.object(), shared.lock(), shared.me()?);
        if lock.take(me) {
            return Ok(Some(Monitor { object, lock }));
        }
        // A monitor is never held by nobody in particular: only a scribble says so, and who believed it waited for ever.
        lock.release();
        let target = Target { word: 0, ..Target::lock(object, AT_LOCK) };
        let request = Request { roster: shared.roster(), me, site: 0, target, patience };
        match lock.acquire(&request) {
            Ok(marked) => {
                let monitor = Monitor { object, lock };
                if marked {
                    monitor.repair();
                }
                Ok(Some(monitor))
            }
            Err(Refusal::Busy | Refusal::Circle(_)) => Ok(None),
        }
    }

    /// A word of the state.
    pub(super) fn get(&self, index: usize) -> u64 {
        word(self.object, index).load(Ordering::Relaxed)
    }

    /// Changes up to four words of the state in one step.
    ///
    /// # Panics
    /// If they are more.
    pub(super) fn commit(&self, changes: &[(usize, u64)]) {
        assert!(changes.len() <= MOST, "too many changes in one step");
        for (entry, (index, value)) in changes.iter().enumerate() {
            self.record(1 + 2 * entry).store(*index as u64, Ordering::Relaxed);
            self.record(2 + 2 * entry).store(*value, Ordering::Relaxed);
        }
        self.record(0).store(changes.len() as u64, Ordering::Release);
        self.apply();
    }

    fn apply(&self) {
        let words = (self.object.shape().size as usize / 8).saturating_sub(STATE);
        let count = (self.record(0).load(Ordering::Acquire) as usize).min(MOST);
        for entry in 0..count {
            let index = self.record(1 + 2 * entry).load(Ordering::Relaxed) as usize;
            // Only a scribble says anything else.
            if index < words {
                let value = self.record(2 + 2 * entry).load(Ordering::Relaxed);
                word(self.object, index).store(value, Ordering::SeqCst);
            }
        }
        self.record(0).store(0, Ordering::Release);
    }

    /// Finishes what a dead holder has begun.
    #[cold]
    fn repair(&self) {
        self.apply();
        self.lock.unmark();
    }

    fn record(&self, index: usize) -> &AtomicU64 {
        self.object.word(HEAD + index * 8)
    }
}

impl Drop for Monitor<'_> {
    fn drop(&mut self) {
        raw::give_up(self.lock.word, false);
    }
}
