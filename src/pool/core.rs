//! The pool's lock, and the descriptors of those who wait.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes as Buffer;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::error::{Error, Kind};
use crate::sys::pidfd;

use super::machine::Stage;
use super::state::State;

pub(super) use super::reader::Role;

/// Tokens of the driver's set.
pub(super) const KICK: u64 = 0;
pub(super) const BELLS: u64 = 1;
pub(super) const CLIENT: u64 = 2;
pub(super) const KEEPER: u64 = 3;
pub(super) const RELAY: u64 = 4;
/// Output of the worker with this number and those above.
pub(super) const OUTPUT: u64 = 5;

/// What a pool's handles, waiters and driver share.
pub(super) struct Core {
    state: Mutex<State>,
    /// What the driver waits for; the set of doorbells is one of it.
    pub(super) events: Epoll,
    /// The doorbells, and `nudge`.
    pub(super) bells: Epoll,
    /// Wakes the driver.
    kick: EventFd,
    /// Wakes a poller that sleeps in the set of doorbells.
    nudge: EventFd,
    /// Told when the pool has come to its end.
    pub(super) ended: Condvar,
    /// Workers that were threads and have ended, with the objects in their last results.
    departed: Mutex<Vec<(u32, Vec<Buffer>)>>,
}

impl Core {
    pub(super) fn new(state: State) -> Result<Core, Error> {
        Core::try_new(state).map_err(|error| Error::system("make descriptors for a pool", error))
    }

    fn try_new(state: State) -> std::io::Result<Core> {
        let eventfd = || EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let core = Core {
            state: Mutex::new(state),
            events: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            bells: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            kick: eventfd()?,
            nudge: eventfd()?,
            ended: Condvar::new(),
            departed: Mutex::new(Vec::new()),
        };
        core.events.add(&core.kick, EpollEvent::new(EpollFlags::EPOLLIN, KICK))?;
        core.events.add(&core.bells.0, EpollEvent::new(EpollFlags::EPOLLIN, BELLS))?;
        core.bells.add(&core.nudge, EpollEvent::new(EpollFlags::EPOLLIN, KICK))?;
        Ok(core)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock is a bug of ours; the state is consistent between any two events.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn kick(&self) {
        // It cannot fail but for a counter that is full, and then the driver is kicked already.
        let _ = self.kick.write(1);
    }

    /// Readable when the driver was kicked.
    pub(super) fn kicked(&self) -> BorrowedFd<'_> {
        self.kick.as_fd()
    }

    pub(super) fn answer_kick(&self) {
        let _ = self.kick.read();
    }

    /// A worker that was a thread has ended.
    pub(super) fn depart(&self, id: u32, passengers: Vec<Buffer>) {
        self.departed.lock().unwrap_or_else(PoisonError::into_inner).push((id, passengers));
        self.kick();
    }

    pub(super) fn take_departed(&self) -> Vec<(u32, Vec<Buffer>)> {
        std::mem::take(&mut *self.departed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Wakes a poller that sleeps in the set of doorbells.
    pub(super) fn nudge(&self) {
        let _ = self.nudge.write(1);
    }

    pub(super) fn answer_nudge(&self) {
        let _ = self.nudge.read();
    }

    /// Sleeps until a doorbell rings or somebody nudges. May return without a reason.
    pub(super) fn await_ring(&self, left: Option<Duration>) {
        let mut events = [EpollEvent::empty(); 16];
        // An error is a signal that came: the caller looks again.
        let _ = self.bells.wait(&mut events, pidfd::poll_timeout(left));
    }

    /// Takes note of the rings, so that the set of doorbells is quiet again.
    pub(super) fn take_rings(&self) {
        self.await_ring(Some(Duration::ZERO));
    }

    /// Whether the driver is woken by doorbells.
    pub(super) fn watch_bells(&self, watch: bool) {
        let flags = if watch { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
        let _ = self.events.modify(&self.bells.0, &mut EpollEvent::new(flags, BELLS));
    }

    /// Waits until the driver has left. True if it has.
    pub(super) fn wait_for_end<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        deadline: Option<Instant>,
    ) -> bool {
        while !state.ended {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            state = match left {
                Some(Duration::ZERO) => return false,
                Some(left) => self.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.ended.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        true
    }

    /// Keeps the pool from coming to its end by `close`, for a call that has more to submit.
    pub(super) fn hold(&self) -> Hold<'_> {
        self.lock().holds += 1;
        Hold(self)
    }

    /// Whether the pool takes new tasks.
    pub(super) fn check_open(&self, state: &State) -> Result<(), Error> {
        if let Some(reason) = state.machine.broken() {
            return Err(Kind::Broken(reason.to_string()).into());
        }
        match state.machine.stage() {
            Stage::Open => Ok(()),
            Stage::Closing | Stage::Terminating => Err(Kind::Closed.into()),
        }
    }
}

/// A call that has more to submit.
pub(super) struct Hold<'a>(&'a Core);

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.holds -= 1;
        let closing = state.machine.stage() == Stage::Closing;
        drop(state);
        if closing {
            self.0.kick();
        }
    }
}
