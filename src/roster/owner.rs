//! What a holder is called in a lock's word, and what stands in a thread's slot.

use crate::shm::segment::MAX_USERS;

use super::layout::MAX_THREADS;

/// Who holds a lock: a thread's slot and the generation of its use, as it stands in a lock's word.
///
/// ```text
///  31       30      29 ............ 11  10 ....... 0
/// [waiters][marked][   generation    ][    slot    ]
/// ```
///
/// Zero is nobody; all ones is a hold that belongs to no thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner(u32);

const SLOT_BITS: u32 = 11;
pub(super) const GENERATIONS: u32 = 1 << 19;

/// The bits of an owner in a lock's word.
const OWNER_BITS: u32 = (1 << 30) - 1;

impl Owner {
    /// A hold that was handed over or forgotten on purpose.
    pub(crate) const NOBODY_IN_PARTICULAR: Owner = Owner(OWNER_BITS);

    pub(super) fn new(slot: usize, generation: u32) -> Owner {
        Owner((generation % GENERATIONS) << SLOT_BITS | slot as u32)
    }

    /// The owner in a lock's word, if there is one.
    #[inline]
    pub(crate) fn in_word(word: u32) -> Option<Owner> {
        match word & OWNER_BITS {
            0 => None,
            owner => Some(Owner(owner)),
        }
    }

    #[inline]
    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    /// The thread's slot, if it is one's.
    pub(super) fn slot(self) -> Option<usize> {
        let slot = (self.0 & ((1 << SLOT_BITS) - 1)) as usize;
        (1..=MAX_THREADS).contains(&slot).then_some(slot)
    }

    pub(super) fn generation(self) -> u32 {
        self.0 >> SLOT_BITS
    }
}

/// The first word of a thread's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) generation: u32,
    /// The place of its process in the table of users.
    pub(super) user: Option<usize>,
    /// Tells its process from a later one in the same place.
    pub(super) tag: u32,
}

impl State {
    pub(super) fn from_word(word: u64) -> State {
        let user = (word as u32 >> 19) as usize;
        let user = user.checked_sub(1).filter(|user| *user < MAX_USERS);
        State { generation: word as u32 % GENERATIONS, user, tag: (word >> 32) as u32 }
    }

    pub(super) fn to_word(self) -> u64 {
        let user = self.user.map_or(0, |user| user as u32 + 1);
        (u64::from(self.tag) << 32) | u64::from((user << 19) | (self.generation % GENERATIONS))
    }
}

/// Tells processes in one place of the table apart.
pub(super) fn tag(user_word: u64) -> u32 {
    (user_word >> 32) as u32 ^ (user_word as u32).rotate_left(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_and_states_come_back_from_their_words() {
        let owner = Owner::new(2046, GENERATIONS - 1);
        assert_eq!(Owner::in_word(owner.bits() | 1 << 31), Some(owner));
        assert_eq!((owner.slot(), owner.generation()), (Some(2046), GENERATIONS - 1));
        assert_eq!(Owner::in_word(1 << 30), None);
        assert_eq!(Owner::NOBODY_IN_PARTICULAR.slot(), None);
        for user in [None, Some(0), Some(MAX_USERS - 1)] {
            let state = State { generation: 77, user, tag: 0xdead_beef };
            assert_eq!(State::from_word(state.to_word()), state);
        }
    }
}
