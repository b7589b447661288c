//! The pool's own thread: starts and kills workers, hears of their ends, keeps the clock, and reads the
//! lanes when nobody else does.

mod keeper;
mod output;
mod start;
mod threads;

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use nix::sys::epoll::EpollEvent;

use crate::keeper::client::Client;
use crate::keeper::handle::{Executable, Keeper};
use crate::link::command::Command;
use crate::process::job::Job as FirstJob;
use crate::sys::pidfd;
use crate::sys::room::RoomWatch;
use crate::sys::signal;

use super::callbacks::{self, Callbacks};
use super::core::{BELLS, CLIENT, Core, KEEPER, KICK, OUTPUT, RELAY};
use super::machine::{Event, Stage};
use super::options::{Options, Output};
use super::relay::Relay;
use super::state::{Duty, State};
use keeper::kill_itself;
use start::say;

/// How long a keeper may take to end killed workers before it is killed itself.
const LONGEST_END: Duration = Duration::from_secs(5);

/// The driver's own things.
pub(super) struct Driver {
    core: Arc<Core>,
    options: Options,
    executable: Executable,
    initializer: Option<Arc<FirstJob>>,
    client: Option<Client>,
    /// The one that the pool was made with.
    first_keeper: Option<Arc<Keeper>>,
    next_id: u32,
    relay: Option<Relay>,
    room: RoomWatch,
    /// Pipes that are not read while the relay is full.
    held_back: Vec<u32>,
    /// Command channels to be connected when there is nothing else to do.
    connects: VecDeque<Connect>,
    callbacks: Callbacks,
    /// When to end by force.
    end_by: Option<Instant>,
}

/// A command channel that waits to be connected.
struct Connect {
    id: u32,
    name: String,
    /// The socket that listens, so that a connect cannot fail, whoever died meanwhile.
    _listener: OwnedFd,
}

/// Tells everybody that the driver has left. Dropped by a panic too: a bug of ours must not hang whoever waits.
struct End(Arc<Core>);

impl Drop for End {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        // What an iterator still submits to a pool that was closed ends like this.
        state.run(Event::Terminate);
        state.ended = true;
        state.wake_everybody();
        let late = std::mem::take(&mut state.finished);
        self.0.ended.notify_all();
        self.0.release(state);
        late.into_iter().for_each(|job| callbacks::run(&self.0, job));
    }
}

impl Driver {
    pub(super) fn new(
        core: Arc<Core>,
        options: Options,
        executable: Executable,
        initializer: Option<FirstJob>,
        client: Option<Client>,
    ) -> io::Result<Driver> {
        let relay = match (options.stderr, &options.relay) {
            _ if options.threads => None,
            (Output::Null, _) => None,
            (Output::Inherit | Output::Stderr, Some(target)) => Some(Relay::to(target.try_clone()?)),
            (Output::Inherit | Output::Stderr, None) => Some(Relay::new()?),
        };
        let mut driver = Driver {
            core,
            options,
            executable,
            initializer: initializer.map(Arc::new),
            client: None,
            first_keeper: client.as_ref().map(|client| Arc::clone(client.keeper())),
            next_id: 0,
            relay,
            room: RoomWatch::new(RELAY),
            held_back: Vec::new(),
            connects: VecDeque::new(),
            callbacks: Callbacks::default(),
            end_by: None,
        };
        client.map_or(Ok(()), |client| driver.use_client(client))?;
        Ok(driver)
    }

    /// Starts the first workers, on the thread that makes the pool.
    pub(super) fn start_all(&mut self) {
        let core = Arc::clone(&self.core);
        drop(self.act(&core, core.lock()));
    }

    /// Runs until the pool has come to its end.
    pub(super) fn run(mut self) {
        signal::block_all_in_this_thread();
        let _end = End(Arc::clone(&self.core));
        loop {
            let core = Arc::clone(&self.core);
            let mut state = self.act(&core, core.lock());
            if self.is_finished(&state) {
                break;
            }
            let now = Instant::now();
            let look = state.look_at();
            if look.is_some_and(|look| look <= now) {
                core.look_as_driver(&mut state);
                core.release(state);
                continue;
            }
            let alarm = state.machine.wake_at();
            if alarm.is_some_and(|alarm| alarm <= now) {
                state.drain_all();
                state.run(Event::Tick);
                core.release(state);
                continue;
            }
            let alarm = [alarm, look].into_iter().flatten().min();
            let _ = state.machine.take_earliest();
            state.alarm = alarm;
            let (finished, told) = (std::mem::take(&mut state.finished), state.events.announce());
            core.release(state);
            if told {
                self.callbacks.tell_events(&core);
            }
            self.callbacks.call(&core, finished);
            self.wait(alarm, now);
        }
        self.finish();
    }

    fn is_finished(&mut self, state: &State) -> bool {
        let held = state.holds > 0 && state.machine.stage() == Stage::Closing;
        if held || !state.machine.is_finished() {
            return false;
        }
        state.workers.iter().all(Option::is_none) && state.finished.is_empty()
    }

    fn finish(mut self) {
        // The keeper may end now, if nobody else uses it.
        (self.client, self.first_keeper) = (None, None);
        let core = Arc::clone(&self.core);
        if core.lock().events.announce() {
            self.callbacks.tell_events(&core);
        }
        self.callbacks.finish();
    }

    fn wait(&mut self, alarm: Option<Instant>, now: Instant) {
        let alarm = [alarm, self.end_by].into_iter().flatten().min();
        let timeout = match alarm {
            _ if !self.connects.is_empty() => Some(Duration::ZERO),
            Some(alarm) => Some(alarm.saturating_duration_since(now)),
            None => None,
        };
        let mut events = [EpollEvent::empty(); 32];
        let count = self.core.events.wait(&mut events, pidfd::poll_timeout(timeout)).unwrap_or(0);
        for event in &events[..count] {
            match event.data() {
                KICK => {
                    self.core.answer_kick();
                    self.bid_farewell();
                }
                BELLS => self.core.read_as_driver(),
                CLIENT => self.hear(event.events()),
                KEEPER => self.keeper_ended(),
                RELAY => self.flush_relay(event.events()),
                output => self.pass_on_output((output - OUTPUT) as u32),
            }
        }
        if count == 0 {
            self.connect_one();
        }
        if self.end_by.is_some_and(|end_by| end_by <= Instant::now()) {
            let core = Arc::clone(&self.core);
            let mut state = core.lock();
            self.kill_keeper(&mut state);
            core.release(state);
        }
    }

    /// Carries out what was left for the driver.
    fn act<'a>(&mut self, core: &'a Core, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        while let Some(duty) = state.deferred.pop_front() {
            match duty {
                Duty::Start { slot } => state = self.start(core, state, slot),
                Duty::Kill { slot } => self.kill(&mut state, slot),
                Duty::KillItself { slot } => kill_itself(&state, slot),
                Duty::BlameKeeper { slot } => self.blame_keeper(&mut state, slot),
                Duty::AskToStop { slot, number } => say(&mut state, slot, Command::Cancel { number }),
                Duty::Retire { slot } => say(&mut state, slot, Command::Retire),
            }
        }
        // Threads are waited for.
        let can_force = self.client.is_some() && self.end_by.is_none();
        if state.machine.stage() == Stage::Terminating && can_force {
            self.end_by = Some(Instant::now() + LONGEST_END);
        }
        state
    }
}
