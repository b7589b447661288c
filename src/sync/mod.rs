//! Locks and shared values: Python's `Lock`, `RLock`, `Semaphore`, `Condition`, `Event`, `Barrier`, `Value` and
//! `Array`, for threads of any processes of one tree.
//!
//! All of them are handles: cloning one, or sending it to a worker as an argument, a field or a result, gives
//! another handle on the same object. The object goes with the last handle, whoever has that.
//!
//! **Death.** If a process dies while it holds a lock, the next one to ask is told so, and which process it
//! was. If it dies while it waits, nobody notices.
//!
//! **Circles.** A wait for a lock that would never end, because everybody in a circle waits for the next, is a
//! [`Deadlock`] error at once. Waits with a time-out are never refused, and waits for anything but locks (for
//! a process, a result, a condition, a semaphore) are not seen.
//!
//! **Room** is made once, so that nothing has to grow while others look:
//!
//! | what | at most | beyond that |
//! |---|---|---|
//! | processes of a tree that use shared objects, or objects of one segment | 512 at a time | an [`Error`](crate::Error) when one is made, a decoding error when a handle arrives |
//! | threads of a tree that use locks | 2046 at a time | [`LockError::TooManyThreads`] |
//! | waiters of a [`Condition`] | 128 at a time | [`LockError::TooManyWaiters`], with the lock still held |
//! | threads that own permits of a [`Semaphore`] | 256 at a time | [`LockError::TooManyWaiters`], with no permit taken |
//! | parts of an [`Array`] | 64 | an [`Error`](crate::Error) of [`Array::chunks`] |
//! | source lines that are named in errors | 1023 of a tree | `at` and `taken_at` are absent |
//!
//! **Outside of watertight's own ways** (a file, a socket of yours), a handle keeps nothing alive: the sender
//! has to keep its own until the other side has opened it.

mod array;
mod atomic;
mod barrier;
mod chunk;
mod condition;
pub(crate) mod counters;
mod division;
mod error;
mod event;
mod face;
#[allow(unsafe_code, reason = "tests/layers.rs holds the list of such files")]
mod guard;
pub(crate) mod hold;
mod limits;
mod list;
mod lock;
mod monitor;
mod raw;
mod rlock;
mod semaphore;
mod shared;
mod value;

pub use crate::roster::{Party, Waiter, waiters};
pub use array::{Array, ArrayGuard};
pub use atomic::{Atomic, Integer};
pub use barrier::{Barrier, BarrierError};
pub use chunk::{Chunk, ChunkGuard, ChunkMut, ChunkMutGuard};
pub use condition::Condition;
pub use error::{Deadlock, HolderDied, LockError};
pub use event::Event;
pub use hold::Held;
pub use list::{Item, ShareableList};
pub use lock::{Lock, LockGuard};
pub use rlock::{RLock, RLockGuard};
pub use semaphore::{BoundedSemaphore, Permit, ReleasedTooOften, Semaphore};
pub use value::{Value, ValueGuard};
