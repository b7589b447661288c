//! What can be known of a pool at one moment.

use crate::sync::counters::Count;

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
            done: counters.get(Count::Done),
            failed: counters.get(Count::Failed),
            crashed: counters.get(Count::Crashed),
            retried: counters.get(Count::Retried),
            restarted: state.machine.restarted(),
            in_flight: state.machine.in_flight(),
            queued: state.machine.queued(),
            workers: state.machine.size(),
        }
    }
}
