//! What follows the end of a worker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::suspects::Suspicion;
use super::worker::{Condemned, Phase, Worker};
use super::{Action, Death, Machine, Slot, Span, Stage, Verdict};

/// When so many workers in a row have ended before they were ready, in every place, the pool gives up, unless a task
/// runs all the same.
const MOST_FAILED_STARTS: u32 = 5;

/// Before the second of them; doubles with each.
const START_BACKOFF: Duration = Duration::from_millis(10);

/// The delay doubles this often: to ten seconds.
const LONGEST_START_BACKOFF: u32 = 10;

/// A worker that lived so shortly and did nothing is replaced with a delay.
const SHORT_LIFE: Duration = Duration::from_millis(100);

/// That delay doubles this often: to two thirds of a second.
const LONGEST_DELAY: u32 = 6;

impl Machine {
    pub(super) fn died(&mut self, slot: Slot, death: Death, now: Instant, actions: &mut Vec<Action>) {
        let Death { running, ready, others_run, reason } = death;
        let worker = &mut self.workers[slot];
        let (phase, proven) = (worker.phase, worker.proven);
        let told_to_end = matches!(phase, Phase::Ending | Phase::Leaving);
        let condemned = worker.condemned.take();
        let item = if running { worker.take_front() } else { None };
        let idle = !proven && item.is_none();
        let spans = worker.clear();
        worker.phase = Phase::Vacant;
        worker.succeeds = true;
        let front = spans.front().map(|front| (front.key, front.items.start));
        let unbegun = front.filter(|_| !told_to_end && item.is_none());
        // In reverse, so that they stand at the head of the queue in their order.
        spans.into_iter().rev().for_each(|span| self.requeue(span, actions));
        if let Some(item) = item {
            let (verdict, retriable) = verdict_of_death(condemned);
            self.retry_or_deliver(item, retriable, verdict, now, actions);
        }
        match unbegun {
            Some(item) if ready => self.suspect(item, Suspicion::after(proven), Verdict::AsTold, actions),
            unbegun => self.workers[slot].doubtful |= unbegun.is_some(),
        }
        if (!ready || phase == Phase::Initializing) && !told_to_end {
            let reason = self.why_not_ready(slot).unwrap_or(reason);
            self.failed_start(slot, others_run, reason, now, actions);
        } else {
            let short = now - self.workers[slot].started < SHORT_LIFE;
            self.replace(slot, idle && short && phase != Phase::Leaving, now, actions);
        }
        self.fill(now, actions);
        self.finish_if_done(now, actions);
    }

    /// Puts another worker in the place of one that is gone, if there still should be one.
    fn replace(&mut self, slot: Slot, later: bool, now: Instant, actions: &mut Vec<Action>) {
        let finished = self.stage == Stage::Closing && self.batches.is_empty();
        let wanted = slot < self.places();
        if self.stage == Stage::Terminating || finished || !wanted || self.broken.is_some() {
            self.workers[slot].give_up_place();
            return;
        }
        if later {
            let worker = &mut self.workers[slot];
            let delay = START_BACKOFF * (1 << worker.short_lives.min(LONGEST_DELAY));
            worker.short_lives += 1;
            self.start_later(slot, delay, now);
        } else {
            self.start(slot, now, actions);
        }
        self.choose_spares();
    }

    fn start_later(&mut self, slot: Slot, delay: Duration, now: Instant) {
        self.workers[slot].delay(delay, now);
        self.wake_by(self.workers[slot].not_before);
    }

    /// How many places for workers there are, those of spares included.
    fn places(&self) -> usize {
        self.config.workers + self.config.spares
    }

    fn failed_start(
        &mut self,
        slot: Slot,
        others_run: bool,
        reason: Arc<str>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let worker = &mut self.workers[slot];
        let delay = START_BACKOFF * (1 << worker.failed_starts.min(LONGEST_START_BACKOFF));
        worker.failed_starts += 1;
        let hopeless = |worker: &Worker| worker.failed_starts >= MOST_FAILED_STARTS;
        if self.stage == Stage::Terminating || self.broken.is_some() || slot >= self.places() {
            self.workers[slot].give_up_place();
        } else if !others_run && self.workers.iter().take(self.places()).all(hopeless) {
            self.break_down(reason, now, actions);
        } else {
            // With others at work the pool goes on with fewer, and tries again more and more seldom.
            self.start_later(slot, delay, now);
        }
        self.choose_spares();
    }

    /// Of a worker that was killed because it was not ready.
    fn why_not_ready(&self, slot: Slot) -> Option<Arc<str>> {
        let limit = self.longest_start().filter(|_| self.workers[slot].late)?;
        let what = if self.config.initializer { "initialized" } else { "ready" };
        Some(format!("a worker was not {what} after {limit:?}").into())
    }

    /// Workers do not start: everything that waits ends with the reason, and so does what is submitted later.
    fn break_down(&mut self, reason: Arc<str>, now: Instant, actions: &mut Vec<Action>) {
        self.broken = Some(Arc::clone(&reason));
        let delayed = std::mem::take(&mut self.delayed).into_iter().map(|(_, span)| span);
        let mut spans: Vec<Span> = std::mem::take(&mut self.queue).into_iter().chain(delayed).collect();
        for slot in 0..self.workers.len() {
            let worker = &mut self.workers[slot];
            spans.extend(worker.clear());
            if worker.has_process() {
                worker.phase = Phase::Ending;
                self.kill(slot, now, actions);
            } else {
                worker.phase = Phase::Vacant;
            }
        }
        for span in spans {
            self.deliver(span, Verdict::NoWorker(Arc::clone(&reason)), actions);
        }
        actions.push(Action::Break { reason });
    }
}

/// How the item ends that a dead worker had begun, and whether it may be tried again.
fn verdict_of_death(condemned: Option<Condemned>) -> (Verdict, bool) {
    match condemned {
        Some(Condemned { verdict: Verdict::TimedOut(limit), .. }) => (Verdict::TimedOut(limit), true),
        // It ended by itself before it was killed.
        Some(Condemned { kill_at: Some(_), .. }) | None => (Verdict::AsTold, true),
        Some(Condemned { verdict, kill_at: None }) => (verdict, false),
    }
}
