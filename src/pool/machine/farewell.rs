//! How the pool comes to its end.

use std::time::Instant;

use super::worker::Phase;
use super::{Action, Machine, Slot, Span, Verdict};

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
        self.finish_if_done(actions);
    }

    pub(super) fn terminate(&mut self, actions: &mut Vec<Action>) {
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
                actions.push(Action::Kill { slot });
            } else {
                self.workers[slot].phase = Phase::Vacant;
            }
        }
    }

    /// A pool that is closing lets its workers go when nothing is left to do.
    pub(super) fn finish_if_done(&mut self, actions: &mut Vec<Action>) {
        let idle = self.batches.is_empty();
        if self.stage != Stage::Closing || !idle {
            return;
        }
        for slot in 0..self.workers.len() {
            match self.workers[slot].phase {
                Phase::Working | Phase::Initializing => self.retire(slot, actions),
                Phase::Delayed(_) => self.workers[slot].give_up_place(),
                Phase::Vacant | Phase::Leaving | Phase::Ending => {}
            }
        }
    }

    pub(super) fn retire(&mut self, slot: Slot, actions: &mut Vec<Action>) {
        self.workers[slot].phase = Phase::Leaving;
        actions.push(Action::Retire { slot });
    }
}
