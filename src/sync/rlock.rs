//! `RLock`: a lock that its holder may take again.

use std::panic::Location;

use crate::error::Error;
use crate::primitive::{AtomicU32, Ordering};
use crate::shm::object::{AT_LOCK, DEPTH, Kind, Shape};

use super::error::{HolderDied, LockError};
use super::face::{handle, lockable};
use super::hold::{Abandoned, Held, Hold};
use super::raw::Patience;
use super::shared::Shared;

/// A lock that the thread that holds it may take again: Python's `multiprocessing.RLock`.
///
/// It belongs to one thread of one process, and is free when that thread's last guard is dropped.
///
/// ```
/// # fn main() -> watertight::Result<()> {
/// let lock = watertight::sync::RLock::new()?;
/// let outer = lock.lock()?;
/// let inner = lock.lock()?;
/// assert_eq!(inner.depth(), 2);
/// # drop((inner, outer));
/// # Ok(())
/// # }
/// ```
pub struct RLock {
    shared: Shared,
}

handle!(RLock, |shape| shape.kind == Kind::RLock);
lockable!(RLock, RLockGuard<'_>);

/// A held [`RLock`]; one level of it is given up when it is dropped.
#[must_use = "the lock is given up when the guard is dropped"]
pub struct RLockGuard<'a> {
    lock: &'a RLock,
    /// The guards of one thread share its hold; the last one to be dropped gives it up.
    hold: std::mem::ManuallyDrop<Hold<'a>>,
}

impl RLock {
    /// Makes a lock that nobody holds.
    ///
    /// # Errors
    /// If there is no room in /dev/shm, or no descriptor left.
    pub fn new() -> Result<RLock, Error> {
        Shared::make(Shape::of::<u8>(Kind::RLock, 0)).map(|shared| RLock { shared })
    }

    /// Whether any thread holds it at this moment.
    pub fn is_locked(&self) -> bool {
        self.shared.lock().is_held()
    }

    /// How often its holder has taken it. Only the holder changes it.
    fn depth(&self) -> &AtomicU32 {
        self.shared.object().half_word(AT_LOCK - DEPTH)
    }

    #[inline]
    fn take_at_once(&self, location: &'static Location<'static>) -> Option<RLockGuard<'_>> {
        let hold = Hold::at_once(&self.shared, location)?;
        self.depth().store(1, Ordering::Relaxed);
        Some(self.guard(hold))
    }

    fn take(
        &self,
        patience: Patience,
        abandoned: Abandoned,
        location: &'static Location<'static>,
    ) -> Result<Option<RLockGuard<'_>>, LockError> {
        let me = self.shared.me()?;
        if self.shared.lock().is_held_by(me) {
            let depth = self.depth().load(Ordering::Relaxed);
            self.depth().store(depth.checked_add(1).ok_or(LockError::TooDeep)?, Ordering::Relaxed);
            return Ok(Some(self.guard(Hold::again(&self.shared))));
        }
        let hold = Hold::take(&self.shared, patience, abandoned, location)?;
        Ok(hold.map(|hold| {
            self.depth().store(1, Ordering::Relaxed);
            self.guard(hold)
        }))
    }

    fn guard<'a>(&'a self, hold: Hold<'a>) -> RLockGuard<'a> {
        RLockGuard { lock: self, hold: std::mem::ManuallyDrop::new(hold) }
    }
}

impl RLockGuard<'_> {
    /// How many guards this thread has on the lock.
    pub fn depth(&self) -> u32 {
        self.lock.depth().load(Ordering::Relaxed)
    }

    /// Who died while holding it, as long as the lock is marked with that.
    pub fn holder_died(&self) -> Option<HolderDied> {
        self.hold.holder_died()
    }

    /// All is well again with what the lock protects: takes the mark of the dead holder away.
    pub fn mark_consistent(&mut self) {
        self.hold.mark_consistent();
    }
}

impl Drop for RLockGuard<'_> {
    fn drop(&mut self) {
        let depth = self.depth().saturating_sub(1);
        self.lock.depth().store(depth, Ordering::Relaxed);
        if depth == 0 {
            self.hold.give_up();
        }
    }
}

impl std::fmt::Debug for RLockGuard<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RLockGuard").field("depth", &self.depth()).finish_non_exhaustive()
    }
}

impl Held for RLockGuard<'_> {
    /// Gives up all levels, as Python's condition does.
    fn suspended(
        &mut self,
        location: &'static Location<'static>,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<(), LockError> {
        let depth = self.depth();
        let result = self.hold.suspended(location, meanwhile);
        self.lock.depth().store(depth, Ordering::Relaxed);
        result
    }
}
