//! Workers that are pretended: a lane, and what has been done of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::super::{BatchKey, Death, Event, Front, Slot, Span, Stage};
use super::world::World;

/// An item of a batch.
pub(super) type Item = (BatchKey, u32);

/// A task in a lane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Task {
    pub(super) item: Item,
    pub(super) attempt: u32,
}

/// What stands in a lane and nobody has read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Result {
    Initialized,
    Value(Task),
    Failure(Task),
}

/// How a task ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Ends {
    Well,
    Badly,
}

/// Whether a worker can be started.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Starts {
    Work,
    Fail,
}

/// A worker's process.
#[derive(Debug, Default)]
pub(super) struct Process {
    /// Given and not ended; the first one runs if it is `claimed`.
    pub(super) lane: VecDeque<Task>,
    pub(super) claimed: bool,
    pub(super) claimed_at: Option<Instant>,
    pub(super) results: VecDeque<Result>,
    pub(super) initializing: bool,
    pub(super) retires: bool,
    pub(super) killed: bool,
    /// Tasks given and not taken back.
    pub(super) given: u64,
}

impl World {
    pub(super) fn process(&mut self, slot: Slot) -> Option<&mut Process> {
        self.processes.get_mut(slot)?.as_mut()
    }

    pub(super) fn start(&mut self, slot: Slot) {
        if self.processes.len() <= slot {
            self.processes.resize_with(slot + 1, || None);
        }
        assert!(self.processes[slot].is_none(), "two workers in one place");
        if self.starts == Starts::Fail {
            self.died(slot, false, false);
            return;
        }
        let tasks = self.machine.spans(slot).iter().flat_map(|span| {
            span.items.clone().map(|item| Task { item: (span.key, item), attempt: span.attempt })
        });
        let lane: VecDeque<Task> = tasks.collect();
        let given = lane.len() as u64;
        let initializing = self.config.initializer || self.machine.is_doubtful(slot);
        self.processes[slot] = Some(Process { lane, initializing, given, ..Process::default() });
    }

    /// A worker does the next thing: claims a task, or ends the one it has claimed.
    pub(super) fn work(&mut self, slot: Slot, ends: Ends) {
        let now = self.now;
        // Then everything is told before the workers are killed.
        let given_up = self.machine.stage() == Stage::Terminating || self.machine.broken().is_some();
        let Some(process) = self.process(slot).filter(|process| !process.killed) else { return };
        if process.initializing {
            process.initializing = false;
            process.results.push_back(Result::Initialized);
        } else if process.claimed {
            process.claimed = false;
            let Some(task) = process.lane.pop_front() else { return };
            process.results.push_back(match ends {
                Ends::Well => Result::Value(task),
                Ends::Badly => Result::Failure(task),
            });
        } else if let Some(task) = process.lane.front().copied() {
            process.claimed = true;
            process.claimed_at = Some(now);
            match self.items.get_mut(&task.item) {
                Some(record) => {
                    record.begun += 1;
                    assert_eq!(record.begun, task.attempt, "each attempt of {:?} runs once", task.item);
                }
                None => assert!(given_up, "{:?} runs although it has ended", task.item),
            }
        } else if process.retires {
            self.end(slot);
        }
    }

    pub(super) fn take_back(&mut self, slot: Slot) -> Event {
        let Some(process) = self.process(slot) else {
            let count = self.machine.spans(slot).iter().map(Span::len).sum();
            return Event::TookBack { slot, count, front: Front::Starting };
        };
        let kept = usize::from(process.claimed);
        let count = (process.lane.len() - kept) as u32;
        process.lane.truncate(kept);
        process.given -= u64::from(count);
        let claimed_at = process.claimed_at;
        let front = if process.claimed {
            Front::Claimed(claimed_at.map(|at| self.now - at))
        } else {
            Front::Unclaimed
        };
        Event::TookBack { slot, count, front }
    }

    /// The initializer of a worker fails, for which the driver kills it.
    pub(super) fn refuse(&mut self, slot: Slot) {
        if self.process(slot).is_some_and(|process| process.initializing) {
            self.run_event(Event::Doomed { slot });
        }
    }

    /// A worker's process ends, for whatever reason.
    pub(super) fn end(&mut self, slot: Slot) {
        if self.process(slot).is_none() {
            return;
        }
        self.run_event(Event::Ended { slot });
        self.read(slot);
        let Some(process) = self.processes[slot].take() else { return };
        self.died(slot, process.claimed, true);
    }

    pub(super) fn died(&mut self, slot: Slot, running: bool, ready: bool) {
        let others = self.processes.iter().enumerate().filter(|(other, _)| *other != slot);
        let others_run = others
            .flat_map(|(_, process)| process)
            .any(|process| process.claimed || !process.results.is_empty());
        let death = Death { running, ready, others_run, reason: Arc::from("it ended") };
        self.run_event(Event::Died { slot, death });
    }
}
