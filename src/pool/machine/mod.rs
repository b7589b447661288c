//! Decides what a pool does next. Pure: no clock, no process, no thread, no bytes.
//!
//! Tasks are items of batches; a worker has spans of them in flight, in the order of its lane. The driver
//! tells what happened and carries out the actions, in order.
//!
//! Invariants: every item of a batch is settled exactly once, by the driver (a value) or by one `Deliver`;
//! an item is in the queue, delayed, or in flight at one worker, never in two of these; a worker that is not
//! `Working` is given nothing.

mod death;
mod dispatch;
mod timers;
mod worker;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use worker::{Condemned, Phase, Worker};

/// Where a worker stands; its successor stands there too.
pub(super) type Slot = usize;
/// Names a batch for the life of the pool.
pub(super) type BatchKey = u64;
/// Names a submission for the life of the pool.
pub(super) type JobKey = u64;

/// What the machine has to know of the pool's options.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) workers: usize,
    pub(super) spares: usize,
    pub(super) max_tasks_per_worker: Option<u64>,
    /// From the soft stop to the kill.
    pub(super) grace: Duration,
    /// Before the second attempt; doubles with each.
    pub(super) backoff: Duration,
    /// Whether each worker starts with an initializer.
    pub(super) initializer: bool,
    /// Bytes that a worker is given ahead.
    pub(super) bytes_ahead: usize,
    /// Tasks a frame, if the caller chose.
    pub(super) chunk: Option<u32>,
}

/// What the machine has to know of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    pub(super) job: JobKey,
    pub(super) count: u32,
    pub(super) bytes: usize,
    pub(super) attempts: u32,
    pub(super) timeout: Option<Duration>,
    /// Tasks a frame, if the caller chose.
    pub(super) chunk: Option<u32>,
}

/// Items of one batch, on their `attempt`th attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) key: BatchKey,
    pub(super) items: Range<u32>,
    pub(super) attempt: u32,
}

impl Span {
    pub(super) fn len(&self) -> u32 {
        self.items.end - self.items.start
    }

    /// Cuts off the first `count` items.
    fn split_front(&mut self, count: u32) -> Span {
        let middle = self.items.start + count;
        let front = Span { items: self.items.start..middle, ..self.clone() };
        self.items.start = middle;
        front
    }

    /// Cuts off the last `count` items.
    fn split_back(&mut self, count: u32) -> Span {
        let middle = self.items.end - count;
        let back = Span { items: middle..self.items.end, ..self.clone() };
        self.items.end = middle;
        back
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Submit {
        key: BatchKey,
        batch: Batch,
    },
    /// The first `count` items in flight have values, which are delivered.
    Settled {
        slot: Slot,
        count: u32,
    },
    /// The first item in flight ended without a value, and its worker lives.
    Failed {
        slot: Slot,
        retriable: bool,
    },
    /// The initializer of a worker is through.
    Initialized {
        slot: Slot,
    },
    /// The last `count` items in flight are the host's again.
    TookBack {
        slot: Slot,
        count: u32,
    },
    /// A worker has ended. `running`: the first item in flight was begun. `ready`: it ever took tasks.
    Died {
        slot: Slot,
        running: bool,
        ready: bool,
        reason: Arc<str>,
    },
    /// A submission is not wanted any more.
    Cancel {
        job: JobKey,
    },
    Resize {
        workers: usize,
    },
    /// Nothing more will be submitted.
    Close,
    /// Nothing more is wanted.
    Terminate,
    /// Time has passed.
    Tick,
}

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    Start {
        slot: Slot,
    },
    Send {
        slot: Slot,
        span: Span,
    },
    /// Take back what is not begun, and tell how much in `TookBack`.
    TakeBack {
        slot: Slot,
    },
    /// Ask the running task to stop.
    AskToStop {
        slot: Slot,
    },
    /// Kill the worker's group.
    Kill {
        slot: Slot,
    },
    /// Let the worker exit when its lane is empty.
    Retire {
        slot: Slot,
    },
    /// These items end without a value.
    Deliver {
        key: BatchKey,
        items: Range<u32>,
        attempt: u32,
        verdict: Verdict,
    },
    /// The first attempt failed as just told; another follows.
    Retry {
        key: BatchKey,
        item: u32,
        attempt: u32,
    },
    /// Every item of the batch is settled.
    Free {
        key: BatchKey,
    },
    /// Workers do not start; the pool takes nothing more.
    Break {
        reason: Arc<str>,
    },
}

/// Why items end without a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// As the driver just told: `Failed` or `Died`.
    AsTold,
    TimedOut(Duration),
    Cancelled,
    Terminated,
    NoWorker(Arc<str>),
}

/// How far the pool is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Open,
    /// Finishes what it has.
    Closing,
    /// Kills its workers.
    Terminating,
}

/// The machine.
pub(super) struct Machine {
    config: Config,
    stage: Stage,
    broken: Option<Arc<str>>,
    workers: Vec<Worker>,
    batches: FxHashMap<BatchKey, Open>,
    /// Waits for a worker.
    queue: VecDeque<Span>,
    /// Waits for its next attempt.
    delayed: Vec<(Instant, Span)>,
    /// The earliest time to wake at that came up since the driver last asked.
    earliest: Option<Instant>,
    /// When to look whether a busy worker holds what an idle one could do.
    rebalance_at: Option<Instant>,
    /// Workers that ended one after the other before they were ready.
    failed_starts: u32,
    /// A worker died with an item in flight that it had not begun, and with no success since it started.
    suspects: FxHashMap<(BatchKey, u32), u32>,
}

/// A batch that is not settled.
struct Open {
    batch: Batch,
    left: u32,
    cancelled: bool,
}

impl Machine {
    /// A machine and its first actions: to start the workers.
    pub(super) fn new(config: Config, now: Instant, actions: &mut Vec<Action>) -> Machine {
        let mut machine = Machine {
            stage: Stage::Open,
            broken: None,
            workers: Vec::new(),
            batches: FxHashMap::default(),
            queue: VecDeque::new(),
            delayed: Vec::new(),
            earliest: None,
            rebalance_at: None,
            failed_starts: 0,
            suspects: FxHashMap::default(),
            config,
        };
        machine.staff(now, actions);
        machine
    }

    /// Takes one event and says what the driver must do, in order.
    pub(super) fn handle(&mut self, event: Event, now: Instant, actions: &mut Vec<Action>) {
        match event {
            Event::Submit { key, batch } => self.submit(key, batch, now, actions),
            Event::Settled { slot, count } => self.settled(slot, count, now, actions),
            Event::Failed { slot, retriable } => self.failed(slot, retriable, now, actions),
            Event::Initialized { slot } => self.initialized(slot, now, actions),
            Event::TookBack { slot, count } => self.took_back(slot, count, now, actions),
            Event::Died { slot, running, ready, reason } => {
                self.died(slot, running, ready, reason, now, actions)
            }
            Event::Cancel { job } => self.cancel(job, now, actions),
            Event::Resize { workers } => {
                self.config.workers = workers;
                self.staff(now, actions);
                self.fill(now, actions);
            }
            Event::Close => self.close(now, actions),
            Event::Terminate => self.terminate(actions),
            Event::Tick => self.tick(now, actions),
        }
    }

    /// The first item in flight at a worker, and how many of its batch follow it there.
    pub(super) fn front(&self, slot: Slot) -> Option<&Span> {
        self.workers.get(slot)?.spans.front()
    }

    /// What is in flight at a worker, in the order of its lane.
    pub(super) fn spans(&self, slot: Slot) -> &VecDeque<Span> {
        static NONE: VecDeque<Span> = VecDeque::new();
        self.workers.get(slot).map_or(&NONE, |worker| &worker.spans)
    }

    /// Whether the first item in flight was told to stop: its value, should one come, is too late.
    pub(super) fn is_condemned(&self, slot: Slot) -> bool {
        self.workers.get(slot).is_some_and(|worker| worker.condemned.is_some())
    }

    /// Whether a worker was told to end: then its end is no crash.
    pub(super) fn is_told_to_end(&self, slot: Slot) -> bool {
        self.workers.get(slot).is_some_and(|worker| matches!(worker.phase, Phase::Leaving | Phase::Ending))
    }

    /// How many items are in flight.
    pub(super) fn in_flight(&self) -> u64 {
        self.workers.iter().map(|worker| u64::from(worker.in_flight)).sum()
    }

    /// How many items wait for a worker or their next attempt.
    pub(super) fn queued(&self) -> u64 {
        let delayed = self.delayed.iter().map(|(_, span)| span);
        self.queue.iter().chain(delayed).map(|span| u64::from(span.len())).sum()
    }

    /// How many workers it should have.
    pub(super) fn size(&self) -> usize {
        self.config.workers
    }

    /// Why it takes nothing more, if workers do not start.
    pub(super) fn broken(&self) -> Option<&Arc<str>> {
        self.broken.as_ref()
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage
    }

    /// Whether the pool has come to its end: no more can be submitted, and no worker is left.
    pub(super) fn is_finished(&self) -> bool {
        self.stage != Stage::Open && self.workers.iter().all(|worker| !worker.has_process())
    }

    fn submit(&mut self, key: BatchKey, batch: Batch, now: Instant, actions: &mut Vec<Action>) {
        if batch.count == 0 {
            actions.push(Action::Free { key });
            return;
        }
        self.batches.insert(key, Open { batch, left: batch.count, cancelled: false });
        let span = Span { key, items: 0..batch.count, attempt: 1 };
        match &self.broken {
            Some(reason) => {
                let verdict = Verdict::NoWorker(Arc::clone(reason));
                self.deliver(span, verdict, actions);
            }
            None if self.stage == Stage::Terminating => self.deliver(span, Verdict::Terminated, actions),
            None => {
                self.queue.push_back(span);
                // A pool that closes may have let its workers go between two inputs of a call.
                if self.stage == Stage::Closing {
                    self.staff(now, actions);
                }
                self.fill(now, actions);
            }
        }
    }

    fn settled(&mut self, slot: Slot, count: u32, now: Instant, actions: &mut Vec<Action>) {
        self.failed_starts = 0;
        let worker = &mut self.workers[slot];
        worker.progressed(count, now);
        let mut left = count;
        while left > 0 {
            let Some(front) = self.workers[slot].spans.front_mut() else { break };
            let here = front.split_front(left.min(front.len()));
            if front.len() == 0 {
                self.workers[slot].spans.pop_front();
            }
            left -= here.len();
            self.count_off(here.key, here.len(), actions);
        }
        self.after_progress(slot, now, actions);
    }

    fn failed(&mut self, slot: Slot, retriable: bool, now: Instant, actions: &mut Vec<Action>) {
        self.failed_starts = 0;
        let worker = &mut self.workers[slot];
        worker.progressed(1, now);
        let condemned = worker.condemned.take();
        if let Some(item) = worker.take_front() {
            let (verdict, retriable) = match condemned {
                Some(Condemned { verdict, .. }) => {
                    let again = matches!(verdict, Verdict::TimedOut(_));
                    (verdict, again)
                }
                None => (Verdict::AsTold, retriable),
            };
            self.retry_or_deliver(item, retriable, verdict, now, actions);
        }
        self.after_progress(slot, now, actions);
    }

    fn after_progress(&mut self, slot: Slot, now: Instant, actions: &mut Vec<Action>) {
        let worker = &self.workers[slot];
        let used_up = self.config.max_tasks_per_worker.is_some_and(|most| worker.given >= most);
        if used_up && worker.in_flight == 0 && worker.phase == Phase::Working {
            self.retire(slot, actions);
        }
        self.fill(now, actions);
        self.finish_if_done(actions);
    }

    fn initialized(&mut self, slot: Slot, now: Instant, actions: &mut Vec<Action>) {
        self.failed_starts = 0;
        let worker = &mut self.workers[slot];
        if worker.phase == Phase::Initializing {
            worker.phase = Phase::Working;
            worker.since = now;
            self.fill(now, actions);
        }
        self.finish_if_done(actions);
    }

    fn took_back(&mut self, slot: Slot, mut count: u32, now: Instant, actions: &mut Vec<Action>) {
        let worker = &mut self.workers[slot];
        worker.in_flight -= count;
        worker.given -= u64::from(count);
        worker.taking_back = false;
        worker.settled_in = count == 0;
        while count > 0 {
            let worker = &mut self.workers[slot];
            let Some(back) = worker.spans.back_mut() else { break };
            let here = back.split_back(count.min(back.len()));
            if back.len() == 0 {
                worker.spans.pop_back();
            }
            count -= here.len();
            self.requeue(here, actions);
        }
        self.workers[slot].forget_bytes();
        let front_cancelled = self.front(slot).is_some_and(|front| self.is_cancelled(front.key));
        if front_cancelled {
            self.condemn(slot, Verdict::Cancelled, now, actions);
        }
        self.fill(now, actions);
        self.finish_if_done(actions);
    }

    /// Another attempt, if the item has one left, or its end.
    fn retry_or_deliver(
        &mut self,
        item: Span,
        retriable: bool,
        verdict: Verdict,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let attempts = self.batches.get(&item.key).map_or(1, |open| open.batch.attempts);
        if !retriable || item.attempt >= attempts || self.stage == Stage::Terminating {
            self.deliver(item, verdict, actions);
            return;
        }
        actions.push(Action::Retry { key: item.key, item: item.items.start, attempt: item.attempt });
        let doubled = self.config.backoff.saturating_mul(1 << (item.attempt - 1).min(16));
        let next = Span { attempt: item.attempt + 1, ..item };
        match doubled.min(LONGEST_BACKOFF) {
            Duration::ZERO => self.requeue(next, actions),
            _ if self.is_cancelled(next.key) => self.deliver(next, Verdict::Cancelled, actions),
            delay => {
                self.delayed.push((now + delay, next));
                self.wake_by(now + delay);
            }
        }
    }

    /// Puts items back at the head of the queue, unless nobody wants them any more.
    fn requeue(&mut self, span: Span, actions: &mut Vec<Action>) {
        if self.is_cancelled(span.key) {
            self.deliver(span, Verdict::Cancelled, actions);
        } else {
            self.queue.push_front(span);
        }
    }

    fn is_cancelled(&self, key: BatchKey) -> bool {
        self.batches.get(&key).is_some_and(|open| open.cancelled)
    }

    /// Items end without a value.
    fn deliver(&mut self, span: Span, verdict: Verdict, actions: &mut Vec<Action>) {
        let Span { key, items, attempt } = span;
        let count = items.end - items.start;
        actions.push(Action::Deliver { key, items, attempt, verdict });
        self.count_off(key, count, actions);
    }

    fn count_off(&mut self, key: BatchKey, count: u32, actions: &mut Vec<Action>) {
        let Some(open) = self.batches.get_mut(&key) else { return };
        open.left -= count;
        if open.left == 0 {
            self.batches.remove(&key);
            actions.push(Action::Free { key });
        }
    }

    fn cancel(&mut self, job: JobKey, now: Instant, actions: &mut Vec<Action>) {
        let waiting = std::mem::take(&mut self.queue).into_iter();
        let delayed = std::mem::take(&mut self.delayed);
        let (mine, others): (Vec<Span>, Vec<Span>) = waiting.partition(|span| self.is_of(span.key, job));
        self.queue = others.into();
        let (mine_delayed, others): (Vec<_>, Vec<_>) =
            delayed.into_iter().partition(|(_, span)| self.is_of(span.key, job));
        self.delayed = others;
        for span in mine.into_iter().chain(mine_delayed.into_iter().map(|(_, span)| span)) {
            self.deliver(span, Verdict::Cancelled, actions);
        }
        for open in self.batches.values_mut().filter(|open| open.batch.job == job) {
            open.cancelled = true;
        }
        for slot in 0..self.workers.len() {
            // What has not begun comes back and ends then; what has is asked to stop then.
            if self.workers[slot].spans.iter().any(|span| self.is_of(span.key, job)) {
                self.take_back(slot, actions);
            }
        }
        self.fill(now, actions);
        self.finish_if_done(actions);
    }

    fn is_of(&self, key: BatchKey, job: JobKey) -> bool {
        self.batches.get(&key).is_some_and(|open| open.batch.job == job)
    }

    fn take_back(&mut self, slot: Slot, actions: &mut Vec<Action>) {
        self.workers[slot].taking_back = true;
        actions.push(Action::TakeBack { slot });
    }

    /// The running item should stop, and is killed after the grace time.
    fn condemn(&mut self, slot: Slot, verdict: Verdict, now: Instant, actions: &mut Vec<Action>) {
        let worker = &mut self.workers[slot];
        if worker.condemned.is_some() {
            return;
        }
        let kill_at = now + self.config.grace;
        worker.condemned = Some(Condemned { verdict, kill_at: Some(kill_at) });
        self.wake_by(kill_at);
        actions.push(Action::AskToStop { slot });
    }

    fn close(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.stage == Stage::Open {
            self.stage = Stage::Closing;
        }
        self.fill(now, actions);
        self.finish_if_done(actions);
    }

    fn terminate(&mut self, actions: &mut Vec<Action>) {
        self.stage = Stage::Terminating;
        let delayed = std::mem::take(&mut self.delayed).into_iter().map(|(_, span)| span);
        let spans: Vec<Span> = std::mem::take(&mut self.queue).into_iter().chain(delayed).collect();
        for span in spans {
            self.deliver(span, Verdict::Terminated, actions);
        }
        for slot in 0..self.workers.len() {
            let spans = self.workers[slot].clear();
            for span in spans {
                self.deliver(span, Verdict::Terminated, actions);
            }
            if self.workers[slot].has_process() {
                self.workers[slot].phase = Phase::Ending;
                actions.push(Action::Kill { slot });
            } else {
                self.workers[slot].phase = Phase::Vacant;
            }
        }
    }

    /// A pool that is closing lets its workers go when nothing is left to do.
    fn finish_if_done(&mut self, actions: &mut Vec<Action>) {
        let idle = self.batches.is_empty();
        if self.stage != Stage::Closing || !idle {
            return;
        }
        for slot in 0..self.workers.len() {
            match self.workers[slot].phase {
                Phase::Working | Phase::Initializing => self.retire(slot, actions),
                Phase::Delayed(_) => self.workers[slot].phase = Phase::Vacant,
                Phase::Vacant | Phase::Leaving | Phase::Ending => {}
            }
        }
    }

    fn retire(&mut self, slot: Slot, actions: &mut Vec<Action>) {
        self.workers[slot].phase = Phase::Leaving;
        actions.push(Action::Retire { slot });
    }
}

/// However often an item has failed, its next attempt is not further away.
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);
