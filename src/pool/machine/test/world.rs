//! A driver and workers that are pretended: what the machine orders is carried out as the real ones would,
//! as slowly and in as bad a moment as the choices say.
//!
//! The reference is simple: each item has an outcome or none, and a count of its attempts. After every step
//! the machine is compared with it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::worker::Phase;
use super::super::{Action, Batch, BatchKey, Config, Event, JobKey, Machine, Slot, Stage, Verdict};
use super::choices::Choices;

type Item = (BatchKey, u32);

/// A task in a lane.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Task {
    item: Item,
    attempt: u32,
}

/// What stands in a lane and nobody has read.
#[derive(Clone, Copy, Debug)]
enum Result {
    Initialized,
    Value(Task),
    Failure(Task),
}

/// A worker's process.
#[derive(Debug, Default)]
struct Process {
    /// Given and not ended; the first one runs if it is `claimed`.
    lane: VecDeque<Task>,
    claimed: bool,
    claimed_at: Option<Instant>,
    results: VecDeque<Result>,
    initializing: bool,
    retires: bool,
    killed: bool,
    /// Tasks given and not taken back.
    given: u64,
}

#[derive(Debug)]
struct Known {
    batch: Batch,
    freed: bool,
}

/// What the reference knows of an item of a batch that is not over.
#[derive(Debug, Default)]
struct Record {
    outcomes: u32,
    /// Attempts that were begun by some worker.
    begun: u32,
}

pub(super) struct World {
    pub(super) machine: Machine,
    config: Config,
    choices: Choices,
    now: Instant,
    processes: Vec<Option<Process>>,
    deferred: VecDeque<Action>,
    /// When the driver will tick, as it knows.
    alarm: Option<Instant>,
    batches: BTreeMap<BatchKey, Known>,
    items: BTreeMap<Item, Record>,
    last_key: u64,
    jobs: Vec<(JobKey, Unwanted)>,
    /// Results of this slot that are read and not told yet.
    untold: Option<(Slot, usize)>,
    done: u64,
    failed: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Unwanted {
    No,
    Withdrawn,
    Cancelled,
}

const MILLISECOND: Duration = Duration::from_millis(1);

impl World {
    pub(super) fn new(mut choices: Choices) -> World {
        let config = Config {
            workers: 1 + choices.below(3),
            spares: choices.one_of(&[0, 0, 1]),
            max_tasks_per_worker: choices.one_of(&[None, None, Some(1), Some(3)]),
            grace: choices.one_of(&[200 * MILLISECOND, Duration::ZERO]),
            backoff: choices.one_of(&[10 * MILLISECOND, Duration::ZERO, Duration::from_secs(60)]),
            initializer: choices.below(4) == 3,
            bytes_ahead: choices.one_of(&[1 << 16, 64]),
            chunk: choices.one_of(&[None, None, Some(3)]),
        };
        let (now, mut first) = (Instant::now(), Vec::new());
        let machine = Machine::new(config.clone(), now, &mut first);
        World {
            machine,
            config,
            choices,
            now,
            processes: Vec::new(),
            deferred: first.into(),
            alarm: None,
            batches: BTreeMap::new(),
            items: BTreeMap::new(),
            last_key: 0,
            jobs: Vec::new(),
            untold: None,
            done: 0,
            failed: 0,
        }
    }

    /// Runs until the choices are used up, and then in peace until all is done.
    pub(super) fn run(mut self) {
        while !self.choices.is_used_up() {
            self.step();
            self.sleep();
            self.check();
        }
        self.come_to_an_end();
    }

    fn step(&mut self) {
        let slot = self.choices.below(self.processes.len());
        match self.choices.below(32) {
            0..4 => self.act(),
            4..9 => self.work(slot),
            9..13 => self.read(slot),
            13..15 => self.end(slot),
            15..18 => self.submit(),
            18 => self.refuse(slot),
            19 => self.break_protocol(slot),
            20 => self.call_off(),
            21 => {
                let workers = 1 + self.choices.below(4);
                if self.machine.stage() == Stage::Open && self.machine.broken().is_none() {
                    self.config.workers = workers;
                    self.run_event(Event::Resize { workers });
                }
            }
            22..25 => {
                let by = self.choices.one_of(&[MILLISECOND / 10, 2 * MILLISECOND, 300 * MILLISECOND]);
                self.now += by;
                self.wake(2);
            }
            25..29 => {
                if let Some(alarm) = self.alarm {
                    self.now = self.now.max(alarm);
                    self.wake(2);
                }
            }
            29 if self.choices.below(16) == 15 => self.run_event(Event::Close),
            30 if self.choices.below(64) == 63 => self.terminate(),
            _ => self.act(),
        }
    }

    fn terminate(&mut self) {
        (0..self.processes.len()).for_each(|slot| self.read(slot));
        self.run_event(Event::Terminate);
    }

    /// As `State::run`.
    fn run_event(&mut self, event: Event) {
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

    fn perform(&mut self, action: Action) -> Option<Event> {
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
                let unwanted = self.jobs.contains(&(job, Unwanted::Cancelled));
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
            Action::Start { .. } | Action::Kill { .. } | Action::Retire { .. } => {
                self.deferred.push_back(action);
                None
            }
        }
    }

    fn check_may_be_given(&mut self, slot: Slot) {
        let worker = &self.machine.workers[slot];
        assert_eq!(worker.phase, Phase::Working, "given to a worker that does not work");
        assert!(worker.condemned.is_none() && !worker.spare, "given to {worker:?}");
        assert!(!self.processes.get(slot).is_some_and(|process| process.as_ref().is_some_and(|p| p.killed)));
    }

    fn check_share(&mut self, slot: Slot) {
        if let (Some(most), Some(process)) = (self.config.max_tasks_per_worker, self.process(slot)) {
            assert!(process.given <= most, "a worker is given more than its share");
        }
    }

    fn check_verdict(&self, key: BatchKey, attempt: u32, verdict: &Verdict) {
        let batch = &self.batches[&key].batch;
        assert!(attempt <= batch.attempts, "attempt {attempt} of {}", batch.attempts);
        let job = self.jobs.iter().find(|(job, _)| *job == batch.job);
        let unwanted = job.map_or(Unwanted::No, |(_, unwanted)| *unwanted);
        match verdict {
            Verdict::TimedOut(limit) => assert_eq!(batch.timeout, Some(*limit)),
            Verdict::Cancelled => assert!(unwanted != Unwanted::No, "cancelled although wanted"),
            Verdict::Terminated => assert!(self.machine.stage() != Stage::Open),
            Verdict::NoWorker(_) => assert!(self.machine.broken().is_some()),
            Verdict::AsTold => {}
        }
    }

    fn outcome(&mut self, item: Item) {
        let record = self.items.get_mut(&item).expect("an item that has not ended");
        record.outcomes += 1;
        assert_eq!(record.outcomes, 1, "{item:?} has more than one outcome");
    }

    fn process(&mut self, slot: Slot) -> Option<&mut Process> {
        self.processes.get_mut(slot)?.as_mut()
    }

    /// As the driver: carries out what was left for it.
    fn act(&mut self) {
        let Some(action) = self.deferred.pop_front() else { return };
        match action {
            Action::Start { slot } => self.start(slot),
            Action::Kill { slot } => {
                if let Some(process) = self.process(slot) {
                    process.killed = true;
                }
            }
            Action::Retire { slot } => {
                if let Some(process) = self.process(slot) {
                    process.retires = true;
                }
            }
            _ => unreachable!("the others are not deferred"),
        }
    }

    fn start(&mut self, slot: Slot) {
        if self.processes.len() <= slot {
            self.processes.resize_with(slot + 1, || None);
        }
        assert!(self.processes[slot].is_none(), "two workers in one place");
        if self.choices.below(8) == 7 {
            self.died(slot, false, false);
            return;
        }
        let tasks = self.machine.spans(slot).iter().flat_map(|span| {
            span.items.clone().map(|item| Task { item: (span.key, item), attempt: span.attempt })
        });
        let lane: VecDeque<Task> = tasks.collect();
        let given = lane.len() as u64;
        let initializing = self.config.initializer;
        self.processes[slot] = Some(Process { lane, initializing, given, ..Process::default() });
    }

    /// A worker does the next thing: claims a task, or ends the one it has claimed.
    fn work(&mut self, slot: Slot) {
        let (fails, now) = (self.choices.below(4) == 3, self.now);
        // Then everything is told before the workers are killed.
        let given_up = self.machine.stage() == Stage::Terminating || self.machine.broken().is_some();
        let Some(process) = self.process(slot).filter(|process| !process.killed) else { return };
        if process.initializing {
            process.initializing = false;
            process.results.push_back(Result::Initialized);
        } else if process.claimed {
            process.claimed = false;
            let Some(task) = process.lane.pop_front() else { return };
            let result = if fails { Result::Failure(task) } else { Result::Value(task) };
            process.results.push_back(result);
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

    fn take_back(&mut self, slot: Slot) -> Event {
        let Some(process) = self.process(slot) else {
            let count = self.machine.spans(slot).iter().map(super::super::Span::len).sum();
            return Event::TookBack { slot, count, running_for: None };
        };
        let kept = usize::from(process.claimed);
        let count = (process.lane.len() - kept) as u32;
        process.lane.truncate(kept);
        process.given -= u64::from(count);
        let claimed_at = process.claimed_at.filter(|_| process.claimed);
        Event::TookBack { slot, count, running_for: claimed_at.map(|at| self.now - at) }
    }

    /// As `State::drain`: reads all at once, and tells it bit by bit.
    fn read(&mut self, slot: Slot) {
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

    fn check_front(&self, slot: Slot, task: Task) {
        let front = self.machine.front(slot).expect("a result of something in flight");
        assert_eq!((front.key, front.items.start, front.attempt), (task.item.0, task.item.1, task.attempt));
    }

    /// The initializer of a worker fails, for which the driver kills it.
    fn refuse(&mut self, slot: Slot) {
        if let Some(process) = self.process(slot).filter(|process| process.initializing) {
            process.killed = true;
        }
    }

    fn break_protocol(&mut self, slot: Slot) {
        if self.process(slot).is_some() {
            self.run_event(Event::Doomed { slot });
        }
    }

    /// A worker's process ends, for whatever reason.
    fn end(&mut self, slot: Slot) {
        if self.process(slot).is_none() {
            return;
        }
        self.run_event(Event::Ended { slot });
        self.read(slot);
        let Some(process) = self.processes[slot].take() else { return };
        self.died(slot, process.claimed, true);
    }

    fn died(&mut self, slot: Slot, running: bool, ready: bool) {
        self.run_event(Event::Died { slot, running, ready, reason: Arc::from("it ended") });
    }

    fn submit(&mut self) {
        if self.machine.stage() != Stage::Open && self.choices.below(8) != 7 {
            return;
        }
        self.last_key += 1;
        let key = self.last_key;
        let job = match self.choices.below(3) {
            0 => {
                self.jobs.push((key, Unwanted::No));
                key
            }
            _ => self.jobs.last().map_or(0, |(job, _)| *job),
        };
        let batch = Batch {
            job,
            count: self.choices.one_of(&[1, 2, 5, 40]),
            bytes: self.choices.one_of(&[10, 1000, 100_000]),
            attempts: self.choices.one_of(&[1, 2, 3]),
            timeout: self.choices.one_of(&[None, Some(100 * MILLISECOND), Some(Duration::from_secs(5))]),
            chunk: self.config.chunk,
        };
        self.batches.insert(key, Known { batch, freed: false });
        self.items.extend((0..batch.count).map(|item| ((key, item), Record::default())));
        self.run_event(Event::Submit { key, batch });
    }

    fn call_off(&mut self) {
        let at = self.choices.below(self.jobs.len());
        let cancel = self.choices.below(2) == 0;
        let Some((job, unwanted)) = self.jobs.get_mut(at) else { return };
        let job = *job;
        match (cancel, *unwanted) {
            (true, _) => *unwanted = Unwanted::Cancelled,
            (false, Unwanted::No) => *unwanted = Unwanted::Withdrawn,
            (false, _) => {}
        }
        self.run_event(if cancel { Event::Cancel { job } } else { Event::Withdraw { job } });
    }

    /// As the driver's loop: ticks if it is time.
    fn wake(&mut self, patience: u32) {
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
    fn sleep(&mut self) {
        if let Some(earliest) = self.machine.take_earliest() {
            self.alarm = Some(self.alarm.map_or(earliest, |alarm| alarm.min(earliest)));
        }
        if let Some(at) = self.machine.wake_at() {
            assert!(self.alarm.is_some_and(|alarm| alarm <= at), "the driver oversleeps {at:?}");
        }
    }

    /// Compares the machine with the reference.
    fn check(&self) {
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

    fn check_workers(&self) {
        for (slot, worker) in self.machine.workers.iter().enumerate() {
            let flying: u32 = worker.spans.iter().map(super::super::Span::len).sum();
            assert_eq!(worker.in_flight, flying, "worker {slot}");
            assert!(worker.has_process() || flying == 0, "an empty place has tasks");
            assert!(worker.condemned.is_none() || flying > 0, "nothing is condemned at worker {slot}");
        }
    }

    fn check_sums(&self) {
        let submitted: u64 = self.batches.values().map(|known| u64::from(known.batch.count)).sum();
        let open = self.machine.in_flight() + self.machine.queued();
        assert_eq!(self.done + self.failed + open, submitted, "the counts add up");
        let freed = self.batches.values().filter(|known| known.freed).count();
        assert_eq!(freed + self.machine.batches.len(), self.batches.len(), "batches are freed when over");
    }

    fn check_appetite(&self) {
        let appetite = self.machine.appetite();
        let takes = self.machine.stage() != Stage::Terminating && self.machine.broken().is_none();
        let idle = |worker: &&super::super::worker::Worker| worker.is_working() && worker.in_flight == 0;
        if takes && self.machine.queue.is_empty() && self.machine.workers.iter().any(|w| idle(&w)) {
            let all_idle = self.machine.workers.iter().filter(|w| w.is_working()).all(|w| idle(&w));
            assert!(appetite > 0 || !all_idle, "idle workers, nothing queued, and no appetite");
        }
        let most: u64 = self.machine.workers.iter().map(|w| u64::from(w.allowed.max(3)) + 1).sum();
        assert!(appetite <= most.max(64), "an appetite of {appetite}");
    }

    /// From now on all goes well: everything ends, and so does the pool.
    fn come_to_an_end(mut self) {
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
                    self.work(*slot)
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

    fn is_busy(&self, slot: Slot) -> bool {
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
