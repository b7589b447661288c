//! Shared memory: named segments, the objects in them, and the handles that name those.
//!
//! A segment is a file in /dev/shm that all its users have mapped. Small objects share segments; only the
//! process that made a segment makes objects in it, so what is free is that process's private knowledge, and
//! no death elsewhere can leave it half changed. Who holds an object stands in the object itself, a bit a
//! process.
//!
//! Invariant: no word in a segment is believed. Handles are checked against the segment as it is, offsets
//! against its real length. Small objects of one maker share segments, so a process that writes wildly there can
//! spoil the contents of neighbours too; it makes nobody read or write anywhere else.

mod allocator;
mod arena;
pub(crate) mod glance;
mod header;
mod life;
pub(crate) mod mapped;
mod mask;
pub(crate) mod name;
pub(crate) mod object;
mod public;
pub(crate) mod segment;
mod shape;
pub(crate) mod text;
pub(crate) mod transit;
pub(crate) mod user;

pub(crate) use arena::make;
pub use public::SharedMemory;
