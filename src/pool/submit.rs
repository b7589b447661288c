//! How calls become submissions, and wait for what comes of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, Kind};
use crate::task::arguments::Transfer;
use crate::task::error::{Encoding, TaskContext, TaskError, TaskErrorKind};

use super::batch::{Encoder, Function, Name, TaskOptions};
use super::core::{Core, Role};
use super::feed::Feed;
use super::functions::not_run;
use super::handle::Submission;
use super::imap::{Order, Outcomes};
use super::machine;
use super::map::{MapError, Ran};
use super::sorted::Sorted;
use super::{Pool, job, outcome};

/// A submission whose outcomes are awaited where it was made. Should that come to a panic of the caller's, in an
/// input or in what encodes or decodes, nobody wants the rest.
struct Wanted<'a> {
    core: &'a Core,
    job: machine::JobKey,
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.core.abandon(self.job);
    }
}

impl Core {
    /// Nobody wants anything of a submission any more: what is not done is cancelled.
    pub(super) fn abandon(&self, job: machine::JobKey) {
        let mut state = self.lock();
        state.abandon(job);
        self.release(state);
    }

    /// Waits until a submission is complete, or more of it may be submitted, and takes what has come of it. True if it
    /// is complete; `None` if the deadline has passed.
    fn fill(
        &self,
        mailbox: &mut job::Mailbox,
        job: machine::JobKey,
        exhausted: bool,
        deadline: Option<Instant>,
    ) -> Option<bool> {
        let complete = self.wait(job, deadline, Role::Returning, |state| {
            let hungry = !exhausted && state.has_appetite(job);
            let ended = state.ended;
            let job = state.jobs.get_mut(&job)?;
            let complete = job.is_complete() || ended;
            (hungry || complete).then(|| {
                job.mailbox.swap(mailbox);
                complete
            })
        });
        if complete.is_none()
            && let Some(job) = self.lock().jobs.get_mut(&job)
        {
            job.mailbox.swap(mailbox);
        }
        complete
    }
}

/// When a call that begins now has waited for long enough.
fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

impl Pool {
    pub(super) fn apply_function<A: Transfer, R: Transfer>(
        &self,
        function: Function,
        arguments: &A,
        timeout: Option<Duration>,
    ) -> Result<R, TaskError> {
        let deadline = deadline(timeout);
        let mut encoder = Encoder::default();
        encoder.push(arguments, self.options.largest_argument).map_err(|error| {
            let kind =
                TaskErrorKind::Encoding { what: Encoding::EncodeArguments, message: error.to_string() };
            TaskError::new(kind, TaskContext::not_started(&function.name, None))
        })?;
        let name = function.name.clone();
        let (job, role) = self.submit_one(encoder, function).map_err(|error| not_run(error, &name))?;
        match (self.core.wait(job, deadline, role, |state| state.take_complete(job)), timeout) {
            (None, Some(limit)) => {
                self.core.abandon(job);
                Err(outcome::not_awaited(&name, None, limit))
            }
            (mailbox, _) => outcome::one(mailbox.unwrap_or_default(), &name),
        }
    }

    /// Submits a batch of its own, and takes the poller's role if it is free.
    pub(super) fn submit_one(
        &self,
        encoder: Encoder,
        function: Function,
    ) -> Result<(machine::JobKey, Role), Error> {
        let mut state = self.core.lock();
        self.core.check_open(&state)?;
        let role = if self.core.try_poll(&mut state) { Role::Held } else { Role::None };
        let job = state.open(function.name.clone());
        state.submit(encoder.finish(job, function, 0, self.task_options()));
        state.seal(job);
        self.core.release(state);
        Ok((job, role))
    }

    /// Runs all inputs, or those that are done when `timeout` has passed.
    pub(super) fn run_all<A, R>(
        &self,
        function: Result<Function, Error>,
        inputs: impl Iterator<Item = A>,
        timeout: Option<Duration>,
    ) -> Result<Ran<R>, MapError<R>>
    where
        A: Transfer,
        R: Transfer,
    {
        let deadline = deadline(timeout);
        let task = function.as_ref().map_or(Name::Static("?"), |function| function.name.clone());
        let _hold = self.core.hold();
        let opened = function.and_then(|function| self.open(function, inputs));
        let mut feed = opened.map_err(|error| MapError::refused(not_run(error, &task)))?;
        let _wanted = Wanted { core: &self.core, job: feed.job };
        let (mut sorted, mut mailbox) = (Sorted::new(), job::Mailbox::default());
        let overdue = loop {
            let appetite = self.core.lock().appetite(feed.job);
            feed.submit(&self.core, appetite);
            let complete = self.core.fill(&mut mailbox, feed.job, feed.exhausted, deadline);
            sorted.take(&mut mailbox, &task);
            if complete == Some(true) {
                break None;
            }
            // Asked in each round: endless inputs never let a wait come to its deadline.
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                break timeout;
            }
        };
        // Before its inputs came to their end, it must not look as if they had.
        feed.give_up();
        Ok(Ran { sorted, count: feed.pulled, task, overdue })
    }

    pub(super) fn lazy<A, R, I>(
        &self,
        function: Result<Function, Error>,
        inputs: I,
        order: Order,
    ) -> Outcomes<I, R>
    where
        A: Transfer,
        R: Transfer,
        I: Iterator<Item = A>,
    {
        let name = function.as_ref().map_or(Name::Static("?"), |function| function.name.clone());
        match function.and_then(|function| self.open(function, inputs)) {
            Ok(feed) => Outcomes::new(Arc::clone(&self.core), feed, order, self.options.buffer),
            Err(error) => Outcomes::refused(not_run(error, &name)),
        }
    }

    pub(super) fn map_function<A: Transfer>(
        &self,
        function: Function,
        inputs: impl Iterator<Item = A>,
    ) -> Result<Submission, Error> {
        let name = function.name.clone();
        let _hold = self.core.hold();
        let mut feed = self.open(function, inputs)?;
        let submission = Submission::new(Arc::clone(&self.core), feed.job, name);
        let max_pending = self.options.max_pending;
        while !feed.exhausted {
            let room = self.core.wait(feed.job, None, Role::None, |state| {
                let room = state.room(max_pending);
                (room > 0 || state.ended).then_some(room)
            });
            match room {
                Some(room) if room > 0 => feed.submit(&self.core, room),
                _ => return Err(Kind::Closed.into()),
            }
        }
        Ok(submission)
    }

    pub(super) fn open<A, I>(&self, function: Function, inputs: I) -> Result<Feed<I>, Error>
    where
        A: Transfer,
        I: Iterator<Item = A>,
    {
        let mut state = self.core.lock();
        self.core.check_open(&state)?;
        let job = state.open(function.name.clone());
        drop(state);
        Ok(Feed::new(inputs, job, function, self.task_options(), self.options.largest_argument))
    }

    pub(super) fn task_options(&self) -> TaskOptions {
        TaskOptions {
            attempts: self.options.attempts,
            timeout: self.options.timeout,
            chunk: self.options.chunk,
        }
    }
}
