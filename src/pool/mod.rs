//! `Pool`: worker processes that run functions, and survive anything.
//!
//! `machine/` decides and `driver.rs` acts; `core.rs` tells who reads the lanes.
//!
//! Invariants: every submitted task ends in exactly one outcome; no thread waits for a process without
//! noticing its death; nothing here decodes a user's value under the lock.

mod batch;
mod builder;
mod callbacks;
mod core;
mod driver;
mod feed;
mod handle;
mod imap;
mod job;
mod machine;
mod map;
mod outcome;
mod relay;
mod sorted;
mod state;
#[cfg(feature = "cli")]
pub(crate) mod stream;
mod worker;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::{Error, Kind};
use crate::keeper::handle::Keeper;
use crate::link::frame::Coding;
use crate::task::arguments::{Task, Transfer};
use crate::task::error::{Encoding, TaskContext, TaskError, TaskErrorKind};
use crate::task::identity::descriptor_of;
use crate::task::registry;

use self::core::{Core, Role};
use batch::{Encoder, Function, Name, TaskOptions};
use builder::Options;
use feed::Feed;
use handle::Submission;
use imap::Order;
use machine::Event;

use sorted::Sorted;

pub use builder::{Output, PoolBuilder};
pub use handle::{AsyncResult, MapResult};
pub use imap::Outcomes;
pub use map::MapError;

/// Worker processes that run functions.
///
/// A task that panics, crashes, exits or hangs costs that task alone: its worker is replaced, and the others
/// do not notice.
///
/// **Dropping a pool** terminates it: tasks that are not done end with
/// [`Terminated`](TaskErrorKind::Terminated), and all its processes are gone when the drop returns. `close`
/// and then `join` lets them finish instead.
///
/// A pool is used by reference, from as many threads as like.
///
/// ```
/// use watertight::Pool;
///
/// fn square(x: i64) -> i64 {
///     x * x
/// }
///
/// fn main() -> watertight::Result<()> {
///     watertight::init();
///     let pool = Pool::new(4)?;
///     assert_eq!(pool.map(square, 1..=5)?, [1, 4, 9, 16, 25]);
///     Ok(())
/// }
/// ```
pub struct Pool {
    core: Arc<Core>,
    options: Options,
    keeper: Arc<Keeper>,
    driver: Option<JoinHandle<()>>,
}

/// Counts of a pool, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Tasks that gave a value.
    pub done: u64,
    /// Tasks that ended with an error.
    pub failed: u64,
    /// Workers that died without being told to.
    pub crashed: u64,
    /// Attempts that failed and were followed by another one.
    pub retried: u64,
    /// Workers that were started in the place of another one.
    pub restarted: u64,
    /// Tasks that workers have now.
    pub in_flight: u64,
    /// Tasks that wait for a worker.
    pub queued: u64,
    /// Workers that the pool should have.
    pub workers: usize,
}

/// How long the end of a pool may take, when its keeper has to be killed too.
const LONGEST_FAREWELL: Duration = Duration::from_secs(30);

impl Pool {
    /// A pool of `workers` processes of this executable, with the default options.
    ///
    /// # Errors
    /// As [`PoolBuilder::start`].
    pub fn new(workers: usize) -> Result<Pool, Error> {
        Pool::builder().workers(workers).start()
    }

    /// A builder with all options.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::default()
    }

    fn started(core: Arc<Core>, options: Options, keeper: Arc<Keeper>, driver: JoinHandle<()>) -> Pool {
        Pool { core, options, keeper, driver: Some(driver) }
    }

    /// Runs `function` with `arguments`, a tuple, and waits for its value.
    ///
    /// # Errors
    /// How the task ended, if not with a value.
    pub fn apply<F, A>(&self, function: F, arguments: A) -> Result<F::Output, TaskError>
    where
        F: Task<A>,
        A: Transfer,
        F::Output: Transfer,
    {
        let function =
            self.function::<F, A>(function).map_err(|error| not_run(error, std::any::type_name::<F>()))?;
        self.apply_function(function, &arguments)
    }

    fn apply_function<A: Transfer, R: Transfer>(
        &self,
        function: Function,
        arguments: &A,
    ) -> Result<R, TaskError> {
        let mut encoder = Encoder::default();
        encoder.push(arguments, self.options.largest_argument).map_err(|error| {
            let kind =
                TaskErrorKind::Encoding { what: Encoding::EncodeArguments, message: error.to_string() };
            TaskError::new(kind, TaskContext::not_started(&function.name, None))
        })?;
        let name = function.name.clone();
        let (job, role) = self.submit_one(encoder, function).map_err(|error| not_run(error, &name))?;
        let mailbox = self.core.wait(job, None, role, |state| state.take_complete(job));
        outcome::one(mailbox.unwrap_or_default(), &name)
    }

    /// Submits a batch of its own, and takes the poller's role if it is free.
    fn submit_one(&self, encoder: Encoder, function: Function) -> Result<(machine::JobKey, Role), Error> {
        let mut state = self.core.lock();
        self.core.check_open(&state)?;
        let role = if self.core.try_poll(&mut state) { Role::Held } else { Role::None };
        let job = state.open(function.name.clone());
        state.submit(encoder.finish(job, function, 0, self.task_options()));
        state.seal(job);
        self.core.release(state);
        Ok((job, role))
    }

    /// Submits `function` with `arguments`, a tuple, and returns at once. Waits only if more than
    /// `max_pending` tasks are pending.
    ///
    /// # Errors
    /// If the pool is closed, its workers do not start, or the workers' executable lacks the function.
    pub fn apply_async<F, A>(&self, function: F, arguments: A) -> Result<AsyncResult<F::Output>, Error>
    where
        F: Task<A>,
        A: Transfer,
        F::Output: Transfer,
    {
        let function = self.function::<F, A>(function)?;
        self.map_function(function, std::iter::once(arguments)).map(AsyncResult::new)
    }

    /// Calls `function` with each input, and waits for all values, in the order of the inputs.
    ///
    /// # Errors
    /// If any task failed. [`MapError`] holds the values of the others.
    pub fn map<F, A, R, I>(&self, function: F, inputs: I) -> Result<Vec<R>, MapError<R>>
    where
        F: Fn(A) -> R + Copy + Send + 'static,
        A: Transfer,
        R: Transfer,
        I: IntoIterator<Item = A>,
    {
        let function = self.function::<F, (A,)>(function);
        let (sorted, count, name) = self.run_all(function, inputs.into_iter().map(|input| (input,)))?;
        sorted.into_values(count, &name)
    }

    /// Calls `function` with each input, and waits for all outcomes, in the order of the inputs.
    pub fn outcomes<F, A, R, I>(&self, function: F, inputs: I) -> Vec<Result<R, TaskError>>
    where
        F: Fn(A) -> R + Copy + Send + 'static,
        A: Transfer,
        R: Transfer,
        I: IntoIterator<Item = A>,
    {
        let function = self.function::<F, (A,)>(function);
        match self.run_all(function, inputs.into_iter().map(|input| (input,))) {
            Ok((sorted, count, name)) => sorted.finish(count, &name),
            Err(refused) => refused.into_outcomes(),
        }
    }

    /// Calls `function` with each tuple of arguments, and waits for all values, in the order of the inputs.
    ///
    /// # Errors
    /// As `map`.
    pub fn starmap<F, A, I>(&self, function: F, inputs: I) -> Result<Vec<F::Output>, MapError<F::Output>>
    where
        F: Task<A>,
        A: Transfer,
        F::Output: Transfer,
        I: IntoIterator<Item = A>,
    {
        let (sorted, count, name) = self.run_all(self.function::<F, A>(function), inputs.into_iter())?;
        sorted.into_values(count, &name)
    }

    /// Calls `function` with each input, and gives the outcomes one by one, in the order of the inputs.
    ///
    /// Lazy: inputs are pulled on the thread that reads the outcomes, as the workers have use for them.
    pub fn imap<F, A, R, I>(
        &self,
        function: F,
        inputs: I,
    ) -> Outcomes<impl Iterator<Item = (A,)> + use<F, A, R, I>, R>
    where
        F: Fn(A) -> R + Copy + Send + 'static,
        A: Transfer,
        R: Transfer,
        I: IntoIterator<Item = A>,
    {
        self.lazy(self.function::<F, (A,)>(function), inputs.into_iter().map(|input| (input,)), Order::Input)
    }

    /// As `imap`, but gives the outcomes as they come.
    pub fn imap_unordered<F, A, R, I>(
        &self,
        function: F,
        inputs: I,
    ) -> Outcomes<impl Iterator<Item = (A,)> + use<F, A, R, I>, R>
    where
        F: Fn(A) -> R + Copy + Send + 'static,
        A: Transfer,
        R: Transfer,
        I: IntoIterator<Item = A>,
    {
        self.lazy(
            self.function::<F, (A,)>(function),
            inputs.into_iter().map(|input| (input,)),
            Order::Completion,
        )
    }

    /// Submits `function` for each input, and returns when all are submitted. Waits if more than
    /// `max_pending` tasks are pending.
    ///
    /// # Errors
    /// As `apply_async`.
    pub fn map_async<F, A, R, I>(&self, function: F, inputs: I) -> Result<MapResult<R>, Error>
    where
        F: Fn(A) -> R + Copy + Send + 'static,
        A: Transfer,
        R: Transfer,
        I: IntoIterator<Item = A>,
    {
        let function = self.function::<F, (A,)>(function)?;
        self.map_function(function, inputs.into_iter().map(|input| (input,))).map(MapResult::new)
    }

    /// As `map_async`, for tuples of arguments.
    ///
    /// # Errors
    /// As `apply_async`.
    pub fn starmap_async<F, A, I>(&self, function: F, inputs: I) -> Result<MapResult<F::Output>, Error>
    where
        F: Task<A>,
        A: Transfer,
        F::Output: Transfer,
        I: IntoIterator<Item = A>,
    {
        let function = self.function::<F, A>(function)?;
        self.map_function(function, inputs.into_iter()).map(MapResult::new)
    }

    /// Calls a task of the worker executable by name, with `arguments`, a tuple, and waits for its value.
    /// The name is crate, modules and function, or any end of that which is unique.
    ///
    /// # Errors
    /// [`UnknownTask`](TaskErrorKind::UnknownTask) if there is no such task; else how it ended, if not with a
    /// value.
    pub fn call<R, A>(&self, name: &str, arguments: A) -> Result<R, TaskError>
    where
        A: Transfer,
        R: Transfer,
    {
        let function = self.named(name, Coding::Registered).map_err(|error| not_run(error, name))?;
        self.apply_function(function, &arguments)
    }

    /// The tasks that the worker executable offers by name.
    pub fn tasks(&self) -> &[crate::TaskDescription] {
        self.keeper.tasks()
    }

    /// Runs all inputs, and returns the outcomes with the number of inputs and the task's name.
    fn run_all<A, R>(
        &self,
        function: Result<Function, Error>,
        inputs: impl Iterator<Item = A>,
    ) -> Result<(Sorted<R>, u64, Name), MapError<R>>
    where
        A: Transfer,
        R: Transfer,
    {
        let name = function.as_ref().map_or(Name::Static("?"), |function| function.name.clone());
        let opened = function.and_then(|function| self.open(function, inputs));
        let mut feed = opened.map_err(|error| MapError::refused(not_run(error, &name)))?;
        let (mut sorted, mut mailbox) = (Sorted::new(), job::Mailbox::default());
        loop {
            let appetite = self.core.lock().machine.appetite();
            feed.submit(&self.core, appetite);
            let (job, exhausted) = (feed.job, feed.exhausted);
            let complete = self.core.wait(job, None, Role::Returning, |state| {
                let hungry = !exhausted && state.machine.appetite() > 0;
                let ended = state.ended;
                let job = state.jobs.get_mut(&job)?;
                let complete = job.is_complete() || ended;
                (hungry || complete).then(|| {
                    job.mailbox.swap(&mut mailbox);
                    complete
                })
            });
            sorted.take(&mut mailbox, &name);
            if complete == Some(true) {
                break;
            }
        }
        self.core.lock().detach(feed.job);
        Ok((sorted, feed.pulled, name))
    }

    fn lazy<A, R, I>(&self, function: Result<Function, Error>, inputs: I, order: Order) -> Outcomes<I, R>
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

    fn map_function<A: Transfer>(
        &self,
        function: Function,
        inputs: impl Iterator<Item = A>,
    ) -> Result<Submission, Error> {
        let name = function.name.clone();
        let mut feed = self.open(function, inputs)?;
        let submission = Submission::new(Arc::clone(&self.core), feed.job, name);
        let max_pending = self.options.max_pending;
        while !feed.exhausted {
            let room = self.core.wait(feed.job, None, Role::None, |state| {
                let room = max_pending.saturating_sub(state.pending);
                (room > 0 || state.ended).then_some(room)
            });
            match room {
                Some(room) if room > 0 => feed.submit(&self.core, room),
                _ => return Err(Kind::Closed.into()),
            }
        }
        Ok(submission)
    }

    fn open<A, I>(&self, function: Function, inputs: I) -> Result<Feed<I>, Error>
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

    fn task_options(&self) -> TaskOptions {
        TaskOptions {
            attempts: self.options.attempts,
            timeout: self.options.timeout,
            chunk: self.options.chunk,
        }
    }

    /// How the workers know a function.
    fn function<F, A>(&self, function: F) -> Result<Function, Error>
    where
        F: Task<A>,
        A: Transfer,
        F::Output: Transfer,
    {
        let descriptor = descriptor_of::<F, A>(function);
        if self.keeper.is_same_build() {
            let number = descriptor.offset().map_err(|error| Kind::Task(error.to_string()))?;
            return Ok(Function { coding: Coding::Offset, number, name: Name::Static((descriptor.name)()) });
        }
        let Some(description) = registry::description_of::<F>() else {
            let name = (descriptor.name)();
            let text = format!(
                "the workers run another executable, so `{name}` needs #[watertight::task] to have a name there"
            );
            return Err(Kind::Task(text).into());
        };
        let number = registry::find_described(self.keeper.tasks(), &description)
            .map_err(|error| Kind::Task(error.to_string()))?;
        Ok(Function {
            coding: Coding::Registered,
            number: u64::from(number),
            name: Name::Shared(description.name.into()),
        })
    }

    fn named(&self, name: &str, coding: Coding) -> Result<Function, Error> {
        let tasks = self.keeper.tasks();
        let number = registry::find(tasks, name).map_err(|error| Kind::Task(error.to_string()))?;
        let name = Name::Shared(tasks[number as usize].name.as_str().into());
        Ok(Function { coding, number: u64::from(number), name })
    }

    /// Changes the number of workers. Fewer: idle ones go, then those that are done with what they run;
    /// what they had not begun goes to others.
    ///
    /// # Errors
    /// If it is zero, or the pool is closed.
    pub fn resize(&self, workers: usize) -> Result<(), Error> {
        if workers == 0 {
            return Err(Kind::Option("a pool needs at least one worker".to_owned()).into());
        }
        let mut state = self.core.lock();
        self.core.check_open(&state)?;
        state.run(Event::Resize { workers });
        self.core.release(state);
        Ok(())
    }

    /// Takes no more tasks. What was submitted is still done; `join` waits for that.
    pub fn close(&self) {
        let mut state = self.core.lock();
        state.run(Event::Close);
        self.core.release(state);
    }

    /// Ends everything at once: what is not done ends with [`Terminated`](TaskErrorKind::Terminated), and
    /// the workers are killed.
    pub fn terminate(&self) {
        let mut state = self.core.lock();
        state.drain_all();
        state.run(Event::Terminate);
        self.core.release(state);
    }

    /// Waits until all is done and every worker is gone.
    ///
    /// # Errors
    /// If the pool is still open: `close` or `terminate` it first, or this would wait for ever.
    pub fn join(&self) -> Result<(), Error> {
        let state = self.core.lock();
        if state.machine.stage() == machine::Stage::Open {
            return Err(Kind::Option(
                "the pool is still open: close or terminate it before `join`".to_owned(),
            )
            .into());
        }
        self.core.wait_for_end(state, None);
        Ok(())
    }

    /// As `join`, but waits no longer than `timeout`. True if the pool has come to its end.
    ///
    /// # Errors
    /// As `join`.
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool, Error> {
        let state = self.core.lock();
        if state.machine.stage() == machine::Stage::Open {
            return Err(Kind::Option(
                "the pool is still open: close or terminate it before `join`".to_owned(),
            )
            .into());
        }
        Ok(self.core.wait_for_end(state, Instant::now().checked_add(timeout)))
    }

    /// The process ids of the workers that run now.
    pub fn pids(&self) -> Vec<u32> {
        let state = self.core.lock();
        state.workers.iter().flatten().map(|worker| worker.pid).filter(|pid| *pid != 0).collect()
    }

    /// Live counts.
    pub fn stats(&self) -> Stats {
        let state = self.core.lock();
        let counters = &state.counters;
        Stats {
            done: counters.done.load(Ordering::Relaxed),
            failed: counters.failed.load(Ordering::Relaxed),
            crashed: counters.crashed.load(Ordering::Relaxed),
            retried: counters.retried.load(Ordering::Relaxed),
            restarted: counters.restarted.load(Ordering::Relaxed),
            in_flight: state.machine.in_flight(),
            queued: state.machine.queued(),
            workers: state.machine.size(),
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.terminate();
        // A callback may drop the last handle; the driver waits for callbacks, so it is not waited for then.
        if callbacks::is_callback_thread() {
            return;
        }
        let ended = self.core.wait_for_end(self.core.lock(), Instant::now().checked_add(LONGEST_FAREWELL));
        if let Some(driver) = self.driver.take().filter(|_| ended) {
            // It only panics by a bug of ours, and has said so then.
            let _ = driver.join();
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({:?}, {} workers)", self.options.name, self.core.lock().machine.size())
    }
}

/// A task that reached no worker, because the pool does not take it.
fn not_run(error: Error, task: &str) -> TaskError {
    let kind = match error.kind() {
        Kind::Task(message) => TaskErrorKind::UnknownTask { message: message.clone() },
        Kind::Closed => TaskErrorKind::Terminated,
        _ => TaskErrorKind::NoWorker { message: error.to_string() },
    };
    TaskError::new(kind, TaskContext::not_started(task, None))
}
