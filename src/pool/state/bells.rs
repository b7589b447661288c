//! Who reads the lanes, and which workers ring.

use std::time::{Duration, Instant};

use crate::pool::worker::{Armed, WorkerProcess};

use super::State;

/// Who reads the lanes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) enum Poller {
    /// Nobody: lanes with work in flight are armed, and ring for the driver.
    None,
    /// The driver, or a thread that waits for a result.
    Spinning,
    /// A thread that waits for a result, asleep in the set of doorbells.
    Asleep,
    /// A thread that will be back in a moment, once it has pulled and submitted more inputs. Anybody may
    /// take the role from it, and the driver does if it stays away.
    Away(Instant),
}

impl Poller {
    /// Whether a worker need not ring.
    pub(in crate::pool) fn is_reading(self) -> bool {
        matches!(self, Poller::Spinning | Poller::Away(_))
    }
}

/// A worker that has much to do may have come to a long task before it rings.
const LATE: Duration = Duration::from_millis(1);

impl State {
    /// Has every busy worker ring: at its next commit, or half-way if it has much to do. Returns whether all
    /// have.
    pub(in crate::pool) fn arm(&mut self) -> bool {
        let mut late = None;
        for worker in self.workers.iter_mut().flatten() {
            if let Some(armed) = worker.arm() {
                late = Some(late.unwrap_or(true) && armed == Armed::HalfWay);
            }
        }
        let late = late.unwrap_or(false);
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
}
