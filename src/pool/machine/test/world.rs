//! A driver that is pretended, for workers that are: what the machine orders is carried out as the real one
//! would. After every step it is compared with `reference.rs`.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::super::{Action, Batch, BatchKey, Config, Event, JobKey, Machine, Slot, Stage};
use super::reference::{Known, Record, Unwanted};
use super::workers::{Ends, Item, Process, Result, Starts, Task};

pub(super) struct World {
    pub(super) machine: Machine,
    pub(super) config: Config,
    pub(super) now: Instant,
    pub(super) processes: Vec<Option<Process>>,
    pub(super) starts: Starts,
    /// Kills are not carried out.
    pub(super) keeper_is_stopped: bool,
    pub(super) deferred: VecDeque<Action>,
    /// When the driver will tick, as it knows.
    pub(super) alarm: Option<Instant>,
    pub(super) batches: BTreeMap<BatchKey, Known>,
    pub(super) items: BTreeMap<Item, Record>,
    pub(super) jobs: BTreeMap<JobKey, Unwanted>,
    /// Results of this slot that are read and not told yet.
    untold: Option<(Slot, usize)>,
    pub(super) done: u64,
    pub(super) failed: u64,
}

impl World {
    pub(super) fn new(config: Config) -> World {
        let (now, mut first) = (Instant::now(), Vec::new());
        let machine = Machine::new(config.clone(), now, &mut first);
        World {
            machine,
            config,
            now,
            processes: Vec::new(),
            starts: Starts::Work,
            keeper_is_stopped: false,
            deferred: first.into(),
            alarm: None,
            batches: BTreeMap::new(),
            items: BTreeMap::new(),
            jobs: BTreeMap::new(),
            untold: None,
            done: 0,
            failed: 0,
        }
    }

    /// The driver goes to sleep, and everything is compared with the reference.
    pub(super) fn rest(&mut self) {
        self.sleep();
        self.check();
    }

    pub(super) fn submit(&mut self, batch: Batch) {
        let key = self.batches.len() as BatchKey + 1;
        self.jobs.entry(batch.job).or_insert(Unwanted::No);
        self.batches.insert(key, Known { batch, freed: false });
        self.items.extend((0..batch.count).map(|item| ((key, item), Record::default())));
        self.run_event(Event::Submit { key, batch });
    }

    pub(super) fn call_off(&mut self, job: JobKey, how: Unwanted) {
        let Some(unwanted) = self.jobs.get_mut(&job) else { return };
        *unwanted = how.max(*unwanted);
        match how {
            Unwanted::No => {}
            Unwanted::Withdrawn => self.run_event(Event::Withdraw { job }),
            Unwanted::Cancelled => self.run_event(Event::Cancel { job }),
        }
    }

    pub(super) fn resize(&mut self, workers: usize) {
        if self.machine.stage() == Stage::Open && self.machine.broken().is_none() {
            self.config.workers = workers;
            self.run_event(Event::Resize { workers });
        }
    }

    pub(super) fn terminate(&mut self) {
        (0..self.processes.len()).for_each(|slot| self.read(slot));
        self.run_event(Event::Terminate);
    }

    /// So much time passes.
    pub(super) fn later(&mut self, by: Duration) {
        self.now += by;
        self.wake(2);
    }

    /// The time passes until the driver's alarm.
    pub(super) fn until_alarm(&mut self) {
        if let Some(alarm) = self.alarm {
            self.now = self.now.max(alarm);
            self.wake(2);
        }
    }

    /// As `State::run`.
    pub(super) fn run_event(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.machine.handle(event, self.now, &mut actions);
        let mut at = 0;
        while at < actions.len() {
            let action = actions[at].clone();
            at += 1;
            if let Some(event) = self.perform(action) {
                self.machine.handle(event, self.now, &mut actions);
            }
        }
    }

    pub(super) fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Send { slot, span } => {
                self.check_may_be_given(slot);
                let tasks =
                    span.items.clone().map(|item| Task { item: (span.key, item), attempt: span.attempt });
                if let Some(process) = self.process(slot) {
                    process.lane.extend(tasks);
                    process.given += u64::from(span.len());
                }
                self.check_share(slot);
                None
            }
            Action::TakeBack { slot } => Some(self.take_back(slot)),
            Action::AskToStop { slot } => {
                if self.untold.is_some_and(|(other, left)| other == slot && left > 0) {
                    return Some(Event::TooLate { slot });
                }
                let front = self.machine.front(slot).expect("somebody is asked to stop");
                let asked = (front.key, front.items.start);
                let job = self.batches[&asked.0].batch.job;
                let unwanted = self.jobs.get(&job) == Some(&Unwanted::Cancelled);
                assert!(
                    unwanted || self.batches[&asked.0].batch.timeout.is_some(),
                    "a wanted task was condemned"
                );
                None
            }
            Action::Deliver { key, items, attempt, verdict } => {
                self.failed += u64::from(items.end - items.start);
                for item in items {
                    self.check_verdict(key, attempt, &verdict);
                    self.check_is_not_begun((key, item), &verdict);
                    self.outcome((key, item));
                }
                None
            }
            Action::Retry { key, attempt, .. } => {
                assert!(attempt < self.batches[&key].batch.attempts, "no attempt was left");
                None
            }
            Action::Free { key } => {
                let known = self.batches.get_mut(&key).expect("a batch that exists");
                assert!(!known.freed, "a batch is freed once");
                known.freed = true;
                let after = self.items.split_off(&(key + 1, 0));
                let items = self.items.split_off(&(key, 0));
                self.items.extend(after);
                assert!(items.values().all(|record| record.outcomes == 1), "freed before its last item");
                None
            }
            Action::Break { .. } => None,
            Action::Start { .. }
            | Action::Kill { .. }
            | Action::KillItself { .. }
            | Action::BlameKeeper { .. }
            | Action::Retire { .. } => {
                self.deferred.push_back(action);
                None
            }
        }
    }

    /// As the driver: carries out what was left for it.
    pub(super) fn act(&mut self) {
        if let Some(action) = self.deferred.pop_front() {
            self.carry_out(action);
        }
        // Its loop looks at the clock anew each time.
        self.machine.take_earliest();
        self.alarm = self.machine.wake_at();
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Start { slot } => self.start(slot),
            Action::Kill { slot } => {
                let keeper_is_stopped = self.keeper_is_stopped;
                if let Some(process) = self.process(slot).filter(|_| !keeper_is_stopped) {
                    process.killed = true;
                }
            }
            // Nobody tells of it.
            Action::KillItself { .. } => {}
            Action::BlameKeeper { .. } => {
                self.keeper_is_stopped = false;
                (0..self.processes.len()).for_each(|slot| self.end(slot));
            }
            Action::Retire { slot } => {
                if let Some(process) = self.process(slot) {
                    process.retires = true;
                }
            }
            _ => unreachable!("the others are not deferred"),
        }
    }

    /// As `State::drain`: reads all at once, and tells it bit by bit.
    pub(super) fn read(&mut self, slot: Slot) {
        let mut condemned = self.machine.is_condemned(slot);
        let Some(process) = self.process(slot) else { return };
        let mut results = std::mem::take(&mut process.results);
        let ended = self.machine.spans(slot).is_empty() && self.machine.stage() == Stage::Terminating;
        let broken = self.machine.broken().is_some();
        while let Some(result) = results.pop_front() {
            self.untold = Some((slot, results.len()));
            match result {
                Result::Initialized => self.run_event(Event::Initialized { slot }),
                _ if ended || broken => {}
                Result::Value(task) if !std::mem::take(&mut condemned) => {
                    self.check_front(slot, task);
                    self.outcome(task.item);
                    self.done += 1;
                    self.run_event(Event::Settled { slot, count: 1 });
                }
                Result::Value(task) | Result::Failure(task) => {
                    condemned = false;
                    self.check_front(slot, task);
                    self.run_event(Event::Failed { slot, retriable: true });
                }
            }
        }
        self.untold = None;
    }

    pub(super) fn break_protocol(&mut self, slot: Slot) {
        if self.process(slot).is_some() {
            self.run_event(Event::Doomed { slot });
        }
    }

    /// As the driver's loop: ticks if it is time.
    pub(super) fn wake(&mut self, patience: u32) {
        if self.machine.wake_at().is_none_or(|at| at > self.now) {
            self.alarm = self.machine.wake_at();
            return;
        }
        (0..self.processes.len()).for_each(|slot| self.read(slot));
        self.run_event(Event::Tick);
        let next = self.machine.wake_at();
        self.alarm = next;
        if next.is_some_and(|at| at <= self.now) {
            // Without a grace time a kill follows at once.
            assert!(patience > 0, "the driver ticks in vain: {next:?}");
            self.wake(patience - 1);
        }
    }

    /// As `Core::release`: the driver sleeps until its alarm, unless it is told of something earlier.
    pub(super) fn sleep(&mut self) {
        if let Some(earliest) = self.machine.take_earliest() {
            self.alarm = Some(self.alarm.map_or(earliest, |alarm| alarm.min(earliest)));
        }
        if let Some(at) = self.machine.wake_at() {
            assert!(self.alarm.is_some_and(|alarm| alarm <= at), "the driver oversleeps {at:?}");
        }
    }

    /// From now on all goes well: everything ends, and so does the pool.
    pub(super) fn come_to_an_end(mut self) {
        self.starts = Starts::Work;
        self.run_event(Event::Close);
        for _ in 0..20_000 {
            self.sleep();
            self.check();
            if self.machine.is_finished() && self.deferred.is_empty() {
                break;
            }
            if !self.deferred.is_empty() {
                self.act();
                continue;
            }
            let busy: Vec<Slot> = (0..self.processes.len()).filter(|slot| self.is_busy(*slot)).collect();
            for slot in &busy {
                let killed = self.process(*slot).is_some_and(|process| process.killed);
                if killed {
                    self.end(*slot)
                } else {
                    self.work(*slot, Ends::Well)
                }
                self.read(*slot);
            }
            if busy.is_empty() {
                self.now = self.now.max(self.alarm.expect("something is to come"));
                self.wake(2);
            }
        }
        assert!(self.machine.is_finished(), "the pool does not come to its end");
        assert!(self.items.is_empty(), "an item has no outcome");
        assert!(self.machine.batches.is_empty() && self.machine.suspects.is_empty());
        assert!(self.processes.iter().all(Option::is_none), "a worker is left");
    }

    pub(super) fn is_busy(&self, slot: Slot) -> bool {
        self.processes[slot].as_ref().is_some_and(|process| {
            process.killed
                || process.retires
                || process.initializing
                || process.claimed
                || !process.lane.is_empty()
                || !process.results.is_empty()
        })
    }
}
