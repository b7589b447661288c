//! What a lock can answer instead of a guard.

use std::fmt;

use crate::roster::{Party, Waiter};

/// Why a lock was not given.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// A holder died, and what the lock protects may be half changed. The lock is free again, and keeps its
    /// mark until somebody takes it with `lock_recover` and calls `mark_consistent` on the guard.
    #[error(transparent)]
    HolderDied(Box<HolderDied>),
    /// This wait would have closed a circle of waits.
    #[error(transparent)]
    Deadlock(Box<Deadlock>),
    /// 2046 threads of this tree of processes use locks already: all there is room for. A thread's place is free
    /// again when it ends.
    #[error("too many threads use locks in this tree of processes")]
    TooManyThreads,
    /// One thread has taken an `RLock` four thousand million times.
    #[error("the lock is taken too often")]
    TooDeep,
    /// The part belongs to an earlier division of its array.
    #[error("the array has been divided anew, and this part is none of it any more")]
    StalePart,
    /// More use one object than it has room for: 128 threads wait for the condition, or 256 own permits of the
    /// semaphore.
    #[error("too many threads use one shared object")]
    TooManyWaiters,
}

impl LockError {
    /// Whether a holder died.
    pub fn is_holder_died(&self) -> bool {
        matches!(self, LockError::HolderDied(_))
    }

    /// Whether waiting would have been a deadlock.
    pub fn is_deadlock(&self) -> bool {
        matches!(self, LockError::Deadlock(_))
    }
}

/// A process or thread ended while it held a lock.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HolderDied {
    /// Who it was.
    pub holder: Party,
    /// What it held: the object's name, if it has one.
    pub object: Option<String>,
    /// The source line where it had taken it; absent if there were too many to keep.
    pub taken_at: Option<String>,
}

impl std::error::Error for HolderDied {}

impl fmt::Display for HolderDied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ended while it held ", self.holder)?;
        match &self.object {
            Some(name) => write!(f, "`{name}`")?,
            None => f.write_str("this lock")?,
        }
        match &self.taken_at {
            Some(line) => write!(f, ", taken at {line}"),
            None => Ok(()),
        }
    }
}

/// A circle of waits: each holds what the one before it waits for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Deadlock {
    /// The waits, beginning with the one that was refused.
    pub circle: Vec<Waiter>,
}

impl std::error::Error for Deadlock {}

impl fmt::Display for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deadlock: ")?;
        for (index, waiter) in self.circle.iter().enumerate() {
            write!(f, "{}{waiter}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}
