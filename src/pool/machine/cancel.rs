//! What nobody wants any more: taken back, or asked to stop.

use std::time::Instant;

use super::timers::after;
use super::worker::{Condemned, Phase};
use super::{Action, BatchKey, Front, JobKey, Machine, Slot, Span, Verdict, Wanted};

/// So often a worker is asked to stop a task; then another one takes its place. Nothing says whether it reads what it
/// is asked, but for itself, and a channel that nobody reads is full some time, when whoever writes to it waits.
const MOST_ASKED: u32 = 64;

impl Machine {
    /// No more than this is wanted of a submission.
    pub(super) fn call_off(&mut self, job: JobKey, wanted: Wanted, now: Instant, actions: &mut Vec<Action>) {
        for open in self.batches.values_mut().filter(|open| open.batch.job == job) {
            self.unwanted += usize::from(open.wanted == Wanted::All);
            open.wanted = open.wanted.min(wanted);
        }
        for span in self.take_waiting(job) {
            self.deliver(span, Verdict::Cancelled, actions);
        }
        for slot in 0..self.workers.len() {
            // What has not begun comes back and ends then; what has may be asked to stop then.
            if self.workers[slot].spans.iter().any(|span| self.is_of(span.key, job)) {
                self.take_back(slot, actions);
            }
        }
        self.fill(now, actions);
        self.finish_if_done(now, actions);
    }

    /// What waits of a submission, for a worker or its next attempt.
    fn take_waiting(&mut self, job: JobKey) -> Vec<Span> {
        let queue = std::mem::take(&mut self.queue).into_iter();
        let (mut mine, others): (Vec<Span>, Vec<Span>) = queue.partition(|span| self.is_of(span.key, job));
        self.queue = others.into();
        let delayed = std::mem::take(&mut self.delayed).into_iter();
        let (mine_delayed, others): (Vec<_>, Vec<_>) =
            delayed.partition(|(_, span)| self.is_of(span.key, job));
        self.delayed = others;
        mine.extend(mine_delayed.into_iter().map(|(_, span)| span));
        mine
    }

    fn is_of(&self, key: BatchKey, job: JobKey) -> bool {
        self.batches.get(&key).is_some_and(|open| open.batch.job == job)
    }

    /// Whether nobody wants what has not begun of a batch.
    pub(super) fn is_unwanted(&self, key: BatchKey) -> bool {
        self.unwanted > 0 && self.batches.get(&key).is_some_and(|open| open.wanted < Wanted::All)
    }

    pub(super) fn take_back(&mut self, slot: Slot, actions: &mut Vec<Action>) {
        self.workers[slot].taking_back = true;
        actions.push(Action::TakeBack { slot });
    }

    pub(super) fn took_back(&mut self, slot: Slot, mut count: u32, actions: &mut Vec<Action>) {
        let worker = &mut self.workers[slot];
        worker.lighten(count);
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
    }

    /// What is left in the lane has begun, or is on its way and cannot come back.
    pub(super) fn after_take_back(
        &mut self,
        slot: Slot,
        front: Front,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        self.condemn_unwanted(slot, now, actions);
        self.expect_exit(slot, now);
        if let Some(item) = self.workers[slot].overdue.take() {
            self.time_out(slot, item, front, now, actions);
        }
        self.fill(now, actions);
        self.finish_if_done(now, actions);
    }

    /// Condemns the first item in flight if it was cancelled: it would have come back if it could.
    pub(super) fn condemn_unwanted(&mut self, slot: Slot, now: Instant, actions: &mut Vec<Action>) {
        if self.unwanted == 0 {
            return;
        }
        let front = self.front(slot).and_then(|front| self.batches.get(&front.key));
        if front.is_some_and(|open| open.wanted == Wanted::Nothing) {
            self.condemn(slot, Verdict::Cancelled, now, actions);
        }
    }

    /// The first item in flight should stop, and is killed after the grace time.
    pub(super) fn condemn(&mut self, slot: Slot, verdict: Verdict, now: Instant, actions: &mut Vec<Action>) {
        let worker = &mut self.workers[slot];
        if worker.condemned.is_some() || worker.is_ending() {
            return;
        }
        let kill_at = after(now, self.config.grace);
        worker.condemned = Some(Condemned { verdict, kill_at: Some(kill_at) });
        worker.asked += 1;
        let (asked, phase) = (worker.asked, worker.phase);
        self.wake_by(kill_at);
        // Who has more of them in its lane than that is killed in time.
        if asked <= MOST_ASKED {
            actions.push(Action::AskToStop { slot });
        }
        if asked == MOST_ASKED && phase == Phase::Working {
            self.retire(slot, now, actions);
        }
    }
}
