//! A waiter on a bell, and those who ring it.

use std::sync::Arc;

use loom::thread;

use crate::explore::explore;
use crate::link::bell::Bell;
use crate::link::claim::{ClaimWord, Ledger};
use crate::primitive::{AtomicU64, Futex, Ordering, Word, without_fences};

struct Side {
    bell: Word,
    /// What is waited for: how often it has happened.
    happened: AtomicU64,
    claims: AtomicU64,
}

impl Side {
    fn new() -> Arc<Side> {
        Arc::new(Side { bell: Word::new(0), happened: AtomicU64::new(0), claims: AtomicU64::new(0) })
    }

    fn bell(&self) -> Bell<'_> {
        Bell(Futex(&self.bell))
    }

    fn has_happened(&self) -> u64 {
        self.happened.load(Ordering::Relaxed)
    }

    /// As both ends of a lane wait.
    fn wait_for(&self, count: u64) {
        while self.has_happened() < count {
            self.bell().arm();
            if self.has_happened() < count {
                self.bell().sleep();
            }
            self.bell().disarm();
        }
    }
}

fn one_waiter() -> usize {
    explore(3, || {
        let side = Side::new();
        let ringers = Arc::clone(&side);
        let ringer = thread::spawn(move || {
            for count in 1..=2 {
                ringers.happened.store(count, Ordering::Relaxed);
                ringers.bell().ring();
            }
        });
        side.wait_for(1);
        side.wait_for(2);
        ringer.join().expect("the ringer ends");
    })
}

/// One waits twice, one rings twice.
pub fn no_lost_wake_up() -> usize {
    one_waiter()
}

/// The same without the fences between the two steps of either side. Panics.
pub fn lost_without_fences() {
    without_fences(one_waiter);
}

/// Two ring for one waiter, as host and control thread do for a worker.
pub fn two_ringers() -> usize {
    explore(2, || {
        let side = Side::new();
        let ringers = [(); 2].map(|()| {
            let side = Arc::clone(&side);
            thread::spawn(move || {
                side.happened.fetch_add(1, Ordering::Relaxed);
                side.bell().ring();
            })
        });
        side.wait_for(2);
        for ringer in ringers {
            ringer.join().expect("a ringer ends");
        }
    })
}

/// A ring is answered by one ringer alone.
pub fn one_answer() -> usize {
    explore(3, || {
        let side = Side::new();
        side.bell().arm();
        let other = Arc::clone(&side);
        let ringer = thread::spawn(move || other.bell().answer());
        let own = side.bell().answer();
        assert!(own != ringer.join().expect("the ringer ends"), "none or both have to ring");
    })
}

fn claims_as_barriers() -> usize {
    explore(3, || {
        let side = Side::new();
        let mut ledger = Ledger::default();
        ledger.give(ClaimWord(&side.claims), 2).expect("nobody else has the word yet");
        let worker = Arc::clone(&side);
        let ringer = thread::spawn(move || {
            for count in 1..=2 {
                worker.happened.store(count, Ordering::Release);
                let claimed = ClaimWord(&worker.claims).claim();
                assert!(claimed.is_some());
                let bell = worker.bell();
                if bell.is_waiting_after_update() && bell.take_turn() {
                    Futex(&worker.bell).wake();
                }
            }
        });
        side.wait_for(1);
        side.wait_for(2);
        ringer.join().expect("the ringer ends");
    })
}

/// A worker looks at the host's bell directly behind its claim of the next task.
pub fn a_claim_is_a_barrier() -> usize {
    claims_as_barriers()
}

/// The same if a claim were none. Panics.
pub fn lost_if_a_claim_were_none() {
    without_fences(claims_as_barriers);
}
