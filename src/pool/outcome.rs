//! From what a mailbox holds to typed values.

use crate::task::arguments::Transfer;
use crate::task::codec;
use crate::task::error::{Encoding, TaskContext, TaskError, TaskErrorKind};

use super::job::{Content, Mailbox};

/// The value or error of one task.
#[inline]
fn decode<R: Transfer>(index: u64, content: Content<'_>, task: &str) -> Result<R, TaskError> {
    let decoded = match content {
        Content::Line(line) => codec::decode_result_line(line),
        Content::Large(line, parts) => codec::decode_result(&line, parts),
        Content::Error(error) => return Err(error),
    };
    decoded.map_err(|error| undecodable(&error, index, task))
}

#[cold]
fn undecodable(error: &codec::DecodeError, index: u64, task: &str) -> TaskError {
    let kind = TaskErrorKind::Encoding { what: Encoding::DecodeResult, message: error.to_string() };
    TaskError::new(kind, TaskContext::not_started(task, Some(index)))
}

/// Calls `take` with everything that a mailbox holds, and empties it.
#[inline]
pub(super) fn decode_all<R: Transfer>(
    mailbox: &mut Mailbox,
    task: &str,
    mut take: impl FnMut(u64, Result<R, TaskError>),
) {
    mailbox.take_all(|index, content, _| take(index, decode(index, content, task)));
}

/// The outcome of a submission of one task.
pub(super) fn one<R: Transfer>(mut mailbox: Mailbox, task: &str) -> Result<R, TaskError> {
    let mut outcome = None;
    decode_all(&mut mailbox, task, |_, result: Result<R, TaskError>| {
        outcome = Some(result.map_err(TaskError::without_index));
    });
    // Without one, the pool has come to its end before it.
    outcome.unwrap_or_else(|| Err(terminated(task, None)))
}

/// What is left of a task whose pool is gone.
pub(super) fn terminated(task: &str, index: Option<u64>) -> TaskError {
    TaskError::new(TaskErrorKind::Terminated, TaskContext::not_started(task, index))
}
