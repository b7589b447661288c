//! What is told of the pool through `tracing`.
//!
//! A subscriber is the user's code: it may be slow, it may panic, and it may ask the pool. So the thread of callbacks
//! calls it, without the lock, and nothing waits for that but the pool's end.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tracing::Level;
use tracing::level_filters::LevelFilter;

/// So many wait for a subscriber that is slow. What comes then is only counted.
const MOST: usize = 1024;

type Tell = Box<dyn FnOnce() + Send>;

/// Events that are to be told, in order.
#[derive(Default)]
pub(in crate::pool) struct Events {
    waiting: Vec<Tell>,
    lost: u64,
    /// The thread that tells them knows of them.
    announced: bool,
}

impl Events {
    /// Leaves an event to be told, if anybody listens to such.
    pub(in crate::pool) fn push(&mut self, level: Level, tell: impl FnOnce() + Send + 'static) {
        if level > LevelFilter::current() {
            return;
        }
        match self.waiting.len() {
            ..MOST => self.waiting.push(Box::new(tell)),
            MOST.. => self.lost += 1,
        }
    }

    /// Whether there are some of which the thread that tells them does not know.
    pub(in crate::pool) fn are_new(&self) -> bool {
        !self.announced && !self.waiting.is_empty()
    }

    /// The same; the caller lets it know of them.
    pub(in crate::pool) fn announce(&mut self) -> bool {
        let new = self.are_new();
        self.announced |= new;
        new
    }

    pub(in crate::pool) fn take(&mut self) -> Events {
        mem::take(self)
    }

    pub(in crate::pool) fn tell(self) {
        for tell in self.waiting {
            // Somebody else's bug, and there is nobody else to tell.
            let _ = catch_unwind(AssertUnwindSafe(tell));
        }
        if self.lost > 0 {
            let lost = self.lost;
            let tell = || tracing::warn!(lost, "events were not told: they came faster than they were taken");
            let _ = catch_unwind(AssertUnwindSafe(tell));
        }
    }
}
