//! Puts what comes in any order into the order of the inputs.

use std::collections::BTreeMap;

/// Holds what came before its turn.
#[derive(Debug)]
pub(super) struct Order<T> {
    next: u64,
    early: BTreeMap<u64, T>,
    unordered: bool,
}

impl<T> Order<T> {
    /// `unordered` lets everything pass as it comes.
    pub(super) fn new(unordered: bool) -> Order<T> {
        Order { next: 0, early: BTreeMap::new(), unordered }
    }

    /// Takes the item with this number, and gives those whose turn it is to `pass`.
    pub(super) fn take(&mut self, number: u64, item: T, mut pass: impl FnMut(u64, T)) {
        if self.unordered {
            return pass(number, item);
        }
        if number != self.next {
            self.early.insert(number, item);
            return;
        }
        pass(number, item);
        self.next += 1;
        while let Some(item) = self.early.remove(&self.next) {
            pass(self.next, item);
            self.next += 1;
        }
    }

    /// What still waits, though the items before it will not come.
    pub(super) fn into_rest(self) -> impl Iterator<Item = (u64, T)> {
        self.early.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(unordered: bool, numbers: &[u64]) -> (Vec<u64>, Vec<u64>) {
        let mut order = Order::new(unordered);
        let mut passed = Vec::new();
        for number in numbers {
            order.take(*number, *number, |number, item| {
                assert_eq!(number, item);
                passed.push(item);
            });
        }
        (passed, order.into_rest().map(|(number, _)| number).collect())
    }

    #[test]
    fn items_pass_in_their_turn() {
        assert_eq!(passed(false, &[2, 0, 1, 4]), (vec![0, 1, 2], vec![4]));
        assert_eq!(passed(false, &[0, 1]), (vec![0, 1], vec![]));
    }

    #[test]
    fn without_an_order_they_pass_at_once() {
        assert_eq!(passed(true, &[2, 0, 1]), (vec![2, 0, 1], vec![]));
    }
}
