//! The pool's own thread: starts and kills workers, hears of their ends, keeps the clock, and reads the
//! lanes when nobody else does.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes as Buffer;
use ipc_channel::ipc::IpcSender;
use nix::sys::epoll::{EpollEvent, EpollFlags};

use crate::error::Kind;
use crate::keeper::client::Client;
use crate::keeper::handle::{Executable, Keeper};
use crate::keeper::identity;
use crate::link::command::Command;
use crate::link::host_end::HostEnd;
use crate::link::lane::RING_WORDS;
use crate::link::patience::Patience;
use crate::link::request::{Incoming, Launch, Notice, Role, Settings, StartMethod};
use crate::process::child::{Job as FirstJob, surroundings};
use crate::process::stdio::Capture;
use crate::sys::pidfd::{self, Scope};
use crate::sys::signal::{self, Signal};

use super::builder::{Options, Output};
use super::callbacks::Callbacks;
use super::core::{BELLS, CLIENT, Core, KEEPER, KICK, OUTPUT, RELAY};
use super::machine::{Action, Event, Slot, Stage};
use super::relay::Relay;
use super::state::{Ending, State};
use super::worker::{Initializer, WorkerProcess};

/// How much of what a worker writes to stderr is kept for errors.
const STDERR_KEPT: usize = 8 * 1024;

/// How long a keeper may take to end killed workers before it is killed itself.
const LONGEST_END: Duration = Duration::from_secs(5);

/// How long the driver reads lanes in one go before it looks at its other duties.
const LONGEST_READ: Duration = Duration::from_micros(500);

/// The driver's own things.
pub(super) struct Driver {
    core: Arc<Core>,
    options: Options,
    executable: Executable,
    initializer: Option<Arc<FirstJob>>,
    client: Option<Client>,
    next_id: u32,
    relay: Option<Relay>,
    /// Pipes that are not read while the relay is full.
    held_back: Vec<u32>,
    /// Command channels to be connected when there is nothing else to do.
    connects: VecDeque<(u32, String)>,
    callbacks: Callbacks,
    patience: Patience,
    /// When to end by force.
    end_by: Option<Instant>,
}

impl Driver {
    pub(super) fn new(
        core: Arc<Core>,
        options: Options,
        executable: Executable,
        initializer: Option<FirstJob>,
        client: Client,
    ) -> io::Result<Driver> {
        let relay = match options.stderr {
            Output::Null => None,
            Output::Inherit | Output::Stderr => Some(Relay::new()?),
        };
        let mut driver = Driver {
            core,
            options,
            executable,
            initializer: initializer.map(Arc::new),
            client: None,
            next_id: 0,
            relay,
            held_back: Vec::new(),
            connects: VecDeque::new(),
            callbacks: Callbacks::default(),
            patience: Patience::new(),
            end_by: None,
        };
        driver.use_client(client)?;
        if let Some(relay) = &driver.relay {
            // A file is always writable, and cannot be watched.
            let _ = driver.core.events.add(relay.target(), EpollEvent::new(EpollFlags::empty(), RELAY));
        }
        Ok(driver)
    }

    fn use_client(&mut self, client: Client) -> io::Result<()> {
        let events = &self.core.events;
        events.add(client.socket(), EpollEvent::new(EpollFlags::EPOLLIN, CLIENT))?;
        events.add(client.keeper().process(), EpollEvent::new(EpollFlags::EPOLLIN, KEEPER))?;
        self.client = Some(client);
        Ok(())
    }

    /// Starts the first workers, on the thread that makes the pool.
    pub(super) fn start_all(&mut self) {
        let core = Arc::clone(&self.core);
        let mut state = core.lock();
        self.act(&mut state);
    }

    /// Runs until the pool has come to its end.
    pub(super) fn run(mut self) {
        signal::block_all_in_this_thread();
        loop {
            let core = Arc::clone(&self.core);
            let mut state = core.lock();
            self.act(&mut state);
            if self.is_finished(&state) {
                break;
            }
            let now = Instant::now();
            let look = state.look_at();
            if look.is_some_and(|look| look <= now) {
                state.late_at = None;
                state.drain_all();
                core.step_down(&mut state);
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
            let finished = std::mem::take(&mut state.finished);
            core.release(state);
            self.callbacks.call(finished);
            self.wait(alarm, now);
        }
        self.finish();
    }

    fn is_finished(&mut self, state: &State) -> bool {
        if !state.machine.is_finished() {
            return false;
        }
        state.workers.iter().all(Option::is_none) && state.finished.is_empty()
    }

    fn finish(mut self) {
        // The keeper may end now, if nobody else uses it.
        self.client = None;
        self.callbacks.finish();
        let mut state = self.core.lock();
        state.ended = true;
        state.wake_everybody();
        self.core.ended.notify_all();
        self.core.release(state);
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
                KICK => self.core.answer_kick(),
                BELLS => self.read_lanes(),
                CLIENT => self.hear(event.events()),
                KEEPER => self.lose_keeper(),
                RELAY => self.flush_relay(),
                output => self.pass_on_output((output - OUTPUT) as u32),
            }
        }
        if count == 0 {
            self.connect_one();
        }
        if self.end_by.is_some_and(|end_by| end_by <= Instant::now()) {
            self.kill_keeper();
        }
    }

    /// A lane rang: reads until nothing comes for a while, unless another thread does.
    fn read_lanes(&mut self) {
        let core = Arc::clone(&self.core);
        let mut events = [EpollEvent::empty(); 16];
        // Takes note of the rings, so that the set is quiet again.
        let _ = core.bells.wait(&mut events, pidfd::poll_timeout(Some(Duration::ZERO)));
        let mut state = core.lock();
        if !core.try_poll(&mut state) {
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
            core.release(state);
            let found = self.patience.look(woke, || lanes.iter().any(|lane| lane.has_news()));
            state = core.lock();
            if !found {
                self.patience.refresh();
                break;
            }
        }
        core.step_down(&mut state);
        core.release(state);
    }

    /// Carries out what was left for the driver.
    fn act(&mut self, state: &mut MutexGuard<'_, State>) {
        while let Some(action) = state.deferred.pop_front() {
            match action {
                Action::Start { slot } => self.start(state, slot),
                Action::Kill { slot } => self.kill(state, slot),
                Action::AskToStop { slot } => ask_to_stop(state, slot),
                Action::Retire { slot } => self.retire(state, slot),
                _ => unreachable!("only these four are deferred"),
            }
        }
        if state.machine.stage() == Stage::Terminating && self.end_by.is_none() {
            self.end_by = Some(Instant::now() + LONGEST_END);
        }
    }

    /// Starts a worker; should that fail, the machine hears of a worker that ended before it was ready.
    pub(super) fn start(&mut self, state: &mut State, slot: Slot) {
        if state.workers.len() <= slot {
            state.workers.resize_with(slot + 1, || None);
        }
        match self.try_start(slot) {
            Ok(worker) => state.install(slot, worker),
            Err(error) => {
                tracing::warn!(%error, "worker could not be started");
                state.worker_ended(slot, Ending::NotStarted, Some(error.to_string()));
            }
        }
    }

    fn try_start(&mut self, slot: Slot) -> Result<WorkerProcess, crate::Error> {
        let system = |what| move |error| crate::Error::system(what, error);
        self.ensure_client()?;
        let Some(client) = &mut self.client else {
            return Err(Kind::Broken("the keeper died".to_owned()).into());
        };
        self.next_id = self.next_id.wrapping_add(1);
        let (id, name) = (self.next_id, format!("{}-{}", self.options.name, slot + 1));
        let (mut lane, memory) = HostEnd::create(&name, RING_WORDS, self.options.largest_result)
            .map_err(system("make shared memory for a worker"))?;
        let (stderr_end, stderr) = Capture::tail(STDERR_KEPT).map_err(system("make a pipe for a worker"))?;
        let stdout_end = match self.options.stdout {
            Output::Inherit => crate::sys::fd::standard_stream(1),
            Output::Stderr => stderr_end.try_clone(),
            Output::Null => std::fs::File::options().write(true).open("/dev/null").map(Into::into),
        };
        let stdout_end = stdout_end.map_err(system("open stdout for a worker"))?;
        let doorbell = lane.doorbell().try_clone_to_owned().map_err(system("copy a descriptor"))?;
        let bell = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, u64::from(id));
        self.core.bells.add(lane.doorbell(), bell).map_err(|errno| system("watch a worker")(errno.into()))?;
        if let Some(pipe) = stderr.pipe() {
            let output = EpollEvent::new(EpollFlags::EPOLLIN, OUTPUT + u64::from(id));
            self.core.events.add(pipe, output).map_err(|errno| system("watch a worker")(errno.into()))?;
        }
        let initializer = match &self.initializer {
            None => Initializer::Done,
            Some(job) => {
                send_initializer(&mut lane, job)
                    .map_err(|breach| system("write to a lane")(io::Error::other(breach)))?;
                Initializer::Running
            }
        };
        let launch = launch(&self.options, client.keeper(), id, name);
        client
            .spawn(launch, vec![memory, doorbell, stdout_end, stderr_end])
            .map_err(system("reach the keeper"))?;
        Ok(WorkerProcess::new(id, lane, stderr, initializer))
    }

    /// The keeper may have died since the last start.
    fn ensure_client(&mut self) -> Result<(), crate::Error> {
        if self.client.is_some() {
            return Ok(());
        }
        let keeper = Keeper::of(&self.executable)?;
        let client = keeper.client().map_err(|error| crate::Error::system("reach the keeper", error))?;
        self.use_client(client).map_err(|error| crate::Error::system("watch the keeper", error))
    }

    fn kill(&mut self, state: &mut State, slot: Slot) {
        let Some(worker) = state.workers.get(slot).and_then(Option::as_ref) else { return };
        if let Some(client) = &mut self.client {
            // A keeper that is gone has taken the worker along, and that is told soon.
            let _ = client.signal(worker.id, Signal::SIGKILL, true);
        }
        self.watch_client();
    }

    fn retire(&mut self, state: &mut State, slot: Slot) {
        if let Some(worker) = state.workers.get_mut(slot).and_then(Option::as_mut) {
            worker.commands.say(Command::Retire);
        }
    }

    /// What the keeper has to say.
    fn hear(&mut self, events: EpollFlags) {
        if events.contains(EpollFlags::EPOLLOUT) {
            if let Some(client) = &mut self.client {
                let _ = client.flush();
            }
            self.watch_client();
        }
        while let Some(client) = &self.client {
            match client.receive() {
                Ok(Incoming::Message(notice, mut descriptors)) => self.heard(notice, descriptors.pop()),
                Ok(Incoming::Empty) => return,
                Ok(Incoming::End) | Err(_) => self.lose_keeper(),
            }
        }
    }

    fn heard(&mut self, notice: Notice, descriptor: Option<std::os::fd::OwnedFd>) {
        let core = Arc::clone(&self.core);
        let mut state = core.lock();
        match notice {
            Notice::Started { id, pid, commands } => {
                let Some(slot) = state.slot_of(id) else { return };
                if let Some(worker) = state.workers[slot].as_mut() {
                    worker.pid = pid;
                    worker.process = descriptor;
                    tracing::debug!(pid, slot, after = ?worker.started.elapsed(), "worker started");
                }
                self.connects.extend(commands.map(|name| (id, name)));
            }
            Notice::Failed { id, step, errno } => {
                let text = format!("{}: {}", step.text(), io::Error::from_raw_os_error(errno));
                self.ended(&mut state, id, Ending::NotStarted, Some(text));
            }
            Notice::Exited { id, status, usage } => {
                self.ended(&mut state, id, Ending::Exited(status, usage), None)
            }
            Notice::Tasks { .. } => {}
        }
        core.release(state);
    }

    fn ended(&mut self, state: &mut State, id: u32, ending: Ending, reason: Option<String>) {
        let Some(slot) = state.slot_of(id) else { return };
        self.pass_on(state, slot);
        if let Some(worker) = state.workers[slot].as_ref() {
            let _ = self.core.bells.delete(worker.lane.doorbell());
        }
        self.connects.retain(|(other, _)| *other != id);
        self.held_back.retain(|other| *other != id);
        state.worker_ended(slot, ending, reason);
        state.renew_lanes();
    }

    /// The keeper is dead, and its workers with it. What they committed counts; a new keeper is started with
    /// the next worker.
    fn lose_keeper(&mut self) {
        let Some(client) = self.client.take() else { return };
        let events = &self.core.events;
        let _ = events.delete(client.socket());
        let _ = events.delete(client.keeper().process());
        tracing::warn!(pid = client.keeper().pid(), "keeper died");
        let core = Arc::clone(&self.core);
        let mut state = core.lock();
        let processes: Vec<(u32, Option<std::os::fd::OwnedFd>)> =
            state.workers.iter_mut().flatten().map(|worker| (worker.id, worker.process.take())).collect();
        for (id, process) in processes {
            if let Some(process) = process {
                // Its leader died with the keeper; this is for the rest of its group.
                let _ = pidfd::send_signal(process.as_fd(), Signal::SIGKILL, Scope::Group);
                let _ = pidfd::wait_for_end(process.as_fd(), Some(Duration::from_secs(1)));
            }
            self.ended(&mut state, id, Ending::Lost, Some("the keeper died".to_owned()));
        }
        core.release(state);
    }

    /// A keeper that does not end its workers is stopped, or worse: the kernel ends them with it.
    fn kill_keeper(&mut self) {
        self.end_by = None;
        if let Some(client) = &self.client {
            let _ = pidfd::send_signal(client.keeper().process(), Signal::SIGKILL, Scope::Process);
        }
    }

    /// Connects one command channel. The keeper holds its other end open until it is told, so this neither
    /// waits nor fails.
    fn connect_one(&mut self) {
        let Some((id, name)) = self.connects.pop_front() else { return };
        let sender = IpcSender::<Command>::connect(name);
        if let Some(client) = &mut self.client {
            let _ = client.connected(id);
        }
        self.watch_client();
        let core = Arc::clone(&self.core);
        let mut state = core.lock();
        let Some(slot) = state.slot_of(id) else { return };
        match (sender, state.workers[slot].as_mut()) {
            (Ok(sender), Some(worker)) => worker.commands.attach(sender),
            (Err(error), _) => tracing::warn!(%error, "no command channel to a worker"),
            (Ok(_), None) => {}
        }
    }

    /// Watches for room if requests wait for it.
    fn watch_client(&self) {
        if let Some(client) = &self.client {
            let mut flags = EpollFlags::EPOLLIN;
            flags.set(EpollFlags::EPOLLOUT, client.is_waiting_for_room());
            let _ = self.core.events.modify(client.socket(), &mut EpollEvent::new(flags, CLIENT));
        }
    }

    fn pass_on_output(&mut self, id: u32) {
        let core = Arc::clone(&self.core);
        let mut state = core.lock();
        let Some(slot) = state.slot_of(id) else { return };
        if self.relay.as_ref().is_some_and(Relay::is_full) {
            self.watch_output(&state, slot, false);
            self.held_back.push(id);
            return;
        }
        self.pass_on(&mut state, slot);
    }

    fn pass_on(&mut self, state: &mut State, slot: Slot) {
        let Some(worker) = state.workers[slot].as_mut() else { return };
        let relay = &mut self.relay;
        worker.stderr.read(|bytes| {
            if let Some(relay) = relay {
                relay.write(bytes);
            }
        });
        self.watch_relay();
    }

    fn watch_output(&self, state: &State, slot: Slot, watch: bool) {
        let Some(worker) = state.workers[slot].as_ref() else { return };
        if let Some(pipe) = worker.stderr.pipe() {
            let flags = if watch { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
            let _ = self.core.events.modify(pipe, &mut EpollEvent::new(flags, OUTPUT + u64::from(worker.id)));
        }
    }

    fn watch_relay(&self) {
        if let Some(relay) = &self.relay {
            let flags = if relay.is_waiting() { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
            let _ = self.core.events.modify(relay.target(), &mut EpollEvent::new(flags, RELAY));
        }
    }

    fn flush_relay(&mut self) {
        let Some(relay) = &mut self.relay else { return };
        relay.flush();
        let full = relay.is_full();
        self.watch_relay();
        if !full {
            let core = Arc::clone(&self.core);
            let state = core.lock();
            for id in std::mem::take(&mut self.held_back) {
                if let Some(slot) = state.slot_of(id) {
                    self.watch_output(&state, slot, true);
                }
            }
        }
    }
}

fn ask_to_stop(state: &mut State, slot: Slot) {
    let Some(worker) = state.workers.get_mut(slot).and_then(Option::as_mut) else { return };
    if let Some(number) = worker.lane.front_number() {
        worker.commands.say(Command::Cancel { number });
    }
}

fn send_initializer(lane: &mut HostEnd, job: &FirstJob) -> Result<(), crate::link::ring::Breach> {
    for value in &job.shared {
        let head = crate::link::frame::DownHead::put(value.number, &value.line, value.parts.len());
        lane.send(head, &value.line, &value.parts, || value.line.clone())?;
    }
    lane.send(job.head, &job.line, &job.parts, || Buffer::copy_from_slice(&job.line))?;
    lane.publish()
}

fn launch(options: &Options, keeper: &Keeper, id: u32, name: String) -> Launch {
    let (environment, working_directory) = surroundings(
        keeper,
        &options.environment,
        options.clear_environment,
        options.working_directory.clone(),
    );
    Launch {
        id,
        method: if keeper.can_fork() { options.method } else { StartMethod::Exec },
        commands: true,
        stdin: false,
        environment,
        working_directory,
        limits: options.limits,
        settings: Settings {
            name,
            depth: identity::depth() + 1,
            role: Role::Pool,
            measured: options.measured,
            largest_result: options.largest_result,
            daemon: true,
            parent: identity::as_parent(),
            tree: keeper.tree(),
        },
    }
}
