//! What must hold, whatever the machine does: each item is in one place until it has its one outcome, and
//! each of its attempts runs once.

use std::collections::BTreeMap;

use super::super::worker::{Phase, Worker};
use super::super::{Batch, BatchKey, Slot, Span, Stage, Verdict};
use super::workers::{Item, Process, Task};
use super::world::World;

/// What the reference knows of a batch.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) batch: Batch,
    pub(super) freed: bool,
}

/// What the reference knows of an item of a batch that is not over.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) outcomes: u32,
    /// Attempts that were begun by some worker.
    pub(super) begun: u32,
}

/// Whether a job was called off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unwanted {
    No,
    Withdrawn,
    Cancelled,
}

impl World {
    pub(super) fn check_may_be_given(&mut self, slot: Slot) {
        let worker = &self.machine.workers[slot];
        assert_eq!(worker.phase, Phase::Working, "given to a worker that does not work");
        assert!(worker.condemned.is_none() && !worker.spare, "given to {worker:?}");
        assert!(!self.processes.get(slot).is_some_and(|process| process.as_ref().is_some_and(|p| p.killed)));
    }

    pub(super) fn check_share(&mut self, slot: Slot) {
        if let (Some(most), Some(process)) = (self.config.max_tasks_per_worker, self.process(slot)) {
            assert!(process.given <= most, "a worker is given more than its share");
        }
    }

    pub(super) fn check_verdict(&self, key: BatchKey, attempt: u32, verdict: &Verdict) {
        let batch = &self.batches[&key].batch;
        assert!(attempt <= batch.attempts, "attempt {attempt} of {}", batch.attempts);
        let unwanted = self.jobs.get(&batch.job).copied().unwrap_or(Unwanted::No);
        match verdict {
            Verdict::TimedOut(limit) => assert_eq!(batch.timeout, Some(*limit)),
            Verdict::Cancelled => assert!(unwanted != Unwanted::No, "cancelled although wanted"),
            Verdict::Terminated => assert!(self.machine.stage() != Stage::Open),
            Verdict::NoWorker(_) => assert!(self.machine.broken().is_some()),
            Verdict::AsTold => {}
        }
    }

    /// Nobody who runs a task can have failed to start.
    pub(super) fn check_is_not_begun(&self, item: Item, verdict: &Verdict) {
        let runs = |process: &Process| {
            process.claimed && !process.killed && process.lane.front().is_some_and(|task| task.item == item)
        };
        let begun = matches!(verdict, Verdict::NoWorker(_)) && self.processes.iter().flatten().any(runs);
        assert!(!begun, "{item:?} runs, and is said to have no worker");
    }

    pub(super) fn outcome(&mut self, item: Item) {
        let record = self.items.get_mut(&item).expect("an item that has not ended");
        record.outcomes += 1;
        assert_eq!(record.outcomes, 1, "{item:?} has more than one outcome");
    }

    pub(super) fn check_front(&self, slot: Slot, task: Task) {
        let front = self.machine.front(slot).expect("a result of something in flight");
        assert_eq!((front.key, front.items.start, front.attempt), (task.item.0, task.item.1, task.attempt));
    }

    /// Compares the machine with the reference.
    pub(super) fn check(&self) {
        let mut places: BTreeMap<Item, u32> = BTreeMap::new();
        let delayed = self.machine.delayed.iter().map(|(_, span)| span);
        let flying = self.machine.workers.iter().flat_map(|worker| &worker.spans);
        for span in self.machine.queue.iter().chain(delayed).chain(flying) {
            assert!(!span.items.is_empty(), "an empty span");
            assert!(span.attempt <= self.batches[&span.key].batch.attempts);
            span.items.clone().for_each(|item| *places.entry((span.key, item)).or_default() += 1);
        }
        for (item, record) in &self.items {
            let place = places.get(item).copied().unwrap_or(0);
            assert_eq!(place + record.outcomes, 1, "{item:?} is in {place} places with {record:?}");
        }
        self.check_workers();
        self.check_sums();
        self.check_appetite();
    }

    pub(super) fn check_workers(&self) {
        for (slot, worker) in self.machine.workers.iter().enumerate() {
            let flying: u32 = worker.spans.iter().map(Span::len).sum();
            assert_eq!(worker.in_flight, flying, "worker {slot}");
            assert!(worker.has_process() || flying == 0, "an empty place has tasks");
            assert!(worker.condemned.is_none() || flying > 0, "nothing is condemned at worker {slot}");
        }
    }

    pub(super) fn check_sums(&self) {
        let submitted: u64 = self.batches.values().map(|known| u64::from(known.batch.count)).sum();
        let open = self.machine.in_flight() + self.machine.queued();
        assert_eq!(self.done + self.failed + open, submitted, "the counts add up");
        let freed = self.batches.values().filter(|known| known.freed).count();
        assert_eq!(freed + self.machine.batches.len(), self.batches.len(), "batches are freed when over");
    }

    pub(super) fn check_appetite(&self) {
        let appetite = self.machine.appetite();
        let takes = self.machine.stage() != Stage::Terminating && self.machine.broken().is_none();
        let idle = |worker: &&Worker| worker.is_working() && worker.in_flight == 0;
        if takes && self.machine.queue.is_empty() && self.machine.workers.iter().any(|w| idle(&w)) {
            let all_idle = self.machine.workers.iter().filter(|w| w.is_working()).all(|w| idle(&w));
            assert!(appetite > 0 || !all_idle, "idle workers, nothing queued, and no appetite");
        }
        let most: u64 = self.machine.workers.iter().map(|w| u64::from(w.allowed.max(3)) + 1).sum();
        assert!(appetite <= most.max(64), "an appetite of {appetite}");
    }
}
