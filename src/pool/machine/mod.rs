//! Decides what a pool does next. Pure: no clock, no process, no thread, no bytes.
//!
//! Tasks are items of batches; a worker has spans of them in flight, in the order of its lane. The driver
//! tells what happened and carries out the actions, in order.
//!
//! Invariants: every item of a batch is settled exactly once, by the driver (a value) or by one `Deliver`;
//! an item is in the queue, delayed, or in flight at one worker, never in two of these; a worker that is not
//! `Working`, or is doomed or condemned, is given nothing; only the first item in flight is ever condemned.

mod cancel;
mod death;
mod dispatch;
mod ends;
mod event;
mod farewell;
mod kill;
mod results;
mod span;
mod suspects;
#[cfg(test)]
mod test;
mod timers;
mod worker;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use worker::{Phase, Worker};

pub(super) use event::{Action, Death, Event, Front, Verdict};
pub(super) use farewell::Stage;
pub(super) use span::{Batch, BatchKey, JobKey, Slot, Span};

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
    /// How long the initializer may take, if the caller chose.
    pub(super) initializer_timeout: Option<Duration>,
    /// Of its tasks.
    pub(super) timeout: Option<Duration>,
    /// Bytes that a worker is given ahead.
    pub(super) bytes_ahead: usize,
    /// Tasks a frame, if the caller chose.
    pub(super) chunk: Option<u32>,
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
    /// Workers that were started in the place of another one.
    restarted: u64,
    /// Open batches that are not wanted any more, at least in part.
    unwanted: usize,
    /// How suspicious items are that stood first at workers which died without having begun them, as they said.
    suspects: FxHashMap<(BatchKey, u32), u32>,
}

/// A batch that is not settled.
struct Open {
    batch: Batch,
    left: u32,
    wanted: Wanted,
}

/// What somebody still wants of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wanted {
    Nothing,
    /// What has begun.
    Begun,
    All,
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
            restarted: 0,
            unwanted: 0,
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
            Event::TookBack { slot, count, front } => {
                self.took_back(slot, count, actions);
                self.after_take_back(slot, front, now, actions);
            }
            Event::Died { slot, death } => self.died(slot, death, now, actions),
            Event::TooLate { slot } => self.workers[slot].condemned = None,
            Event::Doomed { slot } => self.doom(slot, now, actions),
            Event::Ended { slot } => self.workers[slot].doomed = true,
            Event::Withdraw { job } => self.call_off(job, Wanted::Begun, now, actions),
            Event::Cancel { job } => self.call_off(job, Wanted::Nothing, now, actions),
            Event::Resize { workers } => {
                self.config.workers = workers;
                self.staff(now, actions);
                self.fill(now, actions);
            }
            Event::Close => self.close(now, actions),
            Event::Terminate => self.terminate(now, actions),
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

    /// Whether a worker that was just started has to answer before it is given anything.
    pub(super) fn is_doubtful(&self, slot: Slot) -> bool {
        self.workers.get(slot).is_some_and(|worker| worker.doubtful)
    }

    /// How many items are in flight.
    pub(super) fn in_flight(&self) -> u64 {
        self.workers.iter().map(|worker| u64::from(worker.in_flight)).sum()
    }

    /// How many workers have items in flight.
    pub(super) fn busy(&self) -> u64 {
        self.workers.iter().filter(|worker| worker.in_flight > 0).count() as u64
    }

    /// How many items wait for a worker or their next attempt.
    pub(super) fn queued(&self) -> u64 {
        let delayed = self.delayed.iter().map(|(_, span)| span);
        self.queue.iter().chain(delayed).map(|span| u64::from(span.len())).sum()
    }

    /// How many workers were started in the place of another one.
    pub(super) fn restarted(&self) -> u64 {
        self.restarted
    }

    /// Whether the worker in a slot was started in the place of another one.
    pub(super) fn replaces(&self, slot: Slot) -> bool {
        self.workers.get(slot).is_some_and(|worker| worker.replaces)
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

    /// Whether a worker was told to end, as it has: by a kill, or of its own accord when nothing ran.
    pub(super) fn expects_end(&self, slot: Slot, running: bool) -> bool {
        let phase = self.workers.get(slot).map(|worker| worker.phase);
        phase == Some(Phase::Ending) || (phase == Some(Phase::Leaving) && !running)
    }

    /// Whether the pool has come to its end: nothing is to be done, and no worker is left.
    pub(super) fn is_finished(&self) -> bool {
        let left = || self.workers.iter().any(Worker::has_process);
        self.stage != Stage::Open && self.batches.is_empty() && !left()
    }

    fn submit(&mut self, key: BatchKey, batch: Batch, now: Instant, actions: &mut Vec<Action>) {
        if batch.count == 0 {
            actions.push(Action::Free { key });
            return;
        }
        self.batches.insert(key, Open { batch, left: batch.count, wanted: Wanted::All });
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
}
