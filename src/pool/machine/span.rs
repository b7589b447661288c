//! Tasks as the machine sees them: items of batches.

use std::ops::Range;
use std::time::Duration;

/// Where a worker stands; its successor stands there too.
pub(in crate::pool) type Slot = usize;
/// Names a batch for the life of the pool.
pub(in crate::pool) type BatchKey = u64;
/// Names a submission for the life of the pool.
pub(in crate::pool) type JobKey = u64;

/// What the machine has to know of a batch.
#[derive(Clone, Copy, Debug)]
pub(in crate::pool) struct Batch {
    pub(in crate::pool) job: JobKey,
    pub(in crate::pool) count: u32,
    pub(in crate::pool) bytes: usize,
    pub(in crate::pool) attempts: u32,
    pub(in crate::pool) timeout: Option<Duration>,
    /// Tasks a frame, if the caller chose.
    pub(in crate::pool) chunk: Option<u32>,
}

/// Items of one batch, on their `attempt`th attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pool) struct Span {
    pub(in crate::pool) key: BatchKey,
    pub(in crate::pool) items: Range<u32>,
    pub(in crate::pool) attempt: u32,
}

impl Span {
    pub(in crate::pool) fn len(&self) -> u32 {
        self.items.end - self.items.start
    }

    /// Cuts off the first `count` items.
    pub(super) fn split_front(&mut self, count: u32) -> Span {
        let middle = self.items.start + count;
        let front = Span { items: self.items.start..middle, ..self.clone() };
        self.items.start = middle;
        front
    }

    /// Cuts off the last `count` items.
    pub(super) fn split_back(&mut self, count: u32) -> Span {
        let middle = self.items.end - count;
        let back = Span { items: middle..self.items.end, ..self.clone() };
        self.items.end = middle;
        back
    }
}
