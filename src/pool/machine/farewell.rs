//! How the pool comes to its end.

use std::time::{Duration, Instant};

use super::timers::after;
use super::worker::Phase;
use super::{Action, Machine, Slot, Span, Verdict};

/// So long may a worker take to exit, or for the grace time if that is longer: what it runs at its exit may
/// hang.
const LONGEST_EXIT: Duration = Duration::from_secs(5);

/// How far the pool is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) enum Stage {
    Open,
    /// Finishes what it has.
    Closing,
    /// Kills its workers.
    Terminating,
}

impl Machine {
    pub(super) fn close(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.stage == Stage::Open {
            self.stage = Stage::Closing;
        }
        self.fill(now, actions);
        self.finish_if_done(now, actions);
    }

    pub(super) fn terminate(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.stage = Stage::Terminating;
        let delayed = std::mem::take(&mut self.delayed).into_iter().map(|(_, span)| span);
        let spans: Vec<Span> = std::mem::take(&mut self.queue).into_iter().chain(delayed).collect();
        for span in spans {
            self.deliver(span, Verdict::Terminated, actions);
        }
        for slot in 0..self.workers.len() {
            let spans = self.workers[slot].clear();
            for span in spans {
                self.deliver(span, Verdict::Terminated, actions);
            }
            if self.workers[slot].has_process() {
                self.workers[slot].phase = Phase::Ending;
                self.kill(slot, now, actions);
            } else {
                self.workers[slot].phase = Phase::Vacant;
            }
        }
    }

    /// A pool that is closing lets its workers go when nothing is left to do.
    pub(super) fn finish_if_done(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let idle = self.batches.is_empty();
        if self.stage != Stage::Closing || !idle {
            return;
        }
        for slot in 0..self.workers.len() {
            match self.workers[slot].phase {
                Phase::Working | Phase::Initializing => self.retire(slot, now, actions),
                Phase::Delayed(_) => self.workers[slot].give_up_place(),
                Phase::Vacant | Phase::Leaving | Phase::Ending => {}
            }
        }
    }

    pub(super) fn retire(&mut self, slot: Slot, now: Instant, actions: &mut Vec<Action>) {
        self.workers[slot].phase = Phase::Leaving;
        actions.push(Action::Retire { slot });
        self.expect_exit(slot, now);
    }

    /// A worker that was told to exit has nothing left to do, so it has no reason to stay.
    pub(super) fn expect_exit(&mut self, slot: Slot, now: Instant) {
        let at = after(now, LONGEST_EXIT.max(self.config.grace));
        let worker = &mut self.workers[slot];
        if worker.phase == Phase::Leaving && worker.in_flight == 0 && worker.exit_by.is_none() {
            worker.exit_by = Some(at);
            self.wake_by(at);
        }
    }

    /// A worker that was told to exit, and does not, is killed.
    pub(super) fn force_exit(&mut self, slot: Slot, now: Instant, actions: &mut Vec<Action>) {
        let worker = &mut self.workers[slot];
        if worker.phase == Phase::Leaving && worker.exit_by.is_some_and(|at| at <= now) {
            worker.exit_by = None;
            worker.phase = Phase::Ending;
            self.kill(slot, now, actions);
        }
    }
}
