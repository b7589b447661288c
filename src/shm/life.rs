//! Whether an object is alive: its word of generation and kind, and how the last holder ends it.
//!
//! | kind | dying | meaning |
//! |---|---|---|
//! | some | no | alive; if nobody holds it, its last holder has died, or is about to end it |
//! | some | yes | somebody looks whether anybody holds it |
//! | none | | over: the block is free, or will be |
//!
//! Whoever opens an object enters itself among the holders first and looks at this word afterwards; whoever
//! ends it changes this word first and looks at the holders afterwards. Full barriers stand between the two
//! steps of either, so one of them sees the other. Who opens a dying object revives it. The turn goes up
//! whenever a death does not come about, so that nobody ends an object by a look of long ago.

use crate::primitive::{AtomicU64, Ordering, fence};

/// What a handle knows: generation and kind.
const IDENTITY: u64 = (1 << 40) - 1;
const GENERATION: u64 = (1 << 32) - 1;
const DYING: u64 = 1 << 40;
const TURN: u64 = 1 << 41;

/// The identity of an object, as it stands in the word and as a handle says it. No kind is zero.
pub(crate) fn identity(generation: u32, kind: u8) -> u64 {
    u64::from(generation) | u64::from(kind) << 32
}

pub(crate) fn generation(word: u64) -> u32 {
    word as u32
}

/// Whether the word is of that identity, alive or dying.
pub(crate) fn is(word: u64, identity: u64) -> bool {
    word & IDENTITY == identity
}

/// In somebody who has entered itself among the holders: whether the object is alive, and stays so.
pub(crate) fn confirm(word: &AtomicU64, identity: u64) -> bool {
    fence();
    let mut seen = word.load(Ordering::SeqCst);
    while is(seen, identity) && seen & DYING != 0 {
        match exchange(word, seen, revived(seen)) {
            Ok(()) => return true,
            Err(now) => seen = now,
        }
    }
    is(seen, identity)
}

/// Ends the object, unless somebody holds it. True also if it was over before.
pub(crate) fn end(word: &AtomicU64, is_unheld: impl Fn() -> bool) -> bool {
    loop {
        let seen = word.load(Ordering::SeqCst);
        if seen & IDENTITY == seen & GENERATION {
            return true;
        }
        let dying = seen | DYING;
        // Another one may be about to do the same.
        if seen != dying && exchange(word, seen, dying).is_err_and(|now| now != dying) {
            continue;
        }
        fence();
        if !is_unheld() {
            // Whoever holds it ends it later, and looks again if this comes between.
            let _ = exchange(word, dying, revived(dying));
            return false;
        }
        if exchange(word, dying, dying & GENERATION).is_ok() {
            return true;
        }
    }
}

fn revived(dying: u64) -> u64 {
    (dying & !DYING).wrapping_add(TURN)
}

fn exchange(word: &AtomicU64, seen: u64, new: u64) -> Result<(), u64> {
    word.compare_exchange(seen, new, Ordering::SeqCst, Ordering::SeqCst).map(drop)
}
