//! Who holds an object: a bit for each user of its segment, 63 in a word. The last bit of a word says that one
//! of these has died while it held the object, and that nobody has said since that this is dealt with.
//!
//! A dead user's bit goes and the mark comes in one step, so whoever looks sees one of them.

use crate::primitive::{AtomicU64, Ordering};

/// Users in a word.
const USERS: usize = 63;

/// One of them has died.
const DIED: u64 = 1 << USERS;

/// How many words so many users need.
pub(crate) const fn words(users: usize) -> usize {
    users.div_ceil(USERS)
}

/// The word and the bit of a user.
pub(crate) fn place(user: usize) -> (usize, u64) {
    (user / USERS, 1 << (user % USERS))
}

/// Whether a word has the bit of any user.
pub(crate) fn has_holder(word: u64) -> bool {
    word & !DIED != 0
}

/// Takes the share of a dead user away, and marks that. False if it had none.
pub(crate) fn give_back(word: &AtomicU64, bit: u64) -> bool {
    let mut seen = word.load(Ordering::Acquire);
    while seen & bit != 0 {
        match word.compare_exchange(seen, seen & !bit | DIED, Ordering::SeqCst, Ordering::Acquire) {
            Ok(_) => return true,
            Err(now) => seen = now,
        }
    }
    false
}

/// Whether one of the users of word `index` has died while it held the object; or somebody has found it dead,
/// and has yet to say so here.
pub(crate) fn has_death(word: &AtomicU64, index: usize, is_being_settled: impl Fn(usize) -> bool) -> bool {
    let seen = word.load(Ordering::Acquire);
    // One that has been settled between the two looks is marked by the second.
    dead(seen, index, is_being_settled) != 0 || word.load(Ordering::Acquire) & DIED != 0
}

/// All deaths so far are dealt with. To be called by one at a time.
pub(crate) fn forget_deaths(word: &AtomicU64, index: usize, is_being_settled: impl Fn(usize) -> bool) {
    loop {
        let seen = word.fetch_and(!DIED, Ordering::SeqCst) & !DIED;
        let dead = dead(seen, index, &is_being_settled);
        // Whoever settles a user of this word meanwhile marks that. So a bit that still stands here without a
        // mark is the dead user's, and not that of a later one in its place.
        let left = word.compare_exchange(seen, seen & !dead, Ordering::SeqCst, Ordering::Relaxed);
        if left.is_ok() {
            return;
        }
    }
}

fn dead(seen: u64, index: usize, is_being_settled: impl Fn(usize) -> bool) -> u64 {
    let users = (0..USERS).filter(|bit| seen >> bit & 1 == 1 && is_being_settled(index * USERS + bit));
    users.fold(0, |bits, bit| bits | 1 << bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_shows_from_when_it_is_found_until_it_is_dealt_with() {
        let ((index, bit), (other_index, other)) = (place(64), place(65));
        assert_eq!((index, other_index), (1, 1));
        let word = AtomicU64::new(bit | other);
        assert!(!has_death(&word, 1, |_| false) && has_death(&word, 1, |user| user == 64));
        assert!(give_back(&word, bit) && !give_back(&word, bit));
        assert!(has_death(&word, 1, |_| false));
        forget_deaths(&word, 1, |_| false);
        assert!(!has_death(&word, 1, |_| false) && word.load(Ordering::Relaxed) == other);
        // Found dead, and stuck before it is taken away.
        forget_deaths(&word, 1, |user| user == 65);
        assert!(!has_holder(word.load(Ordering::Relaxed)));
        assert!(!give_back(&word, other));
        assert!(!has_death(&word, 1, |_| false));
    }
}
