//! Items that nobody has begun, if one believes the workers that died of them.
//!
//! A worker's word for what it had begun, and for whether it was ever ready, stands in memory that its tasks can
//! write. A task that has its workers deny it is given to one after the other, but not for ever: an item that
//! stands first at every death is ended, and a worker is known to have been ready when it has answered before it
//! was given anything.

use super::{Action, BatchKey, Machine, Verdict};

/// An item that is so suspicious is blamed.
const BLAMED: u32 = 9;

/// What a death says against the first item of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suspicion {
    /// The worker had done others.
    Weak,
    /// It had done nothing else.
    Strong,
}

impl Suspicion {
    /// The worker may have proven before that it works.
    pub(super) fn after(proven: bool) -> Suspicion {
        if proven { Suspicion::Weak } else { Suspicion::Strong }
    }
}

impl Machine {
    /// An item is more suspicious than before, and is ended if it is too much so.
    pub(super) fn suspect(
        &mut self,
        item: (BatchKey, u32),
        suspicion: Suspicion,
        verdict: Verdict,
        actions: &mut Vec<Action>,
    ) {
        if !self.batches.contains_key(&item.0) {
            return;
        }
        let weight = match suspicion {
            Suspicion::Weak => 1,
            Suspicion::Strong => 3,
        };
        let sum = self.suspects.entry(item).or_default();
        *sum += weight;
        if *sum >= BLAMED {
            self.suspects.remove(&item);
            self.blame(item, verdict, actions);
        }
    }

    /// Takes an item out of the queue, and ends it.
    fn blame(&mut self, (key, item): (BatchKey, u32), verdict: Verdict, actions: &mut Vec<Action>) {
        let Some(at) = self.queue.iter().position(|span| span.key == key && span.items.contains(&item))
        else {
            return;
        };
        let Some(mut span) = self.queue.remove(at) else { return };
        let before = span.split_front(item - span.items.start);
        let blamed = span.split_front(1);
        [span, before].into_iter().filter(|span| span.len() > 0).for_each(|span| self.queue.insert(at, span));
        self.deliver(blamed, verdict, actions);
    }
}
