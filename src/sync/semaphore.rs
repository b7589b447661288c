//! `Semaphore` and `BoundedSemaphore`: permits that come back when their owner dies.

use std::marker::PhantomData;
use std::panic::Location;
use std::time::Duration;

use crate::error::{Error, Kind as ErrorKind};
use crate::primitive::Ordering;
use crate::roster::{Owner, Target, Wait};
use crate::shm::object::Kind;
use crate::sys::futex;

use super::error::LockError;
use super::face::handle;
use super::limits::MOST_OWNERS;
use super::monitor::{self, Monitor};
use super::raw::Patience;
use super::shared::Shared;

/// Words of the state: how many permits are free, the bound, a count of releases to sleep on, the owners.
const FREE: usize = 0;
const BOUND: usize = 1;
const RELEASES: usize = 2;
const OWNERS: usize = 3;
const WORDS: usize = OWNERS + MOST_OWNERS;

/// A number of permits, for threads of any processes.
///
/// [`acquire`](Semaphore::acquire) takes one. The [`Permit`] gives it back when it is dropped, and so does
/// the death of its owner. A permit that is [forgotten](Permit::forget) belongs to nobody;
/// [`release`](Semaphore::release) makes permits, from whatever process.
///
/// At most 256 threads can own permits at a time; one more gets [`LockError::TooManyWaiters`].
///
/// ```
/// # fn main() -> watertight::Result<()> {
/// let seats = watertight::sync::Semaphore::new(2)?;
/// let (one, two) = (seats.acquire()?, seats.acquire()?);
/// assert!(seats.try_acquire()?.is_none());
/// drop(one);
/// assert_eq!(seats.value(), 1);
/// # drop(two);
/// # Ok(())
/// # }
/// ```
pub struct Semaphore {
    shared: Shared,
}

handle!(Semaphore, |shape| monitor::fits(shape, Kind::Semaphore, WORDS));

/// A [`Semaphore`] that never has more permits than it was made with: one release too many is an error.
pub struct BoundedSemaphore {
    shared: Shared,
}

handle!(BoundedSemaphore, |shape| monitor::fits(shape, Kind::BoundedSemaphore, WORDS));

/// A permit of a semaphore; given back when it is dropped.
#[must_use = "the permit is given back when it is dropped"]
#[derive(Debug)]
pub struct Permit<'a> {
    permits: Permits<'a>,
    owner: Owner,
    /// It belongs to a thread, with which it comes back.
    not_send: PhantomData<*const ()>,
}

/// A release would have made more permits than there were at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the semaphore was released too often")]
pub struct ReleasedTooOften;

/// The two kinds differ in this face alone.
macro_rules! semaphore {
    ($type:ident) => {
        impl $type {
            /// Takes a permit, waiting until there is one.
            ///
            /// # Errors
            /// [`LockError::TooManyWaiters`] if 256 threads own permits already;
            /// [`LockError::TooManyThreads`]. Neither a dead holder nor a circle is one.
            #[track_caller]
            pub fn acquire(&self) -> Result<Permit<'_>, LockError> {
                let location = Location::caller();
                loop {
                    if let Some(permit) = self.permits().take(Patience::Forever, location)? {
                        return Ok(permit);
                    }
                }
            }

            /// Takes a permit if there is one; `None` if there is none.
            ///
            /// # Errors
            /// As [`acquire`](Self::acquire).
            #[track_caller]
            pub fn try_acquire(&self) -> Result<Option<Permit<'_>>, LockError> {
                self.permits().take(Patience::No, Location::caller())
            }

            /// Waits at most `timeout`; `None` if there was no permit in time.
            ///
            /// # Errors
            /// As [`acquire`](Self::acquire).
            #[track_caller]
            pub fn acquire_timeout(&self, timeout: Duration) -> Result<Option<Permit<'_>>, LockError> {
                self.permits().take(Patience::of(timeout), Location::caller())
            }

            /// How many permits are free at this moment.
            pub fn value(&self) -> u32 {
                monitor::word(self.shared.object(), FREE).load(Ordering::Acquire) as u32
            }

            fn permits(&self) -> Permits<'_> {
                Permits { shared: &self.shared }
            }
        }
    };
}

semaphore!(Semaphore);
semaphore!(BoundedSemaphore);

impl Semaphore {
    /// Makes a semaphore with that many permits.
    ///
    /// # Errors
    /// If there is no room in /dev/shm, or no descriptor left.
    pub fn new(permits: u32) -> Result<Semaphore, Error> {
        make(Kind::Semaphore, permits, u64::MAX).map(|shared| Semaphore { shared })
    }

    /// Adds `permits` permits that belonged to nobody.
    ///
    /// # Errors
    /// [`LockError::TooManyThreads`].
    pub fn release(&self, permits: u32) -> Result<(), LockError> {
        self.permits().add(permits).map(drop)
    }
}

impl BoundedSemaphore {
    /// Makes a semaphore with that many permits, which is also the most it will ever have.
    ///
    /// # Errors
    /// If there is no room in /dev/shm, or no descriptor left.
    pub fn new(permits: u32) -> Result<BoundedSemaphore, Error> {
        make(Kind::BoundedSemaphore, permits, u64::from(permits)).map(|shared| BoundedSemaphore { shared })
    }

    /// Gives back `permits` permits that were forgotten, from whatever process.
    ///
    /// # Errors
    /// [`ReleasedTooOften`] if there would be more than at first. The outer error is
    /// [`LockError::TooManyThreads`].
    pub fn release(&self, permits: u32) -> Result<Result<(), ReleasedTooOften>, LockError> {
        self.permits().add(permits)
    }
}

fn make(kind: Kind, permits: u32, bound: u64) -> Result<Shared, Error> {
    if permits > i32::MAX as u32 {
        return Err(ErrorKind::Option(format!("{permits} permits are too many")).into());
    }
    let shared = Shared::make(monitor::shape(kind, WORDS))?;
    monitor::word(shared.object(), FREE).store(u64::from(permits), Ordering::Relaxed);
    monitor::word(shared.object(), BOUND).store(bound, Ordering::Relaxed);
    Ok(shared)
}

impl Permit<'_> {
    /// Keeps the permit out of circulation: it belongs to nobody now, and comes back by `release` alone.
    ///
    /// # Errors
    /// [`LockError::TooManyThreads`]; the permit is given back then.
    pub fn forget(self) -> Result<(), LockError> {
        self.permits.disown(self.owner, 0)?;
        std::mem::forget(self);
        Ok(())
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        // Without a slot in the roster this thread cannot enter; the permit comes back with its owner's end.
        let _ = self.permits.disown(self.owner, 1);
    }
}

/// What both kinds are.
#[derive(Clone, Copy)]
struct Permits<'a> {
    shared: &'a Shared,
}

impl std::fmt::Debug for Permits<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Permits")
    }
}

/// An owner and how many permits it has, in one word.
fn entry(owner: Owner, count: u32) -> u64 {
    if count == 0 { 0 } else { u64::from(count) << 32 | u64::from(owner.bits()) }
}

fn owner_of(entry: u64) -> Option<(Owner, u32)> {
    Owner::in_word(entry as u32).map(|owner| (owner, (entry >> 32) as u32))
}

impl<'a> Permits<'a> {
    fn take(
        self,
        patience: Patience,
        location: &'static Location<'static>,
    ) -> Result<Option<Permit<'a>>, LockError> {
        let owner = self.shared.me()?;
        let at_once = |look_for_dead| self.try_take(owner, patience, look_for_dead);
        if at_once(false)? || (patience == Patience::No && at_once(true)?) {
            return Ok(Some(self.permit(owner)));
        }
        if patience == Patience::No {
            return Ok(None);
        }
        let roster = self.shared.roster();
        let (target, site) = (Target::ownerless(self.shared.object()), roster.site(location));
        let wait = roster.begin_wait(owner, target, site, patience.ending());
        let taken = self.wait(owner, patience, wait)?;
        Ok(taken.then(|| self.permit(owner)))
    }

    fn permit(self, owner: Owner) -> Permit<'a> {
        Permit { permits: self, owner, not_send: PhantomData }
    }

    fn wait(self, owner: Owner, patience: Patience, mut wait: Wait<'_>) -> Result<bool, LockError> {
        let releases = monitor::half_word(self.shared.object(), RELEASES);
        let mut last_bell = None;
        loop {
            let bell = wait.arm();
            let seen = releases.load(Ordering::SeqCst);
            // After the first look, only a ring of the bell can mean that an owner has died.
            let look_for_dead = last_bell != Some(bell);
            if self.try_take(owner, patience, look_for_dead)? {
                return Ok(true);
            }
            if wait.is_over() {
                // A wake-up may have been meant for this thread.
                futex::wake(releases, 1);
                return Ok(false);
            }
            last_bell = Some(bell);
            wait.sleep(releases, seen, bell);
        }
    }

    /// Takes a permit if there is one, or if a dead owner left one.
    fn try_take(self, owner: Owner, patience: Patience, look_for_dead: bool) -> Result<bool, LockError> {
        let Some(monitor) = Monitor::enter_soon(self.shared, patience)? else { return Ok(false) };
        if look_for_dead && monitor.get(FREE) == 0 {
            self.collect_from_dead(&monitor);
        }
        let Some(free) = monitor.get(FREE).checked_sub(1) else { return Ok(false) };
        let mut place = find(&monitor, owner, |found| found.is_none_or(|(other, _)| other == owner));
        if place.is_none() {
            self.collect_from_dead(&monitor);
            place = find(&monitor, owner, |found| found.is_none());
        }
        let place = place.ok_or(LockError::TooManyWaiters)?;
        let (free, count) = (
            free.max(monitor.get(FREE).saturating_sub(1)),
            owner_of(monitor.get(place)).map_or(0, |(_, count)| count),
        );
        monitor.commit(&[(FREE, free), (place, entry(owner, count.saturating_add(1)))]);
        // A wake-up that was meant for one finds more than one permit after a death.
        if free > 0 && look_for_dead {
            futex::wake(monitor::half_word(self.shared.object(), RELEASES), 1);
        }
        Ok(true)
    }

    fn collect_from_dead(self, monitor: &Monitor<'_>) {
        for place in OWNERS..OWNERS + MOST_OWNERS {
            let Some((owner, count)) = owner_of(monitor.get(place)) else { continue };
            if !self.shared.roster().is_alive(owner) {
                monitor.commit(&[(place, 0), (FREE, monitor.get(FREE).saturating_add(u64::from(count)))]);
            }
        }
    }

    /// Takes a permit away from its owner, and frees `freed` of it.
    fn disown(self, owner: Owner, freed: u64) -> Result<(), LockError> {
        let monitor = Monitor::enter(self.shared)?;
        let mine = |found: Option<(Owner, u32)>| found.is_some_and(|(other, _)| other == owner);
        // An owner that was taken for dead has nothing to give back any more.
        if let Some(place) = find(&monitor, owner, mine) {
            let count = owner_of(monitor.get(place)).map_or(0, |(_, count)| count.saturating_sub(1));
            let changes = [
                (place, entry(owner, count)),
                (FREE, monitor.get(FREE).saturating_add(freed)),
                (RELEASES, monitor.get(RELEASES).wrapping_add(freed) & u64::from(u32::MAX)),
            ];
            monitor.commit(&changes);
            drop(monitor);
            if freed > 0 {
                futex::wake(monitor::half_word(self.shared.object(), RELEASES), 1);
            }
        }
        Ok(())
    }

    fn add(self, permits: u32) -> Result<Result<(), ReleasedTooOften>, LockError> {
        let monitor = Monitor::enter(self.shared)?;
        let places = OWNERS..OWNERS + MOST_OWNERS;
        let owned = |place| owner_of(monitor.get(place)).map_or(0, |(_, count)| u64::from(count));
        let free = monitor.get(FREE).saturating_add(u64::from(permits));
        let bound = monitor.get(BOUND);
        if bound != u64::MAX && free.saturating_add(places.map(owned).sum::<u64>()) > bound {
            return Ok(Err(ReleasedTooOften));
        }
        let free = free.min(u64::from(u32::MAX));
        monitor
            .commit(&[(FREE, free), (RELEASES, monitor.get(RELEASES).wrapping_add(1) & u64::from(u32::MAX))]);
        drop(monitor);
        futex::wake(monitor::half_word(self.shared.object(), RELEASES), permits);
        Ok(Ok(()))
    }
}

/// A place for an owner, looked for from where its own is likely to be.
fn find(monitor: &Monitor<'_>, owner: Owner, suits: impl Fn(Option<(Owner, u32)>) -> bool) -> Option<usize> {
    let start = owner.bits() as usize;
    let places = (0..MOST_OWNERS).map(|step| OWNERS + (start + step) % MOST_OWNERS);
    places.into_iter().find(|place| suits(owner_of(monitor.get(*place))))
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_process_that_is_stopped_inside_costs_the_others_no_more_than_a_second() {
        let semaphore = Semaphore::new(1).unwrap();
        let inside = Monitor::enter(&semaphore.shared).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(semaphore.try_acquire().unwrap().is_none()));
            scope.spawn(|| assert!(semaphore.acquire_timeout(Duration::from_millis(1)).unwrap().is_none()));
        });
        drop(inside);
        assert!(semaphore.try_acquire().unwrap().is_some());
    }
}
