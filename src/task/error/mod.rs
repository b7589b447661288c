//! What a caller is told when a task ends without a value.

mod kind;
mod text;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sys::exit::{ExitStatus, ResourceUsage};

pub use kind::{Absent, DeathDetail, Encoding, Panic, TaskErrorKind};

/// A task ended without a value, and this is how.
///
/// It prints as one line, serializes, and names what is known: the task, its index and attempt, the worker's
/// pid, how long the task ran, what the process used and the last lines that it wrote to stderr. What is not
/// known is absent with a reason.
///
/// ```
/// # fn main() -> watertight::Result<()> {
/// watertight::init();
/// let pool = watertight::Pool::new(1)?;
/// let error = pool.apply(|| -> i32 { std::process::abort() }, ()).unwrap_err();
/// assert_eq!(error.signal(), Some(watertight::Signal::SIGABRT));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskError(Box<Parts>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Parts {
    kind: TaskErrorKind,
    context: TaskContext,
}

/// Which task it was, where and when it ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TaskContext {
    pub(crate) task: String,
    /// Position in the input of a `map`, if it was one.
    pub(crate) index: Option<u64>,
    pub(crate) attempt: u32,
    pub(crate) attempts: u32,
    pub(crate) pid: Option<u32>,
    pub(crate) elapsed: Option<Duration>,
    pub(crate) usage: Result<ResourceUsage, Absent>,
    pub(crate) stderr: Result<String, Absent>,
}

impl TaskContext {
    /// The context of a task that reached no worker.
    pub(crate) fn not_started(task: &str, index: Option<u64>) -> TaskContext {
        TaskContext {
            task: task.to_owned(),
            index,
            attempt: 0,
            attempts: 0,
            pid: None,
            elapsed: None,
            usage: Err(Absent::NotStarted),
            stderr: Err(Absent::NotStarted),
        }
    }
}

impl TaskError {
    pub(crate) fn new(kind: TaskErrorKind, context: TaskContext) -> TaskError {
        TaskError(Box::new(Parts { kind, context }))
    }

    /// The same error, of a task that is no part of a map.
    pub(crate) fn without_index(mut self) -> TaskError {
        self.0.context.index = None;
        self
    }

    /// How it ended.
    pub fn kind(&self) -> &TaskErrorKind {
        &self.0.kind
    }

    /// The task's name.
    pub fn task(&self) -> &str {
        &self.0.context.task
    }

    /// Its position in the input of a `map`.
    pub fn index(&self) -> Option<u64> {
        self.0.context.index
    }

    /// Which attempt this was, from 1, and how many it had; 0 if the task did not start, or if the call's time-out
    /// passed before it was done.
    pub fn attempt(&self) -> (u32, u32) {
        (self.0.context.attempt, self.0.context.attempts)
    }

    /// The worker that ran it.
    pub fn pid(&self) -> Option<u32> {
        self.0.context.pid
    }

    /// How long it ran, unless it was one of very many that travelled together: tiny ones are not timed.
    /// None as well for a task that returned a value only after it was told to stop.
    pub fn elapsed(&self) -> Option<Duration> {
        self.0.context.elapsed
    }

    /// What the worker's process used over its life.
    pub fn usage(&self) -> Result<ResourceUsage, Absent> {
        self.0.context.usage
    }

    /// The last lines that the worker wrote to stderr: of a pool's workers if they are processes, of a
    /// [`Process`](crate::Process) if its stderr is captured.
    pub fn stderr(&self) -> Result<&str, Absent> {
        self.0.context.stderr.as_deref().map_err(|absent| *absent)
    }

    /// The panic, if it was one.
    pub fn panic(&self) -> Option<&Panic> {
        match self.kind() {
            TaskErrorKind::Panicked(panic) => Some(panic),
            _ => None,
        }
    }

    /// How the worker's process ended, if that is what ended the task.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        match self.kind() {
            TaskErrorKind::Died { status, .. } | TaskErrorKind::MemoryLimit { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The signal that killed the worker, if that is what ended the task.
    pub fn signal(&self) -> Option<crate::Signal> {
        self.exit_status().and_then(ExitStatus::signal)
    }

    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        self.panic().is_some()
    }

    /// Whether the worker's process died of the task: a signal or an exit, whatever the reason.
    pub fn is_death(&self) -> bool {
        self.exit_status().is_some()
    }

    /// Whether the time-out of the task, or of the call that waited for it, passed.
    pub fn is_timeout(&self) -> bool {
        matches!(self.kind(), TaskErrorKind::TimedOut { .. })
    }

    /// Whether an allocation failed under the memory limit.
    pub fn is_memory_limit(&self) -> bool {
        matches!(self.kind(), TaskErrorKind::MemoryLimit { .. })
    }

    /// Whether it used more processor time than its limit.
    pub fn is_cpu_limit(&self) -> bool {
        matches!(self.kind(), TaskErrorKind::CpuLimit { .. })
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.kind(), TaskErrorKind::Cancelled)
    }

    /// Whether it was not taken, because the pool was closed.
    pub fn is_closed(&self) -> bool {
        matches!(self.kind(), TaskErrorKind::Closed)
    }

    /// Whether the end of the pool ended it.
    pub fn is_terminated(&self) -> bool {
        matches!(self.kind(), TaskErrorKind::Terminated)
    }

    /// A short stable word for the kind, for programs that read text: `panic`, `signal`, `exit`, `timeout`,
    /// `memory`, `cpu`, `cancelled`, `terminated`, `closed`, `failed`, `encoding`, `unknown-task`, `no-worker`,
    /// `lost` or `breach`.
    pub fn word(&self) -> &'static str {
        self.kind().word()
    }

    /// The sentence without the task's name and index: `worker 4711 killed by SIGSEGV after 0.2 s, attempt 1
    /// of 1`.
    pub fn cause(&self) -> impl fmt::Display + '_ {
        text::Cause(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Signal;

    fn error(kind: TaskErrorKind) -> TaskError {
        let context = TaskContext {
            pid: Some(4711),
            elapsed: Some(Duration::from_millis(200)),
            attempt: 1,
            attempts: 1,
            ..TaskContext::not_started("thumbnail", Some(3))
        };
        TaskError::new(kind, context)
    }

    fn segv() -> TaskErrorKind {
        let status = ExitStatus::Signal { signal: Signal::SIGSEGV, core_dumped: false };
        TaskErrorKind::Died { status, detail: None }
    }

    #[test]
    fn an_error_is_one_readable_line() {
        let text = error(segv()).to_string();
        assert_eq!(text, "task 3 (thumbnail): worker 4711 killed by SIGSEGV after 0.2 s, attempt 1 of 1");
        let panic = Panic { message: "a\nb".into(), location: Some("x.rs:1:2".into()), backtrace: None };
        let text = error(TaskErrorKind::Panicked(panic)).cause().to_string();
        assert_eq!(text, "worker 4711 panicked at x.rs:1:2: a b after 0.2 s, attempt 1 of 1");
        let limit = TaskErrorKind::TimedOut { limit: Duration::from_millis(50) };
        assert_eq!(limit.text(), "timed out (50.0 ms allowed)");
    }

    #[test]
    fn a_task_that_did_not_start_has_no_worker_in_its_text() {
        let error = TaskError::new(TaskErrorKind::Cancelled, TaskContext::not_started("f", None));
        assert_eq!(error.to_string(), "task f: cancelled");
        assert_eq!(error.usage(), Err(Absent::NotStarted));
    }

    #[test]
    fn an_error_survives_serialization() {
        let error = error(segv());
        let json = serde_json::to_string(&error).unwrap();
        assert_eq!(serde_json::from_str::<TaskError>(&json).unwrap(), error);
    }
}
