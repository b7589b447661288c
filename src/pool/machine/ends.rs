//! How items end without a value, or are tried again.

use std::time::{Duration, Instant};

use super::timers::after;
use super::{Action, BatchKey, Machine, Span, Stage, Verdict, Wanted};

/// However often an item has failed, its next attempt is not further away, or than the first one was.
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);

impl Machine {
    /// Another attempt, if the item has one left, or its end.
    pub(super) fn retry_or_deliver(
        &mut self,
        item: Span,
        retriable: bool,
        verdict: Verdict,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let attempts = self.batches.get(&item.key).map_or(1, |open| open.batch.attempts);
        let last = item.attempt >= attempts || self.is_unwanted(item.key);
        if !retriable || last || self.stage == Stage::Terminating {
            self.deliver(item, verdict, actions);
            return;
        }
        actions.push(Action::Retry { key: item.key, item: item.items.start, attempt: item.attempt });
        let doubled = self.config.backoff.saturating_mul(1 << (item.attempt - 1).min(16));
        let next = Span { attempt: item.attempt + 1, ..item };
        match doubled.min(LONGEST_BACKOFF.max(self.config.backoff)) {
            Duration::ZERO => self.requeue(next, actions),
            delay => {
                let at = after(now, delay);
                self.delayed.push((at, next));
                self.wake_by(at);
            }
        }
    }

    /// Puts items back at the head of the queue, unless nobody wants them any more.
    pub(super) fn requeue(&mut self, span: Span, actions: &mut Vec<Action>) {
        if self.is_unwanted(span.key) {
            self.deliver(span, Verdict::Cancelled, actions);
        } else {
            self.queue.push_front(span);
        }
    }

    /// Items end without a value.
    pub(super) fn deliver(&mut self, span: Span, verdict: Verdict, actions: &mut Vec<Action>) {
        let Span { key, items, attempt } = span;
        let count = items.end - items.start;
        actions.push(Action::Deliver { key, items, attempt, verdict });
        self.count_off(key, count, actions);
    }

    pub(super) fn count_off(&mut self, key: BatchKey, count: u32, actions: &mut Vec<Action>) {
        let Some(open) = self.batches.get_mut(&key) else { return };
        open.left -= count;
        if open.left == 0 {
            if self.batches.remove(&key).is_some_and(|open| open.wanted != Wanted::All) {
                self.unwanted -= 1;
            }
            if !self.suspects.is_empty() {
                self.suspects.retain(|(other, _), _| *other != key);
            }
            actions.push(Action::Free { key });
        }
    }
}
