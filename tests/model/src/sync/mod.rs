//! The library's own sources of all locks, but for how much room an object has.

#[path = "../../../../src/sync/barrier.rs"]
pub(crate) mod barrier;
#[path = "../../../../src/sync/condition.rs"]
pub(crate) mod condition;
#[path = "../../../../src/sync/division.rs"]
pub(crate) mod division;
#[path = "../../../../src/sync/error.rs"]
mod error;
#[path = "../../../../src/sync/event.rs"]
pub(crate) mod event;
#[path = "../../../../src/sync/face.rs"]
mod face;
#[path = "../../../../src/sync/hold.rs"]
pub(crate) mod hold;
#[path = "../../../../src/sync/lock.rs"]
pub(crate) mod lock;
#[path = "../../../../src/sync/monitor.rs"]
mod monitor;
pub mod parts;
#[path = "../../../../src/sync/raw.rs"]
pub(crate) mod raw;
#[path = "../../../../src/sync/rlock.rs"]
pub(crate) mod rlock;
#[path = "../../../../src/sync/semaphore.rs"]
pub(crate) mod semaphore;
#[path = "../../../../src/sync/shared.rs"]
pub(crate) mod shared;

mod limits {
    pub(super) const MOST_WAITERS: usize = 2;
    pub(super) const MOST_OWNERS: usize = 2;
}

pub(crate) use error::{HolderDied, LockError};
