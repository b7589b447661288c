//! What the passing of time brings.

use std::time::Instant;

use super::worker::{Condemned, Phase};
use super::{Action, Machine, Slot, Verdict};

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
            [delayed, kill, timeout].into_iter().flatten().min()
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
    fn timeout_at(&self, slot: Slot) -> Option<Instant> {
        let worker = &self.workers[slot];
        let front = worker.spans.front()?;
        let timeout = self.batches.get(&front.key)?.batch.timeout?;
        Some(worker.since + timeout)
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
        if let Some(condemned) = &mut self.workers[slot].condemned {
            if condemned.kill_at.is_some_and(|at| at <= now) {
                condemned.kill_at = None;
                self.workers[slot].phase = Phase::Ending;
                actions.push(Action::Kill { slot });
            }
        } else if self.timeout_at(slot).is_some_and(|at| at <= now) {
            self.time_out(slot, now, actions);
        }
    }

    fn time_out(&mut self, slot: Slot, now: Instant, actions: &mut Vec<Action>) {
        let worker = &self.workers[slot];
        let Some(limit) = worker.spans.front().and_then(|front| self.batches.get(&front.key)?.batch.timeout)
        else {
            return;
        };
        if worker.in_flight > 1 && !worker.taking_back {
            self.take_back(slot, actions);
        }
        let kill_at = now + self.config.grace;
        self.workers[slot].condemned =
            Some(Condemned { verdict: Verdict::TimedOut(limit), kill_at: Some(kill_at) });
        self.wake_by(kill_at);
        actions.push(Action::AskToStop { slot });
    }
}
