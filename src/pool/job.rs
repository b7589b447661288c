//! One submission: what has come of it, and who waits for it.

use std::iter::Zip;
use std::ops::Range;
use std::task::Waker;
use std::thread::Thread;

use bytes::Bytes as Buffer;

use crate::link::frame::Measure;
use crate::link::reading::{Lines, lines};
use crate::task::error::TaskError;

use super::batch::Name;

/// What became of one task, still as bytes: a line and what travelled beside it.
pub(super) type Content = Result<(Buffer, Vec<Buffer>), TaskError>;

/// What is told of a task that was measured.
#[cfg_attr(not(feature = "cli"), expect(dead_code, reason = "only the command line measures"))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) attempt: u32,
    pub(crate) pid: u32,
    pub(crate) measure: Option<Measure>,
}

impl Facts {
    /// Of a task that has failed, and was measured if it had begun.
    pub(super) fn of_failure(error: &TaskError, measure: Option<Measure>) -> Facts {
        Facts { attempt: error.attempt().0, pid: error.pid().unwrap_or(0), measure }
    }
}

/// Outcomes that nobody has taken yet.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    /// Small values as they stood in the lane.
    pub(super) words: Vec<u64>,
    runs: Vec<Run>,
    others: Vec<Other>,
}

/// Indices and bytes of small values of tasks that follow each other.
pub(super) type Values<'a> = Zip<Range<u64>, Lines<'a>>;

/// Small values of tasks that follow each other.
#[derive(Debug)]
struct Run {
    first: u64,
    count: u32,
    /// Where they end among the words.
    end: usize,
}

/// Anything else.
#[derive(Debug)]
struct Other {
    index: u64,
    outcome: Content,
    facts: Option<Facts>,
}

impl Mailbox {
    /// The words at the end are the values of `count` tasks from `first` on.
    pub(super) fn push_run(&mut self, first: u64, count: u32) {
        self.runs.push(Run { first, count, end: self.words.len() });
    }

    pub(super) fn push_large(&mut self, index: u64, line: Buffer, parts: Vec<Buffer>, facts: Option<Facts>) {
        self.others.push(Other { index, outcome: Ok((line, parts)), facts });
    }

    pub(super) fn push_error(&mut self, index: u64, error: TaskError, facts: Option<Facts>) {
        self.others.push(Other { index, outcome: Err(error), facts });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.others.is_empty()
    }

    /// How many outcomes it holds.
    pub(super) fn len(&self) -> u64 {
        self.runs.iter().map(|run| u64::from(run.count)).sum::<u64>() + self.others.len() as u64
    }

    pub(super) fn has_errors(&self) -> bool {
        self.others.iter().any(|other| other.outcome.is_err())
    }

    /// Takes everything, and leaves the emptied `other` in its place for its capacity.
    pub(super) fn swap(&mut self, other: &mut Mailbox) {
        other.clear();
        std::mem::swap(self, other);
    }

    pub(super) fn clear(&mut self) {
        self.words.clear();
        self.runs.clear();
        self.others.clear();
    }

    /// Hands the small values of tasks that follow each other to `take`, each with its index.
    #[inline]
    pub(super) fn take_runs(&mut self, mut take: impl FnMut(Values<'_>)) {
        let mut start = 0;
        for run in self.runs.drain(..) {
            let indices = run.first..run.first + u64::from(run.count);
            take(indices.zip(lines(&self.words[start..run.end])));
            start = run.end;
        }
        self.words.clear();
    }

    /// Hands everything else to `take`.
    pub(super) fn take_others(&mut self, mut take: impl FnMut(u64, Content, Option<Facts>)) {
        self.others.drain(..).for_each(|other| take(other.index, other.outcome, other.facts));
    }
}

/// What happens when all of a submission has come.
pub(super) type Completion = Box<dyn FnOnce(Mailbox) + Send>;

/// One submission.
pub(super) struct Job {
    pub(super) task: Name,
    /// Submitted and not delivered.
    pub(super) outstanding: u64,
    /// Nothing more will be submitted.
    pub(super) sealed: bool,
    /// Nobody wants what still comes.
    pub(super) detached: bool,
    pub(super) mailbox: Mailbox,
    /// Threads that sleep until there is news.
    pub(super) sleepers: Vec<Thread>,
    pub(super) waker: Option<Waker>,
    pub(super) completion: Option<Completion>,
}

impl Job {
    pub(super) fn new(task: Name) -> Job {
        Job {
            task,
            outstanding: 0,
            sealed: false,
            detached: false,
            mailbox: Mailbox::default(),
            sleepers: Vec::new(),
            waker: None,
            completion: None,
        }
    }

    /// Whether all of it has come.
    pub(super) fn is_complete(&self) -> bool {
        self.sealed && self.outstanding == 0
    }

    /// Wakes whoever sleeps on news of it. The waker is to be woken without the pool's lock, once all has come.
    pub(super) fn wake(&mut self) -> Option<Waker> {
        self.sleepers.drain(..).for_each(|thread| thread.unpark());
        self.waker.take_if(|_| self.sealed && self.outstanding == 0)
    }
}
