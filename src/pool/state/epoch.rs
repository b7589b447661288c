//! Whether anything was told since somebody looked, without the lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Moves whenever a job has news.
#[derive(Clone, Default)]
pub(super) struct Epoch(Arc<AtomicU64>);

/// An epoch that was seen.
pub(in crate::pool) struct PassingEpoch {
    epoch: Epoch,
    seen: u64,
}

impl Epoch {
    /// The present one, to be compared later.
    pub(super) fn present(&self) -> PassingEpoch {
        PassingEpoch { seen: self.0.load(Ordering::Acquire), epoch: self.clone() }
    }

    /// There is news.
    pub(super) fn pass(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

impl PassingEpoch {
    pub(in crate::pool) fn has_passed(&self) -> bool {
        self.epoch.0.load(Ordering::Acquire) != self.seen
    }
}
