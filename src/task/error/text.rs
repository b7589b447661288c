//! An error as text: one line, whatever is in it.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use super::{DeathDetail, Encoding, Panic, TaskError, TaskErrorKind};

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

/// The sentence of `TaskError::cause`.
pub(super) struct Cause<'a>(pub(super) &'a TaskError);

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
    pub(super) fn text(&self) -> Cow<'static, str> {
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
