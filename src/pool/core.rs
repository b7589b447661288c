//! The pool's lock, and who reads the lanes.
//!
//! At any time at most one thread is the *poller*: it looks at the lanes, and nobody has to wake it. A thread
//! that waits for a result takes the role if it is free; the driver has it for as long as results keep
//! coming that nobody waits for. When nobody polls, every busy lane is armed: the worker rings a doorbell on
//! its next commit, or half-way through what it has if that is much, which wakes the driver. Nothing is ever
//! lost between the two, because a poller that steps down arms the lanes first and looks once more after that.
//!
//! A poller that only leaves to pull and submit more inputs arms nothing. It says until when it will be back,
//! and should it stay away (its input may be a slow one), the driver takes the role from it.
//!
//! A poller that has looked in vain for a while sleeps in the set of doorbells, in the driver's stead.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::error::{Error, Kind};
use crate::link::patience::Patience;
use crate::sys::pidfd;

use super::machine::{JobKey, Stage};
use super::state::{Poller, State};

/// A thread that waits, and the poller's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It does not have it, and gives it up at the end.
    None,
    /// It has it already.
    Held,
    /// It will be back soon for more, if it gets it.
    Returning,
}

/// So long may a poller that will be back stay away.
const AWAY: Duration = Duration::from_millis(1);

/// Tokens of the driver's set.
pub(super) const KICK: u64 = 0;
pub(super) const BELLS: u64 = 1;
pub(super) const CLIENT: u64 = 2;
pub(super) const KEEPER: u64 = 3;
pub(super) const RELAY: u64 = 4;
/// Output of the worker with this number and those above.
pub(super) const OUTPUT: u64 = 5;

/// A worker that has much to do may have come to a long task before the host expects news of it.
const LATE: Duration = Duration::from_millis(1);

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

    /// Gives up the lock after an operation: reads what must be read, and kicks the driver if it has
    /// something to do that it does not know of.
    pub(super) fn release(&self, mut state: MutexGuard<'_, State>) {
        while state.must_read && !state.poller.is_reading() {
            state.drain_all();
        }
        let earliest = [state.machine.take_earliest(), state.look_at()].into_iter().flatten().min();
        let earlier = match (earliest, state.alarm) {
            (Some(earliest), Some(alarm)) => earliest < alarm,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if std::mem::take(&mut state.has_told) && state.poller == Poller::Asleep {
            let _ = self.nudge.write(1);
        }
        let kick = earlier || !state.deferred.is_empty() || !state.finished.is_empty();
        drop(state);
        if kick {
            self.kick();
        }
    }

    pub(super) fn kick(&self) {
        // It cannot fail but for a counter that is full, and then the driver is kicked already.
        let _ = self.kick.write(1);
    }

    pub(super) fn answer_kick(&self) {
        let _ = self.kick.read();
    }

    /// Takes the poller's role if it is free. To be given back by `step_down`.
    pub(super) fn try_poll(&self, state: &mut State) -> bool {
        let free = matches!(state.poller, Poller::None | Poller::Away(_));
        if free {
            state.poller = Poller::Spinning;
            state.disarm();
        }
        free
    }

    /// Gives the poller's role back: to another thread that waits, or to nobody.
    pub(super) fn step_down(&self, state: &mut State) {
        state.poller = Poller::None;
        state.arm();
        // What was committed before its lane was armed does not ring.
        while state.may_have_missed() || state.must_read {
            state.drain_all();
        }
        if let Some(follower) = state.followers.pop() {
            follower.unpark();
        }
    }

    /// Keeps the role for a moment, for a thread that pulls and submits more inputs before it waits again.
    fn step_aside(&self, state: &mut State) {
        if state.followers.is_empty() {
            state.poller = Poller::Away(Instant::now() + AWAY);
        } else {
            self.step_down(state);
        }
    }

    /// Waits until `ready` gives something, for at most until `deadline`. `role` says whether the caller has
    /// the poller's role, and what becomes of it.
    pub(super) fn wait<T>(
        &self,
        job: JobKey,
        deadline: Option<Instant>,
        role: Role,
        mut ready: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        let mut state = self.lock();
        let mut polls = role == Role::Held;
        let result = loop {
            state.lacking = None;
            if let Some(value) = ready(&mut state) {
                break Some(value);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                break None;
            }
            polls = polls || self.try_poll(&mut state);
            state = if polls { self.poll(state, left) } else { self.follow(state, job, left) };
        };
        match role {
            _ if !polls => {}
            Role::Returning => self.step_aside(&mut state),
            Role::None | Role::Held => self.step_down(&mut state),
        }
        self.release(state);
        result
    }

    /// As the poller: looks for news, and sleeps if none comes for a while.
    fn poll<'a>(&'a self, mut state: MutexGuard<'a, State>, left: Option<Duration>) -> MutexGuard<'a, State> {
        thread_local! {
            static PATIENCE: std::cell::RefCell<Patience> = std::cell::RefCell::new(Patience::new());
        }
        if state.has_plenty() {
            // A look at a lane costs its worker as much as a task, so nobody looks while much is to be done.
            return self.sleep(state, left);
        }
        let lanes = Arc::clone(&state.lanes);
        let woke = std::mem::take(&mut state.woke);
        let epoch = state.epoch();
        self.release(state);
        let news = || lanes.iter().any(|lane| lane.has_news()) || epoch.has_passed();
        let found = PATIENCE.with_borrow_mut(|patience| patience.look(woke, news));
        let mut state = self.lock();
        state.drain_all();
        if found {
            return state;
        }
        PATIENCE.with_borrow_mut(Patience::refresh);
        if epoch.has_passed() { state } else { self.sleep(state, left) }
    }

    /// Sleeps in the set of doorbells, which the driver leaves alone meanwhile.
    fn sleep<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        left: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        let late = state.arm();
        if state.may_have_missed() || state.must_read {
            state.drain_all();
            state.disarm();
            return state;
        }
        let left = if late { Some(left.map_or(LATE, |left| left.min(LATE))) } else { left };
        state.poller = Poller::Asleep;
        self.watch_bells(false);
        self.release(state);
        let mut events = [EpollEvent::empty(); 16];
        // An error is a signal that came: the caller looks again.
        let _ = self.bells.wait(&mut events, pidfd::poll_timeout(left));
        let _ = self.nudge.read();
        let mut state = self.lock();
        state.poller = Poller::Spinning;
        self.watch_bells(true);
        state.disarm();
        state.drain_all();
        state
    }

    /// Whether the driver is woken by doorbells.
    fn watch_bells(&self, watch: bool) {
        let flags = if watch { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
        let _ = self.events.modify(&self.bells.0, &mut EpollEvent::new(flags, BELLS));
    }

    /// As a follower: sleeps until the job has news, or the role is free.
    fn follow<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        job: JobKey,
        left: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        let me = std::thread::current();
        let Some(waited_for) = state.jobs.get_mut(&job) else { return state };
        waited_for.sleepers.push(me.clone());
        state.followers.push(me.clone());
        state.starve(&me);
        self.release(state);
        match left {
            Some(left) => std::thread::park_timeout(left),
            None => std::thread::park(),
        }
        let mut state = self.lock();
        state.followers.retain(|thread| thread.id() != me.id());
        state.hungry.retain(|(thread, _)| thread.id() != me.id());
        if let Some(job) = state.jobs.get_mut(&job) {
            job.sleepers.retain(|thread| thread.id() != me.id());
        }
        state
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
