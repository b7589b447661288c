//! `Event`: a flag that many can wait for.
//!
//! One word: whether it is set, and above that how often it was. A waiter that sees another count than at
//! first has been passed by a `set`, even if a `clear` came before it looked.

use std::panic::Location;
use std::time::Duration;

use crate::error::Error;
use crate::primitive::{AtomicU32, Ordering};
use crate::roster::Target;
use crate::shm::object::{HEAD, Kind, Shape};
use crate::sys::futex;

use super::error::LockError;
use super::face::handle;
use super::raw::Patience;
use super::shared::Shared;

const SET: u32 = 1;

/// A flag that threads of any processes set, clear and wait for.
///
/// ```
/// use std::time::Duration;
///
/// # fn main() -> watertight::Result<()> {
/// let event = watertight::sync::Event::new()?;
/// assert!(!event.wait_timeout(Duration::from_millis(1))?);
/// event.set();
/// event.wait()?;
/// event.clear();
/// assert!(!event.is_set());
/// # Ok(())
/// # }
/// ```
pub struct Event {
    shared: Shared,
}

handle!(Event, |shape| Some(shape) == Shape::of::<u64>(Kind::Event, 1));

impl Event {
    /// Makes an event that is not set.
    ///
    /// # Errors
    /// If there is no room in /dev/shm, or no descriptor left.
    pub fn new() -> Result<Event, Error> {
        Shared::make(Shape::of::<u64>(Kind::Event, 1)).map(|shared| Event { shared })
    }

    fn word(&self) -> &AtomicU32 {
        self.shared.object().half_word(HEAD)
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.word().load(Ordering::Acquire) & SET != 0
    }

    /// Sets it, and wakes everybody who waits.
    pub fn set(&self) {
        let mut seen = self.word().load(Ordering::Relaxed);
        while seen & SET == 0 {
            // The count goes up with each setting.
            let set = seen.wrapping_add(2) | SET;
            match self.word().compare_exchange(seen, set, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => {
                    futex::wake(self.word(), i32::MAX as u32);
                    return;
                }
                Err(now) => seen = now,
            }
        }
    }

    /// Clears it. Whoever waited when it was set goes on all the same.
    pub fn clear(&self) {
        self.word().fetch_and(!SET, Ordering::SeqCst);
    }

    /// Waits until it is set.
    ///
    /// # Errors
    /// [`LockError::TooManyThreads`].
    #[track_caller]
    pub fn wait(&self) -> Result<(), LockError> {
        self.wait_for(Patience::Forever, Location::caller()).map(drop)
    }

    /// Waits until it is set, at most `timeout`. True if it was.
    ///
    /// # Errors
    /// As [`wait`](Event::wait).
    #[track_caller]
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool, LockError> {
        self.wait_for(Patience::of(timeout), Location::caller())
    }

    fn wait_for(&self, patience: Patience, location: &'static Location<'static>) -> Result<bool, LockError> {
        let first = self.word().load(Ordering::Acquire);
        if first & SET != 0 {
            return Ok(true);
        }
        let (roster, me) = (self.shared.roster(), self.shared.me()?);
        let target = Target::ownerless(self.shared.object());
        let mut wait = roster.begin_wait(me, target, roster.site(location), patience.ending());
        loop {
            let bell = wait.arm();
            let seen = self.word().load(Ordering::Acquire);
            if seen != first {
                return Ok(true);
            }
            if wait.is_over() {
                return Ok(false);
            }
            wait.sleep(self.word(), seen, bell);
        }
    }
}
