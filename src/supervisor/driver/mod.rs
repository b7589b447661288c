//! Acts: one thread, one epoll. Has the clock, the keeper's client, the pipes and the control socket, and decides
//! nothing that the machine can decide.

mod asks;
mod counters;
mod functions;
mod output;
mod pools;
mod programs;
mod report;
mod signs;
mod strays;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::EventFd;
use rustc_hash::FxHashMap;

use crate::keeper::client::Client as Keeping;
use crate::keeper::handle::{Executable, Keeper};
use crate::sync::counters::{Count, Counters};
use crate::sys::pidfd;
use crate::sys::room::{self, RoomWatch};

use super::control::protocol::{Answer, Request};
use super::control::{Client, Listener};
use super::logs::{LogFile, Terminal};
use super::machine::{Action, Event, Machine, Outcome, UnitId};
use super::specification::Specification;
use super::status::{Deaths, State, SupervisorEvent, UnitStatus};
use functions::Functions;
use output::{Buffer, Pipes};
use pools::Pools;
use programs::Process;
use report::state_in;
use signs::Signs;

const KICK: u64 = 0;
const CLIENT: u64 = 1;
const KEEPER: u64 = 2;
const LISTENER: u64 = 3;
const TERMINAL: u64 = 4;
/// Pipes: twice the unit's number, and one more for stderr.
const PIPES: u64 = 1 << 32;
/// Signs: four times the unit's number, and which of its descriptors.
const SIGNS: u64 = 1 << 40;
const CLIENTS: u64 = 1 << 48;

/// Reads the configuration anew.
pub(crate) type Reload = Box<dyn FnMut() -> Result<Specification, String> + Send>;

/// What the supervisor's handle asks.
pub(crate) struct Ask {
    pub(crate) request: Request,
    pub(crate) answers: Sender<Answer>,
}

/// Whom an answer goes to.
#[derive(Clone)]
enum Asker {
    Client(u64),
    Handle(Sender<Answer>),
}

/// Somebody who follows what happens.
#[derive(Clone)]
struct Watcher {
    asker: Asker,
    /// It reads the counters itself.
    counters: bool,
}

/// Somebody who waits for units.
struct Waiting {
    asker: Asker,
    units: Vec<UnitId>,
    until: super::control::protocol::Until,
}

/// What a driver is made of.
pub(crate) struct Setup {
    pub(crate) machine: Machine,
    pub(crate) executable: Executable,
    pub(crate) asks: Receiver<Ask>,
    pub(crate) kick: Arc<EventFd>,
    pub(crate) listener: Option<Listener>,
    pub(crate) terminal: bool,
    pub(crate) open_files: Option<(u64, u64)>,
    pub(crate) reload: Option<Reload>,
}

pub(crate) struct Driver {
    machine: Machine,
    executable: Executable,
    asks: Receiver<Ask>,
    kick: Arc<EventFd>,
    events: Epoll,
    keeping: Option<Keeping>,
    /// The processes that live, by unit.
    processes: FxHashMap<UnitId, Process>,
    /// Which unit a number of the keeper means.
    numbers: FxHashMap<u32, UnitId>,
    next_number: u32,
    pipes: FxHashMap<UnitId, Pipes>,
    any_held_back: bool,
    buffer: Buffer,
    /// By the program's name; `None` for one that has no file.
    files: FxHashMap<Arc<str>, Option<LogFile>>,
    signs: FxHashMap<UnitId, Signs>,
    /// Whose probe a number of the keeper means.
    commands: FxHashMap<u32, UnitId>,
    deaths: BTreeMap<UnitId, Deaths>,
    listener: Option<Listener>,
    clients: FxHashMap<u64, Client>,
    next_client: u64,
    watchers: Vec<Watcher>,
    counters: FxHashMap<UnitId, Counters>,
    followers: Vec<(Asker, Vec<UnitId>)>,
    waiting: Vec<Waiting>,
    downs: Vec<Asker>,
    terminal: Option<Terminal>,
    room: RoomWatch,
    open_files: Option<(u64, u64)>,
    reload: Option<Reload>,
    pools: Pools,
    functions: Functions,
    /// How many the kernel had killed for want of memory when that was last looked at.
    killed_for_memory: Option<u64>,
    finished: bool,
}

impl Driver {
    pub(crate) fn new(setup: Setup) -> Result<Driver, crate::Error> {
        let Setup { machine, executable, asks, kick, listener, terminal, open_files, reload } = setup;
        let system = |error| crate::Error::system("make descriptors for a supervisor", error);
        let events = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(|errno| system(errno.into()))?;
        let watch = |fd: std::os::fd::BorrowedFd<'_>, token| {
            events.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token)).map_err(|errno| system(errno.into()))
        };
        watch(kick.as_fd(), KICK)?;
        if let Some(listener) = &listener {
            watch(listener.as_fd(), LISTENER)?;
        }
        let terminal = terminal.then(Terminal::stdout).transpose().map_err(system)?;
        let pool_kick = Arc::clone(&kick);
        let mut driver = Driver {
            machine,
            executable,
            asks,
            kick,
            events,
            keeping: None,
            processes: FxHashMap::default(),
            numbers: FxHashMap::default(),
            next_number: 0,
            pipes: FxHashMap::default(),
            any_held_back: false,
            buffer: Buffer::default(),
            files: FxHashMap::default(),
            signs: FxHashMap::default(),
            commands: FxHashMap::default(),
            deaths: BTreeMap::new(),
            listener,
            clients: FxHashMap::default(),
            next_client: 0,
            watchers: Vec::new(),
            counters: FxHashMap::default(),
            followers: Vec::new(),
            waiting: Vec::new(),
            downs: Vec::new(),
            terminal,
            room: RoomWatch::new(TERMINAL),
            open_files,
            reload,
            pools: Pools::new(pool_kick),
            functions: Functions::default(),
            killed_for_memory: crate::sys::procfs::killed_for_memory(),
            finished: false,
        };
        driver.ensure_keeper()?;
        Ok(driver)
    }

    /// Runs until everything has ended, and says why.
    pub(crate) fn run(mut self) -> Outcome {
        crate::sys::signal::block_all_in_this_thread();
        self.handle(Event::Tick);
        while !self.finished {
            self.wait();
        }
        self.drain_all();
        let downs = std::mem::take(&mut self.downs);
        downs.into_iter().for_each(|asker| self.end(&asker, &Answer::done()));
        self.clients.values_mut().for_each(Client::flush);
        if let Some(terminal) = &mut self.terminal {
            terminal.finish();
        }
        self.machine.outcome().cloned().unwrap_or(Outcome::Asked)
    }

    fn wait(&mut self) {
        self.watch_terminal();
        let wake_at = [self.machine.wake_at(), self.next_probe()].into_iter().flatten().min();
        let timeout = wake_at.map(|at| at.saturating_duration_since(Instant::now()));
        let mut events = [EpollEvent::empty(); 64];
        let count = self.events.wait(&mut events, pidfd::poll_timeout(timeout)).unwrap_or(0);
        for event in &events[..count] {
            match event.data() {
                KICK => self.answer_kick(),
                CLIENT => self.hear_keeper(event.events()),
                KEEPER => self.keeper_ended(),
                LISTENER => self.take_clients(),
                TERMINAL => self.flush_terminal(event.events()),
                token if token >= CLIENTS => self.hear_client(token),
                token if token >= SIGNS => self.hear_sign(token - SIGNS),
                token => self.read_pipe(token - PIPES),
            }
        }
        if self.machine.wake_at().is_some_and(|at| at <= Instant::now()) {
            self.handle(Event::Tick);
        }
        self.probe_due();
    }

    fn answer_kick(&mut self) {
        let _ = self.kick.read();
        self.hear_pools();
        while let Ok(Ask { request, answers }) = self.asks.try_recv() {
            self.answer(request, &Asker::Handle(answers));
        }
    }

    fn handle(&mut self, event: Event) {
        let actions = self.machine.handle(event, Instant::now());
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start { unit } => self.start(unit),
                Action::Signal { unit, signal } => self.signal(unit, signal),
                Action::Changed { unit, phase, stopping } => {
                    self.changed(unit, state_in(phase, stopping));
                }
                Action::Tell { text } => self.note(text),
                Action::Finish => self.finished = true,
            }
        }
        self.watch_keeper();
        self.answer_waiting();
    }

    fn changed(&mut self, unit: UnitId, state: State) {
        let restarts = self.machine.unit(unit).restarts;
        self.counters_of(unit).set(Count::Restarts, restarts);
        if !self.watchers.is_empty() {
            let status = Box::new(UnitStatus { state, ..self.status_of(unit, false) });
            self.tell_watchers(&SupervisorEvent::State(status));
        }
        if state == State::Removed {
            self.forget(unit);
        }
    }

    /// Nothing is kept of a unit that is no part of the tree any more.
    fn forget(&mut self, unit: UnitId) {
        self.counters.remove(&unit);
        self.pipes.remove(&unit);
        self.deaths.remove(&unit);
    }

    fn note(&mut self, text: String) {
        if let Some(terminal) = &mut self.terminal {
            terminal.note(&text);
        }
        self.tell_watchers(&SupervisorEvent::Note { text });
    }

    fn tell_watchers(&mut self, event: &SupervisorEvent) {
        if !self.watchers.is_empty() {
            self.tell(&Answer::Event(event.clone()), |_| true);
        }
    }

    /// Tells those who follow and want it.
    fn tell(&mut self, answer: &Answer, wants: impl Fn(&Watcher) -> bool) {
        for watcher in std::mem::take(&mut self.watchers) {
            if !wants(&watcher) || self.say(&watcher.asker, answer) {
                self.watchers.push(watcher);
            }
        }
    }

    fn flush_terminal(&mut self, events: EpollFlags) {
        if let Some(terminal) = &mut self.terminal {
            terminal.flush();
            if room::is_gone(events) {
                terminal.give_up();
            }
        }
    }

    /// Programs are not read while the terminal is behind.
    fn watch_terminal(&mut self) {
        let Some(terminal) = &mut self.terminal else { return };
        if !self.room.set(&self.events, terminal.target(), terminal.is_waiting()) {
            // Nobody would tell when to go on, and the programs must.
            terminal.give_up();
        }
        if !terminal.is_full() {
            self.resume_pipes();
        }
    }

    /// Starts a keeper if none runs.
    fn ensure_keeper(&mut self) -> Result<(), crate::Error> {
        if self.keeping.is_some() {
            return Ok(());
        }
        let keeper = Keeper::of(&self.executable)?;
        let client = keeper.client().map_err(|error| crate::Error::system("reach the keeper", error))?;
        let watch = |fd, token| self.events.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token));
        watch(client.socket(), CLIENT)
            .and_then(|()| watch(client.keeper().process(), KEEPER))
            .map_err(|errno| crate::Error::system("watch the keeper", io::Error::from(errno)))?;
        self.keeping = Some(client);
        Ok(())
    }

    fn watch_keeper(&self) {
        if let Some(keeping) = &self.keeping {
            let mut flags = EpollFlags::EPOLLIN;
            flags.set(EpollFlags::EPOLLOUT, keeping.is_waiting_for_room());
            let _ = self.events.modify(keeping.socket(), &mut EpollEvent::new(flags, CLIENT));
        }
    }
}

/// Milliseconds, as records have them.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
