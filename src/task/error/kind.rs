//! The ways in which a task ends without a value.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sys::exit::ExitStatus;

/// How a task ended without a value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TaskErrorKind {
    /// It panicked. The worker lives on, unless it was built with `panic = "abort"`.
    Panicked(Panic),
    /// Its process was killed by a signal or exited.
    Died {
        /// How the process ended.
        status: ExitStatus,
        /// What the worker could note down about the reason.
        detail: Option<DeathDetail>,
    },
    /// It ran for longer than the pool's time-out of a task, or the call that waited for it had one, which passed.
    TimedOut {
        /// The time-out.
        limit: Duration,
    },
    /// An allocation failed under its memory limit.
    MemoryLimit {
        /// The limit in bytes.
        limit: u64,
        /// How the process ended of it.
        status: ExitStatus,
    },
    /// It used more processor time than its limit.
    CpuLimit {
        /// The limit.
        limit: Duration,
    },
    /// It was cancelled.
    Cancelled,
    /// The pool was terminated, or its handle dropped, before the task was done.
    Terminated,
    /// The pool was closed or terminated before the call, and took nothing of it.
    Closed,
    /// The task itself returned an error. Calls by name with JSON only: elsewhere a `Result` is just a value.
    Failed {
        /// What the error says.
        message: String,
    },
    /// A value could not be turned into bytes or back.
    Encoding {
        /// Which value, and in which direction.
        what: Encoding,
        /// What is wrong with it.
        message: String,
    },
    /// The worker executable does not offer the task, or not with these types.
    UnknownTask {
        /// What is wrong, with the nearest names.
        message: String,
    },
    /// No worker could be started for it.
    NoWorker {
        /// Why the last one did not start.
        message: String,
    },
    /// The worker's process was lost together with the keeper that knew how it ended.
    Lost,
    /// The worker broke the protocol of its lane and was killed.
    Breach {
        /// What it wrote.
        message: String,
    },
}

/// What a worker could note down before a signal killed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DeathDetail {
    /// The fault was at the end of the stack.
    StackOverflow,
}

/// Which value could not be turned into bytes or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// The caller could not encode the arguments.
    EncodeArguments,
    /// The worker could not decode the arguments.
    DecodeArguments,
    /// The worker could not encode the result.
    EncodeResult,
    /// The caller could not decode the result.
    DecodeResult,
}

/// A panic, as data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Panic {
    /// What it said; a payload that is no text is said to be none.
    pub message: String,
    /// `file:line:column`, unless the task replaced the panic hook.
    pub location: Option<String>,
    /// The backtrace, if backtraces are on in the worker (`RUST_BACKTRACE`).
    pub backtrace: Option<String>,
}

/// Why a field of an error is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Absent {
    /// The task reached no worker.
    #[error("the task did not start")]
    NotStarted,
    /// The process lives on, so what it used is not final.
    #[error("the worker lives on")]
    WorkerLivesOn,
    /// The stream goes elsewhere.
    #[error("stderr is not captured")]
    NotCaptured,
    /// The stream could not be read, for want of descriptors for instance.
    #[error("stderr could not be read")]
    NotReadable,
    /// The keeper, which reaps the workers, died with it.
    #[error("the keeper died")]
    KeeperDied,
    /// The worker is a thread of this program, and has no process of its own.
    #[error("the worker is a thread")]
    IsThread,
    /// The call's own time-out passed, and it did not wait for what became of the task.
    #[error("the call did not wait for it")]
    NotAwaited,
}

impl TaskErrorKind {
    /// A short stable word for it.
    pub(super) fn word(&self) -> &'static str {
        match self {
            TaskErrorKind::Panicked(_) => "panic",
            TaskErrorKind::Died { status: ExitStatus::Signal { .. }, .. } => "signal",
            TaskErrorKind::Died { status: ExitStatus::Code(_), .. } => "exit",
            TaskErrorKind::TimedOut { .. } => "timeout",
            TaskErrorKind::MemoryLimit { .. } => "memory",
            TaskErrorKind::CpuLimit { .. } => "cpu",
            TaskErrorKind::Cancelled => "cancelled",
            TaskErrorKind::Terminated => "terminated",
            TaskErrorKind::Closed => "closed",
            TaskErrorKind::Failed { .. } => "failed",
            TaskErrorKind::Encoding { .. } => "encoding",
            TaskErrorKind::UnknownTask { .. } => "unknown-task",
            TaskErrorKind::NoWorker { .. } => "no-worker",
            TaskErrorKind::Lost => "lost",
            TaskErrorKind::Breach { .. } => "breach",
        }
    }
}
