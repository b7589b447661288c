//! What workers tell of the items they have in flight.

use std::time::Instant;

use super::worker::{Condemned, Phase};
use super::{Action, Machine, Slot, Verdict};

impl Machine {
    pub(super) fn settled(&mut self, slot: Slot, count: u32, now: Instant, actions: &mut Vec<Action>) {
        let worker = &mut self.workers[slot];
        worker.progressed(count, now);
        // It was condemned when its value was there already.
        worker.condemned = None;
        let mut left = count;
        while left > 0 {
            let Some(front) = self.workers[slot].spans.front_mut() else { break };
            let here = front.split_front(left.min(front.len()));
            if front.len() == 0 {
                self.workers[slot].spans.pop_front();
            }
            left -= here.len();
            self.count_off(here.key, here.len(), actions);
        }
        self.after_progress(slot, now, actions);
    }

    pub(super) fn failed(&mut self, slot: Slot, retriable: bool, now: Instant, actions: &mut Vec<Action>) {
        let worker = &mut self.workers[slot];
        worker.progressed(1, now);
        let condemned = worker.condemned.take();
        if let Some(item) = worker.take_front() {
            let (verdict, retriable) = match condemned {
                Some(Condemned { verdict, .. }) => {
                    let again = matches!(verdict, Verdict::TimedOut(_));
                    (verdict, again)
                }
                None => (Verdict::AsTold, retriable),
            };
            self.retry_or_deliver(item, retriable, verdict, now, actions);
        }
        self.after_progress(slot, now, actions);
    }

    pub(super) fn after_progress(&mut self, slot: Slot, now: Instant, actions: &mut Vec<Action>) {
        self.expect_exit(slot, now);
        let worker = &self.workers[slot];
        let used_up = self.config.max_tasks_per_worker.is_some_and(|most| worker.given >= most);
        if used_up && worker.in_flight == 0 && worker.phase == Phase::Working {
            self.retire(slot, now, actions);
        }
        self.look_at_front(slot, now, actions);
        self.fill(now, actions);
        self.finish_if_done(now, actions);
    }

    /// What is first in flight now may have a time-out, or may have begun after its job was cancelled.
    fn look_at_front(&mut self, slot: Slot, now: Instant, actions: &mut Vec<Action>) {
        self.condemn_unwanted(slot, now, actions);
        if self.workers[slot].condemned.is_none()
            && let Some(at) = self.timeout_at(slot)
        {
            self.wake_by(at);
        }
    }

    pub(super) fn initialized(&mut self, slot: Slot, now: Instant, actions: &mut Vec<Action>) {
        let worker = &mut self.workers[slot];
        worker.prove();
        worker.doubtful = false;
        if worker.phase == Phase::Initializing {
            worker.phase = Phase::Working;
            worker.since = now;
            self.fill(now, actions);
        }
        // It exits only now.
        self.workers[slot].exit_by = None;
        self.expect_exit(slot, now);
        self.finish_if_done(now, actions);
    }
}
