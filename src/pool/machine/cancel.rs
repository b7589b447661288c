//! What nobody wants any more: taken back, or asked to stop.

use std::time::Instant;

use super::worker::Condemned;
use super::{Action, BatchKey, JobKey, Machine, Slot, Span, Verdict};

impl Machine {
    pub(super) fn cancel(&mut self, job: JobKey, now: Instant, actions: &mut Vec<Action>) {
        let waiting = std::mem::take(&mut self.queue).into_iter();
        let delayed = std::mem::take(&mut self.delayed);
        let (mine, others): (Vec<Span>, Vec<Span>) = waiting.partition(|span| self.is_of(span.key, job));
        self.queue = others.into();
        let (mine_delayed, others): (Vec<_>, Vec<_>) =
            delayed.into_iter().partition(|(_, span)| self.is_of(span.key, job));
        self.delayed = others;
        for span in mine.into_iter().chain(mine_delayed.into_iter().map(|(_, span)| span)) {
            self.deliver(span, Verdict::Cancelled, actions);
        }
        for open in self.batches.values_mut().filter(|open| open.batch.job == job) {
            open.cancelled = true;
        }
        for slot in 0..self.workers.len() {
            // What has not begun comes back and ends then; what has is asked to stop then.
            if self.workers[slot].spans.iter().any(|span| self.is_of(span.key, job)) {
                self.take_back(slot, actions);
            }
        }
        self.fill(now, actions);
        self.finish_if_done(actions);
    }

    pub(super) fn is_of(&self, key: BatchKey, job: JobKey) -> bool {
        self.batches.get(&key).is_some_and(|open| open.batch.job == job)
    }

    pub(super) fn is_cancelled(&self, key: BatchKey) -> bool {
        self.batches.get(&key).is_some_and(|open| open.cancelled)
    }

    /// The running item should stop, and is killed after the grace time.
    pub(super) fn condemn(&mut self, slot: Slot, verdict: Verdict, now: Instant, actions: &mut Vec<Action>) {
        let worker = &mut self.workers[slot];
        if worker.condemned.is_some() {
            return;
        }
        let kill_at = now + self.config.grace;
        worker.condemned = Some(Condemned { verdict, kill_at: Some(kill_at) });
        self.wake_by(kill_at);
        actions.push(Action::AskToStop { slot });
    }

    pub(super) fn take_back(&mut self, slot: Slot, actions: &mut Vec<Action>) {
        self.workers[slot].taking_back = true;
        actions.push(Action::TakeBack { slot });
    }

    pub(super) fn took_back(&mut self, slot: Slot, mut count: u32, now: Instant, actions: &mut Vec<Action>) {
        let worker = &mut self.workers[slot];
        worker.in_flight -= count;
        worker.given -= u64::from(count);
        worker.taking_back = false;
        worker.settled_in = count == 0;
        while count > 0 {
            let worker = &mut self.workers[slot];
            let Some(back) = worker.spans.back_mut() else { break };
            let here = back.split_back(count.min(back.len()));
            if back.len() == 0 {
                worker.spans.pop_back();
            }
            count -= here.len();
            self.requeue(here, actions);
        }
        self.workers[slot].forget_bytes();
        let front_cancelled = self.front(slot).is_some_and(|front| self.is_cancelled(front.key));
        if front_cancelled {
            self.condemn(slot, Verdict::Cancelled, now, actions);
        }
        self.fill(now, actions);
        self.finish_if_done(actions);
    }
}
