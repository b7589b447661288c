//! What comes up the lanes, and where it belongs.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes as Buffer;
use rustc_hash::FxHashMap;

use crate::link::frame::{Measure, UpKind};
use crate::link::host_end::HostEnd;
use crate::link::reading::{Arrival, ArrivedLine, Reading};
use crate::link::ring::Breach;
use crate::pool::batch::Batch;
use crate::pool::job::{Facts, Job};
use crate::pool::machine::{BatchKey, Event, JobKey, Slot, Span};
use crate::pool::worker::{Initializer, WorkerProcess};
use crate::process::verdict;
use crate::sync::counters::Count;
use crate::task::error::{Absent, TaskErrorKind};
use crate::task::passengers;

use super::State;
use super::telling::Told;

impl State {
    /// Reads what has come up the lane of a worker.
    pub(in crate::pool) fn drain(&mut self, slot: Slot) {
        let Some(worker) =
            self.workers.get_mut(slot).and_then(Option::as_mut).filter(|worker| worker.is_read())
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
        self.tell_ready(slot);
        self.follow(slot, steps);
        if let Some(breach) = breach {
            let doomed = self.breached(slot, breach);
            self.run(doomed);
        }
    }

    /// Tells the machine what a reading brought.
    fn follow(&mut self, slot: Slot, steps: Vec<Step>) {
        let mut left = steps.len();
        for step in steps {
            left -= 1;
            self.untold = (left > 0).then_some(slot);
            match step {
                Step::Values(count) => {
                    self.counters.add(Count::Done, u64::from(count));
                    self.pending -= u64::from(count);
                    self.run(Event::Settled { slot, count });
                }
                Step::NoValue(kind, measure) => {
                    let retriable =
                        !matches!(kind, TaskErrorKind::Encoding { .. } | TaskErrorKind::UnknownTask { .. });
                    let context = self.context(slot, measure, Err(Absent::WorkerLivesOn));
                    self.told = Some(Told { kind, context });
                    self.run(Event::Failed { slot, retriable });
                    self.told = None;
                }
                Step::Initialized => self.run(Event::Initialized { slot }),
                Step::InitializerFailed(kind) => {
                    if let Some(worker) = self.workers[slot].as_mut() {
                        worker.initializer = Initializer::Failed(kind);
                    }
                    self.run(Event::Doomed { slot });
                }
            }
        }
    }

    /// Reads every lane that has something.
    pub(in crate::pool) fn drain_all(&mut self) {
        self.must_read = false;
        for slot in 0..self.workers.len() {
            if self.workers[slot].as_ref().is_some_and(WorkerProcess::has_news) {
                self.drain(slot);
            }
        }
    }
}

/// What one reading of a lane brought, in order.
enum Step {
    Values(u32),
    NoValue(TaskErrorKind, Option<Measure>),
    Initialized,
    InitializerFailed(TaskErrorKind),
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
            let initializing = initializer.is_pending();
            if !initializing && !self.condemned && !self.measured && self.read_run(lane, &mut reading)? {
                continue;
            }
            let whole = lane.read_any(&mut reading, |arrival| {
                if initializing {
                    self.steps.push(initialized(initializer, &arrival));
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
    fn take(&mut self, mut arrival: Arrival<'_>) {
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
            if batch.function.boards {
                passengers::take_on(&mut arrival.parts);
            }
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
    let kind = match arrival.kind {
        // It came too late: the machine has the verdict.
        UpKind::Value => TaskErrorKind::Cancelled,
        kind => verdict::of_result(kind, arrival.line.bytes()),
    };
    Step::NoValue(kind, arrival.measure)
}

fn initialized(initializer: &Initializer, arrival: &Arrival<'_>) -> Step {
    match (initializer, arrival.kind) {
        // Any answer is one.
        (Initializer::Asked, _) | (_, UpKind::Value) => Step::Initialized,
        (_, kind) => Step::InitializerFailed(verdict::of_result(kind, arrival.line.bytes())),
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
