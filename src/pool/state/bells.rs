//! Which workers ring, and when the driver has to look.

use std::time::Instant;

use crate::pool::reader::{LATE, Poller};
use crate::pool::worker::{Armed, WorkerProcess};

use super::State;

impl State {
    /// Has every busy worker ring: at its next commit, or half-way if it has much to do. Returns whether any has:
    /// it may come to a long task first.
    pub(in crate::pool) fn arm(&mut self) -> bool {
        let mut late = false;
        for worker in self.workers.iter_mut().flatten() {
            late |= worker.arm() == Some(Armed::HalfWay);
        }
        if late {
            self.expect_late();
        }
        late
    }

    /// A worker that has much to do may have come to a long task: somebody looks in a while.
    pub(super) fn expect_late(&mut self) {
        let at = Instant::now() + LATE;
        self.late_at = Some(self.late_at.map_or(at, |late_at| late_at.min(at)));
    }

    /// Has no worker ring any more.
    pub(in crate::pool) fn disarm(&mut self) {
        self.workers.iter_mut().flatten().for_each(WorkerProcess::disarm);
        self.late_at = None;
    }

    /// When the driver has to look at the lanes although none rang.
    pub(in crate::pool) fn look_at(&self) -> Option<Instant> {
        match self.poller {
            Poller::None => self.late_at,
            Poller::Away(until) => Some(until),
            Poller::Spinning | Poller::Asleep => None,
        }
    }

    /// Whether an armed worker may have rung before it was armed.
    pub(in crate::pool) fn may_have_missed(&self) -> bool {
        self.workers.iter().flatten().any(WorkerProcess::may_have_missed)
    }

    /// Whether all busy workers have much to do.
    pub(in crate::pool) fn has_plenty(&self) -> bool {
        let mut busy = self.workers.iter().flatten().filter(|worker| worker.lane.is_busy()).peekable();
        busy.peek().is_some() && busy.all(|worker| worker.lane.has_plenty())
    }

    /// Whether the driver has something to do that it does not know of.
    pub(in crate::pool) fn needs_driver(&mut self) -> bool {
        let earliest = [self.machine.take_earliest(), self.look_at()].into_iter().flatten().min();
        let earlier = match (earliest, self.alarm) {
            (Some(earliest), Some(alarm)) => earliest < alarm,
            (Some(_), None) => true,
            (None, _) => false,
        };
        // A pool without a worker has come to its end with the word that ends it.
        let over = self.machine.is_finished() && !self.ended;
        let waits = !self.deferred.is_empty() || !self.finished.is_empty() || self.events.are_new();
        earlier || over || waits
    }
}
