//! Shared memory: named segments, the objects in them, and the handles that name those.
//!
//! A segment is a file in /dev/shm that all its users have mapped. Small objects share segments; only the
//! process that made a segment makes objects in it, so what is free is that process's private knowledge, and
//! no death elsewhere can leave it half changed. Who holds an object stands in the object itself, a bit a
//! process.
//!
//! Invariant: no word in a segment is believed. Handles are checked against the segment as it is, offsets
//! against its real length, and a process that scribbles over a segment breaks what was shared with it and
//! nothing else.

mod allocator;
mod arena;
pub(crate) mod name;
pub(crate) mod object;
mod public;
pub(crate) mod segment;
pub(crate) mod text;
pub(crate) mod transit;
pub(crate) mod user;

pub(crate) use arena::make;
pub use public::SharedMemory;
