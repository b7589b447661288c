//! Calls by name with JSON, submitted on one thread and received on another: what the command line runs on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::Error;
use crate::link::frame::Coding;
use crate::task::error::{TaskError, TaskErrorKind};

use super::Pool;
use super::batch::{Encoder, Function, TaskOptions};
use super::core::{Core, Role};
pub(crate) use super::job::Facts;
use super::job::Mailbox;
use super::machine::{Event, JobKey};
use super::state::State;

/// What both ends of a stream know.
struct Stream {
    core: Arc<Core>,
    job: JobKey,
    /// How far submission may run ahead of what the receiver has released.
    buffer: u64,
    released: AtomicU64,
    /// Nothing more is submitted. Changes under the pool's lock.
    stopped: AtomicBool,
}

/// The end that submits. Calls are numbered from 0; those that are added travel together at the next `flush`.
pub(crate) struct JsonFeed {
    stream: Arc<Stream>,
    function: Function,
    options: TaskOptions,
    encoder: Encoder,
    /// Calls that were flushed.
    submitted: u64,
}

/// The end that receives. Dropped, it cancels what is not done.
pub(crate) struct JsonOutcomes {
    stream: Arc<Stream>,
}

/// What became of one call.
pub(crate) struct Record {
    pub(crate) number: u64,
    /// JSON as the worker wrote it, or why there is none.
    pub(crate) outcome: Result<Vec<u8>, TaskError>,
    pub(crate) facts: Option<Facts>,
}

impl Pool {
    /// Opens a stream of calls of the task that `name` means.
    pub(crate) fn json_calls(&self, name: &str) -> Result<(JsonFeed, JsonOutcomes), Error> {
        let function = self.named(name, Coding::Json)?;
        let mut state = self.core.lock();
        self.core.check_open(&state)?;
        let job = state.open(function.name.clone());
        drop(state);
        let stream = Arc::new(Stream {
            core: Arc::clone(&self.core),
            job,
            buffer: self.options.buffer as u64,
            released: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        });
        let options = self.task_options();
        let feed = JsonFeed {
            stream: Arc::clone(&stream),
            function,
            options,
            encoder: Encoder::default(),
            submitted: 0,
        };
        Ok((feed, JsonOutcomes { stream }))
    }
}

impl Stream {
    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn with(&self, act: impl FnOnce(&mut State)) {
        let mut state = self.core.lock();
        act(&mut state);
        self.core.release(state);
    }
}

impl JsonFeed {
    /// Waits until calls may be added, and says how many; 0 if the stream was stopped or the pool is gone.
    pub(crate) fn room(&self) -> u64 {
        let stream = &*self.stream;
        let room = stream.core.wait(stream.job, None, Role::None, |state| {
            if stream.is_stopped() || state.ended {
                return Some(0);
            }
            let ahead = self.submitted - stream.released.load(Ordering::Relaxed);
            let room = stream.buffer.saturating_sub(ahead);
            (room > 0 && state.has_appetite(stream.job)).then(|| room.min(state.appetite(stream.job)))
        });
        room.unwrap_or(0)
    }

    /// The number of the next call.
    pub(crate) fn next_number(&self) -> u64 {
        self.submitted + u64::from(self.encoder.count())
    }

    /// Adds a call: a JSON array of arguments.
    pub(crate) fn call(&mut self, arguments: &[u8]) {
        self.encoder.push_json(arguments);
    }

    /// Gives the next number to an input that is no call at all, and tells why as its outcome.
    pub(crate) fn reject(&mut self, kind: TaskErrorKind) {
        self.flush();
        let number = self.submitted;
        self.stream.with(|state| {
            if !self.stream.is_stopped() {
                state.reject(self.stream.job, number, kind);
            }
        });
        self.submitted += 1;
    }

    /// Bytes of the calls that were added.
    pub(crate) fn bytes(&self) -> usize {
        self.encoder.bytes()
    }

    /// Submits what was added, unless the stream was stopped.
    pub(crate) fn flush(&mut self) {
        if self.encoder.is_empty() {
            return;
        }
        let encoder = std::mem::take(&mut self.encoder);
        let count = u64::from(encoder.count());
        let batch = encoder.finish(self.stream.job, self.function.clone(), self.submitted, self.options);
        self.stream.with(|state| {
            if !self.stream.is_stopped() {
                state.submit(batch);
            }
        });
        self.submitted += count;
    }
}

impl Drop for JsonFeed {
    /// Nothing more will be submitted: the outcomes come to an end.
    fn drop(&mut self) {
        self.flush();
        self.stream.with(|state| state.seal(self.stream.job));
    }
}

impl JsonOutcomes {
    /// Waits for outcomes, in the order in which they come; `None` at the end. For one thread.
    pub(crate) fn receive(&self) -> Option<Vec<Record>> {
        let stream = &*self.stream;
        let mut mailbox = Mailbox::default();
        stream.core.wait(stream.job, None, Role::None, |state| {
            let ended = state.ended;
            let job = state.jobs.get_mut(&stream.job)?;
            (!job.mailbox.is_empty() || job.is_complete() || ended).then(|| job.mailbox.swap(&mut mailbox))
        })?;
        let mut records = Vec::with_capacity(mailbox.len() as usize);
        mailbox.take_runs(|values| {
            records.extend(values.map(|(number, line)| Record {
                number,
                outcome: Ok(line.to_vec()),
                facts: None,
            }));
        });
        mailbox.take_others(|number, content, facts| {
            let outcome = content.map(|(line, _)| line.to_vec());
            records.push(Record { number, outcome, facts });
        });
        (!records.is_empty()).then_some(records)
    }

    /// The caller is through with so many outcomes: as many more may be submitted.
    pub(crate) fn release(&self, count: u64) {
        self.stream.released.fetch_add(count, Ordering::Relaxed);
        self.stream.with(|state| state.tell(self.stream.job));
    }

    /// Submits nothing more, from now on. What has begun is done; what has not ends as cancelled.
    pub(crate) fn stop(&self) {
        self.call_off(Event::Withdraw { job: self.stream.job });
    }

    /// Cancels what is not done.
    pub(crate) fn cancel(&self) {
        self.call_off(Event::Cancel { job: self.stream.job });
    }

    fn call_off(&self, event: Event) {
        self.stream.with(|state| {
            self.stream.stopped.store(true, Ordering::Relaxed);
            state.seal(self.stream.job);
            state.drain_all();
            state.run(event);
        });
    }
}

impl Drop for JsonOutcomes {
    fn drop(&mut self) {
        self.cancel();
        let _ = self.stream.core.lock().detach(self.stream.job);
    }
}
