//! Outcomes without a value, and news for those who wait.

use std::ops::Range;
use std::time::Duration;

use tracing::Level;

use crate::link::frame::Measure;
use crate::pool::job::Facts;
use crate::pool::machine::{BatchKey, JobKey, Slot, Verdict};
use crate::sync::counters::Count;
use crate::sys::exit::ResourceUsage;
use crate::task::error::{Absent, TaskContext, TaskError, TaskErrorKind};

use super::State;

/// What happened to the first task in flight at a worker, beside the kind.
pub(super) struct Told {
    pub(super) kind: TaskErrorKind,
    pub(super) context: WorkerContext,
}

/// What is known of a worker when one of its tasks ends without a value.
#[derive(Clone)]
pub(super) struct WorkerContext {
    /// Not known before the keeper has told it, which the first result may overtake.
    pub(super) pid: Option<u32>,
    /// Of the task; `max_rss` is 0 if nobody knows it.
    pub(super) measure: Option<Measure>,
    pub(super) usage: Result<ResourceUsage, Absent>,
    pub(super) stderr: Result<String, Absent>,
}

impl State {
    /// Items end without a value.
    pub(super) fn deliver(&mut self, key: BatchKey, items: Range<u32>, attempt: u32, verdict: Verdict) {
        let Some(batch) = self.batches.get(&key) else { return };
        let attempts = batch.options.attempts;
        let count = u64::from(items.end - items.start);
        self.counters.add(Count::Failed, count);
        self.pending -= count;
        let Some(job) = self.jobs.get_mut(&batch.job) else { return };
        for item in items {
            let index = batch.first + u64::from(item);
            let not_started = || TaskContext::not_started(&batch.function.name, Some(index));
            let told = |kind: Option<TaskErrorKind>| match &self.told {
                Some(told) => {
                    let context = told.context.clone();
                    let context = TaskContext {
                        attempt,
                        attempts,
                        pid: context.pid,
                        elapsed: context.measure.map(|measure| Duration::from_nanos(measure.elapsed)),
                        usage: context.usage,
                        stderr: context.stderr,
                        ..not_started()
                    };
                    TaskError::new(kind.unwrap_or_else(|| told.kind.clone()), context)
                }
                None => TaskError::new(kind.unwrap_or(TaskErrorKind::Lost), not_started()),
            };
            let error = match &verdict {
                Verdict::AsTold => told(None),
                Verdict::TimedOut(limit) => told(Some(TaskErrorKind::TimedOut { limit: *limit })),
                Verdict::Cancelled => told(Some(TaskErrorKind::Cancelled)),
                Verdict::Terminated => TaskError::new(TaskErrorKind::Terminated, not_started()),
                Verdict::NoWorker(reason) => {
                    TaskError::new(TaskErrorKind::NoWorker { message: reason.to_string() }, not_started())
                }
            };
            if attempts > 1
                && attempt == attempts
                && matches!(verdict, Verdict::AsTold | Verdict::TimedOut(_))
            {
                let (task, kind) = (batch.function.name.clone(), error.kind().clone());
                self.events.push(Level::WARN, move || {
                    let what = "task quarantined: each of its attempts failed";
                    tracing::warn!(task = &*task, index, attempts, ?kind, "{what}");
                });
            }
            let facts = self.measured.then(|| {
                let measure = self.told.as_ref().and_then(|told| told.context.measure);
                Facts::of_failure(&error, measure.filter(|_| error.elapsed().is_some()))
            });
            job.outstanding -= 1;
            if !job.detached {
                job.mailbox.push_error(index, error, facts);
            }
        }
        self.news.push(batch.job);
    }

    pub(super) fn tell_retry(&mut self, key: BatchKey, item: u32, attempt: u32) {
        self.counters.add(Count::Retried, 1);
        let Some(batch) = self.batches.get(&key) else { return };
        let index = batch.first + u64::from(item);
        let kind = self.told.as_ref().map(|told| told.kind.clone());
        let task = batch.function.name.clone();
        self.events.push(Level::INFO, move || {
            tracing::info!(task = &*task, index, attempt, ?kind, "task failed, trying again");
        });
    }

    /// A worker is known to be ready when it has answered: its initializer is through, or its first task.
    pub(super) fn tell_ready(&mut self, slot: Slot) {
        let Some(worker) = self.workers[slot].as_mut().filter(|worker| !worker.told_ready) else { return };
        // An answer may overtake the keeper's word for who gives it.
        if let Some(pid) = worker.pid().filter(|_| worker.lane.has_answered()) {
            worker.told_ready = true;
            let after = worker.started.elapsed();
            self.events.push(Level::DEBUG, move || tracing::debug!(pid, slot, ?after, "worker ready"));
        }
    }

    /// There is news of a job.
    pub(in crate::pool) fn tell(&mut self, key: JobKey) {
        self.news.push(key);
        self.tell_news();
    }

    /// Wakes those who wait for jobs that have news, and sets complete ones aside.
    pub(super) fn tell_news(&mut self) {
        if !self.news.is_empty() {
            self.pass_epoch();
        }
        while let Some(key) = self.news.pop() {
            let Some(job) = self.jobs.get_mut(&key) else { continue };
            self.wakers.extend(job.wake());
            if job.is_complete() && (job.completion.is_some() || job.detached) {
                self.finished.extend(self.jobs.remove(&key));
            }
        }
    }
}
