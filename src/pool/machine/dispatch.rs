//! Who gets what, and who gives it back.

use std::time::{Duration, Instant};

use super::timers::after;
use super::worker::{Phase, Worker};
use super::{Action, Machine, Slot, Span, Stage};

/// A busy worker keeps what it will be through with so soon.
const WORTH_MOVING: Duration = Duration::from_micros(200);

/// A worker that has not moved for so long may be in a long task.
const STALLED: Duration = Duration::from_millis(1);

impl Machine {
    /// Starts, promotes and retires workers until there are as many as there should be.
    pub(super) fn staff(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.stage == Stage::Terminating || self.broken.is_some() {
            return;
        }
        let wanted = self.config.workers + self.config.spares;
        while self.workers.len() < wanted {
            self.workers.push(Worker::new(false, now));
        }
        for slot in wanted..self.workers.len() {
            self.dismiss(slot, now, actions);
        }
        for slot in 0..wanted {
            let worker = &mut self.workers[slot];
            if worker.phase == Phase::Vacant && worker.not_before > now {
                worker.phase = Phase::Delayed(worker.not_before);
                let at = worker.not_before;
                self.wake_by(at);
            } else if worker.phase == Phase::Vacant {
                self.start(slot, now, actions);
            }
        }
        self.choose_spares();
    }

    /// Workers that are busy, and then the oldest of the others, take tasks; the rest are spares.
    pub(super) fn choose_spares(&mut self) {
        if self.config.spares == 0 {
            return;
        }
        let mut living: Vec<&mut Worker> = self
            .workers
            .iter_mut()
            .filter(|worker| matches!(worker.phase, Phase::Initializing | Phase::Working))
            .collect();
        living.sort_by_key(|worker| (worker.in_flight == 0, worker.started));
        for (place, worker) in living.into_iter().enumerate() {
            worker.spare = place >= self.config.workers && worker.in_flight == 0;
        }
    }

    fn dismiss(&mut self, slot: Slot, now: Instant, actions: &mut Vec<Action>) {
        match self.workers[slot].phase {
            Phase::Working | Phase::Initializing => {
                if self.workers[slot].in_flight > 1 {
                    self.take_back(slot, actions);
                }
                self.retire(slot, now, actions);
            }
            Phase::Delayed(_) => self.workers[slot].give_up_place(),
            Phase::Vacant | Phase::Leaving | Phase::Ending => {}
        }
    }

    /// Starts a process in a slot.
    pub(super) fn start(&mut self, slot: Slot, now: Instant, actions: &mut Vec<Action>) {
        let waits = self.config.initializer || self.workers[slot].doubtful;
        let phase = if waits { Phase::Initializing } else { Phase::Working };
        let succeeds = std::mem::take(&mut self.workers[slot].succeeds);
        self.workers[slot].replaces = succeeds;
        self.restarted += u64::from(succeeds);
        self.workers[slot].start(phase, now);
        if let Some(at) = self.ready_by(slot) {
            self.wake_by(at);
        }
        actions.push(Action::Start { slot });
    }

    /// Gives waiting items to workers that have too few, and moves what an idle worker could do.
    pub(super) fn fill(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.rebalance_at = None;
        while !self.queue.is_empty() {
            let Some(slot) = self.hungriest(now) else { return };
            self.feed(slot, now, actions);
        }
        self.rebalance(now, actions);
    }

    /// The worker that has the least, if it may have more.
    fn hungriest(&self, now: Instant) -> Option<Slot> {
        let chunk = self.queue.front().and_then(|span| self.batches.get(&span.key)?.batch.chunk).unwrap_or(1);
        let hungry = self.workers.iter().enumerate().filter(|(_, worker)| {
            let room = self.config.max_tasks_per_worker.is_none_or(|most| worker.given < most);
            let allowed = worker.allowed_at(now).max(chunk);
            worker.is_working()
                && room
                && worker.condemned.is_none()
                && !worker.taking_back
                && (worker.in_flight == 0
                    // One more, however large, so that it travels while the other one runs.
                    || (worker.in_flight == 1 && allowed > 1)
                    || (worker.in_flight <= allowed / 2 && worker.bytes < self.config.bytes_ahead))
        });
        hungry.min_by_key(|(_, worker)| worker.in_flight).map(|(slot, _)| slot)
    }

    /// How many more items the workers have use for: what they may have in flight, and one each in reserve.
    /// Little of it is nothing, so that items come in batches.
    pub(in crate::pool) fn appetite(&self) -> u64 {
        if self.broken.is_some() || self.stage == Stage::Terminating {
            return 64;
        }
        let chunk = self.config.chunk.unwrap_or(1);
        let wanted: u64 =
            self.workers.iter().take(self.config.workers).map(|w| u64::from(w.allowed.max(chunk)) + 1).sum();
        // What a worker on its way out still does leaves its successor idle.
        let staying = || self.workers.iter().filter(|worker| worker.stays());
        let queued: u64 = self.queue.iter().map(|span| u64::from(span.len())).sum();
        let have = staying().map(|worker| u64::from(worker.in_flight)).sum::<u64>() + queued;
        let bytes: usize = staying().map(|worker| worker.bytes).sum();
        if bytes > self.config.workers * self.config.bytes_ahead {
            // Large items: one waits while the others travel.
            return u64::from(queued == 0);
        }
        let missing = wanted.saturating_sub(have);
        if missing * 4 >= wanted { missing } else { 0 }
    }

    fn feed(&mut self, slot: Slot, now: Instant, actions: &mut Vec<Action>) {
        let share = self.fair_share();
        let Some(span) = self.queue.front_mut() else { return };
        let Some(open) = self.batches.get(&span.key) else {
            self.queue.pop_front();
            return;
        };
        let batch = open.batch;
        let worker = &mut self.workers[slot];
        let bytes_each = batch.bytes / batch.count as usize;
        let by_bytes = (self.config.bytes_ahead.saturating_sub(worker.bytes)) / bytes_each.max(1);
        let by_life = self.config.max_tasks_per_worker.map_or(u64::MAX, |most| most - worker.given);
        let allowed = worker.allowed_at(now);
        let by_pace = allowed.max(batch.chunk.unwrap_or(1)) - worker.in_flight.min(allowed);
        let count = u64::from(by_pace.min(share)).min(by_bytes as u64).min(by_life).max(1);
        let given = span.split_front((count as u32).min(span.len()));
        if span.len() == 0 {
            self.queue.pop_front();
        }
        worker.give(given.clone(), bytes_each, now);
        if let Some(timeout) = batch.timeout {
            self.wake_by(after(now, timeout));
        }
        actions.push(Action::Send { slot, span: given });
    }

    /// So much that every worker gets something of what waits.
    fn fair_share(&self) -> u32 {
        let front = self.queue.front().map_or(0, Span::len);
        if self.queue.len() > 1 && front < 2 {
            return 1;
        }
        let workers = self.workers.iter().filter(|worker| worker.is_working()).count().max(1);
        let waiting = if self.queue.len() == 1 {
            front as usize
        } else {
            self.queue.iter().map(|span| span.len() as usize).sum()
        };
        waiting.div_ceil(2 * workers) as u32
    }

    /// Takes back from a busy worker what an idle one could begin now.
    pub(super) fn rebalance(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let idle =
            |worker: &Worker| worker.is_working() && worker.in_flight == 0 && worker.condemned.is_none();
        let limited = self.config.max_tasks_per_worker;
        if !self.queue.is_empty()
            || !self.workers.iter().any(|w| idle(w) && limited.is_none_or(|most| w.given < most))
        {
            return;
        }
        let laden = self
            .workers
            .iter()
            .enumerate()
            .filter(|(_, worker)| worker.in_flight > 1 && !worker.taking_back && !worker.settled_in);
        let Some((slot, worker)) = laden.max_by_key(|(_, worker)| worker.estimate()) else { return };
        let stalled_at = worker.since + STALLED;
        if worker.estimate() > WORTH_MOVING || now >= stalled_at {
            self.take_back(slot, actions);
        } else {
            self.rebalance_at = Some(stalled_at);
            self.wake_by(stalled_at);
        }
    }
}

impl Worker {
    fn give(&mut self, span: Span, bytes_each: usize, now: Instant) {
        if self.in_flight == 0 {
            self.since = now;
        }
        self.settled_in = false;
        self.in_flight += span.len();
        self.given += u64::from(span.len());
        self.bytes += bytes_each * span.len() as usize;
        match self.spans.back_mut() {
            Some(last)
                if last.key == span.key
                    && last.attempt == span.attempt
                    && last.items.end == span.items.start =>
            {
                last.items.end = span.items.end;
            }
            _ => self.spans.push_back(span),
        }
    }
}
