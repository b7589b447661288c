//! Everything a pool knows, behind its one lock: the machine, and what its keys stand for.
//!
//! Whoever holds the lock may read lanes and carry out what is quick; what needs a system call of some
//! weight is left in `deferred` for the driver.

mod bells;
mod duty;
mod end;
mod reading;
mod room;
mod telling;
#[cfg(test)]
mod test;

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Thread;
use std::time::Instant;

use rustc_hash::FxHashMap;

use crate::link::frame::{DownHead, DownKind};
use crate::link::lane::Lane;
use crate::link::ring::Breach;
use crate::sync::counters::{Count, Counters};
use crate::sys::clock::monotonic_nanos;
use crate::sys::limits::Limits;
use crate::task::context::Progress;
use crate::task::error::{TaskContext, TaskError, TaskErrorKind};

use super::batch::{Batch, Name};
use super::job::{Completion, Job, Mailbox};
use super::machine::{self, Action, BatchKey, Event, JobKey, Machine, Slot, Span};
use super::reader::Poller;
use super::worker::{Armed, WorkerProcess};
use telling::Told;

pub(super) use duty::Duty;
pub(super) use end::Ending;
pub(super) use room::Room;

/// Called under the pool's lock, so it must be quick.
pub(super) type OnBreak = Box<dyn FnOnce(&str) + Send>;

/// Moves whenever a job has news.
#[derive(Clone, Default)]
struct Epoch(Arc<AtomicU64>);

/// An epoch that was seen.
pub(super) struct PassingEpoch {
    epoch: Epoch,
    seen: u64,
}

impl PassingEpoch {
    pub(super) fn has_passed(&self) -> bool {
        self.epoch.0.load(Ordering::Acquire) != self.seen
    }
}

/// Behind the lock.
pub(super) struct State {
    pub(super) machine: Machine,
    /// By slot.
    pub(super) workers: Vec<Option<WorkerProcess>>,
    /// The lanes of all workers, for a reader that spins without the lock.
    pub(super) lanes: Arc<[Arc<Lane>]>,
    pub(super) jobs: FxHashMap<JobKey, Job>,
    batches: FxHashMap<BatchKey, Batch>,
    last_key: u64,
    /// For the driver, in order.
    pub(super) deferred: VecDeque<Duty>,
    actions: Vec<Action>,
    /// What the driver or a lane has just told, for `Verdict::AsTold`.
    told: Option<Told>,
    /// Jobs that have news.
    news: Vec<JobKey>,
    pub(super) finished: Vec<Job>,
    pub(super) poller: Poller,
    /// Threads that wait for a result while another one polls.
    pub(super) followers: Vec<Thread>,
    /// Those among them that wait for room to submit more.
    pub(super) hungry: Vec<(Thread, Room)>,
    /// What the thread that looks just now waits for.
    pub(super) lacking: Option<Room>,
    /// The worker of which results are read that the machine does not know of yet.
    untold: Option<Slot>,
    epoch: Epoch,
    /// Some job had news since the lock was last given up.
    pub(super) has_told: bool,
    /// When to look at workers that ring late.
    pub(super) late_at: Option<Instant>,
    /// A lane was armed while it held results.
    pub(super) must_read: bool,
    /// Somebody was woken since a reader last looked.
    pub(super) woke: bool,
    /// When the driver will tick.
    pub(super) alarm: Option<Instant>,
    pub(super) limits: Limits,
    pub(super) measured: bool,
    pub(super) counters: Counters,
    /// Submitted and not delivered, of all jobs.
    pub(super) pending: u64,
    /// Calls that have more to submit.
    pub(super) holds: u32,
    /// The driver has left: nothing more will come.
    pub(super) ended: bool,
    /// Told why, should the pool give up.
    pub(super) on_break: Option<OnBreak>,
}

impl State {
    pub(super) fn new(machine: Machine, limits: Limits, measured: bool) -> State {
        State {
            machine,
            workers: Vec::new(),
            lanes: Arc::from(Vec::new()),
            jobs: FxHashMap::default(),
            batches: FxHashMap::default(),
            last_key: 0,
            deferred: VecDeque::new(),
            actions: Vec::new(),
            told: None,
            news: Vec::new(),
            finished: Vec::new(),
            poller: Poller::None,
            followers: Vec::new(),
            hungry: Vec::new(),
            lacking: None,
            untold: None,
            epoch: Epoch::default(),
            has_told: false,
            late_at: None,
            must_read: false,
            woke: false,
            alarm: None,
            limits,
            measured,
            counters: Counters::own(0),
            pending: 0,
            holds: 0,
            ended: false,
            on_break: None,
        }
    }

    /// Carries out the machine's first actions.
    pub(super) fn begin(&mut self, actions: Vec<Action>) {
        for action in actions {
            self.perform(action);
        }
    }

    fn key(&mut self) -> u64 {
        self.last_key += 1;
        self.last_key
    }

    /// Opens a submission.
    pub(super) fn open(&mut self, task: Name) -> JobKey {
        let key = self.key();
        self.jobs.insert(key, Job::new(task));
        key
    }

    /// Nothing more will be submitted to it.
    pub(super) fn seal(&mut self, key: JobKey) {
        if let Some(job) = self.jobs.get_mut(&key) {
            job.sealed = true;
        }
        self.tell(key);
    }

    /// Nobody wants what still comes of it.
    pub(super) fn detach(&mut self, key: JobKey) {
        if let Some(job) = self.jobs.get_mut(&key) {
            if job.completion.is_some() {
                return;
            }
            job.detached = true;
            job.mailbox.clear();
            if job.outstanding == 0 {
                self.jobs.remove(&key);
            }
        }
    }

    /// What has come of a job, once all has; the job is gone then.
    pub(super) fn take_complete(&mut self, key: JobKey) -> Option<Mailbox> {
        let complete = self.ended || self.jobs.get(&key).is_none_or(Job::is_complete);
        complete.then(|| self.jobs.remove(&key).map(|job| job.mailbox).unwrap_or_default())
    }

    /// Has `completion` called when all of a job has come.
    pub(super) fn complete_with(&mut self, key: JobKey, completion: Completion) {
        if let Some(job) = self.jobs.get_mut(&key) {
            job.completion = Some(completion);
        }
        self.tell(key);
    }

    /// How far a job's running task is.
    pub(super) fn progress(&self, key: JobKey) -> Option<Progress> {
        let slot = (0..self.workers.len()).find(|&slot| {
            let front = self.machine.front(slot).and_then(|span| self.batches.get(&span.key));
            front.is_some_and(|batch| batch.job == key)
        })?;
        Some(self.workers[slot].as_ref()?.lane.lane().black_box().progress())
    }

    /// The pool is gone: whoever waits looks again.
    pub(super) fn wake_everybody(&mut self) {
        self.jobs.values_mut().for_each(|job| {
            job.sleepers.drain(..).for_each(|thread| thread.unpark());
            job.waker.take().into_iter().for_each(std::task::Waker::wake);
        });
        self.followers.drain(..).for_each(|thread| thread.unpark());
        self.hungry.drain(..).for_each(|(thread, _)| thread.unpark());
        self.pass_epoch();
    }

    /// Submits a batch.
    pub(super) fn submit(&mut self, batch: Batch) {
        let key = self.key();
        let count = batch.count();
        if let Some(job) = self.jobs.get_mut(&batch.job) {
            job.outstanding += u64::from(count);
        }
        self.pending += u64::from(count);
        let described = machine::Batch {
            job: batch.job,
            count,
            bytes: batch.bytes(),
            attempts: batch.options.attempts,
            timeout: batch.options.timeout,
            chunk: batch.options.chunk,
        };
        self.batches.insert(key, batch);
        self.run(Event::Submit { key, batch: described });
    }

    /// A task that could not even be encoded takes its place in the submission all the same.
    pub(super) fn reject(&mut self, key: JobKey, index: u64, kind: TaskErrorKind) {
        self.counters.add(Count::Failed, 1);
        if let Some(job) = self.jobs.get_mut(&key) {
            let context = TaskContext::not_started(&job.task, Some(index));
            job.mailbox.push_error(index, TaskError::new(kind, context), None);
        }
        self.tell(key);
    }

    /// Tells the machine what happened and does what it says, until it has nothing more to say.
    pub(super) fn run(&mut self, event: Event) {
        let now = Instant::now();
        let mut actions = std::mem::take(&mut self.actions);
        if !event.is_of_a_lane() {
            // There may be room for more now, of which no lane tells the poller.
            self.pass_epoch();
        }
        self.machine.handle(event, now, &mut actions);
        let mut done = 0;
        while done < actions.len() {
            let action = actions[done].clone();
            done += 1;
            if let Some(event) = self.perform(action) {
                self.machine.handle(event, now, &mut actions);
            }
        }
        actions.clear();
        self.actions = actions;
        self.publish();
        self.tell_news();
        self.tell_hungry();
    }

    /// Tells readers of the counters what is going on.
    fn publish(&self) {
        if self.counters.is_published() {
            self.counters.set(Count::Busy, self.machine.busy());
            self.counters.set(Count::Pending, self.pending);
        }
    }

    fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Send { slot, span } => {
                let breach = self.send(slot, &span).err()?;
                Some(self.breached(slot, breach))
            }
            Action::TakeBack { slot } => Some(self.take_back(slot)),
            Action::Deliver { key, items, attempt, verdict } => {
                self.deliver(key, items, attempt, verdict);
                None
            }
            Action::Free { key } => {
                self.batches.remove(&key);
                None
            }
            Action::Retry { key, item, attempt } => {
                self.tell_retry(key, item, attempt);
                None
            }
            Action::Break { reason } => {
                tracing::error!(reason = &*reason, "the pool gives up: its workers do not start");
                if let Some(tell) = self.on_break.take() {
                    tell(&reason);
                }
                None
            }
            Action::AskToStop { slot } => self.ask_to_stop(slot),
            Action::Start { slot } => self.defer(Duty::Start { slot }),
            Action::Kill { slot } => self.defer(Duty::Kill { slot }),
            Action::Retire { slot } => self.defer(Duty::Retire { slot }),
        }
    }

    fn send(&mut self, slot: Slot, span: &Span) -> Result<(), Breach> {
        // A worker that is about to be started gets everything then.
        let (Some(batch), Some(worker)) =
            (self.batches.get(&span.key), self.workers.get_mut(slot).and_then(Option::as_mut))
        else {
            return Ok(());
        };
        worker.share(&batch.shared)?;
        let timeout = batch.options.timeout.map_or(0, |timeout| timeout.as_nanos().max(1) as u64);
        let chunk = batch.options.chunk.unwrap_or(u32::MAX);
        let mut head = DownHead {
            kind: DownKind::Tasks,
            coding: batch.function.coding,
            parts: batch.parts.len() as u8,
            count: 0,
            first: 0,
            line: 0,
            function: batch.function.number,
            timeout,
        };
        let mut start = span.items.start;
        while start < span.items.end {
            let end = span.items.end.min(start.saturating_add(chunk));
            head.count = end - start;
            let (line, keep) = batch.line(start..end);
            worker.lane.send(head, line, &batch.parts, keep)?;
            start = end;
        }
        worker.lane.publish()?;
        self.woke |= worker.lane.take_woke();
        if !self.poller.is_reading() {
            let late = worker.arm() == Some(Armed::HalfWay);
            // What came before the bell was armed is read before the lock is given up.
            self.must_read |= worker.may_have_missed();
            if late {
                self.expect_late();
            }
        }
        Ok(())
    }

    /// A worker was started: sends it what the machine has given it meanwhile.
    pub(super) fn install(&mut self, slot: Slot, mut worker: WorkerProcess) {
        // Who measures wants to know of every result where it comes from.
        worker.awaits_pid = self.measured && worker.commands.thread().is_none();
        self.workers[slot] = Some(worker);
        self.renew_lanes();
        // Its initializer's result must ring too.
        if !self.poller.is_reading()
            && let Some(worker) = self.workers[slot].as_mut()
        {
            worker.arm();
            self.must_read |= worker.may_have_missed();
        }
        let spans: Vec<Span> = self.machine.spans(slot).iter().cloned().collect();
        for span in spans {
            if let Err(breach) = self.send(slot, &span) {
                let doomed = self.breached(slot, breach);
                return self.run(doomed);
            }
        }
    }

    fn take_back(&mut self, slot: Slot) -> Event {
        let worker = self.workers.get_mut(slot).and_then(Option::as_mut);
        let Some(worker) = worker else {
            // Nothing was sent yet.
            let count = self.machine.spans(slot).iter().map(Span::len).sum();
            return Event::TookBack { slot, count, running_for: None };
        };
        match worker.lane.take_back() {
            Ok(count) => {
                let running_for = worker.lane.lane().black_box().elapsed(monotonic_nanos());
                Event::TookBack { slot, count, running_for }
            }
            Err(breach) => self.breached(slot, breach),
        }
    }

    /// The present state of the jobs, to be compared later without the lock.
    pub(super) fn epoch(&self) -> PassingEpoch {
        PassingEpoch { seen: self.epoch.0.load(Ordering::Acquire), epoch: self.epoch.clone() }
    }

    /// After a worker came or went, or what it says is not read any more.
    pub(super) fn renew_lanes(&mut self) {
        let read = self.workers.iter().flatten().filter(|worker| worker.is_read());
        self.lanes = read.map(|worker| Arc::clone(worker.lane.lane())).collect();
    }

    /// The keeper has told the pid of a worker.
    pub(super) fn name(&mut self, slot: Slot, pid: u32, process: Option<OwnedFd>) {
        let Some(worker) = self.workers[slot].as_mut() else { return };
        worker.pid = pid;
        worker.process = process;
        tracing::debug!(pid, slot, after = ?worker.started.elapsed(), "worker started");
        if std::mem::take(&mut worker.awaits_pid) {
            self.renew_lanes();
            self.drain(slot);
        }
    }

    /// The slot of the worker with this number.
    pub(super) fn slot_of(&self, id: u32) -> Option<Slot> {
        self.workers.iter().position(|worker| worker.as_ref().is_some_and(|worker| worker.id == id))
    }
}
