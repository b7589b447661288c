//! An object that is opened and let go of.

use std::sync::Arc;

use super::process;
use crate::explore::explore;
use crate::primitive::{AtomicU64, Ordering};
use crate::shm::{life, mask};

/// What an object and a handle on it are made of.
struct Thing {
    state: AtomicU64,
    holders: AtomicU64,
}

const IDENTITY: u64 = 7 << 32 | 3;

impl Thing {
    /// Held by those whose bits are set.
    fn held_by(holders: u64) -> Arc<Thing> {
        assert_eq!(IDENTITY, life::identity(3, 7));
        Arc::new(Thing { state: AtomicU64::new(IDENTITY), holders: AtomicU64::new(holders) })
    }

    fn is_unheld(&self) -> bool {
        !mask::has_holder(self.holders.load(Ordering::SeqCst))
    }

    fn is_there(&self) -> bool {
        life::is(self.state.load(Ordering::SeqCst), IDENTITY)
    }

    fn open(&self, user: usize) -> bool {
        let (_, bit) = mask::place(user);
        self.holders.fetch_or(bit, Ordering::SeqCst);
        let opened = life::confirm(&self.state, IDENTITY);
        if !opened {
            self.holders.fetch_and(!bit, Ordering::SeqCst);
        }
        opened
    }

    /// True for one who has ended it.
    fn let_go(&self, user: usize) -> bool {
        assert!(self.is_there(), "it ended under a holder");
        let (_, bit) = mask::place(user);
        self.holders.fetch_and(!bit, Ordering::SeqCst);
        self.is_unheld() && life::end(&self.state, || self.is_unheld())
    }
}

/// Two let go at the same time: one of them ends it.
pub fn the_last_one_ends_it() -> usize {
    explore(3, || {
        let thing = Thing::held_by(0b110);
        let other = process(2, &thing, |thing| thing.let_go(2));
        let here = thing.let_go(1);
        assert!(other.join().expect("the other one ends") | here, "nobody ended it");
        assert!(!thing.open(1));
    })
}

/// One lets go while two others open it: it is there for whoever has opened it, and over after the last.
pub fn opened_at_the_last_moment() -> usize {
    explore(2, || {
        let thing = Thing::held_by(0b10);
        let others = [2, 3].map(|user| {
            let visit = move |thing: &Thing| thing.open(user).then(|| thing.let_go(user));
            process(user, &thing, visit)
        });
        thing.let_go(1);
        for other in others {
            other.join().expect("the other one ends");
        }
        assert!(thing.is_unheld());
        assert!(!thing.is_there(), "nobody ended it");
    })
}
