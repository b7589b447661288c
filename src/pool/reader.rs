//! Who reads the lanes.
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

use std::cell::RefCell;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::link::patience::Patience;
use crate::primitive::{Instant, MutexGuard, current_thread, park, park_timeout};

use super::core::Core;
use super::machine::JobKey;
use super::state::State;

/// Who reads the lanes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Poller {
    /// Nobody: lanes with work in flight are armed, and ring for the driver.
    None,
    /// The driver, or a thread that waits for a result.
    Spinning,
    /// A thread that waits for a result, asleep in the set of doorbells.
    Asleep,
    /// A thread that will be back in a moment, once it has pulled and submitted more inputs. Anybody may
    /// take the role from it, and the driver does if it stays away.
    Away(Instant),
}

impl Poller {
    /// Whether a worker need not ring.
    pub(super) fn is_reading(self) -> bool {
        matches!(self, Poller::Spinning | Poller::Away(_))
    }
}

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

/// A worker that has much to do may have come to a long task before the host expects news of it.
pub(super) const LATE: Duration = Duration::from_millis(1);

/// How long the driver reads lanes in one go before it looks at its other duties.
const LONGEST_READ: Duration = Duration::from_micros(500);

thread_local! {
    static PATIENCE: RefCell<Patience> = RefCell::new(Patience::new());
}

impl Core {
    /// Gives up the lock after an operation: reads what must be read, and kicks the driver if it has
    /// something to do that it does not know of.
    pub(super) fn release(&self, mut state: MutexGuard<'_, State>) {
        while state.must_read && !state.poller.is_reading() {
            state.drain_all();
        }
        if std::mem::take(&mut state.has_told) && state.poller == Poller::Asleep {
            self.nudge();
        }
        let kick = state.needs_driver();
        let wakers = state.take_wakers();
        drop(state);
        if kick {
            self.kick();
        }
        wakers.into_iter().for_each(Waker::wake);
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
        self.await_ring(left);
        let mut state = self.lock();
        state.poller = Poller::Spinning;
        // Under the lock, as every nudge: one that came later would stay, and wake the driver for ever.
        self.answer_nudge();
        self.watch_bells(true);
        state.disarm();
        state.drain_all();
        state
    }

    /// As a follower: sleeps until the job has news, or the role is free.
    fn follow<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        job: JobKey,
        left: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        let me = current_thread();
        let Some(waited_for) = state.jobs.get_mut(&job) else { return state };
        waited_for.sleepers.push(me.clone());
        state.followers.push(me.clone());
        state.starve(&me);
        self.release(state);
        match left {
            Some(left) => park_timeout(left),
            None => park(),
        }
        let mut state = self.lock();
        state.followers.retain(|thread| thread.id() != me.id());
        state.hungry.retain(|(thread, _)| thread.id() != me.id());
        if let Some(job) = state.jobs.get_mut(&job) {
            job.sleepers.retain(|thread| thread.id() != me.id());
        }
        state
    }

    /// As the driver, when a lane rang: reads until nothing comes for a while, unless another thread does.
    pub(super) fn read_as_driver(&self) {
        self.take_rings();
        let mut state = self.lock();
        if !self.try_poll(&mut state) {
            // A ring is told once, and this one may have been for the poller.
            if state.poller == Poller::Asleep {
                self.nudge();
            }
            return;
        }
        let end = Instant::now() + LONGEST_READ;
        loop {
            state.drain_all();
            let others = !state.followers.is_empty() || !state.deferred.is_empty();
            if others || state.has_plenty() || Instant::now() > end {
                break;
            }
            let lanes = Arc::clone(&state.lanes);
            let woke = std::mem::take(&mut state.woke);
            self.release(state);
            let news = || lanes.iter().any(|lane| lane.has_news());
            let found = PATIENCE.with_borrow_mut(|patience| patience.look(woke, news));
            state = self.lock();
            if !found {
                PATIENCE.with_borrow_mut(Patience::refresh);
                break;
            }
        }
        self.step_down(&mut state);
        self.release(state);
    }

    /// As the driver, when it is time to look at lanes that nobody reads: those that ring late, or those whose
    /// poller stays away.
    pub(super) fn look_as_driver(&self, state: &mut State) {
        state.late_at = None;
        state.drain_all();
        self.step_down(state);
    }
}
