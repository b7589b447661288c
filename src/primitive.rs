//! The words that two processes share, and how to sleep on them.
//!
//! The protocols of `link` are written against this module alone, and `tests/model` puts loom's words in its
//! place to explore every interleaving of the very same source.

pub(crate) use std::sync::MutexGuard;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
pub(crate) use std::thread::{current as current_thread, park, park_timeout};
pub(crate) use std::time::Instant;

/// Sequentially consistent fences; the second one stands directly behind a read-modify-write.
pub(crate) use crate::sys::barrier::{full as fence, full_after_read_modify_write as fence_after_update};

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::eventfd::{EfdFlags, EventFd};

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

/// Wakes a host that sleeps in a set of descriptors. To be watched edge-triggered and never read: the worker
/// shares the open file, and could make a read block.
#[derive(Debug)]
pub(crate) struct Doorbell(EventFd);

impl Doorbell {
    pub(crate) fn new() -> io::Result<Doorbell> {
        Ok(Doorbell(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?))
    }

    /// The worker's copy of the one that its host made.
    pub(crate) fn adopt(fd: OwnedFd) -> Doorbell {
        Doorbell(crate::sys::fd::as_eventfd(fd))
    }

    pub(crate) fn ring(&self) {
        // It cannot fail: the descriptor is ours, and the counter is far from full.
        let _ = self.0.write(1);
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
