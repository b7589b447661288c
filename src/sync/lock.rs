//! `Lock`: Python's `multiprocessing.Lock`, which outlives its holders.

use std::panic::Location;

use crate::error::Error;
use crate::shm::object::{Kind, Shape};

use super::error::LockError;
use super::face::{guard, handle, held, lockable};
use super::hold::{Abandoned, Hold};
use super::raw::Patience;
use super::shared::Shared;

/// Mutual exclusion between threads of any processes of a tree.
///
/// A clone is another handle on the same lock; a handle travels to workers as an argument, a field or a
/// result. If a holder dies, whoever waits gets the error that says who; the lock is usable again after one
/// [`lock_recover`](Lock::lock_recover).
///
/// Locking twice in one thread is a [`Deadlock`](crate::sync::Deadlock) error, as is any other circle of
/// waits.
///
/// ```
/// use watertight::{Process, sync::Lock};
///
/// fn speak(lock: Lock, line: u32) {
///     let _guard = lock.lock().unwrap();
///     println!("line {line}");
/// }
///
/// fn main() -> watertight::Result<()> {
///     watertight::init();
///     let lock = Lock::new()?;
///     let process = Process::spawn(speak, (lock.clone(), 1))?;
///     process.join()?;
///     Ok(())
/// }
/// ```
pub struct Lock {
    shared: Shared,
}

handle!(Lock, |shape| shape.kind == Kind::Lock);

/// A held [`Lock`]; given up when it is dropped.
#[must_use = "the lock is given up when the guard is dropped"]
pub struct LockGuard<'a> {
    hold: Hold<'a>,
}

impl Lock {
    /// Makes a lock that nobody holds.
    ///
    /// # Errors
    /// If there is no room in /dev/shm, or no descriptor left.
    pub fn new() -> Result<Lock, Error> {
        Shared::make(Shape::of::<u8>(Kind::Lock, 0)).map(|shared| Lock { shared })
    }

    /// Frees a hold that was [handed over](LockGuard::hand_over), from whatever process. False if there is
    /// none: the lock is free, or a guard has it.
    pub fn release(&self) -> bool {
        self.shared.lock().release()
    }

    /// Whether it is held at this moment.
    pub fn is_locked(&self) -> bool {
        self.shared.lock().is_held()
    }

    #[inline]
    fn take_at_once(&self, location: &'static Location<'static>) -> Option<LockGuard<'_>> {
        Hold::at_once(&self.shared, location).map(|hold| LockGuard { hold })
    }

    fn take(
        &self,
        patience: Patience,
        abandoned: Abandoned,
        location: &'static Location<'static>,
    ) -> Result<Option<LockGuard<'_>>, LockError> {
        Ok(Hold::take(&self.shared, patience, abandoned, location)?.map(|hold| LockGuard { hold }))
    }
}

lockable!(Lock, LockGuard<'_>);
guard!(LockGuard<'_>, hold.);
held!(LockGuard<'_>, hold.);

impl LockGuard<'_> {
    /// Leaves the lock held, by no thread: [`release`](Lock::release) frees it, from whatever process. It
    /// does not come back when this thread or process ends.
    pub fn hand_over(self) {
        self.hold.hand_over();
    }
}
