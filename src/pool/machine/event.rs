//! What driver and machine say to each other.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::span::{Batch, BatchKey, JobKey, Slot, Span};

/// What happened.
#[derive(Clone, Debug)]
pub(in crate::pool) enum Event {
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
    /// The last `count` items in flight are the host's again. `front` says whether what is first then has begun.
    TookBack {
        slot: Slot,
        count: u32,
        front: Front,
    },
    /// A worker has ended.
    Died {
        slot: Slot,
        death: Death,
    },
    /// The task that was just asked to stop has ended before: its result is read, and is told next.
    TooLate {
        slot: Slot,
    },
    /// A worker must be killed: it did what no worker does, or its initializer failed.
    Doomed {
        slot: Slot,
    },
    /// A worker's process is gone. What it committed is told next, and then `Died`.
    Ended {
        slot: Slot,
    },
    /// What has not begun of a submission is not wanted any more.
    #[cfg_attr(
        not(any(feature = "cli", test)),
        expect(dead_code, reason = "streams are for the command line")
    )]
    Withdraw {
        job: JobKey,
    },
    /// A submission is not wanted any more: what runs is asked to stop.
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

/// How a worker ended, and what the others do.
#[derive(Clone, Debug)]
pub(in crate::pool) struct Death {
    /// The first item in flight was begun.
    pub(in crate::pool) running: bool,
    /// It ever took tasks.
    pub(in crate::pool) ready: bool,
    /// Another worker has begun an item.
    pub(in crate::pool) others_run: bool,
    pub(in crate::pool) reason: Arc<str>,
}

impl Event {
    /// Whether it is the consequence of a submission, or of results in a lane.
    pub(in crate::pool) fn is_of_a_lane(&self) -> bool {
        matches!(self, Event::Submit { .. } | Event::Settled { .. } | Event::Failed { .. })
    }
}

/// How far a worker is with what is first in its lane after a take-back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) enum Front {
    /// It is not ready for anything yet.
    Starting,
    /// It has claimed nothing. If something is left, that is larger than the ring and on its way.
    Unclaimed,
    /// It has claimed the first item, and began it so long ago, if it says.
    Claimed(Option<Duration>),
}

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::pool) enum Action {
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
    /// Kill the worker without the keeper, which has not told of its end.
    KillItself {
        slot: Slot,
    },
    /// The keeper still has not told of the end of a worker that was killed.
    BlameKeeper {
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
pub(in crate::pool) enum Verdict {
    /// As the driver just told: `Failed` or `Died`.
    AsTold,
    TimedOut(Duration),
    Cancelled,
    Terminated,
    NoWorker(Arc<str>),
}
