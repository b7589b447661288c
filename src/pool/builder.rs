//! Options of a pool.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, Kind};
use crate::keeper::handle::{Executable, Keeper};
use crate::link::request::StartMethod;
use crate::process::job::Job as FirstJob;
use crate::sync::counters::Counters;
use crate::task::arguments::{Task, Transfer};

use super::Pool;
use super::core::Core;
use super::driver::Driver;
use super::machine::{Config, Machine};
use super::options::{Options, Output};
use super::staff::Staff;
use super::state::{OnBreak, State};

/// Bytes that a worker is given ahead: what its ring holds.
const BYTES_AHEAD: usize = crate::link::lane::RING_WORDS * 8;

/// A builder of pools. Made by [`Pool::builder`].
///
/// ```
/// use std::time::Duration;
/// use watertight::Pool;
///
/// fn main() -> watertight::Result<()> {
///     watertight::init();
///     let pool = Pool::builder()
///         .workers(2)
///         .timeout(Duration::from_secs(5))
///         .attempts(2)
///         .memory_limit(256 << 20)
///         .start()?;
///     assert_eq!(pool.apply(|x: i64| x + 1, (1,))?, 2);
///     Ok(())
/// }
/// ```
#[must_use = "a builder does nothing until `start`"]
pub struct PoolBuilder {
    options: Options,
    executable: Executable,
    initializer: Option<Result<FirstJob, Error>>,
    on_break: Option<OnBreak>,
    counters: Option<Counters>,
}

impl Default for PoolBuilder {
    fn default() -> PoolBuilder {
        PoolBuilder {
            options: Options::default(),
            executable: Executable::Own,
            initializer: None,
            on_break: None,
            counters: None,
        }
    }
}

impl PoolBuilder {
    /// How many workers, from 1 to 4096; [`cpu_count`](crate::cpu_count) by default.
    pub fn workers(mut self, workers: usize) -> Self {
        self.options.workers = workers;
        self
    }

    /// Makes the workers threads of this program; [`Pool::threads`] says what differs.
    pub fn threads(mut self) -> Self {
        self.options.threads = true;
        self
    }

    /// How many more processes stand ready, to take the place of a worker that dies. None by default.
    pub fn spare_workers(mut self, spares: usize) -> Self {
        self.options.spares = spares;
        self
    }

    /// The executable that the workers run; this one by default. It must be built with this library, and its
    /// `main` must call [`init`](crate::init) first.
    pub fn worker(mut self, path: impl Into<PathBuf>) -> Self {
        self.executable = Executable::Path(path.into());
        self
    }

    /// The pool's name, which its workers carry in `ps` and in events.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.options.name = name.into();
        self
    }

    /// Runs in each worker before its first task, with these arguments, a tuple. What it returns is there
    /// for the tasks as [`worker::state`](crate::worker::state). An initializer that panics, exits or
    /// crashes makes the pool fail after a few tries, and so does one that takes longer than
    /// [`initializer_timeout`](PoolBuilder::initializer_timeout).
    pub fn initializer<F, A>(mut self, function: F, arguments: A) -> Self
    where
        F: Task<A>,
        A: Transfer,
        F::Output: Send + Sync + 'static,
    {
        self.initializer = Some(FirstJob::encode_initializer(function, arguments));
        self
    }

    /// How long a worker may take from its start to the end of its initializer; if it takes longer, it is killed,
    /// and tried again like one that crashed. Without this option, that is as long as a task may run, but at least ten
    /// seconds; where tasks have no [`timeout`](PoolBuilder::timeout) either, there is no limit.
    pub fn initializer_timeout(mut self, timeout: Duration) -> Self {
        self.options.initializer_timeout = Some(timeout);
        self
    }

    /// How many tasks travel together. By default as many as are quick enough; a crash costs one task all
    /// the same.
    pub fn chunk_size(mut self, tasks: u32) -> Self {
        self.options.chunk = Some(tasks);
        self
    }

    /// After how many tasks a worker is replaced by a fresh one. Never by default.
    pub fn max_tasks_per_worker(mut self, tasks: u64) -> Self {
        self.options.max_tasks_per_worker = Some(tasks);
        self
    }

    /// How long a task may run. When the time is over, [`task::cancelled`](crate::task::cancelled) becomes
    /// true for it; after the grace time its worker is killed. No limit by default.
    ///
    /// Tasks also wait for workers that are not ready yet, and so a limit for tasks is one for
    /// [initializers](PoolBuilder::initializer_timeout) too, of at least ten seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// How long a task that timed out or was cancelled may take to stop by itself; 200 ms by default.
    ///
    /// A worker that is not needed any more has as long to exit, but at least five seconds, also if its initializer
    /// still runs.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.options.grace = grace;
        self
    }

    /// How often a task is tried that panics, crashes or times out; once by default. Only for tasks that
    /// may run twice.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.options.attempts = attempts;
        self
    }

    /// How long to wait before the second attempt; twice as long before each further one. 10 ms by default.
    pub fn backoff(mut self, backoff: Duration) -> Self {
        self.options.backoff = backoff;
        self
    }

    /// The most private memory that a worker may use, in bytes: heap, not stacks or shared arrays
    /// (`RLIMIT_DATA`).
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.options.limits.memory = Some(bytes);
        self
    }

    /// The most processor time that a task may use.
    pub fn cpu_limit(mut self, limit: Duration) -> Self {
        self.options.limits.cpu_time = Some(limit);
        self
    }

    /// The largest encoded arguments of a task, in bytes; 1 GiB by default. What stands in no [`Bytes`](crate::Bytes)
    /// may have at most 4095 MiB, whatever is said here.
    pub fn largest_argument(mut self, bytes: u64) -> Self {
        self.options.largest_argument = bytes;
        self
    }

    /// The largest encoded result of a task, in bytes; 1 GiB by default, and at most 4095 MiB of it in no
    /// [`Bytes`](crate::Bytes). The most that a worker can make this program hold for a task.
    pub fn largest_result(mut self, bytes: u64) -> Self {
        self.options.largest_result = bytes;
        self
    }

    /// How many tasks may be submitted and not done; a submission beyond that waits. 65,536 by default.
    pub fn max_pending(mut self, tasks: u64) -> Self {
        self.options.max_pending = tasks;
        self
    }

    /// How many outcomes the lazy iterators let run ahead of their reader; 4,096 by default.
    pub fn buffer(mut self, outcomes: usize) -> Self {
        self.options.buffer = outcomes;
        self
    }

    /// The folder that the workers run in; this program's by default.
    pub fn current_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.options.working_directory = Some(folder.into());
        self
    }

    /// Sets an environment variable for the workers.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.options.environment.push((name.into(), Some(value.into())));
        self
    }

    /// Takes a variable out of the workers' environment.
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.options.environment.push((name.into(), None));
        self
    }

    /// Gives the workers no variables but those set with `env`.
    pub fn env_clear(mut self) -> Self {
        self.options.clear_environment = true;
        self.options.environment.clear();
        self
    }

    /// Where the workers' stdout goes; where this program's goes by default.
    pub fn stdout(mut self, output: Output) -> Self {
        self.options.stdout = output;
        self
    }

    /// Where the workers' stderr goes; where this program's goes by default.
    pub fn stderr(mut self, output: Output) -> Self {
        self.options.stderr = output;
        self
    }

    /// Whether the workers' processes are forked by the keeper, or executed anew.
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.options.method = method;
        self
    }

    /// Has each outcome carry when and where the task ran.
    #[cfg(feature = "cli")]
    pub(crate) fn measured(mut self) -> Self {
        self.options.measured = true;
        self
    }

    /// Told why, should the pool give up because its workers do not start. Called under its lock.
    pub(crate) fn on_break(mut self, tell: impl FnOnce(&str) + Send + 'static) -> Self {
        self.on_break = Some(Box::new(tell));
        self
    }

    /// Writes there what would go to this program's stderr.
    pub(crate) fn relay_to(mut self, target: OwnedFd) -> Self {
        self.options.relay = Some(Arc::new(target));
        self
    }

    /// Counts there.
    pub(crate) fn counters(mut self, counters: Counters) -> Self {
        self.counters = Some(counters);
        self
    }

    /// Starts the pool.
    ///
    /// # Errors
    /// If an option makes no sense, [`init`](crate::init) was not called, the worker executable is missing
    /// or is none, or the machine is full. Workers that die before they are ready show in the outcomes of
    /// the tasks.
    pub fn start(self) -> Result<Pool, Error> {
        self.options.check(&self.executable)?;
        let PoolBuilder { options, executable, initializer, on_break, counters } = self;
        let initializer = initializer.transpose()?;
        let (staff, client) = match options.threads {
            true => (Staff::threads(), None),
            false => {
                let keeper = Keeper::of(&executable)?;
                let client = keeper.client().map_err(|error| Error::system("reach the keeper", error))?;
                (Staff::Processes(keeper), Some(client))
            }
        };
        if initializer.is_some() && !staff.is_same_build() {
            return Err(Kind::Option("an initializer needs workers of the same executable".to_owned()).into());
        }
        let config = Config {
            workers: options.workers,
            spares: options.spares,
            max_tasks_per_worker: options.max_tasks_per_worker,
            grace: options.grace,
            backoff: options.backoff,
            initializer: initializer.is_some(),
            initializer_timeout: options.initializer_timeout,
            timeout: options.timeout,
            bytes_ahead: BYTES_AHEAD,
            chunk: options.chunk,
        };
        let mut first = Vec::new();
        let machine = Machine::new(config, Instant::now(), &mut first);
        let mut state = State::new(machine, options.limits, options.measured);
        state.on_break = on_break;
        state.counters = counters.unwrap_or(state.counters);
        state.begin(first);
        let core = Arc::new(Core::new(state)?);
        let mut driver = Driver::new(Arc::clone(&core), options.clone(), executable, initializer, client)
            .map_err(|error| Error::system("make a pool", error))?;
        driver.start_all();
        let thread = std::thread::Builder::new()
            .name("watertight-driver".to_owned())
            .spawn(move || driver.run())
            .map_err(|error| Error::system("start a thread", error))?;
        Ok(Pool::started(core, options, staff, thread))
    }
}
