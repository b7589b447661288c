//! Submissions: what is opened, submitted, sealed and taken.

use std::task::Waker;

use crate::sync::counters::Count;
use crate::task::context::Progress;
use crate::task::error::{TaskContext, TaskError, TaskErrorKind};

use super::State;
use crate::pool::batch::{Batch, Name};
use crate::pool::job::{Completion, Job, Mailbox};
use crate::pool::machine::{self, Event, JobKey};

impl State {
    fn key(&mut self) -> u64 {
        self.last_key += 1;
        self.last_key
    }

    /// Opens a submission.
    pub(in crate::pool) fn open(&mut self, task: Name) -> JobKey {
        let key = self.key();
        self.jobs.insert(key, Job::new(task));
        key
    }

    /// Nothing more will be submitted to it.
    pub(in crate::pool) fn seal(&mut self, key: JobKey) {
        if let Some(job) = self.jobs.get_mut(&key) {
            job.sealed = true;
        }
        self.tell(key);
    }

    /// Nobody wants what still comes of it. Who waited for it is dropped without the lock.
    pub(in crate::pool) fn detach(&mut self, key: JobKey) -> Option<Waker> {
        let job = self.jobs.get_mut(&key).filter(|job| job.completion.is_none())?;
        // Who submits has gone too, and a job that is never sealed would stay.
        job.sealed = true;
        job.detached = true;
        job.mailbox.clear();
        let waker = job.waker.take();
        if job.outstanding == 0 {
            self.jobs.remove(&key);
        }
        waker
    }

    /// Nobody wants anything of it: what is not done is cancelled.
    pub(in crate::pool) fn abandon(&mut self, key: JobKey) {
        if self.jobs.get(&key).is_some_and(|job| !job.is_complete()) {
            self.run(Event::Cancel { job: key });
        }
        // Who waits on a thread has no waker.
        let _ = self.detach(key);
    }

    /// What has come of a job, once all has; the job is gone then.
    pub(in crate::pool) fn take_complete(&mut self, key: JobKey) -> Option<Mailbox> {
        let complete = self.ended || self.jobs.get(&key).is_none_or(Job::is_complete);
        complete.then(|| self.jobs.remove(&key).map(|job| job.mailbox).unwrap_or_default())
    }

    /// Has `completion` called when all of a job has come. Gives it back if that has been taken.
    pub(in crate::pool) fn complete_with(
        &mut self,
        key: JobKey,
        completion: Completion,
    ) -> Option<Completion> {
        let Some(job) = self.jobs.get_mut(&key) else { return Some(completion) };
        job.completion = Some(completion);
        self.tell(key);
        None
    }

    /// How far a job's running task is.
    pub(in crate::pool) fn progress(&self, key: JobKey) -> Option<Progress> {
        let slot = (0..self.workers.len()).find(|&slot| {
            let front = self.machine.front(slot).and_then(|span| self.batches.get(&span.key));
            front.is_some_and(|batch| batch.job == key)
        })?;
        Some(self.workers[slot].as_ref()?.lane.lane().black_box().progress())
    }

    /// Submits a batch.
    pub(in crate::pool) fn submit(&mut self, batch: Batch) {
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
    pub(in crate::pool) fn reject(&mut self, key: JobKey, index: u64, kind: TaskErrorKind) {
        self.counters.add(Count::Failed, 1);
        if let Some(job) = self.jobs.get_mut(&key) {
            let context = TaskContext::not_started(&job.task, Some(index));
            job.mailbox.push_error(index, TaskError::new(kind, context), None);
        }
        self.tell(key);
    }

    /// The pool is gone: whoever waits looks again.
    pub(in crate::pool) fn wake_everybody(&mut self) {
        self.jobs.values_mut().for_each(|job| {
            job.sleepers.drain(..).for_each(|thread| thread.unpark());
            self.wakers.extend(job.waker.take());
        });
        self.followers.drain(..).for_each(|thread| thread.unpark());
        self.hungry.drain(..).for_each(|(thread, _)| thread.unpark());
        self.pass_epoch();
    }
}
