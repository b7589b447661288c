//! Handles on what was submitted and is not done: `AsyncResult` and `MapResult`.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::error::TimedOut;
use crate::task::arguments::Transfer;
use crate::task::context::Progress;
use crate::task::error::TaskError;

use super::batch::Name;
use super::callbacks;
use super::core::{Core, Role};
use super::job::{Job, Mailbox};
use super::machine::{Event, JobKey};
use super::map::{MapError, collect};
use super::outcome::one;

/// A submission, and the right to what comes of it. Dropped, the tasks run on and what comes is forgotten.
pub(super) struct Submission {
    core: Arc<Core>,
    pub(super) job: JobKey,
    task: Name,
}

impl Submission {
    pub(super) fn new(core: Arc<Core>, job: JobKey, task: Name) -> Submission {
        Submission { core, job, task }
    }

    /// Waits until all has come.
    fn take(&self, deadline: Option<Instant>) -> Option<Mailbox> {
        let job = self.core.wait(self.job, deadline, Role::None, |state| {
            let complete = state.jobs.get(&self.job).is_none_or(|job| job.is_complete()) || state.ended;
            complete.then(|| state.jobs.remove(&self.job))
        });
        job.map(|job| job.map(|job| job.mailbox).unwrap_or_default())
    }

    fn is_ready(&self) -> bool {
        self.core.lock().jobs.get(&self.job).is_none_or(|job| job.is_complete())
    }

    fn is_successful(&self) -> Option<bool> {
        let state = self.core.lock();
        let job = state.jobs.get(&self.job).filter(|job| job.is_complete())?;
        Some(!job.mailbox.has_errors())
    }

    fn wait(&self, timeout: Duration) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        let ready = self.core.wait(self.job, deadline, Role::None, |state| {
            state.jobs.get(&self.job).is_none_or(|job| job.is_complete()).then_some(())
        });
        ready.is_some()
    }

    fn cancel(&self) {
        let mut state = self.core.lock();
        state.drain_all();
        state.run(Event::Cancel { job: self.job });
        self.core.release(state);
    }

    fn progress(&self) -> Option<Progress> {
        self.core.lock().progress(self.job)
    }

    fn on_complete(self, completion: impl FnOnce(Mailbox, &str) + Send + 'static) {
        let mut state = self.core.lock();
        let task = self.task.clone();
        let refused = state.complete_with(self.job, Box::new(move |mailbox| completion(mailbox, &task)));
        // A pool that has come to its end has no thread for it any more.
        let late = if state.ended { std::mem::take(&mut state.finished) } else { Vec::new() };
        self.core.release(state);
        late.into_iter().for_each(|job| callbacks::run(&self.core, job));
        if refused.is_some() {
            let job = Job { completion: refused, ..Job::new(self.task.clone()) };
            callbacks::run(&self.core, job);
        }
    }

    /// Wakers are cloned and dropped without the lock, for they are the user's code.
    fn poll(&self, context: &mut Context<'_>) -> Poll<Mailbox> {
        let waker = context.waker().clone();
        let mut state = self.core.lock();
        if let Some(job) = state.jobs.get_mut(&self.job).filter(|job| !job.is_complete()) {
            let before = job.waker.replace(waker);
            self.core.release(state);
            drop(before);
            return Poll::Pending;
        }
        let job = state.jobs.remove(&self.job);
        drop(state);
        Poll::Ready(job.map(|job| job.mailbox).unwrap_or_default())
    }
}

impl Drop for Submission {
    fn drop(&mut self) {
        let waker = self.core.lock().detach(self.job);
        drop(waker);
    }
}

/// A task that was submitted, and its result when it comes.
///
/// It is a future too, which needs no runtime of its own. Dropping it lets the task run and forgets its
/// result.
///
/// ```
/// # fn main() -> watertight::Result<()> {
/// # watertight::init();
/// let pool = watertight::Pool::new(2)?;
/// let later = pool.apply_async(|x: i64| x * x, (7,))?;
/// assert_eq!(later.get()?, 49);
/// # Ok(())
/// # }
/// ```
#[must_use = "the task runs, but its result is forgotten"]
pub struct AsyncResult<R> {
    submission: Submission,
    result: PhantomData<fn() -> R>,
}

/// Tasks that were submitted together, and their results when they come. A future too.
#[must_use = "the tasks run, but their results are forgotten"]
pub struct MapResult<R> {
    submission: Submission,
    result: PhantomData<fn() -> R>,
}

/// What both kinds of handles can do.
macro_rules! handle {
    ($handle:ident, $output:ty, $collect:expr) => {
        impl<R: Transfer> $handle<R> {
            pub(super) fn new(submission: Submission) -> Self {
                $handle { submission, result: PhantomData }
            }

            /// Waits for it.
            ///
            /// # Errors
            /// The error of the task, or of those tasks that failed.
            pub fn get(self) -> $output {
                let mailbox = self.submission.take(None).unwrap_or_default();
                $collect(mailbox, &self.submission.task)
            }

            /// Waits for it, and gives the handle back if it has not come after `timeout`.
            ///
            /// # Errors
            /// The outer error holds the handle; the inner one is that of `get`.
            pub fn get_timeout(self, timeout: Duration) -> Result<$output, TimedOut<Self>> {
                match self.submission.take(Instant::now().checked_add(timeout)) {
                    Some(mailbox) => Ok($collect(mailbox, &self.submission.task)),
                    None => Err(TimedOut::new(self)),
                }
            }

            /// Whether it has come, with or without success.
            pub fn ready(&self) -> bool {
                self.submission.is_ready()
            }

            /// Whether it has come without an error; `None` if it has not come.
            pub fn successful(&self) -> Option<bool> {
                self.submission.is_successful()
            }

            /// Waits until it has come, for at most `timeout`. True if it has.
            pub fn wait(&self, timeout: Duration) -> bool {
                self.submission.wait(timeout)
            }

            /// Cancels what is not done: what has not begun never does; what runs is asked to stop
            /// ([`task::cancelled`](crate::task::cancelled)), and its worker is killed and replaced if it
            /// does not within the pool's grace time.
            pub fn cancel(&self) {
                self.submission.cancel();
            }

            /// How far the task that runs is, if it says so by [`task::progress`](crate::task::progress).
            pub fn progress(&self) -> Option<Progress> {
                self.submission.progress()
            }

            /// Has `callback` called with the result when it comes, on a thread that the pool keeps for
            /// that, or at once if the pool has come to its end or the handle has been awaited to its end. It may take its time, and submit more; a
            /// panic in it ends nothing else.
            pub fn on_complete(self, callback: impl FnOnce($output) + Send + 'static) {
                self.submission.on_complete(move |mailbox, task| callback($collect(mailbox, task)));
            }
        }

        impl<R: Transfer> Future for $handle<R> {
            type Output = $output;

            fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<$output> {
                let mailbox = std::task::ready!(self.submission.poll(context));
                Poll::Ready($collect(mailbox, &self.submission.task))
            }
        }

        impl<R> fmt::Debug for $handle<R> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($handle), "({})"), &*self.submission.task)
            }
        }
    };
}

handle!(AsyncResult, Result<R, TaskError>, one);
handle!(MapResult, Result<Vec<R>, MapError<R>>, collect);
