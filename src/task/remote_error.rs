//! `RemoteError`: any error, made fit to travel.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;

use serde::{Deserialize, Serialize};

/// An error that a task returns: what any error says, in a form that travels.
///
/// `io::Error`, `anyhow::Error` and most others do not serialize. A task that returns
/// `Result<T, RemoteError>` can use `?` on all of them; message, sources and (if `RUST_BACKTRACE` is set)
/// backtrace arrive.
///
/// Like `anyhow::Error` it converts from every error and so is none itself.
///
/// ```
/// use watertight::RemoteError;
///
/// fn first_line(path: String) -> Result<String, RemoteError> {
///     let text = std::fs::read_to_string(path)?;
///     text.lines().next().map(str::to_owned).ok_or_else(|| RemoteError::new("the file is empty"))
/// }
///
/// let error = first_line("/no/such/file".into()).unwrap_err();
/// assert_eq!(error.to_string(), "No such file or directory (os error 2)");
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteError {
    message: String,
    sources: Vec<String>,
    backtrace: Option<String>,
}

impl RemoteError {
    /// An error that only says `message`.
    pub fn new(message: impl fmt::Display) -> RemoteError {
        RemoteError { message: message.to_string(), sources: Vec::new(), backtrace: capture() }
    }

    /// The same error under a message of what was being done; its own message becomes the nearest source.
    ///
    /// ```
    /// # use watertight::RemoteError;
    /// fn size(path: String) -> Result<u64, RemoteError> {
    ///     let file = std::fs::metadata(&path).map_err(|error| RemoteError::from(error).context(path))?;
    ///     Ok(file.len())
    /// }
    /// let error = size("/no/such/file".into()).unwrap_err();
    /// assert_eq!(format!("{error:#}"), "/no/such/file: No such file or directory (os error 2)");
    /// ```
    pub fn context(mut self, message: impl fmt::Display) -> RemoteError {
        let before = std::mem::replace(&mut self.message, message.to_string());
        self.sources.insert(0, before);
        self
    }

    /// What the error says itself.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What its sources say, the nearest first.
    pub fn sources(&self) -> &[String] {
        &self.sources
    }

    /// Where it became a `RemoteError`, if backtraces were on in the worker.
    pub fn backtrace(&self) -> Option<&str> {
        self.backtrace.as_deref()
    }
}

impl<E: std::error::Error> From<E> for RemoteError {
    fn from(error: E) -> RemoteError {
        let sources = std::iter::successors(error.source(), |error| error.source());
        RemoteError {
            message: error.to_string(),
            sources: sources.map(ToString::to_string).collect(),
            backtrace: capture(),
        }
    }
}

fn capture() -> Option<String> {
    let backtrace = Backtrace::capture();
    (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string())
}

impl fmt::Display for RemoteError {
    /// The message; with `{:#}` its sources too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if f.alternate() {
            for source in &self.sources {
                write!(f, ": {source}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:#}")?;
        match &self.backtrace {
            Some(backtrace) => write!(f, "\n\n{backtrace}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the page could not be read")]
    struct Outer(#[source] std::num::ParseIntError);

    #[test]
    fn message_and_sources_arrive() {
        let error = RemoteError::from(Outer("x".parse::<i32>().unwrap_err()));
        assert_eq!(error.to_string(), "the page could not be read");
        assert_eq!(format!("{error:#}"), "the page could not be read: invalid digit found in string");
        assert_eq!(error.sources().len(), 1);
    }
}
