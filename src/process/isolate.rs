//! `isolate`: code that may do anything, run in a process of its own and judged from outside.

use std::fmt;
use std::time::{Duration, Instant};

use crate::link::request::StartMethod;
use crate::task::arguments::{Task, Transfer};
use crate::task::codec;
use crate::task::error::{Encoding, TaskContext, TaskError, TaskErrorKind};

use super::child::{Child, Options};
use super::job::Job;
use super::stdio::{Capture, Stdio};

/// Runs `function` in a process of its own, under limits, with its output captured.
///
/// ```
/// use std::time::Duration;
/// use watertight::isolate;
///
/// fn main() {
///     watertight::init();
///     let outcome = isolate(|| println!("{}", 6 * 7)).timeout(Duration::from_secs(10)).run();
///     assert_eq!(outcome.stdout(), "42\n");
///     let outcome = isolate(|| std::process::exit(3)).run::<()>();
///     assert_eq!(outcome.exit_code(), Some(3));
/// }
/// ```
pub fn isolate<F>(function: F) -> Isolate<F> {
    let options = Options {
        name: "isolated".to_owned(),
        stdout: Stdio::Capture,
        stderr: Stdio::Capture,
        ..Options::default()
    };
    Isolate { function, options, timeout: None }
}

/// Code to be run in isolation, and its limits. Made by [`isolate`].
#[must_use = "nothing runs before `run`"]
pub struct Isolate<F> {
    function: F,
    options: Options,
    timeout: Option<Duration>,
}

impl<F> Isolate<F> {
    /// How long it may run before it is killed.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The most private memory it may use, in bytes.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.options.limits.memory = Some(bytes);
        self
    }

    /// The most processor time it may use.
    pub fn cpu_limit(mut self, limit: Duration) -> Self {
        self.options.limits.cpu_time = Some(limit);
        self
    }

    /// Sets an environment variable for it.
    pub fn env(mut self, name: impl Into<std::ffi::OsString>, value: impl Into<std::ffi::OsString>) -> Self {
        self.options.environment.push((name.into(), Some(value.into())));
        self
    }

    /// The folder that it runs in.
    pub fn current_dir(mut self, folder: impl Into<std::path::PathBuf>) -> Self {
        self.options.working_directory = Some(folder.into());
        self
    }

    /// Whether its process is forked by the keeper, or executed anew.
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.options.method = method;
        self
    }

    /// Runs it, and waits for its end.
    ///
    /// A process that cannot be started is an outcome too, of the kind
    /// [`NoWorker`](TaskErrorKind::NoWorker).
    pub fn run<R>(self) -> Isolated<R>
    where
        F: Task<(), Output = R>,
        R: Transfer,
    {
        let name = std::any::type_name::<F>();
        let started = Job::encode(self.function, ()).and_then(|job| Child::start(self.options, job));
        match started {
            Ok((child, _)) => watch(child, self.timeout),
            Err(error) => {
                let kind = TaskErrorKind::NoWorker { message: error.to_string() };
                let error = TaskError::new(kind, TaskContext::not_started(name, None));
                Isolated { result: Err(error), stdout: Vec::new(), stderr: Vec::new() }
            }
        }
    }
}

fn watch<R: Transfer>(mut child: Child, timeout: Option<Duration>) -> Isolated<R> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    if !child.wait(deadline) {
        child.kill(timeout.map(|limit| TaskErrorKind::TimedOut { limit }));
        child.wait_for_death();
    }
    let result = child.outcome().and_then(|(line, parts)| {
        codec::decode_result(&line, parts).map_err(|error| {
            child.error(TaskErrorKind::Encoding { what: Encoding::DecodeResult, message: error.to_string() })
        })
    });
    let bytes = |capture: Option<Capture>| capture.map(Capture::into_bytes).unwrap_or_default();
    Isolated { result, stdout: bytes(child.stdout.take()), stderr: bytes(child.stderr.take()) }
}

/// What became of isolated code.
#[derive(Clone, PartialEq)]
pub struct Isolated<R> {
    /// Its value, or how it died.
    pub result: Result<R, TaskError>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl<R> Isolated<R> {
    /// What it wrote to stdout, up to 16 MiB.
    pub fn stdout(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.stdout)
    }

    /// What it wrote to stderr, up to 16 MiB.
    pub fn stderr(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.stderr)
    }

    /// Its value, or how it died.
    ///
    /// # Errors
    /// [`TaskError`] says how it ended, if not with a value.
    pub fn into_result(self) -> Result<R, TaskError> {
        self.result
    }

    /// Whether it came to its end and returned.
    pub fn is_ok(&self) -> bool {
        self.result.is_ok()
    }

    /// How it died, if it did not return.
    pub fn error(&self) -> Option<&TaskError> {
        self.result.as_ref().err()
    }

    /// The signal that killed it.
    pub fn signal(&self) -> Option<crate::Signal> {
        self.error().and_then(TaskError::signal)
    }

    /// The code that it exited with, if it exited without returning.
    pub fn exit_code(&self) -> Option<i32> {
        self.error().and_then(TaskError::exit_status).and_then(|status| status.code())
    }

    /// Whether it panicked.
    pub fn is_panic(&self) -> bool {
        self.error().is_some_and(TaskError::is_panic)
    }

    /// Whether it ran for longer than its time-out.
    pub fn is_timeout(&self) -> bool {
        self.error().is_some_and(TaskError::is_timeout)
    }

    /// Whether an allocation failed under its memory limit.
    pub fn is_memory_limit(&self) -> bool {
        self.error().is_some_and(TaskError::is_memory_limit)
    }

    /// Whether it used more processor time than its limit.
    pub fn is_cpu_limit(&self) -> bool {
        self.error().is_some_and(TaskError::is_cpu_limit)
    }
}

impl<R: fmt::Debug> fmt::Debug for Isolated<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Isolated")
            .field("result", &self.result)
            .field("stdout", &self.stdout())
            .field("stderr", &self.stderr())
            .finish()
    }
}
