//! A lock that is held: given up when it is dropped.

use std::marker::PhantomData;
use std::panic::Location;

use crate::primitive::{AtomicU32, Ordering};
use crate::shm::object::AT_LOCK;

use super::error::{HolderDied, LockError};
use super::raw::{self, Patience, RawLock};
use super::shared::Shared;

/// The calling thread's hold on a lock of an object.
pub(crate) struct Hold<'a> {
    shared: &'a Shared,
    /// Where the lock's word lies in the object.
    at: usize,
    word: &'a AtomicU32,
    marked: bool,
    /// The word names a thread, so the hold cannot leave it.
    not_send: PhantomData<*const ()>,
}

/// What to do with a lock whose holder has died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Abandoned {
    Refuse,
    Take,
}

impl<'a> Hold<'a> {
    /// Takes an object's own lock, if there is nothing to it.
    #[inline]
    pub(super) fn at_once(shared: &'a Shared, location: &'static Location<'static>) -> Option<Hold<'a>> {
        let word = shared.acquire_at_once(AT_LOCK, location)?;
        Some(Hold { shared, at: AT_LOCK, word, marked: false, not_send: PhantomData })
    }

    /// Takes an object's own lock; `None` if it is busy.
    pub(super) fn take(
        shared: &'a Shared,
        patience: Patience,
        abandoned: Abandoned,
        location: &'static Location<'static>,
    ) -> Result<Option<Hold<'a>>, LockError> {
        Hold::take_at(shared, AT_LOCK, patience, abandoned, location)
    }

    /// Takes a lock in an object.
    pub(super) fn take_at(
        shared: &'a Shared,
        at: usize,
        patience: Patience,
        abandoned: Abandoned,
        location: &'static Location<'static>,
    ) -> Result<Option<Hold<'a>>, LockError> {
        let Some(marked) = shared.acquire_at(at, patience, location)? else { return Ok(None) };
        let hold = Hold { shared, at, word: shared.lock_at(at).word, marked, not_send: PhantomData };
        match (marked, abandoned) {
            (true, Abandoned::Refuse) => Err(LockError::HolderDied(Box::new(hold.holder_died_now()))),
            (false, _) | (true, Abandoned::Take) => Ok(Some(hold)),
        }
    }

    #[cold]
    fn holder_died_now(&self) -> HolderDied {
        self.shared.holder_died(self.lock())
    }

    fn lock(&self) -> RawLock<'a> {
        self.shared.lock_at(self.at)
    }

    /// The hold that the calling thread has already.
    pub(super) fn again(shared: &'a Shared) -> Hold<'a> {
        let lock = shared.lock();
        Hold { shared, at: AT_LOCK, word: lock.word, marked: lock.is_marked(), not_send: PhantomData }
    }

    /// Gives the lock up; for a hold that several guards share.
    pub(super) fn give_up(&self) {
        // Another guard may have taken the mark away.
        raw::give_up(self.word, self.lock().is_marked());
    }

    pub(super) fn shared(&self) -> &'a Shared {
        self.shared
    }

    /// Who died holding it, as long as it is marked.
    pub(super) fn holder_died(&self) -> Option<HolderDied> {
        // Another guard of this thread may know more, or less.
        self.lock().is_marked().then(|| self.holder_died_now())
    }

    /// All is well again with what it protects.
    pub(super) fn mark_consistent(&mut self) {
        self.marked = false;
        self.lock().unmark();
        self.lock().abandoned.store(0, Ordering::Relaxed);
    }

    /// Leaves it locked, by nobody.
    pub(super) fn hand_over(self) {
        self.lock().disown(self.marked);
        std::mem::forget(self);
    }

    /// Gives the lock up, runs `meanwhile`, and takes the lock again. What happened to it meanwhile shows in
    /// its mark.
    pub(super) fn suspended(
        &mut self,
        location: &'static Location<'static>,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<(), LockError> {
        self.give_up();
        meanwhile();
        loop {
            // The guard must hold its lock when this returns, so in a circle somebody else has to give up.
            if let Some(marked) = self.shared.acquire_at(self.at, Patience::Insist, location)? {
                self.marked = marked;
                return Ok(());
            }
        }
    }
}

/// A guard whose lock can be given up for a while: what a [`Condition`](crate::sync::Condition) waits with.
///
/// Implemented for the guards of [`Lock`](crate::sync::Lock), [`RLock`](crate::sync::RLock),
/// [`Value`](crate::sync::Value) and [`Array`](crate::sync::Array). Not for those of an array's parts: while a part is
/// given up, somebody may take the whole.
///
/// ```compile_fail
/// # use watertight::{Array, sync::Condition};
/// let (array, condition) = (Array::<u64>::zeroed(8).unwrap(), Condition::new().unwrap());
/// let parts = array.chunks_mut(2).unwrap();
/// condition.wait(&mut parts[0].lock().unwrap()).unwrap();
/// ```
pub trait Held {
    /// Gives the lock up, runs `meanwhile`, and takes the lock again.
    #[doc(hidden)]
    fn suspended(
        &mut self,
        location: &'static Location<'static>,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<(), LockError>;
}

impl Drop for Hold<'_> {
    #[inline]
    fn drop(&mut self) {
        raw::give_up(self.word, self.marked);
    }
}
