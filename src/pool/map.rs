//! Mapping a function over inputs, all at once.

use std::fmt;
use std::time::Duration;

use crate::task::arguments::Transfer;
use crate::task::error::TaskError;

use super::batch::Name;
use super::job::Mailbox;
use super::outcome::{not_awaited, terminated};
use super::sorted::Sorted;

/// Some tasks of a `map` failed. Holds the outcomes of all, the values of the others included.
///
/// ```
/// # fn main() -> watertight::Result<()> {
/// # watertight::init();
/// let pool = watertight::Pool::new(2)?;
/// let error = pool.map(|x: i64| 10 / x, [5, 0, 2]).unwrap_err();
/// assert_eq!(error.first().index(), Some(1));
/// let values: Vec<Option<i64>> = error.into_outcomes().into_iter().map(Result::ok).collect();
/// assert_eq!(values, [Some(2), None, Some(5)]);
/// # Ok(())
/// # }
/// ```
pub struct MapError<R> {
    outcomes: Vec<Result<R, TaskError>>,
    first: TaskError,
    failed: usize,
}

impl<R> MapError<R> {
    /// The error with the lowest index.
    pub fn first(&self) -> &TaskError {
        &self.first
    }

    /// How many tasks failed.
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// Every outcome, in the order of the inputs.
    pub fn outcomes(&self) -> &[Result<R, TaskError>] {
        &self.outcomes
    }

    /// Every outcome, in the order of the inputs.
    pub fn into_outcomes(self) -> Vec<Result<R, TaskError>> {
        self.outcomes
    }
}

impl<R> fmt::Display for MapError<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.failed {
            1 => write!(f, "{}", self.first),
            failed => {
                write!(f, "{failed} of {} tasks failed, the first: {}", self.outcomes.len(), self.first)
            }
        }
    }
}

impl<R> fmt::Debug for MapError<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        match self.first.stderr() {
            Ok(stderr) if !stderr.is_empty() => write!(f, "\nstderr of its worker:\n{stderr}"),
            _ => Ok(()),
        }
    }
}

impl<R> std::error::Error for MapError<R> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.first)
    }
}

impl<R> From<MapError<R>> for crate::Error {
    /// Keeps the first error.
    fn from(error: MapError<R>) -> crate::Error {
        error.first.into()
    }
}

impl<R> MapError<R> {
    /// The pool does not take the task at all.
    pub(super) fn refused(error: TaskError) -> MapError<R> {
        MapError { outcomes: vec![Err(error.clone())], first: error, failed: 1 }
    }

    /// The values, if all outcomes are values.
    pub(super) fn check(outcomes: Vec<Result<R, TaskError>>) -> Result<Vec<R>, MapError<R>> {
        let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
        match outcomes.iter().find_map(|outcome| outcome.as_ref().err()) {
            None => Ok(outcomes.into_iter().flatten().collect()),
            Some(first) => {
                let first = first.clone();
                Err(MapError { outcomes, first, failed })
            }
        }
    }
}

/// The outcome of a submission of many tasks that is complete.
pub(super) fn collect<R: Transfer>(mut mailbox: Mailbox, task: &str) -> Result<Vec<R>, MapError<R>> {
    let count = mailbox.len();
    let mut sorted = Sorted::new();
    sorted.take(&mut mailbox, task);
    sorted.into_values(count, |index| terminated(task, Some(index)))
}

/// What became of the inputs of a call that waited for them.
pub(super) struct Ran<R> {
    pub(super) sorted: Sorted<R>,
    /// Inputs that were pulled.
    pub(super) count: u64,
    pub(super) task: Name,
    /// The call's time-out, if it passed before all was done.
    pub(super) overdue: Option<Duration>,
}

impl<R: Transfer> Ran<R> {
    pub(super) fn into_outcomes(self) -> Vec<Result<R, TaskError>> {
        let (task, overdue) = (&*self.task, self.overdue);
        self.sorted.finish(self.count, |index| missing(task, index, overdue))
    }

    pub(super) fn into_values(self) -> Result<Vec<R>, MapError<R>> {
        let (task, overdue) = (&*self.task, self.overdue);
        self.sorted.into_values(self.count, |index| missing(task, index, overdue))
    }
}

fn missing(task: &str, index: u64, overdue: Option<Duration>) -> TaskError {
    match overdue {
        Some(limit) => not_awaited(task, Some(index), limit),
        None => terminated(task, Some(index)),
    }
}
