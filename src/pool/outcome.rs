//! From what a mailbox holds to typed values.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::task::arguments::Transfer;
use crate::task::codec;
use crate::task::error::{Absent, Encoding, TaskContext, TaskError, TaskErrorKind};

use super::job::{Content, Mailbox, Values};

/// The value or error of one task.
fn decode<R: Transfer>(index: u64, content: Content, task: &str) -> Result<R, TaskError> {
    let (line, parts) = content?;
    codec::decode_result(&line, parts).map_err(|error| undecodable(&error, index, task))
}

/// Values that fail one by one too, although the net for a panic of the type's own `Deserialize` is spread under all of
/// them: one each was seen in the speed of `map`.
#[inline]
fn decode_run<R: Transfer>(
    mut values: Values<'_>,
    task: &str,
    take: &mut impl FnMut(u64, Result<R, TaskError>),
) {
    loop {
        let mut at = 0;
        let rest = values.by_ref().map(|(index, line)| {
            at = index;
            (index, codec::decode_line(line))
        });
        let all = || {
            rest.for_each(|(index, value)| {
                take(index, value.map_err(|error| undecodable(&error, index, task)));
            });
        };
        let Err(payload) = catch_unwind(AssertUnwindSafe(all)) else { return };
        take(at, Err(undecodable(&codec::panicked(payload), at, task)));
    }
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
    mailbox.take_runs(|values| decode_run(values, task, &mut take));
    mailbox.take_others(|index, content, _| take(index, decode(index, content, task)));
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

/// What is known of a task that its caller waited for no longer than `limit`.
pub(super) fn not_awaited(task: &str, index: Option<u64>, limit: Duration) -> TaskError {
    let context = TaskContext {
        usage: Err(Absent::NotAwaited),
        stderr: Err(Absent::NotAwaited),
        ..TaskContext::not_started(task, index)
    };
    TaskError::new(TaskErrorKind::TimedOut { limit }, context)
}
