//! A machine, and a clock that stands still until it is told to go on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::{
    Action, Batch, BatchKey, Config, Death, Event, Front, JobKey, Machine, Slot, Span, Verdict,
};

pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) struct Bench {
    pub(super) machine: Machine,
    pub(super) now: Instant,
    pub(super) first: Vec<Action>,
}

pub(super) fn config(workers: usize) -> Config {
    Config {
        workers,
        spares: 0,
        max_tasks_per_worker: None,
        grace: 200 * MILLISECOND,
        backoff: 10 * MILLISECOND,
        initializer: false,
        initializer_timeout: None,
        timeout: None,
        bytes_ahead: 1 << 16,
        chunk: None,
    }
}

/// `count` items of the job with the same number as the batch.
pub(super) fn batch(job: JobKey, count: u32) -> Batch {
    Batch { job, count, bytes: 8 * count as usize, attempts: 1, timeout: None, chunk: None }
}

pub(super) fn span(key: BatchKey, items: std::ops::Range<u32>) -> Span {
    Span { key, items, attempt: 1 }
}

pub(super) fn send(slot: Slot, key: BatchKey, items: std::ops::Range<u32>) -> Action {
    Action::Send { slot, span: span(key, items) }
}

pub(super) fn deliver(key: BatchKey, item: u32, attempt: u32, verdict: Verdict) -> Action {
    Action::Deliver { key, items: item..item + 1, attempt, verdict }
}

impl Bench {
    pub(super) fn new(config: Config) -> Bench {
        let (now, mut first) = (Instant::now(), Vec::new());
        Bench { machine: Machine::new(config, now, &mut first), now, first }
    }

    pub(super) fn tell(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.machine.handle(event, self.now, &mut actions);
        actions
    }

    pub(super) fn later(&mut self, by: Duration) -> &mut Bench {
        self.now += by;
        self
    }

    /// Submits a batch; its key is its job's.
    pub(super) fn submit(&mut self, batch: Batch) -> Vec<Action> {
        self.tell(Event::Submit { key: batch.job, batch })
    }

    pub(super) fn settled(&mut self, slot: Slot, count: u32) -> Vec<Action> {
        self.tell(Event::Settled { slot, count })
    }

    pub(super) fn failed(&mut self, slot: Slot) -> Vec<Action> {
        self.tell(Event::Failed { slot, retriable: true })
    }

    /// What is left has begun long ago.
    pub(super) fn took_back(&mut self, slot: Slot, count: u32) -> Vec<Action> {
        self.tell(Event::TookBack { slot, count, front: Front::Claimed(Some(Duration::MAX)) })
    }

    /// The worker crashes in its first task.
    pub(super) fn crashed(&mut self, slot: Slot) -> Vec<Action> {
        self.died(slot, true, true)
    }

    /// The worker ends before it was ready.
    pub(super) fn not_started(&mut self, slot: Slot) -> Vec<Action> {
        self.died(slot, false, false)
    }

    pub(super) fn died(&mut self, slot: Slot, running: bool, ready: bool) -> Vec<Action> {
        let death = Death { running, ready, others_run: false, reason: Arc::from("it ended") };
        self.tell(Event::Died { slot, death })
    }

    /// The first item of a worker, which it has begun, is over its time.
    pub(super) fn time_out(&mut self, slot: Slot) -> Vec<Action> {
        assert!(self.tick().contains(&Action::TakeBack { slot }));
        self.took_back(slot, 0)
    }

    /// The clock moves on to the next time that the machine asked for.
    pub(super) fn tick(&mut self) -> Vec<Action> {
        let at = self.machine.wake_at().expect("the machine waits for a time");
        self.now = self.now.max(at);
        self.tell(Event::Tick)
    }

    /// How many items each worker has in flight.
    pub(super) fn loads(&self) -> Vec<u32> {
        self.machine.workers.iter().map(|worker| worker.in_flight).collect()
    }
}

pub(super) fn has(actions: &[Action], wanted: impl Fn(&Action) -> bool) -> bool {
    actions.iter().any(wanted)
}

/// Which workers are given something.
pub(super) fn given(actions: &[Action]) -> Vec<Slot> {
    let slots = actions.iter().filter_map(|action| match action {
        Action::Send { slot, .. } => Some(*slot),
        _ => None,
    });
    slots.collect()
}
