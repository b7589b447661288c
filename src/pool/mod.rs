//! `Pool`: worker processes that run functions, and survive anything.
//!
//! `machine/` decides and `driver/` acts; `core.rs` tells who reads the lanes.
//!
//! Invariants: every submitted task ends in exactly one outcome; no thread waits for a process without
//! noticing its death; nothing here decodes a user's value under the lock.

mod batch;
mod builder;
mod callbacks;
mod core;
mod driver;
mod feed;
mod functions;
mod handle;
mod imap;
mod job;
mod life;
mod machine;
mod map;
mod options;
mod outcome;
mod reader;
mod relay;
mod sorted;
mod staff;
mod state;
mod stats;
#[cfg(feature = "cli")]
pub(crate) mod stream;
mod submit;
mod timeouts;
mod worker;

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::error::Error;
use crate::link::frame::Coding;
use crate::task::arguments::{Task, Transfer};
use crate::task::error::TaskError;

use self::core::Core;
use functions::{not_run, refuse_ends};
use imap::Order;
use map::Ran;
use options::Options;
use staff::Staff;

pub use builder::PoolBuilder;
pub use handle::{AsyncResult, MapResult};
pub use imap::Outcomes;
pub use map::MapError;
pub use options::Output;
pub use stats::Stats;

/// Worker processes that run functions.
///
/// A task that panics, crashes, exits or hangs costs that task alone: its worker is replaced, and the others
/// do not notice.
///
/// **Dropping a pool** terminates it: tasks that are not done end with
/// [`Terminated`](crate::TaskErrorKind::Terminated), and all its processes are gone when the drop returns. `close`
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
    staff: Staff,
    driver: Option<JoinHandle<()>>,
}

impl Pool {
    /// A pool of `workers` processes of this executable, with the default options.
    ///
    /// # Errors
    /// As [`PoolBuilder::start`].
    pub fn new(workers: usize) -> Result<Pool, Error> {
        Pool::builder().workers(workers).start()
    }

    /// A pool of `workers` threads of this program, with the default options: the same front without the isolation.
    ///
    /// For comparing, and for tasks that need no process of their own. No [`init`](crate::init) is needed. What
    /// differs, because a thread has no process of its own:
    ///
    /// - a task that crashes, exits or overflows its stack takes this program along. A panic is an error as ever,
    ///   without its location, and the program's panic hook tells it too;
    /// - nobody can kill a thread. A task that is cancelled is asked to stop ([`task::cancelled`](crate::task::cancelled)),
    ///   and its outcome comes when it returns. `terminate` ends all tasks with an error at once, and asks those that
    ///   run to stop; `join` waits for them to return, and dropping the pool does for up to thirty seconds, after which
    ///   they are left to themselves;
    /// - time-outs, limits, environment, folder, output and another executable are errors of the builder;
    /// - threads that a task starts are not part of it: `cancelled`, `progress` and
    ///   [`worker::state`](crate::worker::state) know it on its own thread alone. What an initializer returns is never
    ///   dropped.
    ///
    /// Arguments and results are encoded and decoded, and so copied, as they are for processes.
    ///
    /// ```
    /// use watertight::Pool;
    ///
    /// let pool = Pool::threads(2)?;
    /// assert_eq!(pool.map(|x: i64| x * x, 1..=5)?, [1, 4, 9, 16, 25]);
    /// # Ok::<(), watertight::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`PoolBuilder::start`].
    pub fn threads(workers: usize) -> Result<Pool, Error> {
        Pool::builder().workers(workers).threads().start()
    }

    /// A builder with all options.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::default()
    }

    fn started(core: Arc<Core>, options: Options, staff: Staff, driver: JoinHandle<()>) -> Pool {
        Pool { core, options, staff, driver: Some(driver) }
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
        self.apply_function(function, &arguments, None)
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
    /// If any task failed: [`MapError`] holds the values of the others. If the call was refused as a whole, as told
    /// at [`outcomes`](Pool::outcomes).
    pub fn map<F, A, R, I>(&self, function: F, inputs: I) -> Result<Vec<R>, MapError<R>>
    where
        F: Fn(A) -> R + Copy + Send + 'static,
        A: Transfer,
        R: Transfer,
        I: IntoIterator<Item = A>,
    {
        let function = self.function::<F, (A,)>(function);
        self.run_all(function, inputs.into_iter().map(|input| (input,)), None)?.into_values()
    }

    /// Calls `function` with each input, and waits for all outcomes, in the order of the inputs: as many as
    /// there are inputs.
    ///
    /// But a call that is refused as a whole pulls no input and has one outcome, an error without an index, as
    /// Python raises one at the call: when the pool is closed, its workers do not start, or their executable lacks
    /// the function.
    ///
    /// ```
    /// # fn main() -> watertight::Result<()> {
    /// # watertight::init();
    /// let pool = watertight::Pool::new(1)?;
    /// pool.close();
    /// let outcomes = pool.outcomes(|x: i64| x * x, 1..=5);
    /// let refusal = outcomes[0].as_ref().unwrap_err();
    /// assert!(outcomes.len() == 1 && refusal.is_closed() && refusal.index().is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn outcomes<F, A, R, I>(&self, function: F, inputs: I) -> Vec<Result<R, TaskError>>
    where
        F: Fn(A) -> R + Copy + Send + 'static,
        A: Transfer,
        R: Transfer,
        I: IntoIterator<Item = A>,
    {
        let function = self.function::<F, (A,)>(function);
        let ran = self.run_all(function, inputs.into_iter().map(|input| (input,)), None);
        ran.map_or_else(MapError::into_outcomes, Ran::into_outcomes)
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
        self.run_all(self.function::<F, A>(function), inputs.into_iter(), None)?.into_values()
    }

    /// Calls `function` with each input, and gives the outcomes one by one, in the order of the inputs.
    ///
    /// Lazy: inputs are pulled on the thread that reads the outcomes, as the workers have use for them. A call that
    /// is refused as a whole has one outcome, as told at [`outcomes`](Pool::outcomes).
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
    /// [`UnknownTask`](crate::TaskErrorKind::UnknownTask) if there is no such task; else how it ended, if not with a
    /// value.
    pub fn call<R, A>(&self, name: &str, arguments: A) -> Result<R, TaskError>
    where
        A: Transfer,
        R: Transfer,
    {
        refuse_ends::<A, R>().map_err(|error| not_run(error, name))?;
        let function = self.named(name, Coding::Registered).map_err(|error| not_run(error, name))?;
        self.apply_function(function, &arguments, None)
    }

    /// The tasks that the worker executable offers by name.
    pub fn tasks(&self) -> &[crate::TaskDescription] {
        self.staff.tasks()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({:?}, {} workers)", self.options.name, self.core.lock().machine.size())
    }
}
