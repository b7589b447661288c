//! What every handle is: an object in shared memory, and this process's part in the roster.

use std::panic::Location;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::Error;
use crate::primitive::{AtomicU32, Ordering};
use crate::roster::{self, Owner, Roster, Target};
use crate::shm::object::{
    ABANDONED, ABANDONED_SITE, AT_LOCK, Handle, HandleError, Object, SITE_BEHIND, Shape,
};
use crate::shm::{self, transit};

use super::error::{Deadlock, HolderDied, LockError};
use super::raw::{Patience, RawLock, Refusal, Request};

/// An object of some kind. Each type of this module is one of these with a face.
#[derive(Clone)]
pub(crate) struct Shared {
    object: Arc<Object>,
    roster: Arc<Roster>,
    /// That joining of the roster, at hand.
    instance: u64,
}

impl Shared {
    /// Makes a zeroed object.
    pub(super) fn make(shape: Option<Shape>) -> Result<Shared, Error> {
        let failed = |error: String| Error::shared(format!("cannot make a shared object: {error}"));
        let shape = shape.ok_or_else(|| failed("it is too large".to_owned()))?;
        let roster = Roster::current().map_err(|error| failed(error.to_string()))?;
        let object = shm::make(roster::tree(), shape).map_err(|error| failed(error.to_string()))?;
        Ok(Shared { object, instance: roster.instance(), roster })
    }

    fn open(handle: &Handle) -> Result<Shared, HandleError> {
        let object = Object::open(handle)?;
        let roster = Roster::current()?;
        // Who lives and who waits stands in the roster of the tree that made the object.
        match object.segment().tree() == roster::tree() {
            true => Ok(Shared { object, instance: roster.instance(), roster }),
            false => Err(HandleError::OtherTree),
        }
    }

    #[inline]
    pub(super) fn object(&self) -> &Arc<Object> {
        &self.object
    }

    #[inline]
    pub(super) fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    /// The calling thread, as locks name it.
    #[inline]
    pub(super) fn me(&self) -> Result<Owner, LockError> {
        self.roster.me().ok_or(LockError::TooManyThreads)
    }

    /// The object's own lock.
    #[inline]
    pub(super) fn lock(&self) -> RawLock<'_> {
        self.lock_at(AT_LOCK)
    }

    /// The lock whose word lies at `at`.
    #[inline]
    pub(super) fn lock_at(&self, at: usize) -> RawLock<'_> {
        let object = &*self.object;
        RawLock {
            word: object.half_word(at),
            site: object.half_word(at + SITE_BEHIND),
            abandoned: object.word(at - ABANDONED),
            abandoned_site: object.half_word(at - ABANDONED_SITE),
        }
    }

    /// Takes a lock if there is nothing to it: it is free, not marked, and the thread is known. Returns its word.
    #[inline]
    pub(super) fn acquire_at_once(
        &self,
        at: usize,
        location: &'static Location<'static>,
    ) -> Option<&AtomicU32> {
        let (me, site) = roster::known(self.instance, location)?;
        // All is looked up before the lock is held: what comes behind a locked instruction waits for it.
        let [word, site_word] = self.object.half_words(at);
        word.compare_exchange(0, me.bits(), Ordering::Acquire, Ordering::Relaxed).ok()?;
        site_word.store(site, Ordering::Relaxed);
        Some(word)
    }

    /// Takes a lock whose word lies at `at` in this object. `None` if it is busy; true if it is marked.
    #[cold]
    pub(super) fn acquire_at(
        &self,
        at: usize,
        patience: Patience,
        location: &'static Location<'static>,
    ) -> Result<Option<bool>, LockError> {
        let (me, lock, site) = (self.me()?, self.lock_at(at), self.roster.site(location));
        let target = Target::lock(&self.object, at);
        match lock.acquire(&Request { roster: &self.roster, me, site, target, patience }) {
            Ok(marked) => {
                lock.site.store(site, Ordering::Relaxed);
                Ok(Some(marked))
            }
            Err(Refusal::Busy) => Ok(None),
            Err(Refusal::Circle(circle)) => {
                let circle = self.roster.describe_circle(&circle);
                Err(LockError::Deadlock(Box::new(Deadlock { circle })))
            }
        }
    }

    /// What a marked lock says of its dead holder.
    pub(super) fn holder_died(&self, lock: RawLock<'_>) -> HolderDied {
        let word = lock.abandoned.load(Ordering::Relaxed);
        let holder = Owner::in_word(word as u32).map(|owner| self.roster.describe(owner));
        let mut holder = holder.unwrap_or_default();
        holder.pid = (word >> 32) as u32;
        let taken_at = self.roster.site_text(lock.abandoned_site.load(Ordering::Relaxed));
        HolderDied { holder, object: self.object.name(), taken_at }
    }
}

impl Serialize for Shared {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        transit::note(&self.object);
        self.object.handle().serialize(serializer)
    }
}

/// Opens what a handle names, if it has the shape that the type wants.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
    fits: impl FnOnce(Shape) -> bool,
) -> Result<Shared, D::Error> {
    let handle = Handle::deserialize(deserializer)?;
    let opened = if fits(handle.shape) { Shared::open(&handle) } else { Err(HandleError::OtherShape) };
    opened.map_err(de::Error::custom)
}
