//! What follows the end of a worker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::worker::{Condemned, Phase};
use super::{Action, Machine, Slot, Span, Stage, Verdict};

/// After so many times in a row that workers ended before they were ready, the pool gives up.
const MOST_FAILED_STARTS: u32 = 5;

/// Before the second of them; doubles with each.
const START_BACKOFF: Duration = Duration::from_millis(10);

/// The delay doubles this often: to ten seconds.
const LONGEST_START_BACKOFF: u32 = 10;

/// A worker that lived so shortly and did nothing is replaced with a delay.
const SHORT_LIFE: Duration = Duration::from_millis(100);

/// So often an item may stand first at a worker that dies without having begun it, before it is blamed.
const MOST_SUSPICIONS: u32 = 3;

impl Machine {
    pub(super) fn died(
        &mut self,
        slot: Slot,
        running: bool,
        ready: bool,
        reason: Arc<str>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let worker = &mut self.workers[slot];
        let (phase, proven) = (worker.phase, worker.proven);
        let short_life = !proven && now - worker.started < SHORT_LIFE;
        let condemned = worker.condemned.take();
        let item = if running { worker.take_front() } else { None };
        let spans = worker.clear();
        worker.phase = Phase::Vacant;
        if ready
            && !running
            && !proven
            && !matches!(phase, Phase::Ending | Phase::Leaving)
            && let Some(front) = spans.front()
        {
            self.suspect(front.key, front.items.start);
        }
        // In reverse, so that they stand at the head of the queue in their order.
        spans.into_iter().rev().for_each(|span| self.requeue(span, actions));
        if let Some(item) = item {
            let (verdict, retriable) = match condemned {
                Some(Condemned { verdict: Verdict::TimedOut(limit), .. }) => (Verdict::TimedOut(limit), true),
                Some(Condemned { verdict, .. }) => (verdict, false),
                None => (Verdict::AsTold, true),
            };
            self.retry_or_deliver(item, retriable, verdict, now, actions);
        }
        self.blame_suspects(actions);
        let failed_start = !ready || phase == Phase::Initializing;
        if failed_start && !matches!(phase, Phase::Ending | Phase::Leaving) {
            self.failed_start(slot, reason, now, actions);
        } else {
            self.replace(slot, short_life && !running && phase != Phase::Ending, now, actions);
        }
        self.fill(now, actions);
        self.finish_if_done(actions);
    }

    /// Puts another worker in the place of one that is gone, if there still should be one.
    fn replace(&mut self, slot: Slot, later: bool, now: Instant, actions: &mut Vec<Action>) {
        let finished = self.stage == Stage::Closing && self.batches.is_empty();
        let wanted = slot < self.config.workers + self.config.spares;
        if self.stage == Stage::Terminating || finished || !wanted || self.broken.is_some() {
            return;
        }
        if later {
            let at = now + START_BACKOFF;
            self.workers[slot].phase = Phase::Delayed(at);
            self.wake_by(at);
        } else {
            self.start(slot, now, actions);
        }
        self.choose_spares();
    }

    fn failed_start(&mut self, slot: Slot, reason: Arc<str>, now: Instant, actions: &mut Vec<Action>) {
        // Workers that were started side by side fail for one reason, and that once: a keeper's death, say.
        if self.failed_start_at.is_none_or(|last| self.workers[slot].started >= last) {
            self.failed_starts += 1;
            self.failed_start_at = Some(now);
        }
        let others_work = self.workers.iter().any(|worker| worker.phase == Phase::Working && worker.proven);
        let wait = START_BACKOFF * (1 << self.failed_starts.saturating_sub(1).min(LONGEST_START_BACKOFF));
        if self.failed_starts >= MOST_FAILED_STARTS && !others_work {
            self.break_down(reason, actions);
        } else if slot < self.config.workers + self.config.spares && self.stage != Stage::Terminating {
            // With others at work the pool goes on with fewer, and tries again more and more seldom.
            self.workers[slot].phase = Phase::Delayed(now + wait);
            self.wake_by(now + wait);
        }
        self.choose_spares();
    }

    /// Workers do not start: everything that waits ends with the reason, and so does what is submitted later.
    fn break_down(&mut self, reason: Arc<str>, actions: &mut Vec<Action>) {
        self.broken = Some(Arc::clone(&reason));
        let delayed = std::mem::take(&mut self.delayed).into_iter().map(|(_, span)| span);
        let mut spans: Vec<Span> = std::mem::take(&mut self.queue).into_iter().chain(delayed).collect();
        for (slot, worker) in self.workers.iter_mut().enumerate() {
            spans.extend(worker.clear());
            if worker.has_process() {
                worker.phase = Phase::Ending;
                actions.push(Action::Kill { slot });
            } else {
                worker.phase = Phase::Vacant;
            }
        }
        for span in spans {
            self.deliver(span, Verdict::NoWorker(Arc::clone(&reason)), actions);
        }
        actions.push(Action::Break { reason });
    }

    fn suspect(&mut self, key: super::BatchKey, item: u32) {
        *self.suspects.entry((key, item)).or_default() += 1;
    }

    /// An item at which worker after worker dies is ended, although none said that it had begun it.
    fn blame_suspects(&mut self, actions: &mut Vec<Action>) {
        let over = self.suspects.iter().find(|(_, count)| **count >= MOST_SUSPICIONS).map(|(item, _)| *item);
        let Some((key, item)) = over else { return };
        self.suspects.remove(&(key, item));
        let Some(at) = self.queue.iter().position(|span| span.key == key && span.items.contains(&item))
        else {
            return;
        };
        let Some(mut span) = self.queue.remove(at) else { return };
        let before = span.split_front(item - span.items.start);
        let blamed = span.split_front(1);
        [span, before].into_iter().filter(|span| span.len() > 0).for_each(|span| self.queue.insert(at, span));
        self.deliver(blamed, Verdict::AsTold, actions);
    }
}
