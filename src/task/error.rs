//! What a caller is told when a task ends without a value.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sys::exit::{ExitStatus, ResourceUsage};

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
    /// It ran for longer than its time-out.
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
    /// The keeper, which reaps the workers, died with it.
    #[error("the keeper died")]
    KeeperDied,
    /// The worker is a thread of this program, and has no process of its own.
    #[error("the worker is a thread")]
    IsThread,
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

    /// Which attempt this was, from 1, and how many it had; 0 if the task did not start.
    pub fn attempt(&self) -> (u32, u32) {
        (self.0.context.attempt, self.0.context.attempts)
    }

    /// The worker that ran it.
    pub fn pid(&self) -> Option<u32> {
        self.0.context.pid
    }

    /// How long it ran, unless it was one of very many that travelled together: tiny ones are not timed.
    pub fn elapsed(&self) -> Option<Duration> {
        self.0.context.elapsed
    }

    /// What the worker's process used over its life.
    pub fn usage(&self) -> Result<ResourceUsage, Absent> {
        self.0.context.usage
    }

    /// The last lines that the worker wrote to stderr.
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

    /// Whether the task ran for longer than its time-out.
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
        match self.kind() {
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

    /// The sentence without the task's name and index: `worker 4711 killed by SIGSEGV after 0.2 s, attempt 1
    /// of 1`.
    pub fn cause(&self) -> impl fmt::Display + '_ {
        Cause(self)
    }
}

impl std::error::Error for TaskError {}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index() {
            Some(index) => write!(f, "task {index} ({}): {}", self.task(), self.cause()),
            None => write!(f, "task {}: {}", self.task(), self.cause()),
        }
    }
}

impl fmt::Debug for TaskError {
    /// Everything, for a test that unwraps: the line, then backtrace and stderr if there are any.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        if let Some(backtrace) = self.panic().and_then(|panic| panic.backtrace.as_ref()) {
            write!(f, "\n{backtrace}")?;
        }
        match self.stderr() {
            Ok(stderr) if !stderr.is_empty() => write!(f, "\nstderr of the worker:\n{stderr}"),
            _ => Ok(()),
        }
    }
}

struct Cause<'a>(&'a TaskError);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let context = &self.0.0.context;
        if let Some(pid) = context.pid {
            write!(f, "worker {pid} ")?;
        }
        let text = self.0.kind().text();
        let text = one_line(&text);
        match context.pid {
            Some(_) => f.write_str(&text)?,
            None => f.write_str(text.strip_prefix("was ").unwrap_or(&text))?,
        }
        if let Some(elapsed) = context.elapsed {
            write!(f, " after {}", Seconds(elapsed))?;
        }
        if context.attempt > 0 {
            write!(f, ", attempt {} of {}", context.attempt, context.attempts)?;
        }
        Ok(())
    }
}

impl TaskErrorKind {
    /// Goes on behind "worker 4711".
    fn text(&self) -> Cow<'static, str> {
        match self {
            TaskErrorKind::Panicked(Panic { message, location: Some(location), .. }) => {
                format!("panicked at {location}: {message}").into()
            }
            TaskErrorKind::Panicked(Panic { message, .. }) => format!("panicked: {message}").into(),
            TaskErrorKind::Died { status, detail: None } => status.to_string().into(),
            TaskErrorKind::Died { status, detail: Some(DeathDetail::StackOverflow) } => {
                format!("{status} (stack overflow)").into()
            }
            TaskErrorKind::TimedOut { limit } => format!("timed out ({} allowed)", Seconds(*limit)).into(),
            TaskErrorKind::MemoryLimit { limit, status } => {
                format!("ran out of its {} of memory and was {status}", Size(*limit)).into()
            }
            TaskErrorKind::CpuLimit { limit } => {
                format!("used up its {} of processor time", Seconds(*limit)).into()
            }
            TaskErrorKind::Cancelled => "was cancelled".into(),
            TaskErrorKind::Terminated => "was terminated with its pool".into(),
            TaskErrorKind::Closed => "was not run: the pool is closed".into(),
            TaskErrorKind::Failed { message } => format!("failed: {message}").into(),
            TaskErrorKind::Encoding { what, message } => format!("{}: {message}", what.text()).into(),
            TaskErrorKind::UnknownTask { message } => message.clone().into(),
            TaskErrorKind::NoWorker { message } => format!("was not run: {message}").into(),
            TaskErrorKind::Lost => "was lost: the keeper of the workers died".into(),
            TaskErrorKind::Breach { message } => format!("broke the protocol of its lane: {message}").into(),
        }
    }
}

impl Encoding {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Encoding::EncodeArguments => "cannot encode the arguments",
            Encoding::DecodeArguments => "cannot decode the arguments",
            Encoding::EncodeResult => "cannot encode the result",
            Encoding::DecodeResult => "cannot decode the result",
        }
    }
}

/// An error is one line, whatever a panic message holds.
fn one_line(text: &str) -> Cow<'_, str> {
    if text.contains(['\n', '\r']) {
        text.replace("\r\n", " ").replace(['\n', '\r'], " ").into()
    } else {
        text.into()
    }
}

/// A duration as people read it: milliseconds below 0.1 s, else seconds with one digit.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        if seconds < 0.0995 { write!(f, "{:.1} ms", seconds * 1e3) } else { write!(f, "{seconds:.1} s") }
    }
}

/// A size as people read it.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        match units.into_iter().find(|(shift, _)| self.0 >= 1 << shift && self.0.is_multiple_of(1 << shift)) {
            Some((shift, unit)) => write!(f, "{} {unit}", self.0 >> shift),
            None => write!(f, "{} bytes", self.0),
        }
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
