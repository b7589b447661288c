//! Every interleaving of the protocols that processes speak in shared memory.
//!
//! The sources below `link` and `sync` are those of the library itself, by path. They are written against
//! `crate::primitive`, and here that is loom's words: loom runs each model again and again, once for each order
//! in which its threads' steps can come and for each value that a weak processor may show them. A thread that
//! sleeps for ever is found as well as a wrong value.
//!
//! Each model is a function that panics if it finds such an order; `tests/models.rs` names what each shows.

// The included sources have unit tests of their own, which are not for these words.
#![cfg(not(test))]

mod error;
mod explore;
#[allow(dead_code, unreachable_pub, reason = "a model uses a part of what ships")]
mod link;
mod models;
#[allow(dead_code, reason = "a model uses a part of what ships")]
mod pool;
mod primitive;
#[allow(dead_code, unreachable_pub, missing_docs, reason = "a model uses a part of what ships")]
mod roster;
#[allow(dead_code, reason = "a model uses a part of what ships")]
mod shm;
#[allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    missing_docs,
    reason = "a model uses a part of what ships"
)]
mod sync;
#[allow(dead_code, reason = "a model uses a part of what ships")]
mod sys;
mod task;
mod words;

pub use models::{barrier, bell, claim, condition, event, lane, lock, object, ring, semaphore};
pub use pool::hand_over;
pub use sync::parts;
