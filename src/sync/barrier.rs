//! `Barrier`: a number of parties that go on together, or learn together that they cannot.

use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::time::Duration;

use crate::error::{Error, Kind as ErrorKind};
use crate::primitive::Ordering;
use crate::roster::{Target, Wait};
use crate::shm::object::Kind;
use crate::sys::futex;

use super::error::LockError;
use super::face::handle;
use super::monitor::{self, Monitor};
use super::raw::Patience;
use super::shared::Shared;

/// Words of the state.
const PARTIES: usize = 0;
const ARRIVED: usize = 1;
/// Goes up whenever a round ends, well or not; the word to sleep on.
const ROUND: usize = 2;
const BROKEN: usize = 3;
/// A bit for each of the last rounds: whether it ended well.
const WELL: usize = 4;
const WORDS: usize = 5;

/// How many rounds are remembered.
const REMEMBERED: u64 = 64;

/// A number of parties that wait for each other, round after round.
///
/// If a process that has a handle on it dies, the barrier is broken at once: everybody who waits gets the
/// error, until somebody calls [`reset`](Barrier::reset). How a round ended is so for all who waited in it,
/// whatever comes next; whoever arrives while the action runs is in the next round.
///
/// ```
/// use watertight::{Process, sync::Barrier};
///
/// fn main() -> watertight::Result<()> {
///     watertight::init();
///     let barrier = Barrier::new(2)?;
///     let process = Process::spawn(|barrier: Barrier| barrier.wait().is_ok(), (barrier.clone(),))?;
///     barrier.wait().unwrap();
///     assert!(process.join()?);
///     Ok(())
/// }
/// ```
pub struct Barrier {
    shared: Shared,
}

handle!(Barrier, |shape| monitor::fits(shape, Kind::Barrier, WORDS));

/// Why a wait at a barrier ended without all parties.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BarrierError {
    /// A party died, gave up waiting or aborted, or the barrier was reset.
    #[error("the barrier is broken")]
    Broken,
    /// The barrier's own lock could not be had.
    #[error(transparent)]
    Lock(#[from] LockError),
}

impl Barrier {
    /// Makes a barrier for that many parties.
    ///
    /// # Errors
    /// If `parties` is zero, or there is no room in /dev/shm, or no descriptor left.
    pub fn new(parties: u32) -> Result<Barrier, Error> {
        if parties == 0 {
            return Err(ErrorKind::Option("a barrier needs at least one party".to_owned()).into());
        }
        let shared = Shared::make(monitor::shape(Kind::Barrier, WORDS))?;
        monitor::word(shared.object(), PARTIES).store(u64::from(parties), Ordering::Relaxed);
        Ok(Barrier { shared })
    }

    /// Waits for all parties. Returns this one's number in the round, another one for each party, from 0 on.
    ///
    /// # Errors
    /// [`BarrierError::Broken`] if not all will come.
    #[track_caller]
    pub fn wait(&self) -> Result<u32, BarrierError> {
        self.pass(Patience::Forever, Location::caller(), || ())
    }

    /// As [`wait`](Barrier::wait); if not all come within `timeout`, the barrier is broken for all.
    ///
    /// # Errors
    /// As [`wait`](Barrier::wait).
    #[track_caller]
    pub fn wait_timeout(&self, timeout: Duration) -> Result<u32, BarrierError> {
        self.pass(Patience::of(timeout), Location::caller(), || ())
    }

    /// As [`wait`](Barrier::wait); the last one to come runs its `action` before any of them goes on.
    ///
    /// If the action panics, the barrier is broken, and the panic goes on in the one that ran it.
    ///
    /// # Errors
    /// As [`wait`](Barrier::wait).
    #[track_caller]
    pub fn wait_with(&self, action: impl FnOnce()) -> Result<u32, BarrierError> {
        self.pass(Patience::Forever, Location::caller(), action)
    }

    /// As [`wait_with`](Barrier::wait_with); if not all come within `timeout`, the barrier is broken for all. An
    /// action that runs longer than somebody's patience breaks it too.
    ///
    /// # Errors
    /// As [`wait`](Barrier::wait).
    #[track_caller]
    pub fn wait_with_timeout(&self, timeout: Duration, action: impl FnOnce()) -> Result<u32, BarrierError> {
        self.pass(Patience::of(timeout), Location::caller(), action)
    }

    /// Breaks it: everybody who waits, or comes later, gets the error.
    ///
    /// # Errors
    /// [`LockError::TooManyThreads`].
    pub fn abort(&self) -> Result<(), LockError> {
        let monitor = Monitor::enter(&self.shared)?;
        self.break_it(monitor);
        Ok(())
    }

    /// Makes it as new. Whoever waits gets the error.
    ///
    /// # Errors
    /// [`LockError::TooManyThreads`].
    pub fn reset(&self) -> Result<(), LockError> {
        self.shared.object().segment().settle();
        let monitor = Monitor::enter(&self.shared)?;
        self.shared.object().forget_deaths();
        monitor.commit(&[(BROKEN, 0)]);
        self.finish(monitor, End::Badly);
        Ok(())
    }

    /// How many parties it is for.
    pub fn parties(&self) -> u32 {
        self.get(PARTIES) as u32
    }

    /// How many wait at this moment.
    pub fn waiting_count(&self) -> u32 {
        if self.is_broken() { 0 } else { self.get(ARRIVED) as u32 }
    }

    /// Whether it is broken, as far as anybody has noticed.
    pub fn is_broken(&self) -> bool {
        self.get(BROKEN) != 0
    }

    fn get(&self, index: usize) -> u64 {
        monitor::word(self.shared.object(), index).load(Ordering::Acquire)
    }

    fn wake_all(&self) {
        futex::wake(monitor::half_word(self.shared.object(), ROUND), i32::MAX as u32);
    }

    fn break_it(&self, monitor: Monitor<'_>) {
        monitor.commit(&[(BROKEN, 1)]);
        self.finish(monitor, End::Badly);
    }

    /// Ends the round, and lets everybody go. How it ended stands there before it has.
    fn finish(&self, monitor: Monitor<'_>, end: End) {
        let round = monitor.get(ROUND);
        let well = match end {
            End::Well => monitor.get(WELL) | bit(round),
            End::Badly => monitor.get(WELL) & !bit(round),
        };
        monitor.commit(&[(WELL, well), (ARRIVED, 0), (ROUND, round.wrapping_add(1))]);
        drop(monitor);
        self.wake_all();
    }

    /// Whether it is broken, or must be because a user has died.
    fn look(&self, monitor: &Monitor<'_>) -> bool {
        monitor.get(BROKEN) != 0 || self.shared.object().has_death()
    }

    fn pass(
        &self,
        patience: Patience,
        location: &'static Location<'static>,
        action: impl FnOnce(),
    ) -> Result<u32, BarrierError> {
        loop {
            let monitor = Monitor::enter(&self.shared)?;
            if self.look(&monitor) {
                self.break_it(monitor);
                return Err(BarrierError::Broken);
            }
            let (index, round, parties) = (monitor.get(ARRIVED), monitor.get(ROUND), monitor.get(PARTIES));
            if index < parties {
                monitor.commit(&[(ARRIVED, index + 1)]);
            }
            drop(monitor);
            if index.saturating_add(1) == parties {
                self.end_round(round, action)?;
                return Ok(index as u32);
            }
            let (roster, me) = (self.shared.roster(), self.shared.me()?);
            let target = Target::ownerless(self.shared.object());
            let wait = roster.begin_wait(me, target, roster.site(location), patience.ending());
            let ended = self.sleep(round, wait);
            if index < parties {
                return ended.map(|()| index as u32);
            }
            // All had come, and the action ran: this one belongs to the next round.
        }
    }

    /// The last one: runs the action, and lets everybody go.
    fn end_round(&self, round: u64, action: impl FnOnce()) -> Result<(), BarrierError> {
        let panic = catch_unwind(AssertUnwindSafe(action)).err();
        // Somebody may have come and died.
        self.shared.object().segment().settle();
        let monitor = Monitor::enter(&self.shared)?;
        // Somebody's patience may have ended during the action. What the barrier is by now is not this round's.
        let is_over = monitor.get(ROUND) != round;
        let is_bad = is_over || panic.is_some() || self.look(&monitor);
        match (is_over, is_bad) {
            (true, _) => drop(monitor),
            (false, true) => self.break_it(monitor),
            (false, false) => self.finish(monitor, End::Well),
        }
        match panic {
            Some(panic) => resume_unwind(panic),
            None if is_bad => Err(BarrierError::Broken),
            None => Ok(()),
        }
    }

    fn sleep(&self, round: u64, mut wait: Wait<'_>) -> Result<(), BarrierError> {
        let word = monitor::half_word(self.shared.object(), ROUND);
        let mut last_bell = None;
        loop {
            let bell = wait.arm();
            if self.get(ROUND) != round {
                return self.outcome(round);
            }
            let is_over = wait.is_over();
            if is_over || last_bell.replace(bell) != Some(bell) {
                self.shared.object().segment().settle();
                let monitor = Monitor::enter(&self.shared)?;
                if monitor.get(ROUND) == round && (is_over || self.look(&monitor)) {
                    self.break_it(monitor);
                    return Err(BarrierError::Broken);
                }
                continue;
            }
            wait.sleep(word, round as u32, bell);
        }
    }

    /// How a round ended. One that is long past was none of those that were waited in to their end.
    fn outcome(&self, round: u64) -> Result<(), BarrierError> {
        let well = self.get(WELL) & bit(round) != 0;
        // Its bit may have been another round's by now.
        let is_remembered = self.get(ROUND).wrapping_sub(round) <= REMEMBERED;
        if well && is_remembered { Ok(()) } else { Err(BarrierError::Broken) }
    }
}

/// How a round ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Well,
    Badly,
}

/// The bit of a round among those that are remembered.
fn bit(round: u64) -> u64 {
    1 << (round % REMEMBERED)
}
