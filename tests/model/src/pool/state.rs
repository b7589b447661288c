//! One worker's lane, and what comes of it: results of jobs, in an order that is known.

use std::sync::Arc;

use crate::link::bell::Bell;
use crate::primitive::{AtomicU64, Futex, Instant, Ordering, Thread, Word};

use super::core::Sets;
use super::reader::Poller;

pub(crate) struct Lane {
    bell: Word,
    /// Results that were committed.
    head: AtomicU64,
    /// The host's: results that were read.
    read: AtomicU64,
    doorbell: Arc<Sets>,
}

impl Lane {
    pub(crate) fn new(doorbell: Arc<Sets>) -> Arc<Lane> {
        Arc::new(Lane { bell: Word::new(0), head: AtomicU64::new(0), read: AtomicU64::new(0), doorbell })
    }

    fn bell(&self) -> Bell<'_> {
        Bell(Futex(&self.bell))
    }

    /// As the worker: commits result number `count`, and rings if it has to.
    pub(crate) fn commit(&self, count: u64) {
        self.head.store(count, Ordering::Release);
        if self.bell().answer() {
            self.doorbell.ring();
        }
    }

    pub(crate) fn has_news(&self) -> bool {
        self.head.load(Ordering::Relaxed) != self.read.load(Ordering::Relaxed)
    }
}

/// A job with one task.
#[derive(Default)]
pub(crate) struct Job {
    pub(crate) sleepers: Vec<Thread>,
    pub(crate) done: bool,
}

/// Moves whenever a job has news.
#[derive(Clone)]
pub(crate) struct Epoch {
    moves: Arc<AtomicU64>,
    seen: u64,
}

impl Epoch {
    pub(crate) fn has_passed(&self) -> bool {
        self.moves.load(Ordering::Acquire) != self.seen
    }
}

pub(crate) struct State {
    pub(crate) lanes: Arc<[Arc<Lane>]>,
    /// In the order in which their results come.
    pub(crate) jobs: Jobs,
    /// Whose tasks were sent.
    sent: u64,
    armed: bool,
    epoch: Epoch,
    pub(super) poller: Poller,
    pub(crate) followers: Vec<Thread>,
    /// Nobody submits in the model, so nobody waits for room.
    pub(crate) lacking: Option<()>,
    pub(crate) hungry: Vec<(Thread, ())>,
    pub(crate) has_told: bool,
    pub(crate) must_read: bool,
    pub(crate) woke: bool,
    pub(crate) late_at: Option<Instant>,
    pub(crate) alarm: Option<Instant>,
    pub(crate) deferred: Vec<()>,
}

pub(crate) struct Jobs(Vec<Job>);

impl Jobs {
    pub(crate) fn get_mut(&mut self, key: &usize) -> Option<&mut Job> {
        self.0.get_mut(*key)
    }
}

impl State {
    /// Whoever waits in the model is a thread.
    pub(crate) fn take_wakers(&mut self) -> Vec<std::task::Waker> {
        Vec::new()
    }

    pub(crate) fn new(lane: Arc<Lane>, jobs: usize) -> State {
        State {
            lanes: Arc::from([lane]),
            jobs: Jobs((0..jobs).map(|_| Job::default()).collect()),
            sent: 0,
            armed: false,
            epoch: Epoch { moves: Arc::new(AtomicU64::new(0)), seen: 0 },
            poller: Poller::None,
            followers: Vec::new(),
            lacking: None,
            hungry: Vec::new(),
            has_told: false,
            must_read: false,
            woke: false,
            late_at: None,
            alarm: None,
            deferred: Vec::new(),
        }
    }

    /// The tasks of so many more jobs go down the lane.
    pub(crate) fn send(&mut self, jobs: u64) {
        self.sent += jobs;
        if !self.poller.is_reading() {
            self.arm();
            self.must_read |= self.may_have_missed();
        }
    }

    fn read(&self) -> u64 {
        self.lanes[0].read.load(Ordering::Relaxed)
    }

    pub(crate) fn drain_all(&mut self) {
        self.must_read = false;
        let (head, read) = (self.lanes[0].head.load(Ordering::Acquire), self.read());
        for job in &mut self.jobs.0[read as usize..head as usize] {
            job.done = true;
            job.sleepers.drain(..).for_each(|thread| thread.unpark());
            self.epoch.moves.fetch_add(1, Ordering::Release);
            self.has_told = true;
        }
        self.lanes[0].read.store(head, Ordering::Relaxed);
        if self.armed {
            self.arm();
        }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        Epoch { seen: self.epoch.moves.load(Ordering::Acquire), ..self.epoch.clone() }
    }

    /// A worker that has nothing to do need not ring.
    pub(crate) fn starve(&mut self, _thread: &Thread) {}

    pub(crate) fn arm(&mut self) -> bool {
        if self.read() == self.sent {
            self.disarm();
        } else {
            self.armed = true;
            self.lanes[0].bell().arm();
        }
        false
    }

    pub(crate) fn disarm(&mut self) {
        if std::mem::take(&mut self.armed) {
            self.lanes[0].bell().disarm();
        }
    }

    pub(crate) fn look_at(&self) -> Option<Instant> {
        match self.poller {
            Poller::None => self.late_at,
            Poller::Away(until) => Some(until),
            Poller::Spinning | Poller::Asleep => None,
        }
    }

    pub(crate) fn may_have_missed(&self) -> bool {
        self.armed && self.lanes[0].has_news()
    }

    pub(crate) fn has_plenty(&self) -> bool {
        false
    }

    pub(crate) fn needs_driver(&mut self) -> bool {
        match (self.look_at(), self.alarm) {
            (Some(look), Some(alarm)) => look < alarm,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }
}
