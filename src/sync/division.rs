//! How an array and its parts keep out of each other's way.
//!
//! Whoever wants the whole takes the array's own lock, and then waits until no part is held. Whoever wants a
//! part takes the part's lock, and then looks at the array's: if that is held, it lets go of the part and
//! waits. Full barriers stand between the two steps of either, so one of them sees the other.
//!
//! Dividing is done by a holder of the whole. Each division has its own generation; a part of an earlier one
//! is stale.

use std::panic::Location;

use crate::primitive::{Ordering, fence};
use crate::roster::Owner;
use crate::shm::object::{AT_DIVISION, MOST_PARTS, lease};

use super::error::{HolderDied, LockError};
use super::hold::{Abandoned, Hold};
use super::raw::{MARKED, Patience};
use super::shared::Shared;

/// How an array is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Division {
    pub(super) parts: usize,
    pub(super) generation: u32,
}

impl Division {
    pub(super) fn of(shared: &Shared) -> Division {
        let word = shared.object().word(AT_DIVISION).load(Ordering::SeqCst);
        Division { parts: (word as u32 as usize).min(MOST_PARTS), generation: (word >> 32) as u32 }
    }

    fn store(self, shared: &Shared) {
        let word = u64::from(self.generation) << 32 | self.parts as u64;
        shared.object().word(AT_DIVISION).store(word, Ordering::SeqCst);
    }
}

/// How to take a lock.
#[derive(Clone, Copy)]
pub(super) struct Manner {
    pub(super) patience: Patience,
    pub(super) abandoned: Abandoned,
    pub(super) location: &'static Location<'static>,
}

impl Manner {
    fn take(self, shared: &Shared, at: usize) -> Result<Option<Hold<'_>>, LockError> {
        Hold::take_at(shared, at, self.patience, self.abandoned, self.location)
    }
}

/// Takes the whole; `None` if some of it is busy.
pub(super) fn take_whole(shared: &Shared, manner: Manner) -> Result<Option<Hold<'_>>, LockError> {
    let Some(hold) = Hold::take(shared, manner.patience, manner.abandoned, manner.location)? else {
        return Ok(None);
    };
    fence();
    for part in 0..Division::of(shared).parts {
        let word = shared.object().half_word(lease(part)).load(Ordering::SeqCst);
        let held = Owner::in_word(word).is_some();
        let marked = word & MARKED != 0 && manner.abandoned == Abandoned::Refuse;
        // Taken and let go at once: nobody takes it again while the whole is held.
        if (held || marked) && manner.take(shared, lease(part))?.is_none() {
            return Ok(None);
        }
    }
    Ok(Some(hold))
}

/// Whether no part of an array has to be looked at.
#[inline]
pub(super) fn is_undivided(shared: &Shared) -> bool {
    shared.object().word(AT_DIVISION).load(Ordering::SeqCst) as u32 == 0
}

/// Takes a part; `None` if it is busy, or the whole is.
pub(super) fn take_part(
    shared: &Shared,
    part: usize,
    division: Division,
    manner: Manner,
) -> Result<Option<Hold<'_>>, LockError> {
    loop {
        let Some(hold) = manner.take(shared, lease(part))? else { return Ok(None) };
        fence();
        if Division::of(shared) != division || part >= division.parts {
            return Err(LockError::StalePart);
        }
        let whole = shared.lock().word.load(Ordering::SeqCst);
        let refused = whole & MARKED != 0 && manner.abandoned == Abandoned::Refuse;
        if Owner::in_word(whole).is_none() && !refused {
            return Ok(Some(hold));
        }
        drop(hold);
        // Until the whole is free again, or its dead holder is told of.
        if Hold::take(shared, manner.patience, manner.abandoned, manner.location)?.is_none() {
            return Ok(None);
        }
    }
}

/// Divides an array into `parts`, unless it is divided so already. The whole is held.
pub(super) fn divide(shared: &Shared, parts: usize) -> Division {
    let before = Division::of(shared);
    if before.parts == parts {
        return before;
    }
    let after = Division { parts, generation: before.generation.wrapping_add(1) };
    after.store(shared);
    after
}

/// Who died while holding a part.
pub(super) fn holder_of_a_part_died(shared: &Shared) -> Option<HolderDied> {
    let mut parts = (0..Division::of(shared).parts).map(|part| shared.lock_at(lease(part)));
    parts.find(|lock| lock.is_marked()).map(|lock| shared.holder_died(lock))
}

/// All is well again with the whole, so with every part.
pub(super) fn mark_parts_consistent(shared: &Shared) {
    for part in 0..Division::of(shared).parts {
        let lock = shared.lock_at(lease(part));
        lock.unmark();
        lock.abandoned.store(0, Ordering::Relaxed);
    }
}

/// After the whole was let go of and taken again: waits until no part is held.
pub(super) fn wait_for_parts(shared: &Shared, location: &'static Location<'static>) -> Result<(), LockError> {
    fence();
    let manner = Manner { patience: Patience::Insist, abandoned: Abandoned::Take, location };
    for part in 0..Division::of(shared).parts {
        let word = shared.object().half_word(lease(part)).load(Ordering::SeqCst);
        while Owner::in_word(word).is_some() && manner.take(shared, lease(part))?.is_none() {}
    }
    Ok(())
}
