//! The words that two processes share, and how to sleep on them.
//!
//! The protocols of `link` are written against this module alone, and `tests/model` puts loom's words in its
//! place to explore every interleaving of the very same source.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Sequentially consistent fences; the second one stands directly behind a read-modify-write.
pub(crate) use crate::sys::barrier::{full as fence, full_after_read_modify_write as fence_after_update};

/// A word that a thread of any process can sleep on.
#[derive(Clone, Copy)]
pub(crate) struct Futex<'a>(pub(crate) &'a AtomicU32);

impl Futex<'_> {
    pub(crate) fn load(&self, order: Ordering) -> u32 {
        self.0.load(order)
    }

    pub(crate) fn store(&self, value: u32, order: Ordering) {
        self.0.store(value, order);
    }

    pub(crate) fn swap(&self, value: u32, order: Ordering) -> u32 {
        self.0.swap(value, order)
    }

    /// Sleeps while the word holds `expected`; may return without a reason.
    pub(crate) fn wait(&self, expected: u32) {
        crate::sys::futex::wait(self.0, expected, None);
    }

    /// Wakes one sleeper.
    pub(crate) fn wake(&self) {
        crate::sys::futex::wake(self.0, 1);
    }
}
