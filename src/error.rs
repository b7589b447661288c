//! What can go wrong before and around tasks: starting, options, and the operating system.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::sys::exit::ExitStatus;
use crate::task::error::TaskError;

/// A pool or process could not be made, or the operating system refused something.
///
/// How a task ended is a [`TaskError`](crate::TaskError) instead.
#[derive(thiserror::Error)]
#[error(transparent)]
pub struct Error(Box<Kind>);

/// The result of what can fail around tasks.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Kind {
    #[error(
        "this executable cannot be its own worker yet: call `watertight::init()` first in `main`, or use \
         `#[watertight::main]` (in tests `#[watertight::test]` or `watertight::test_init!()`)"
    )]
    NotInitialized,
    #[error(
        "this process was started as a worker, but `main` did not call `watertight::init()` before anything else"
    )]
    WorkerWithoutInit,
    #[error("workers are nested {0} deep, which is the limit")]
    TooDeep(u32),
    #[error("cannot use {} as a worker: {failure}", path.display())]
    Keeper { path: PathBuf, failure: KeeperFailure },
    #[error("cannot {what}: {source}")]
    System { what: &'static str, source: io::Error },
    #[error("{0}")]
    Option(String),
    #[error("{0}")]
    Task(String),
    #[error("{}: {message}", what.text())]
    Encoding { what: crate::task::error::Encoding, message: String },
    #[error("the workers do not start: {0}")]
    Broken(String),
    #[error("the pool is closed")]
    Closed,
    #[error("the supervisor has ended")]
    Ended,
    #[error("{0}")]
    Outcome(TaskError),
    #[error("not ready in time")]
    TimedOut,
    #[error("{0}")]
    Shared(String),
    #[error("{0}")]
    Lock(crate::sync::LockError),
}

/// Why an executable did not become a keeper.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeeperFailure {
    #[error("{0}")]
    Execute(io::Error),
    #[error("{0}")]
    System(io::Error),
    #[error("it was replaced by another build, which the pool was not made for")]
    Replaced,
    #[error("nobody waits for it any more")]
    Unwanted,
    #[error("it speaks protocol {0} of watertight, and this program speaks {ours}", ours = crate::link::request::PROTOCOL)]
    OtherVersion(u32),
    #[error("it did not answer as a watertight worker; does its `main` call `watertight::init()` first?")]
    NoGreeting,
    #[error(
        "it {} before it answered; is it built with watertight, and does its `main` call `watertight::init()` first?{}",
        status.map_or_else(|| "ended".to_owned(), |status| status.to_string()),
        said(stderr)
    )]
    Ended { status: Option<ExitStatus>, stderr: String },
}

fn said(stderr: &str) -> String {
    if stderr.trim().is_empty() { String::new() } else { format!(" It said: {}", stderr.trim()) }
}

impl KeeperFailure {
    pub(crate) fn ended() -> KeeperFailure {
        KeeperFailure::Ended { status: None, stderr: String::new() }
    }

    pub(crate) fn with_end(self, status: Option<ExitStatus>, stderr: String) -> KeeperFailure {
        match self {
            KeeperFailure::Ended { .. } => KeeperFailure::Ended { status, stderr },
            other => other,
        }
    }

    /// Whether another try may go better: the machine was full, or somebody killed the process.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            KeeperFailure::Execute(error) | KeeperFailure::System(error) => {
                matches!(
                    error.raw_os_error(),
                    Some(libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE | libc::ETXTBSY)
                )
            }
            KeeperFailure::Ended { status, .. } => status.is_none_or(|status| status.signal().is_some()),
            KeeperFailure::Replaced
            | KeeperFailure::Unwanted
            | KeeperFailure::OtherVersion(_)
            | KeeperFailure::NoGreeting => false,
        }
    }
}

impl Error {
    pub(crate) fn system(what: &'static str, source: io::Error) -> Error {
        Kind::System { what, source }.into()
    }

    /// A shared object could not be made or opened.
    pub(crate) fn shared(text: String) -> Error {
        Kind::Shared(text).into()
    }

    pub(crate) fn kind(&self) -> &Kind {
        &self.0
    }

    /// How a task ended, if that is what this error says: `?` turns a [`TaskError`] into one of these.
    pub fn task_error(&self) -> Option<&TaskError> {
        match &*self.0 {
            Kind::Outcome(error) => Some(error),
            _ => None,
        }
    }

    /// Why a lock was not given, if that is what this error says: `?` turns a
    /// [`LockError`](crate::sync::LockError) into one of these.
    pub fn lock_error(&self) -> Option<&crate::sync::LockError> {
        match &*self.0 {
            Kind::Lock(error) => Some(error),
            _ => None,
        }
    }

    /// Whether this executable has to call [`init`](crate::init) first.
    pub fn is_not_initialized(&self) -> bool {
        matches!(*self.0, Kind::NotInitialized | Kind::WorkerWithoutInit)
    }

    /// Whether the worker executable is missing, not executable, no worker, or of another version; or
    /// workers start and die.
    pub fn is_worker_start(&self) -> bool {
        matches!(*self.0, Kind::Keeper { .. } | Kind::Broken(_))
    }

    /// Whether something was asked that cannot be: an option with a value that it cannot have, a `join` of a pool
    /// that is open, a name that a supervisor does not know.
    pub fn is_option(&self) -> bool {
        matches!(*self.0, Kind::Option(_))
    }

    /// Whether the worker executable does not offer the task, or not with these types.
    pub fn is_unknown_task(&self) -> bool {
        matches!(*self.0, Kind::Task(_))
    }

    /// Whether the pool takes no more tasks.
    pub fn is_closed(&self) -> bool {
        matches!(*self.0, Kind::Closed)
    }

    /// Whether a shared object could not be made, opened or used as asked: /dev/shm is full, the object is gone, or
    /// what should go into it does not fit.
    pub fn is_shared_memory(&self) -> bool {
        matches!(*self.0, Kind::Shared(_))
    }

    /// Whether pools are nested too deep.
    pub fn is_too_deep(&self) -> bool {
        matches!(*self.0, Kind::TooDeep(_))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What `main` prints when it returns this.
        fmt::Display::fmt(self, f)
    }
}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Error {
        Error(Box::new(kind))
    }
}

impl From<crate::sync::LockError> for Error {
    fn from(error: crate::sync::LockError) -> Error {
        Kind::Lock(error).into()
    }
}

impl From<TaskError> for Error {
    fn from(error: TaskError) -> Error {
        Kind::Outcome(error).into()
    }
}

/// Something was not ready in time. Holds the handle on it, to wait further.
#[derive(thiserror::Error)]
#[error("not ready in time")]
pub struct TimedOut<T>(T);

impl<T> TimedOut<T> {
    pub(crate) fn new(handle: T) -> TimedOut<T> {
        TimedOut(handle)
    }

    /// The handle on what was not ready.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> fmt::Debug for TimedOut<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TimedOut")
    }
}

impl<T> From<TimedOut<T>> for Error {
    fn from(_: TimedOut<T>) -> Error {
        Kind::TimedOut.into()
    }
}
