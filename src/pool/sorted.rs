//! Outcomes that come in any order, put in the order of their inputs.
//!
//! Values come in runs, from each worker its own. As long as nothing fails they are kept as plain values: the
//! ones without a gap before them in one vector, which is the result at the end, and the others in pieces
//! that join it when their gap closes. So a value is written once or twice, and never wrapped.

use std::collections::BTreeMap;

use crate::task::arguments::Transfer;
use crate::task::error::TaskError;

use super::job::Mailbox;
use super::map::MapError;
use super::outcome::decode_all;

type Outcome<R> = Result<R, TaskError>;

/// The outcomes of one submission so far.
pub(super) enum Sorted<R> {
    Values(Values<R>),
    /// Something failed.
    Mixed(Vec<Option<Outcome<R>>>),
}

/// Nothing but values.
pub(super) struct Values<R> {
    /// Those of the first inputs, without a gap.
    head: Vec<R>,
    /// The piece that the last value behind a gap went to.
    open: Piece<R>,
    /// The other pieces, by the index of their first value.
    pieces: BTreeMap<usize, Vec<R>>,
}

/// Values of inputs that follow each other.
struct Piece<R> {
    first: usize,
    values: Vec<R>,
}

impl<R: Transfer> Sorted<R> {
    pub(super) fn new() -> Sorted<R> {
        Sorted::Values(Values {
            head: Vec::new(),
            open: Piece { first: 0, values: Vec::new() },
            pieces: BTreeMap::new(),
        })
    }

    pub(super) fn take(&mut self, mailbox: &mut Mailbox, task: &str) {
        decode_all(mailbox, task, |index, outcome| self.put(index as usize, outcome));
        if let Sorted::Values(values) = self {
            values.close_gaps();
        }
    }

    #[inline]
    fn put(&mut self, index: usize, outcome: Outcome<R>) {
        match (&mut *self, outcome) {
            (Sorted::Values(values), Ok(value)) => values.put(index, value),
            (Sorted::Mixed(outcomes), outcome) => put_mixed(outcomes, index, outcome),
            (Sorted::Values(_), Err(error)) => put_mixed(self.mix(), index, Err(error)),
        }
    }

    #[cold]
    fn mix(&mut self) -> &mut Vec<Option<Outcome<R>>> {
        if let Sorted::Values(values) = self {
            *self = Sorted::Mixed(values.take_mixed());
        }
        match self {
            Sorted::Mixed(outcomes) => outcomes,
            Sorted::Values(_) => unreachable!("it was just changed"),
        }
    }

    /// The outcomes of `count` inputs; `missing` says what those are that have none.
    pub(super) fn finish(mut self, count: u64, missing: impl Fn(u64) -> TaskError) -> Vec<Outcome<R>> {
        let mut outcomes = std::mem::take(self.mix());
        outcomes.resize_with(count as usize, || None);
        let outcomes = outcomes.into_iter().enumerate();
        outcomes.map(|(index, outcome)| outcome.unwrap_or_else(|| Err(missing(index as u64)))).collect()
    }

    /// All values of `count` inputs, or all outcomes if there is an error among them.
    pub(super) fn into_values(
        self,
        count: u64,
        missing: impl Fn(u64) -> TaskError,
    ) -> Result<Vec<R>, MapError<R>> {
        match self {
            Sorted::Values(values) if values.head.len() as u64 == count => Ok(values.head),
            other => MapError::check(other.finish(count, missing)),
        }
    }
}

impl<R> Values<R> {
    #[inline]
    fn put(&mut self, index: usize, value: R) {
        if index == self.head.len() {
            return self.head.push(value);
        }
        if self.open.first + self.open.values.len() != index {
            self.open_at(index);
        }
        self.open.values.push(value);
    }

    /// Continues the piece that ends before `index`, or begins one.
    #[cold]
    fn open_at(&mut self, index: usize) {
        self.close();
        let before = self.pieces.range(..index).next_back();
        let continued =
            before.filter(|(first, values)| *first + values.len() == index).map(|(first, _)| *first);
        self.open.first = continued.unwrap_or(index);
        self.open.values = continued.and_then(|first| self.pieces.remove(&first)).unwrap_or_default();
    }

    /// Puts the open piece to the others.
    fn close(&mut self) {
        let values = std::mem::take(&mut self.open.values);
        if !values.is_empty() {
            self.pieces.insert(self.open.first, values);
        }
    }

    /// Moves what has no gap before it any more to the head.
    fn close_gaps(&mut self) {
        self.close();
        while let Some(piece) = self.pieces.first_entry().filter(|piece| *piece.key() == self.head.len()) {
            self.head.append(&mut piece.remove());
        }
    }

    fn take_mixed(&mut self) -> Vec<Option<Outcome<R>>> {
        self.close();
        let mut outcomes: Vec<_> =
            std::mem::take(&mut self.head).into_iter().map(|value| Some(Ok(value))).collect();
        for (first, values) in std::mem::take(&mut self.pieces) {
            outcomes.resize_with(first, || None);
            outcomes.extend(values.into_iter().map(|value| Some(Ok(value))));
        }
        outcomes
    }
}

fn put_mixed<R>(outcomes: &mut Vec<Option<Outcome<R>>>, index: usize, outcome: Outcome<R>) {
    if index >= outcomes.len() {
        outcomes.resize_with(index + 1, || None);
    }
    outcomes[index] = Some(outcome);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::error::{TaskContext, TaskErrorKind};

    fn sorted(outcomes: &[(usize, Option<i64>)]) -> Sorted<i64> {
        let mut sorted = Sorted::new();
        for (index, value) in outcomes {
            sorted.put(*index, value.ok_or_else(|| missing(*index as u64)));
        }
        sorted
    }

    fn missing(index: u64) -> TaskError {
        TaskError::new(TaskErrorKind::Lost, TaskContext::not_started("f", Some(index)))
    }

    fn values(indices: &[usize]) -> Sorted<i64> {
        let outcomes: Vec<_> = indices.iter().map(|index| (*index, Some(*index as i64))).collect();
        let mut sorted = sorted(&outcomes);
        sorted.take(&mut Mailbox::default(), "f");
        sorted
    }

    #[test]
    fn values_come_out_in_the_order_of_their_inputs() {
        let orders: [&[usize]; 6] = [
            &[0, 1, 2, 3, 4, 5],
            &[5, 4, 3, 2, 1, 0],
            &[3, 4, 0, 1, 5, 2],
            &[1, 3, 5, 2, 4, 0],
            &[4, 5, 1, 2, 0, 3],
            &[2, 0, 1, 3, 5, 4],
        ];
        for order in orders {
            assert_eq!(values(order).into_values(6, missing).unwrap(), [0, 1, 2, 3, 4, 5], "{order:?}");
        }
    }

    #[test]
    fn closed_gaps_leave_no_pieces() {
        let Sorted::Values(values) = values(&[3, 4, 0, 1, 5, 2, 8]) else { panic!("nothing failed") };
        assert_eq!((values.head.len(), values.pieces.len()), (6, 1));
    }

    #[test]
    fn a_missing_outcome_is_an_error_in_its_place() {
        let outcomes = values(&[0, 2]).finish(4, missing);
        assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, false]);
        assert_eq!(outcomes[3].as_ref().unwrap_err().index(), Some(3));
    }

    #[test]
    fn a_failure_keeps_the_values_around_it() {
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 3, 0, 1]] {
            let outcomes: Vec<_> = order.iter().map(|index| (*index, (*index != 1).then_some(7))).collect();
            let error = sorted(&outcomes).into_values(4, missing).unwrap_err();
            assert_eq!((error.failed(), error.first().index()), (1, Some(1)));
            assert_eq!(error.outcomes().iter().filter(|outcome| outcome.is_ok()).count(), 3);
        }
    }
}
