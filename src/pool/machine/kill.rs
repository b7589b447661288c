//! Kills, and what follows if one is not carried out.
//!
//! The keeper kills, and tells of the end. A keeper that is stopped does neither, so the host kills what should be gone,
//! and the keeper after that: a stopped process dies of SIGKILL all the same.

use std::time::{Duration, Instant};

use super::timers::after;
use super::worker::Phase;
use super::{Action, Machine, Slot};

/// The end of a worker that is killed is told so soon, or it is seen to.
const LONGEST_END: Duration = Duration::from_secs(5);

/// What is done when the end of a killed worker is not told in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recourse {
    KillItself,
    BlameKeeper,
}

impl Machine {
    /// Has a worker killed, and expects to be told of its end.
    pub(super) fn kill(&mut self, slot: Slot, now: Instant, actions: &mut Vec<Action>) {
        self.expect_end(slot, Recourse::KillItself, now);
        actions.push(Action::Kill { slot });
    }

    fn expect_end(&mut self, slot: Slot, otherwise: Recourse, now: Instant) {
        let at = after(now, LONGEST_END);
        self.workers[slot].ended_by = Some((at, otherwise));
        self.wake_by(at);
    }

    /// A killed worker whose end is not told.
    pub(super) fn pursue(&mut self, slot: Slot, now: Instant, actions: &mut Vec<Action>) {
        match self.workers[slot].ended_by {
            Some((at, Recourse::KillItself)) if at <= now => {
                self.expect_end(slot, Recourse::BlameKeeper, now);
                actions.push(Action::KillItself { slot });
            }
            Some((at, Recourse::BlameKeeper)) if at <= now => {
                self.workers[slot].ended_by = None;
                actions.push(Action::BlameKeeper { slot });
            }
            _ => {}
        }
    }

    /// A worker did what no worker does, or its initializer failed.
    pub(super) fn doom(&mut self, slot: Slot, now: Instant, actions: &mut Vec<Action>) {
        let worker = &mut self.workers[slot];
        if worker.has_process()
            && !std::mem::replace(&mut worker.doomed, true)
            && worker.phase != Phase::Ending
        {
            self.kill(slot, now, actions);
        }
    }
}
