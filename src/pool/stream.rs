//! Calls by name with JSON, submitted on one thread and received on another: what the command line runs on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::Error;
use crate::link::frame::Coding;
use crate::task::error::{TaskError, TaskErrorKind};

use super::Pool;
use super::batch::{Encoder, Function, TaskOptions};
use super::core::{Core, Role};
use super::job::{Content, Facts, Mailbox};
use super::machine::{Event, JobKey};

/// A stream of calls of one task. Submitted calls are numbered from 0.
pub(crate) struct JsonCalls {
    core: Arc<Core>,
    job: JobKey,
    function: Function,
    options: TaskOptions,
    /// How far submission may run ahead of `received`.
    buffer: u64,
    submitted: AtomicU64,
    received: AtomicU64,
    stopped: AtomicBool,
}

/// What became of one call.
pub(crate) struct Record {
    pub(crate) number: u64,
    /// JSON, or why there is none.
    pub(crate) outcome: Result<Vec<u8>, TaskError>,
    pub(crate) facts: Option<Facts>,
}

impl Pool {
    /// Opens a stream of calls of the task that `name` means.
    pub(crate) fn json_calls(&self, name: &str) -> Result<JsonCalls, Error> {
        let function = self.named(name, Coding::Json)?;
        let mut state = self.core.lock();
        self.core.check_open(&state)?;
        let job = state.open(function.name.clone());
        drop(state);
        Ok(JsonCalls {
            core: Arc::clone(&self.core),
            job,
            function,
            options: self.task_options(),
            buffer: self.options.buffer as u64,
            submitted: AtomicU64::new(0),
            received: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        })
    }
}

impl JsonCalls {
    /// Submits one call, a JSON array of arguments, when there is room for it. False if the stream was
    /// stopped or the pool is gone, and the call is not submitted. For one thread.
    pub(crate) fn submit(&self, arguments: &[u8]) -> bool {
        if !self.wait_for_room() {
            return false;
        }
        let mut encoder = Encoder::default();
        encoder.push_json(arguments);
        let mut state = self.core.lock();
        if self.stopped.load(Ordering::Relaxed) {
            return false;
        }
        let number = self.submitted.fetch_add(1, Ordering::Relaxed);
        state.submit(encoder.finish(self.job, self.function.clone(), number, self.options));
        self.core.release(state);
        true
    }

    /// Takes a number for a call whose input is no call at all, and tells why as its outcome.
    pub(crate) fn reject(&self, kind: TaskErrorKind) -> bool {
        if !self.wait_for_room() {
            return false;
        }
        let mut state = self.core.lock();
        if self.stopped.load(Ordering::Relaxed) {
            return false;
        }
        let number = self.submitted.fetch_add(1, Ordering::Relaxed);
        state.reject(self.job, number, kind);
        self.core.release(state);
        true
    }

    fn wait_for_room(&self) -> bool {
        let room = self.core.wait(self.job, None, Role::None, |state| {
            if self.stopped.load(Ordering::Relaxed) || state.ended {
                return Some(false);
            }
            let ahead = self.submitted.load(Ordering::Relaxed) - self.received.load(Ordering::Relaxed);
            (ahead < self.buffer && state.has_appetite(self.job)).then_some(true)
        });
        room.unwrap_or(false)
    }

    /// Nothing more will be submitted; `receive` comes to an end.
    pub(crate) fn finish(&self) {
        let mut state = self.core.lock();
        state.seal(self.job);
        self.core.release(state);
    }

    /// Submits nothing more, from now on. What has begun is done; what has not ends as cancelled.
    pub(crate) fn stop(&self) {
        self.call_off(Event::Withdraw { job: self.job });
    }

    /// Cancels what is not done.
    pub(crate) fn cancel(&self) {
        self.call_off(Event::Cancel { job: self.job });
    }

    fn call_off(&self, event: Event) {
        let mut state = self.core.lock();
        self.stopped.store(true, Ordering::Relaxed);
        state.seal(self.job);
        state.drain_all();
        state.run(event);
        self.core.release(state);
    }

    /// How many calls were submitted so far.
    pub(crate) fn submitted(&self) -> u64 {
        self.submitted.load(Ordering::Relaxed)
    }

    /// Waits for outcomes, in the order in which they come; `None` at the end. For one thread.
    pub(crate) fn receive(&self) -> Option<Vec<Record>> {
        let mut mailbox = Mailbox::default();
        self.core.wait(self.job, None, Role::None, |state| {
            let ended = state.ended;
            let job = state.jobs.get_mut(&self.job)?;
            (!job.mailbox.is_empty() || job.is_complete() || ended).then(|| job.mailbox.swap(&mut mailbox))
        })?;
        let mut records = Vec::with_capacity(mailbox.len() as usize);
        mailbox.take_all(|number, content, facts| {
            let outcome = match content {
                Content::Line(line) => Ok(line.to_vec()),
                Content::Large(line, _) => Ok(line.to_vec()),
                Content::Error(error) => Err(error),
            };
            records.push(Record { number, outcome, facts });
        });
        (!records.is_empty()).then_some(records)
    }

    /// The caller is through with so many outcomes: as many more may be submitted.
    pub(crate) fn release(&self, count: u64) {
        self.received.fetch_add(count, Ordering::Relaxed);
        let mut state = self.core.lock();
        // Whoever waits for room looks again.
        state.tell(self.job);
        self.core.release(state);
    }
}

impl Drop for JsonCalls {
    fn drop(&mut self) {
        self.cancel();
        self.core.lock().detach(self.job);
    }
}
