//! `Condition`: waiting until somebody says that something has changed.
//!
//! Each waiter has an entry, in the order of their coming. `notify` marks entries, and each waiter sleeps on
//! its own. An entry of a dead waiter that was marked is passed on to the next one that waited at that time; one
//! that was not is removed. So a notification wakes as many as it says, whoever dies, and nobody who came later.

use std::panic::Location;
use std::time::Duration;

use crate::error::Error;
use crate::primitive::Ordering;
use crate::roster::{Owner, Target, Wait};
use crate::shm::object::Kind;
use crate::sys::futex;

use super::error::LockError;
use super::face::handle;
use super::hold::Held;
use super::limits::MOST_WAITERS;
use super::monitor::{self, Monitor};
use super::raw::Patience;
use super::shared::Shared;

/// Words of the state: the next ticket, then the entries.
const TICKET: usize = 0;
const ENTRIES: usize = 1;
const WORDS: usize = ENTRIES + MOST_WAITERS;

/// In an entry: this waiter was notified.
const NOTIFIED: u64 = 1 << 31;

/// A place to wait, with any lock of this module held, until another thread or process notifies.
///
/// As in std, a wait is written as a loop around what is waited for; [`wait_for`](Condition::wait_for) is
/// that loop. Nobody wakes without having been notified. To notify, no lock has to be held.
///
/// ```
/// use watertight::{Process, Value, sync::Condition};
///
/// fn work(state: Value<i32>, changed: Condition) {
///     *state.lock().unwrap() = 4;
///     changed.notify_all().unwrap();
/// }
///
/// fn main() -> watertight::Result<()> {
///     watertight::init();
///     let (state, changed) = (Value::new(0)?, Condition::new()?);
///     let process = Process::spawn(work, (state.clone(), changed.clone()))?;
///     let mut guard = state.lock()?;
///     changed.wait_for(&mut guard, |state| **state == 4)?;
///     drop(guard);
///     process.join()?;
///     Ok(())
/// }
/// ```
///
/// What is waited for here is no lock, so a wait that nobody will ever end is not found as a circle. At most 128
/// threads can wait at a time; one more gets [`LockError::TooManyWaiters`].
pub struct Condition {
    shared: Shared,
}

handle!(Condition, |shape| monitor::fits(shape, Kind::Condition, WORDS));

/// A waiter's entry.
#[derive(Clone, Copy)]
struct Entry {
    place: usize,
    owner: Owner,
    notified: bool,
    /// When it came; once it is notified, when that was.
    ticket: u32,
}

impl Entry {
    fn at(monitor: &Monitor<'_>, place: usize) -> Option<Entry> {
        let word = monitor.get(place);
        let owner = Owner::in_word(word as u32)?;
        Some(Entry { place, owner, notified: word & NOTIFIED != 0, ticket: (word >> 32) as u32 })
    }

    fn notified_at(self, ticket: u32) -> Entry {
        Entry { notified: true, ticket, ..self }
    }

    fn word(self) -> u64 {
        let notified = if self.notified { NOTIFIED } else { 0 };
        u64::from(self.ticket) << 32 | notified | u64::from(self.owner.bits())
    }
}

impl Condition {
    /// Makes a condition that nobody waits for.
    ///
    /// # Errors
    /// If there is no room in /dev/shm, or no descriptor left.
    pub fn new() -> Result<Condition, Error> {
        Shared::make(monitor::shape(Kind::Condition, WORDS)).map(|shared| Condition { shared })
    }

    /// Gives up the guard's lock, waits to be notified, and takes the lock again.
    ///
    /// # Errors
    /// [`LockError::TooManyWaiters`] if 128 threads wait already; the lock was not given up then. That a
    /// holder of the lock has died meanwhile is told by the guard's `holder_died`.
    #[track_caller]
    pub fn wait(&self, guard: &mut impl Held) -> Result<(), LockError> {
        self.wait_until(guard, Patience::Forever, Location::caller()).map(drop)
    }

    /// As [`wait`](Condition::wait), but at most `timeout`, without the time that taking the lock again
    /// takes. True if it was notified.
    ///
    /// # Errors
    /// As [`wait`](Condition::wait).
    #[track_caller]
    pub fn wait_timeout(&self, guard: &mut impl Held, timeout: Duration) -> Result<bool, LockError> {
        self.wait_until(guard, Patience::of(timeout), Location::caller())
    }

    /// Waits until `ready` says so; it is asked under the lock, before the first wait and after each.
    ///
    /// # Errors
    /// As [`wait`](Condition::wait).
    #[track_caller]
    pub fn wait_for<G: Held>(
        &self,
        guard: &mut G,
        mut ready: impl FnMut(&mut G) -> bool,
    ) -> Result<(), LockError> {
        let location = Location::caller();
        while !ready(guard) {
            self.wait_until(guard, Patience::Forever, location)?;
        }
        Ok(())
    }

    /// As [`wait_for`](Condition::wait_for), but at most `timeout`. What `ready` said last.
    ///
    /// # Errors
    /// As [`wait`](Condition::wait).
    #[track_caller]
    pub fn wait_for_timeout<G: Held>(
        &self,
        guard: &mut G,
        timeout: Duration,
        mut ready: impl FnMut(&mut G) -> bool,
    ) -> Result<bool, LockError> {
        let (patience, location) = (Patience::of(timeout), Location::caller());
        loop {
            if ready(guard) {
                return Ok(true);
            }
            if !self.wait_until(guard, patience, location)? {
                return Ok(ready(guard));
            }
        }
    }

    /// Wakes the one who has waited longest, if anybody waits.
    ///
    /// # Errors
    /// [`LockError::TooManyThreads`].
    pub fn notify_one(&self) -> Result<(), LockError> {
        self.notify(1).map(drop)
    }

    /// Wakes everybody who waits.
    ///
    /// # Errors
    /// As [`notify_one`](Condition::notify_one).
    pub fn notify_all(&self) -> Result<(), LockError> {
        self.notify(usize::MAX).map(drop)
    }

    /// Wakes the `count` threads that have waited longest. Returns how many that were.
    ///
    /// # Errors
    /// As [`notify_one`](Condition::notify_one).
    pub fn notify(&self, count: usize) -> Result<usize, LockError> {
        let monitor = Monitor::enter(&self.shared)?;
        let waiting = self.waiting(&monitor).into_iter();
        let living = waiting.filter(|entry| self.shared.roster().is_alive(entry.owner));
        let chosen: Vec<Entry> = living.take(count).collect();
        let now = monitor.get(TICKET) as u32;
        for entry in &chosen {
            monitor.commit(&[(entry.place, entry.notified_at(now).word())]);
        }
        drop(monitor);
        chosen.iter().for_each(|entry| self.wake(entry.place));
        Ok(chosen.len())
    }

    /// How many threads wait at this moment.
    ///
    /// # Errors
    /// As [`notify_one`](Condition::notify_one).
    pub fn waiting_count(&self) -> Result<usize, LockError> {
        let monitor = Monitor::enter(&self.shared)?;
        let waiting = self.waiting(&monitor).into_iter();
        Ok(waiting.filter(|entry| self.shared.roster().is_alive(entry.owner)).count())
    }

    /// The entries that were not notified yet, the oldest first.
    fn waiting(&self, monitor: &Monitor<'_>) -> Vec<Entry> {
        let entries = (ENTRIES..WORDS).filter_map(|place| Entry::at(monitor, place));
        let mut waiting: Vec<Entry> = entries.filter(|entry| !entry.notified).collect();
        let next = monitor.get(TICKET) as u32;
        // Tickets go round; the oldest is farthest behind the next one.
        waiting.sort_by_key(|entry| std::cmp::Reverse(next.wrapping_sub(entry.ticket)));
        waiting
    }

    fn wake(&self, place: usize) {
        futex::wake(monitor::half_word(self.shared.object(), place), 1);
    }

    fn wait_until(
        &self,
        guard: &mut impl Held,
        patience: Patience,
        location: &'static Location<'static>,
    ) -> Result<bool, LockError> {
        let entry = self.enter_queue()?;
        let mut slept = Ok(());
        // Not to be missed: whoever notifies with the lock held finds the entry.
        guard.suspended(location, &mut || {
            let roster = self.shared.roster();
            let (target, site) = (Target::ownerless(self.shared.object()), roster.site(location));
            let wait = roster.begin_wait(entry.owner, target, site, patience.ending());
            slept = self.sleep(entry, wait);
        })?;
        slept?;
        // Only now: should this thread die before it has the lock again, another one gets its notification.
        self.leave_queue(entry)
    }

    fn enter_queue(&self) -> Result<Entry, LockError> {
        let owner = self.shared.me()?;
        let monitor = Monitor::enter(&self.shared)?;
        let free = |monitor: &Monitor<'_>| (ENTRIES..WORDS).find(|place| monitor.get(*place) == 0);
        let place = free(&monitor).or_else(|| {
            self.settle(&monitor);
            free(&monitor)
        });
        let place = place.ok_or(LockError::TooManyWaiters)?;
        let ticket = monitor.get(TICKET) as u32;
        let entry = Entry { place, owner, notified: false, ticket };
        monitor.commit(&[(TICKET, u64::from(ticket.wrapping_add(1))), (place, entry.word())]);
        Ok(entry)
    }

    /// Sleeps until the entry is notified or the time is over.
    fn sleep(&self, entry: Entry, mut wait: Wait<'_>) -> Result<(), LockError> {
        let word = monitor::half_word(self.shared.object(), entry.place);
        let asleep = entry.word() as u32;
        let mut last_bell = None;
        loop {
            let bell = wait.arm();
            if word.load(Ordering::SeqCst) != asleep || wait.is_over() {
                return Ok(());
            }
            if last_bell.replace(bell) != Some(bell) {
                // Somebody may have died, with a notification of ours: since the last look, or before the first.
                let monitor = Monitor::enter(&self.shared)?;
                self.settle(&monitor);
                continue;
            }
            wait.sleep(word, asleep, bell);
        }
    }

    /// Removes the entry. True if it was notified.
    fn leave_queue(&self, entry: Entry) -> Result<bool, LockError> {
        let monitor = Monitor::enter(&self.shared)?;
        let found = Entry::at(&monitor, entry.place);
        monitor.commit(&[(entry.place, 0)]);
        Ok(found.is_some_and(|found| found.notified))
    }

    /// Removes the entries of the dead, and gives on what they were notified of.
    fn settle(&self, monitor: &Monitor<'_>) {
        let entries = (ENTRIES..WORDS).filter_map(|place| Entry::at(monitor, place));
        let dead: Vec<Entry> = entries.filter(|entry| !self.shared.roster().is_alive(entry.owner)).collect();
        for entry in dead {
            match self.heir(monitor, entry) {
                Some(heir) => {
                    let heired = heir.notified_at(entry.ticket).word();
                    monitor.commit(&[(entry.place, 0), (heir.place, heired)]);
                    self.wake(heir.place);
                }
                None => monitor.commit(&[(entry.place, 0)]),
            }
        }
    }

    /// Who gets the notification of a dead waiter: the one who has waited longest, if it did already then.
    fn heir(&self, monitor: &Monitor<'_>, dead: Entry) -> Option<Entry> {
        if !dead.notified {
            return None;
        }
        let waited = |other: &Entry| dead.ticket.wrapping_sub(other.ticket) as i32 > 0;
        let mut waiting = self.waiting(monitor).into_iter();
        waiting.find(|other| waited(other) && self.shared.roster().is_alive(other.owner))
    }
}
