//! The calls that wait, for no longer than the caller likes.

use std::time::Duration;

use crate::link::frame::Coding;
use crate::task::arguments::{Task, Transfer};
use crate::task::error::TaskError;

use super::Pool;
use super::functions::{not_run, refuse_ends};
use super::map::{MapError, Ran};

impl Pool {
    /// As [`apply`](Pool::apply), but returns when `timeout` has passed, whatever the task does.
    ///
    /// A task that is not done by then is cancelled as by [`AsyncResult::cancel`](crate::AsyncResult::cancel), and its
    /// error is [`TimedOut`](crate::TaskErrorKind::TimedOut). To wait for it again instead, use
    /// [`apply_async`](Pool::apply_async) and [`get_timeout`](crate::AsyncResult::get_timeout).
    ///
    /// # Errors
    /// How the task ended, if not with a value in time.
    pub fn apply_timeout<F, A>(
        &self,
        function: F,
        arguments: A,
        timeout: Duration,
    ) -> Result<F::Output, TaskError>
    where
        F: Task<A>,
        A: Transfer,
        F::Output: Transfer,
    {
        let function =
            self.function::<F, A>(function).map_err(|error| not_run(error, std::any::type_name::<F>()))?;
        self.apply_function(function, &arguments, Some(timeout))
    }

    /// As [`map`](Pool::map), but returns when `timeout` has passed, whatever the tasks do.
    ///
    /// What is done by then is kept. Tasks that are not are cancelled, and their errors are
    /// [`TimedOut`](crate::TaskErrorKind::TimedOut). Inputs are pulled as the workers have use for them: those that were
    /// not pulled never run, and have one such error together. An input that is slow to come is waited for.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> watertight::Result<()> {
    /// # watertight::init();
    /// let pool = watertight::Pool::new(2)?;
    /// let sleep = |seconds: u64| std::thread::sleep(Duration::from_secs(seconds));
    /// let error = pool.map_timeout(sleep, [0, 3600], Duration::from_secs(1)).unwrap_err();
    /// assert!(error.first().is_timeout() && error.outcomes().len() == 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As `map`.
    pub fn map_timeout<F, A, R, I>(
        &self,
        function: F,
        inputs: I,
        timeout: Duration,
    ) -> Result<Vec<R>, MapError<R>>
    where
        F: Fn(A) -> R + Copy + Send + 'static,
        A: Transfer,
        R: Transfer,
        I: IntoIterator<Item = A>,
    {
        let function = self.function::<F, (A,)>(function);
        self.run_all(function, inputs.into_iter().map(|input| (input,)), Some(timeout))?.into_values()
    }

    /// As [`outcomes`](Pool::outcomes), but returns when `timeout` has passed, as told at
    /// [`map_timeout`](Pool::map_timeout).
    pub fn outcomes_timeout<F, A, R, I>(
        &self,
        function: F,
        inputs: I,
        timeout: Duration,
    ) -> Vec<Result<R, TaskError>>
    where
        F: Fn(A) -> R + Copy + Send + 'static,
        A: Transfer,
        R: Transfer,
        I: IntoIterator<Item = A>,
    {
        let function = self.function::<F, (A,)>(function);
        let ran = self.run_all(function, inputs.into_iter().map(|input| (input,)), Some(timeout));
        ran.map_or_else(MapError::into_outcomes, Ran::into_outcomes)
    }

    /// As [`starmap`](Pool::starmap), but returns when `timeout` has passed, as told at
    /// [`map_timeout`](Pool::map_timeout).
    ///
    /// # Errors
    /// As `map`.
    pub fn starmap_timeout<F, A, I>(
        &self,
        function: F,
        inputs: I,
        timeout: Duration,
    ) -> Result<Vec<F::Output>, MapError<F::Output>>
    where
        F: Task<A>,
        A: Transfer,
        F::Output: Transfer,
        I: IntoIterator<Item = A>,
    {
        self.run_all(self.function::<F, A>(function), inputs.into_iter(), Some(timeout))?.into_values()
    }

    /// As [`call`](Pool::call), but returns when `timeout` has passed, as told at
    /// [`apply_timeout`](Pool::apply_timeout).
    ///
    /// # Errors
    /// As `call`.
    pub fn call_timeout<R, A>(&self, name: &str, arguments: A, timeout: Duration) -> Result<R, TaskError>
    where
        A: Transfer,
        R: Transfer,
    {
        refuse_ends::<A, R>().map_err(|error| not_run(error, name))?;
        let function = self.named(name, Coding::Registered).map_err(|error| not_run(error, name))?;
        self.apply_function(function, &arguments, Some(timeout))
    }
}
