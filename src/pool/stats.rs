//! What can be known of a pool at one moment.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Pool;

/// Counts of a pool, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Tasks that gave a value.
    pub done: u64,
    /// Tasks that ended with an error.
    pub failed: u64,
    /// Workers that died without being told to.
    pub crashed: u64,
    /// Attempts that failed and were followed by another one.
    pub retried: u64,
    /// Workers that were started in the place of one that died, was killed, or had run its share of tasks.
    pub restarted: u64,
    /// Tasks that workers have now.
    pub in_flight: u64,
    /// Tasks that wait for a worker.
    pub queued: u64,
    /// Workers that the pool should have.
    pub workers: usize,
}

/// Live counts, readable without the lock.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) done: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) crashed: AtomicU64,
    pub(super) retried: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

impl Pool {
    /// The process ids of the workers that run now.
    pub fn pids(&self) -> Vec<u32> {
        let state = self.core.lock();
        state.workers.iter().flatten().map(|worker| worker.pid).filter(|pid| *pid != 0).collect()
    }

    /// Live counts.
    pub fn stats(&self) -> Stats {
        let state = self.core.lock();
        let counters = &state.counters;
        Stats {
            done: counters.done.load(Ordering::Relaxed),
            failed: counters.failed.load(Ordering::Relaxed),
            crashed: counters.crashed.load(Ordering::Relaxed),
            retried: counters.retried.load(Ordering::Relaxed),
            restarted: state.machine.restarted(),
            in_flight: state.machine.in_flight(),
            queued: state.machine.queued(),
            workers: state.machine.size(),
        }
    }
}
