//! How one side sleeps without missing what the other does.
//!
//! A waiter sets the word, looks once more, and only then sleeps. Whoever makes something happen does so
//! first and looks at the word afterwards. Both put a full fence between their two steps, so at least one of
//! them sees the other: either the waiter sees what happened, or the ringer sees that somebody waits.
//!
//! | word | meaning |
//! |---|---|
//! | `AWAKE` | nobody needs to be rung for |
//! | `WAITING` | ring; the one who changes it back to `AWAKE` does so |

use crate::primitive::{Futex, Ordering, fence, fence_after_update};

const AWAKE: u32 = 0;
const WAITING: u32 = 1;

/// The word that says whether one side waits.
#[derive(Clone, Copy)]
pub(crate) struct Bell<'a>(pub(crate) Futex<'a>);

impl Bell<'_> {
    /// Waiter: from now on, asks to be rung. What it waits for must be looked at again after this.
    pub(crate) fn arm(self) {
        self.0.store(WAITING, Ordering::Relaxed);
        fence();
    }

    /// Waiter: needs no ring any more.
    pub(crate) fn disarm(self) {
        self.0.store(AWAKE, Ordering::Relaxed);
    }

    /// Waiter: sleeps until rung.
    pub(crate) fn sleep(self) {
        while self.0.load(Ordering::Acquire) == WAITING {
            self.0.wait(WAITING);
        }
    }

    /// Ringer: after something happened, whether the waiter has to be woken. True for one ringer alone.
    #[inline]
    pub(crate) fn answer(self) -> bool {
        fence();
        self.is_answered()
    }

    /// Ringer: directly after an atomic read-modify-write, which stands between what happened and this,
    /// whether the waiter wants to be rung.
    #[inline]
    pub(crate) fn is_waiting_after_update(self) -> bool {
        fence_after_update();
        self.0.load(Ordering::Relaxed) == WAITING
    }

    /// Ringer: whether it is the one who has to wake the waiter.
    pub(crate) fn take_turn(self) -> bool {
        self.0.swap(AWAKE, Ordering::AcqRel) == WAITING
    }

    #[inline]
    fn is_answered(self) -> bool {
        self.0.load(Ordering::Relaxed) == WAITING && self.take_turn()
    }

    /// Ringer: after something happened, wakes a waiter that sleeps on the word itself. True if it did.
    #[inline]
    pub(crate) fn ring(self) -> bool {
        let waits = self.answer();
        if waits {
            self.0.wake();
        }
        waits
    }
}
