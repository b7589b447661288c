//! A thread's slot: taken with its first lock, given back at its end.

use std::cell::RefCell;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};

use crate::primitive::Ordering;
use crate::shm::text;

use super::Roster;
use super::bells::Whose;
use super::known::KNOWN;
use super::layout::{self, MAX_THREADS};
use super::owner::{self, GENERATIONS, Owner, State};

thread_local! {
    static MEMBERSHIP: RefCell<Option<Membership>> = const { RefCell::new(None) };
}

/// Gives the slot back when the thread ends.
struct Membership {
    roster: Weak<Roster>,
    slot: usize,
}

impl Drop for Membership {
    fn drop(&mut self) {
        // With the last object the process has left the roster, and all its slots with it.
        let Some(roster) = self.roster.upgrade() else { return };
        KNOWN.with(|known| known.forget(roster.instance));
        roster.slots().retain(|slot| *slot != self.slot);
        roster.vacate(self.slot);
        // A guard that was leaked stays locked by a thread that is gone: whoever waits for it looks again.
        roster.bells.ring(Whose::Everybodys);
    }
}

impl Drop for Roster {
    /// Gives back the slots of threads that live on. This process may come again, to the same place in the table of
    /// users, and they would seem to be taken by its threads of then.
    fn drop(&mut self) {
        let slots = std::mem::take(&mut *self.slots());
        slots.iter().for_each(|slot| self.vacate(*slot));
        if !slots.is_empty() {
            self.bells.ring(Whose::Everybodys);
        }
    }
}

impl Roster {
    fn slots(&self) -> MutexGuard<'_, Vec<usize>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn vacate(&self, slot: usize) {
        let state = self.bells.state(slot);
        let word = State { user: None, tag: 0, ..state }.to_word();
        self.bells.word(slot, layout::IN_STATE).store(word, Ordering::SeqCst);
    }

    /// The calling thread, as locks name it. `None` if the roster has no room for another thread.
    #[inline]
    pub(crate) fn me(self: &Arc<Roster>) -> Option<Owner> {
        KNOWN.with(|known| known.owner(self.instance)).or_else(|| self.enlist())
    }

    #[cold]
    fn enlist(self: &Arc<Roster>) -> Option<Owner> {
        let (slot, generation) = self.take_slot().or_else(|| {
            self.segment().settle();
            self.take_slot()
        })?;
        self.slots().push(slot);
        let owner = Owner::new(slot, generation);
        let ids = u64::from(std::process::id()) << 32 | nix::unistd::gettid().as_raw() as u64;
        self.bells.word(slot, layout::IN_IDS).store(ids, Ordering::Relaxed);
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("");
        let at = layout::thread(slot) + layout::IN_NAME;
        text::write(self.segment(), at, layout::THREAD_NAME, name);
        KNOWN.with(|known| known.begin(self.instance, owner));
        let mut membership = Some(Membership { roster: Arc::downgrade(self), slot });
        let before = MEMBERSHIP.try_with(|place| place.replace(membership.take()));
        drop(before);
        // In a thread whose end is under way the slot stays taken until the process leaves.
        std::mem::forget(membership);
        Some(owner)
    }

    fn take_slot(&self) -> Option<(usize, u32)> {
        let segment = self.segment();
        let tag = owner::tag(segment.user_at(segment.user()).load(Ordering::Relaxed));
        // Each search begins one further on, so that a slot's last user is known for long.
        let next = segment.word(layout::AT_NEXT_THREAD).fetch_add(1, Ordering::Relaxed);
        let start = (next % MAX_THREADS as u64) as usize;
        (0..MAX_THREADS).map(|index| (start + index) % MAX_THREADS + 1).find_map(|slot| {
            let word = self.bells.word(slot, layout::IN_STATE);
            let before = word.load(Ordering::Acquire);
            let state = State::from_word(before);
            if self.is_used(state) {
                return None;
            }
            // Generation zero is no owner's.
            let generation = (state.generation + 1) % GENERATIONS;
            let generation = generation.max(1);
            let after = State { generation, user: Some(segment.user()), tag }.to_word();
            word.compare_exchange(before, after, Ordering::AcqRel, Ordering::Relaxed).ok()?;
            self.bells.word(slot, layout::IN_TICKET).store(0, Ordering::SeqCst);
            self.bells.half_word(slot, layout::IN_SLEEPING).store(0, Ordering::SeqCst);
            Some((slot, generation))
        })
    }

    /// Whether the slot belongs to a process that still stands in the table.
    fn is_used(&self, state: State) -> bool {
        let Some(user) = state.user else { return false };
        let word = self.segment().user_at(user).load(Ordering::Acquire);
        word != 0 && owner::tag(word) == state.tag
    }
}
