//! Everything a pool knows, behind its one lock: the machine, and what its keys stand for.
//!
//! Whoever holds the lock may read lanes and carry out what is quick; what needs a system call of some
//! weight is left in `deferred` for the driver.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

use bytes::Bytes as Buffer;
use rustc_hash::FxHashMap;

use crate::link::frame::{DownHead, DownKind, UpKind};
use crate::link::host_end::{Arrival, ArrivedLine, HostEnd, Reading};
use crate::link::lane::Lane;
use crate::link::ring::Breach;
use crate::process::verdict;
use crate::sys::clock::monotonic_nanos;
use crate::sys::exit::{ExitStatus, ResourceUsage};
use crate::sys::limits::Limits;
use crate::task::context::Progress;
use crate::task::error::{Absent, TaskContext, TaskError, TaskErrorKind};

use super::batch::{Batch, Name};
use super::job::{Completion, Facts, Job, Mailbox};
use super::machine::{self, Action, BatchKey, Event, JobKey, Machine, Slot, Span, Verdict};
use super::worker::{Armed, Initializer, WorkerProcess};

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

/// A worker that has much to do may have come to a long task before it rings.
const LATE: Duration = Duration::from_millis(1);

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
    pub(super) deferred: VecDeque<Action>,
    actions: Vec<Action>,
    /// What the driver or a lane has just told, for `Verdict::AsTold`.
    told: Option<Told>,
    /// Jobs that have news.
    news: Vec<JobKey>,
    pub(super) finished: Vec<Job>,
    pub(super) poller: Poller,
    /// Threads that wait for a result while another one polls.
    pub(super) followers: Vec<Thread>,
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
    pub(super) counters: Arc<Counters>,
    /// Submitted and not delivered, of all jobs.
    pub(super) pending: u64,
    /// The driver has left: nothing more will come.
    pub(super) ended: bool,
}

/// Who reads the lanes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Poller {
    /// Nobody: lanes with work in flight are armed, and ring for the driver.
    None,
    /// The driver, or a thread that waits for a result.
    Spinning,
    /// A thread that waits for a result, asleep in the set of doorbells.
    Asleep,
    /// A thread that will be back in a moment, once it has pulled and submitted more inputs. Anybody may
    /// take the role from it, and the driver does if it stays away.
    Away(Instant),
}

impl Poller {
    /// Whether a worker need not ring.
    pub(super) fn is_reading(self) -> bool {
        matches!(self, Poller::Spinning | Poller::Away(_))
    }
}

/// What happened to the first task in flight at a worker, beside the kind.
struct Told {
    kind: TaskErrorKind,
    context: WorkerContext,
}

/// What is known of a worker when one of its tasks ends without a value.
#[derive(Clone)]
pub(super) struct WorkerContext {
    pid: u32,
    elapsed: Option<Duration>,
    usage: Result<ResourceUsage, Absent>,
    stderr: Result<String, Absent>,
}

/// Live counts, readable without the lock.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) done: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) crashed: AtomicU64,
    pub(super) retried: AtomicU64,
    pub(super) restarted: AtomicU64,
}

impl Counters {
    fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

/// What one reading of a lane brought, in order.
enum Step {
    Values(u32),
    NoValue(TaskErrorKind, Option<Duration>),
    Initialized,
    InitializerFailed(TaskErrorKind),
}

/// How a worker ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ending {
    Exited(ExitStatus, ResourceUsage),
    /// Its keeper died, and so nobody knows.
    Lost,
    /// It never came to be.
    NotStarted,
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
            epoch: Epoch::default(),
            has_told: false,
            late_at: None,
            must_read: false,
            woke: false,
            alarm: None,
            limits,
            measured,
            counters: Arc::new(Counters::default()),
            pending: 0,
            ended: false,
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
            self.news.push(key);
        }
        self.tell_news();
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
            self.news.push(key);
        }
        self.tell_news();
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
        self.epoch.0.fetch_add(1, Ordering::Release);
        self.has_told = true;
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
        Counters::add(&self.counters.failed, 1);
        if let Some(job) = self.jobs.get_mut(&key) {
            let context = TaskContext::not_started(&job.task, Some(index));
            job.mailbox.push_error(index, TaskError::new(kind, context), None);
            self.news.push(key);
        }
    }

    /// Tells the machine what happened and does what it says, until it has nothing more to say.
    pub(super) fn run(&mut self, event: Event) {
        let now = Instant::now();
        let mut actions = std::mem::take(&mut self.actions);
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
        self.tell_news();
    }

    fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Send { slot, span } => {
                if let Err(breach) = self.send(slot, &span) {
                    self.breached(slot, breach);
                }
                None
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
                None
            }
            Action::Start { .. } | Action::Kill { .. } | Action::AskToStop { .. } | Action::Retire { .. } => {
                self.deferred.push_back(action);
                None
            }
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
    pub(super) fn install(&mut self, slot: Slot, worker: WorkerProcess) {
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
                self.breached(slot, breach);
            }
        }
    }

    fn take_back(&mut self, slot: Slot) -> Event {
        let worker = self.workers.get_mut(slot).and_then(Option::as_mut);
        let count = match worker.map(|worker| worker.lane.take_back()) {
            Some(Ok(count)) => count,
            Some(Err(breach)) => {
                self.breached(slot, breach);
                0
            }
            // Nothing was sent yet.
            None => self.machine.spans(slot).iter().map(Span::len).sum(),
        };
        Event::TookBack { slot, count }
    }

    /// Reads what has come up the lane of a worker.
    pub(super) fn drain(&mut self, slot: Slot) {
        let Some(worker) =
            self.workers.get_mut(slot).and_then(Option::as_mut).filter(|worker| worker.breach.is_none())
        else {
            return;
        };
        let mut reader = Reader {
            spans: Cursor::new(self.machine.spans(slot)),
            condemned: self.machine.is_condemned(slot),
            pid: worker.pid,
            measured: self.measured,
            jobs: &mut self.jobs,
            batches: &self.batches,
            news: &mut self.news,
            steps: Vec::new(),
        };
        let read = reader.read(&mut worker.lane, &mut worker.initializer);
        let steps = reader.steps;
        let published = worker.lane.publish();
        worker.renew_arming();
        let breach = read.and(published).err();
        self.follow(slot, steps);
        if let Some(breach) = breach {
            self.breached(slot, breach);
        }
    }

    /// Tells the machine what a reading brought.
    fn follow(&mut self, slot: Slot, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Values(count) => {
                    Counters::add(&self.counters.done, u64::from(count));
                    self.pending -= u64::from(count);
                    self.run(Event::Settled { slot, count });
                }
                Step::NoValue(kind, elapsed) => {
                    let retriable =
                        !matches!(kind, TaskErrorKind::Encoding { .. } | TaskErrorKind::UnknownTask { .. });
                    let context = self.context(slot, elapsed, Err(Absent::WorkerLivesOn));
                    self.told = Some(Told { kind, context });
                    self.run(Event::Failed { slot, retriable });
                    self.told = None;
                }
                Step::Initialized => self.run(Event::Initialized { slot }),
                Step::InitializerFailed(kind) => {
                    if let Some(worker) = self.workers[slot].as_mut() {
                        worker.initializer = Initializer::Failed(kind);
                    }
                    self.deferred.push_back(Action::Kill { slot });
                }
            }
        }
    }

    /// A worker wrote what no worker writes: it is killed, and its running task ends with that.
    fn breached(&mut self, slot: Slot, breach: Breach) {
        if let Some(worker) = self.workers[slot].as_mut().filter(|worker| worker.breach.is_none()) {
            tracing::warn!(pid = worker.pid, %breach, "worker broke the protocol of its lane");
            worker.breach = Some(breach);
            self.deferred.push_back(Action::Kill { slot });
        }
    }

    /// A worker has ended. What it committed counts, and what was running ends with it.
    pub(super) fn worker_ended(&mut self, slot: Slot, ending: Ending, reason: Option<String>) {
        self.drain(slot);
        let Some(worker) = self.workers[slot].as_mut() else {
            let reason = Arc::from(reason.unwrap_or_default());
            self.run(Event::Died { slot, running: false, ready: false, reason });
            return;
        };
        // What is on its way from there is opened by now.
        crate::shm::name::sweep_of(worker.pid);
        while worker.stderr.pipe().is_some() && has_more(&worker.stderr) {
            worker.stderr.read(|_| ());
        }
        let notes = worker.lane.lane().black_box();
        let ready = notes.is_ready();
        let elapsed = notes.elapsed(monotonic_nanos());
        let stderr = worker.stderr.text();
        // A lane that was scribbled on does not say what was running; the first task is the one to blame.
        let running = worker.lane.claimed().map_or(true, |claimed| claimed > 0) || worker.breach.is_some();
        let kind = match (&worker.breach, &worker.initializer, ending) {
            (Some(breach), ..) => TaskErrorKind::Breach { message: breach.to_string() },
            (None, Initializer::Failed(kind), _) => kind.clone(),
            (None, _, Ending::Exited(status, _)) => {
                verdict::of_death(status, notes, &self.limits, Some(&stderr))
            }
            (None, _, Ending::Lost | Ending::NotStarted) => TaskErrorKind::Lost,
        };
        let usage = match ending {
            Ending::Exited(_, usage) => Ok(usage),
            Ending::Lost | Ending::NotStarted => Err(Absent::KeeperDied),
        };
        let context = WorkerContext { pid: worker.pid, elapsed, usage, stderr: Ok(stderr.clone()) };
        let reason = reason.unwrap_or_else(|| death_text(&kind, worker.pid, &stderr));
        let expected = matches!(ending, Ending::Exited(status, _) if status.success());
        tell_end(worker.pid, &kind, expected, running);
        if !expected {
            Counters::add(&self.counters.crashed, 1);
        }
        self.workers[slot] = None;
        self.told = Some(Told { kind, context });
        self.run(Event::Died { slot, running, ready, reason: reason.into() });
        self.told = None;
    }

    /// What is known of a worker that lives.
    fn context(
        &mut self,
        slot: Slot,
        elapsed: Option<Duration>,
        usage: Result<ResourceUsage, Absent>,
    ) -> WorkerContext {
        let Some(worker) = self.workers[slot].as_mut() else {
            return WorkerContext { pid: 0, elapsed, usage, stderr: Err(Absent::NotStarted) };
        };
        let elapsed = elapsed.or_else(|| worker.lane.lane().black_box().elapsed(monotonic_nanos()));
        WorkerContext { pid: worker.pid, elapsed, usage, stderr: Ok(worker.stderr.text()) }
    }

    /// Items end without a value.
    fn deliver(&mut self, key: BatchKey, items: Range<u32>, attempt: u32, verdict: Verdict) {
        let Some(batch) = self.batches.get(&key) else { return };
        let attempts = batch.options.attempts;
        let count = u64::from(items.end - items.start);
        Counters::add(&self.counters.failed, count);
        self.pending -= count;
        let Some(job) = self.jobs.get_mut(&batch.job) else { return };
        for item in items {
            let index = batch.first + u64::from(item);
            let not_started = || TaskContext::not_started(&batch.function.name, Some(index));
            let told = |kind: Option<TaskErrorKind>| match &self.told {
                Some(told) => {
                    let context = told.context.clone();
                    let context = TaskContext {
                        attempt,
                        attempts,
                        pid: Some(context.pid),
                        elapsed: context.elapsed,
                        usage: context.usage,
                        stderr: context.stderr,
                        ..not_started()
                    };
                    TaskError::new(kind.unwrap_or_else(|| told.kind.clone()), context)
                }
                None => TaskError::new(kind.unwrap_or(TaskErrorKind::Lost), not_started()),
            };
            let error = match &verdict {
                Verdict::AsTold => told(None),
                Verdict::TimedOut(limit) => told(Some(TaskErrorKind::TimedOut { limit: *limit })),
                Verdict::Cancelled => told(Some(TaskErrorKind::Cancelled)),
                Verdict::Terminated => TaskError::new(TaskErrorKind::Terminated, not_started()),
                Verdict::NoWorker(reason) => {
                    TaskError::new(TaskErrorKind::NoWorker { message: reason.to_string() }, not_started())
                }
            };
            let facts =
                self.measured.then(|| Facts { attempt, pid: error.pid().unwrap_or(0), measure: None });
            job.outstanding -= 1;
            if !job.detached {
                job.mailbox.push_error(index, error, facts);
            }
        }
        self.news.push(batch.job);
    }

    fn tell_retry(&mut self, key: BatchKey, item: u32, attempt: u32) {
        Counters::add(&self.counters.retried, 1);
        let Some(batch) = self.batches.get(&key) else { return };
        let index = batch.first + u64::from(item);
        let kind = self.told.as_ref().map(|told| &told.kind);
        tracing::info!(task = &*batch.function.name, index, attempt, ?kind, "task failed, trying again");
    }

    /// Wakes those who wait for jobs that have news, and sets complete ones aside.
    fn tell_news(&mut self) {
        if !self.news.is_empty() {
            self.epoch.0.fetch_add(1, Ordering::Release);
            self.has_told = true;
        }
        while let Some(key) = self.news.pop() {
            let Some(job) = self.jobs.get_mut(&key) else { continue };
            job.wake();
            if job.is_complete() && (job.completion.is_some() || job.detached) {
                self.finished.extend(self.jobs.remove(&key));
            }
        }
    }

    /// Reads every lane that has something.
    pub(super) fn drain_all(&mut self) {
        self.must_read = false;
        for slot in 0..self.workers.len() {
            let worker = self.workers[slot].as_ref();
            if worker.is_some_and(|worker| worker.lane.lane().has_news()) {
                self.drain(slot);
            }
        }
    }

    /// The present state of the jobs, to be compared later without the lock.
    pub(super) fn epoch(&self) -> PassingEpoch {
        PassingEpoch { seen: self.epoch.0.load(Ordering::Acquire), epoch: self.epoch.clone() }
    }

    /// Has every busy worker ring: at its next commit, or half-way if it has much to do. Returns whether all
    /// have.
    pub(super) fn arm(&mut self) -> bool {
        let mut late = None;
        for worker in self.workers.iter_mut().flatten() {
            if let Some(armed) = worker.arm() {
                late = Some(late.unwrap_or(true) && armed == Armed::HalfWay);
            }
        }
        let late = late.unwrap_or(false);
        if late {
            self.expect_late();
        }
        late
    }

    /// A worker that has much to do may have come to a long task: somebody looks in a while.
    fn expect_late(&mut self) {
        let at = Instant::now() + LATE;
        self.late_at = Some(self.late_at.map_or(at, |late_at| late_at.min(at)));
    }

    /// Has no worker ring any more.
    pub(super) fn disarm(&mut self) {
        self.workers.iter_mut().flatten().for_each(WorkerProcess::disarm);
        self.late_at = None;
    }

    /// When the driver has to look at the lanes although none rang.
    pub(super) fn look_at(&self) -> Option<Instant> {
        match self.poller {
            Poller::None => self.late_at,
            Poller::Away(until) => Some(until),
            Poller::Spinning | Poller::Asleep => None,
        }
    }

    /// Whether an armed worker may have rung before it was armed.
    pub(super) fn may_have_missed(&self) -> bool {
        self.workers.iter().flatten().any(WorkerProcess::may_have_missed)
    }

    /// Whether all busy workers have much to do.
    pub(super) fn has_plenty(&self) -> bool {
        let mut busy = self.workers.iter().flatten().filter(|worker| worker.lane.is_busy()).peekable();
        busy.peek().is_some() && busy.all(|worker| worker.lane.has_plenty())
    }

    /// After a worker came or went.
    pub(super) fn renew_lanes(&mut self) {
        self.lanes = self.workers.iter().flatten().map(|worker| Arc::clone(worker.lane.lane())).collect();
    }

    /// The slot of the worker with this number.
    pub(super) fn slot_of(&self, id: u32) -> Option<Slot> {
        self.workers.iter().position(|worker| worker.as_ref().is_some_and(|worker| worker.id == id))
    }
}

/// Reads one lane, and puts what it brings where it belongs.
struct Reader<'a> {
    spans: Cursor<'a>,
    /// The first task was told to stop: its value, should it be one, comes too late.
    condemned: bool,
    pid: u32,
    measured: bool,
    jobs: &'a mut FxHashMap<JobKey, Job>,
    batches: &'a FxHashMap<BatchKey, Batch>,
    news: &'a mut Vec<JobKey>,
    steps: Vec<Step>,
}

impl Reader<'_> {
    fn read(&mut self, lane: &mut HostEnd, initializer: &mut Initializer) -> Result<(), Breach> {
        let mut reading = lane.begin_reading()?;
        loop {
            let initializing = matches!(initializer, Initializer::Running);
            if !initializing && !self.condemned && !self.measured && self.read_run(lane, &mut reading)? {
                continue;
            }
            let whole = lane.read_any(&mut reading, |arrival| {
                if initializing {
                    self.steps.push(initialized(&arrival));
                } else {
                    self.take(arrival);
                }
            })?;
            if !whole {
                return lane.end_reading(reading);
            }
            if initializing {
                *initializer = Initializer::Done;
            }
        }
    }

    /// Reads small values of one span in one go; false if none is next.
    fn read_run(&mut self, lane: &mut HostEnd, reading: &mut Reading) -> Result<bool, Breach> {
        let Some((key, items)) = self.spans.run() else { return Ok(false) };
        let Some(batch) = self.batches.get(&key) else { return Ok(false) };
        let Some(job) = self.jobs.get_mut(&batch.job) else { return Ok(false) };
        let count = lane.read_run(reading, items.end - items.start, &mut job.mailbox.words)?;
        if count == 0 {
            return Ok(false);
        }
        job.outstanding -= u64::from(count);
        if job.detached {
            job.mailbox.clear();
        } else {
            job.mailbox.push_run(batch.first + u64::from(items.start), count);
        }
        self.spans.skip(count);
        self.note_values(count, batch.job);
        Ok(true)
    }

    /// Takes one result, whatever it is.
    fn take(&mut self, arrival: Arrival<'_>) {
        let Some((key, item, attempt)) = self.spans.next() else { return };
        if arrival.kind != UpKind::Value || std::mem::take(&mut self.condemned) {
            self.condemned = false;
            self.steps.push(no_value(&arrival));
            return;
        }
        let Some(batch) = self.batches.get(&key) else { return };
        let Some(job) = self.jobs.get_mut(&batch.job) else { return };
        job.outstanding -= 1;
        if !job.detached {
            let facts = self.measured.then_some(Facts { attempt, pid: self.pid, measure: arrival.measure });
            let line = match arrival.line {
                ArrivedLine::Small(line) => Buffer::copy_from_slice(line),
                ArrivedLine::Large(line) => line,
            };
            job.mailbox.push_large(batch.first + u64::from(item), line, arrival.parts, facts);
        }
        self.note_values(1, batch.job);
    }

    fn note_values(&mut self, count: u32, job: JobKey) {
        match self.steps.last_mut() {
            Some(Step::Values(values)) => *values += count,
            _ => self.steps.push(Step::Values(count)),
        }
        if self.news.last() != Some(&job) {
            self.news.push(job);
        }
    }
}

fn no_value(arrival: &Arrival<'_>) -> Step {
    let elapsed = arrival.measure.map(|measure| Duration::from_nanos(measure.elapsed));
    let kind = match arrival.kind {
        // It came too late: the machine has the verdict.
        UpKind::Value => TaskErrorKind::Cancelled,
        kind => verdict::of_result(kind, arrival.line.bytes()),
    };
    Step::NoValue(kind, elapsed)
}

fn initialized(arrival: &Arrival<'_>) -> Step {
    match arrival.kind {
        UpKind::Value => Step::Initialized,
        kind => Step::InitializerFailed(verdict::of_result(kind, arrival.line.bytes())),
    }
}

fn has_more(capture: &crate::process::stdio::Capture) -> bool {
    use nix::poll::{PollFd, PollFlags, poll};
    let Some(pipe) = capture.pipe() else { return false };
    let mut fds = [PollFd::new(pipe, PollFlags::POLLIN)];
    poll(&mut fds, crate::sys::pidfd::poll_timeout(Some(Duration::ZERO))).is_ok_and(|ready| ready > 0)
        && fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLIN))
}

/// What a pool that gives up says of its last worker.
fn death_text(kind: &TaskErrorKind, pid: u32, stderr: &str) -> String {
    let context = TaskContext { pid: Some(pid), ..TaskContext::not_started("", None) };
    let error = TaskError::new(kind.clone(), context);
    match stderr.trim() {
        "" => error.cause().to_string(),
        said => format!("{}; it said: {}", error.cause(), said.replace('\n', " ")),
    }
}

fn tell_end(pid: u32, kind: &TaskErrorKind, expected: bool, running: bool) {
    if expected {
        tracing::debug!(pid, "worker exited");
    } else {
        tracing::info!(pid, ?kind, running, "worker died");
    }
}

/// Walks over the items in flight at a worker.
struct Cursor<'a> {
    spans: std::collections::vec_deque::Iter<'a, Span>,
    key: BatchKey,
    items: Range<u32>,
    attempt: u32,
}

impl<'a> Cursor<'a> {
    fn new(spans: &'a VecDeque<Span>) -> Cursor<'a> {
        Cursor { spans: spans.iter(), key: 0, items: 0..0, attempt: 0 }
    }

    /// The next items that belong together.
    fn run(&mut self) -> Option<(BatchKey, Range<u32>)> {
        while self.items.is_empty() {
            let span = self.spans.next()?;
            (self.key, self.items, self.attempt) = (span.key, span.items.clone(), span.attempt);
        }
        Some((self.key, self.items.clone()))
    }

    fn skip(&mut self, count: u32) {
        self.items.start += count;
    }

    fn next(&mut self) -> Option<(BatchKey, u32, u32)> {
        let (key, items) = self.run()?;
        self.skip(1);
        Some((key, items.start, self.attempt))
    }
}
