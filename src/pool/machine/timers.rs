//! What the passing of time brings.

use std::time::{Duration, Instant};

use super::suspects::Suspicion;
use super::worker::Phase;
use super::{Action, BatchKey, Config, Front, Machine, Slot, Verdict};

/// Longer than that is for ever, and nothing that a clock could show.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A worker that begins nothing for so long, although a time-out has passed, is not believed to live.
const LONGEST_SILENCE: Duration = Duration::from_secs(1);

/// A worker may be so long in starting, or in taking in a frame that is larger than its ring, when a time-out has
/// passed.
const LONGEST_PREPARATION: Duration = Duration::from_secs(10);

/// So much later.
pub(super) fn after(now: Instant, delay: Duration) -> Instant {
    now + delay.min(FOR_EVER)
}

impl Machine {
    /// When the driver must tick at the latest; `None` if time changes nothing.
    pub(in crate::pool) fn wake_at(&self) -> Option<Instant> {
        let workers = self.workers.iter().enumerate().filter_map(|(slot, worker)| {
            let delayed = match worker.phase {
                Phase::Delayed(at) => Some(at),
                _ => None,
            };
            let kill = worker.condemned.as_ref().and_then(|condemned| condemned.kill_at);
            let timeout = if worker.condemned.is_none() { self.timeout_at(slot) } else { None };
            let ready_by = self.ready_by(slot);
            let ended_by = worker.ended_by.map(|(at, _)| at);
            [delayed, kill, timeout, worker.exit_by, ready_by, ended_by].into_iter().flatten().min()
        });
        let delayed = self.delayed.iter().map(|(at, _)| *at);
        workers.chain(delayed).chain(self.rebalance_at).min()
    }

    /// Something is to happen then.
    pub(super) fn wake_by(&mut self, at: Instant) {
        self.earliest = Some(self.earliest.map_or(at, |earliest| earliest.min(at)));
    }

    /// The earliest time that came up since the driver last asked, for it to compare with its own alarm.
    pub(in crate::pool) fn take_earliest(&mut self) -> Option<Instant> {
        self.earliest.take()
    }

    /// When the running item of a worker times out.
    pub(super) fn timeout_at(&self, slot: Slot) -> Option<Instant> {
        let worker = &self.workers[slot];
        let front = worker.spans.front().filter(|_| !worker.is_ending())?;
        let timeout = self.batches.get(&front.key)?.batch.timeout?;
        Some(after(worker.since, timeout))
    }

    /// How long a worker may take until its initializer is through, or until it answers if it has none.
    pub(super) fn longest_start(&self) -> Option<Duration> {
        let Config { initializer, initializer_timeout, timeout, .. } = self.config;
        match initializer {
            true => initializer_timeout.or(timeout.map(|timeout| timeout.max(LONGEST_PREPARATION))),
            false => timeout.map(|_| LONGEST_PREPARATION),
        }
    }

    /// When a worker that takes no tasks yet does so at the latest.
    pub(super) fn ready_by(&self, slot: Slot) -> Option<Instant> {
        let worker = &self.workers[slot];
        let waits = worker.phase == Phase::Initializing && !worker.doomed;
        Some(after(worker.started, self.longest_start().filter(|_| waits)?))
    }

    pub(super) fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        for slot in 0..self.workers.len() {
            self.tick_worker(slot, now, actions);
        }
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.delayed).into_iter().partition(|(at, _)| *at <= now);
        self.delayed = later;
        due.into_iter().rev().for_each(|(_, span)| self.queue.push_front(span));
        self.fill(now, actions);
    }

    fn tick_worker(&mut self, slot: Slot, now: Instant, actions: &mut Vec<Action>) {
        if let Phase::Delayed(at) = self.workers[slot].phase
            && at <= now
        {
            self.start(slot, now, actions);
            self.choose_spares();
        }
        self.force_exit(slot, now, actions);
        self.pursue(slot, now, actions);
        if self.ready_by(slot).is_some_and(|at| at <= now) {
            self.workers[slot].late = true;
            self.doom(slot, now, actions);
        }
        if self.workers[slot].condemned.is_none() && self.timeout_at(slot).is_some_and(|at| at <= now) {
            let worker = &mut self.workers[slot];
            worker.overdue = worker.spans.front().map(|front| (front.key, front.items.start));
            self.take_back(slot, actions);
        }
        if let Some(condemned) = &mut self.workers[slot].condemned
            && condemned.kill_at.is_some_and(|at| at <= now)
        {
            condemned.kill_at = None;
            self.workers[slot].phase = Phase::Ending;
            self.kill(slot, now, actions);
        }
    }

    /// A worker has had its first item for longer than that may take.
    pub(super) fn time_out(
        &mut self,
        slot: Slot,
        item: (BatchKey, u32),
        front: Front,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let worker = &mut self.workers[slot];
        let (Some(span), Front::Claimed(running_for)) = (worker.spans.front(), front) else {
            return self.began_nothing(slot, item, front, now, actions);
        };
        let Some(limit) = self.batches.get(&span.key).and_then(|open| open.batch.timeout) else { return };
        // Who has claimed it and not begun was interrupted between the two.
        let ran = running_for.unwrap_or_default();
        // Only once: nobody has to believe a worker twice.
        if ran >= limit || std::mem::replace(&mut worker.extended, true) {
            return self.condemn(slot, Verdict::TimedOut(limit), now, actions);
        }
        // It began later than it was given.
        worker.since = now.checked_sub(ran).unwrap_or(now).max(worker.since);
        let at = after(worker.since, limit);
        self.wake_by(at);
    }

    /// Its items are in the queue again, and it may have the next one, or the first is still on its way. It may be
    /// starting, or be stopped.
    fn began_nothing(
        &mut self,
        slot: Slot,
        item: (BatchKey, u32),
        front: Front,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let limit = self.batches.get(&item.0).and_then(|open| open.batch.timeout);
        let worker = &mut self.workers[slot];
        let travels = !worker.spans.is_empty();
        let (since, longest) = match front {
            // Not even that it is silent counts yet.
            Front::Starting => (worker.started, LONGEST_PREPARATION),
            _ => {
                let since = *worker.silent_since.get_or_insert(worker.since);
                (since, if travels { LONGEST_PREPARATION } else { LONGEST_SILENCE })
            }
        };
        if now - since >= longest {
            if let Some(limit) = limit.filter(|_| !travels && front != Front::Starting) {
                self.suspect(item, Suspicion::Strong, Verdict::TimedOut(limit), actions);
            }
            return self.doom(slot, now, actions);
        }
        if let Some(limit) = limit.filter(|_| travels) {
            worker.since = now;
            self.wake_by(after(now, limit));
        }
    }
}
