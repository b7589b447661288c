//! Starts workers, and tells them to end.

use std::io;
use std::os::fd::AsFd;
use std::sync::MutexGuard;

use bytes::Bytes as Buffer;
use nix::sys::epoll::{EpollEvent, EpollFlags};
use tracing::Level;

use crate::error::Kind;
use crate::keeper::handle::{Interest, Keeper};
use crate::keeper::identity;
use crate::link::command::Command;
use crate::link::frame::DownHead;
use crate::link::host_end::HostEnd;
use crate::link::lane::Lane;
use crate::link::request::{Launch, Role, Settings, StartMethod};
use crate::link::ring::Breach;
use crate::pool::core::{Core, OUTPUT};
use crate::pool::machine::{Slot, Stage};
use crate::pool::options::{Options, Output};
use crate::pool::state::{Ending, State};
use crate::pool::worker::{Initializer, WorkerProcess};
use crate::process::child::surroundings;
use crate::process::job::Job as FirstJob;
use crate::process::stdio::Capture;
use crate::sys::signal::Signal;

use super::Driver;

/// How much of what a worker writes to stderr is kept for errors.
const STDERR_KEPT: usize = 8 * 1024;

impl Driver {
    /// Starts a worker; should that fail, the machine hears of a worker that ended before it was ready.
    pub(super) fn start<'a>(
        &mut self,
        core: &'a Core,
        state: MutexGuard<'a, State>,
        slot: Slot,
    ) -> MutexGuard<'a, State> {
        let (mut state, reached) = self.reach_keeper(core, state);
        if state.workers.len() <= slot {
            state.workers.resize_with(slot + 1, || None);
        }
        match reached.and_then(|()| self.try_start(slot, state.machine.is_doubtful(slot))) {
            Ok(worker) => state.install(slot, worker),
            Err(error) => {
                let error = error.to_string();
                let told = error.clone();
                state
                    .events
                    .push(Level::WARN, move || tracing::warn!(error = told, "worker could not be started"));
                state.worker_ended(slot, Ending::NotStarted, Some(error));
            }
        }
        state
    }

    /// Sees to it that there is a keeper. One that is started anew may take long to answer, so nobody is kept from
    /// the pool meanwhile, and a pool that ends does not wait for it.
    fn reach_keeper<'a>(
        &mut self,
        core: &'a Core,
        state: MutexGuard<'a, State>,
    ) -> (MutexGuard<'a, State>, Result<(), crate::Error>) {
        let is_over = |state: &State| state.machine.stage() == Stage::Terminating;
        if self.options.threads || self.client.is_some() {
            return (state, Ok(()));
        }
        if is_over(&state) {
            return (state, Err(Kind::Closed.into()));
        }
        core.release(state);
        let lasts = || {
            // Whatever it was for, the driver looks at all of it once it has done this.
            core.answer_kick();
            !is_over(&core.lock())
        };
        let reached = self.start_client(Interest { word: core.kicked(), lasts: &lasts });
        let state = core.lock();
        let reached = if is_over(&state) { Err(Kind::Closed.into()) } else { reached };
        (state, reached)
    }

    /// A doubtful one has to answer first.
    pub(super) fn try_start(&mut self, slot: Slot, doubtful: bool) -> Result<WorkerProcess, crate::Error> {
        let system = |what| move |error| crate::Error::system(what, error);
        if self.options.threads {
            return self.start_thread(slot, doubtful);
        }
        let Some(client) = &mut self.client else {
            return Err(Kind::Broken("the keeper died".to_owned()).into());
        };
        self.next_id = self.next_id.wrapping_add(1);
        let (id, name) = (self.next_id, format!("{}-{}", self.options.name, slot + 1));
        let (mut lane, memory) = HostEnd::create(&name, Lane::WIDE, self.options.largest_result)
            .map_err(system("make shared memory for a worker"))?;
        let (stderr_end, stderr) = Capture::tail(STDERR_KEPT).map_err(system("make a pipe for a worker"))?;
        let stdout_end = match self.options.stdout {
            Output::Inherit => crate::sys::fd::standard_stream(1),
            Output::Stderr => stderr_end.try_clone(),
            Output::Null => std::fs::File::options().write(true).open("/dev/null").map(Into::into),
        };
        let stdout_end = stdout_end.map_err(system("open stdout for a worker"))?;
        let doorbell = lane.doorbell().as_fd().try_clone_to_owned().map_err(system("copy a descriptor"))?;
        let bell = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, u64::from(id));
        self.core.bells.add(lane.doorbell(), bell).map_err(|errno| system("watch a worker")(errno.into()))?;
        if let Some(pipe) = stderr.pipe() {
            let output = EpollEvent::new(EpollFlags::EPOLLIN, OUTPUT + u64::from(id));
            self.core.events.add(pipe, output).map_err(|errno| system("watch a worker")(errno.into()))?;
        }
        let initializer = send_first(&mut lane, self.initializer.as_deref(), doubtful)?;
        let launch = launch(&self.options, client.keeper(), id, name);
        client
            .spawn(launch, vec![memory, doorbell, stdout_end, stderr_end])
            .map_err(system("reach the keeper"))?;
        Ok(WorkerProcess::new(id, lane, stderr, initializer))
    }

    /// The keeper may have died since the last start, and its executable may be another one now. Functions are
    /// known by what the first one said.
    fn start_client(&mut self, interest: Interest<'_>) -> Result<(), crate::Error> {
        let keeper = Keeper::while_wanted(&self.executable, Some(interest))?;
        self.first_keeper.as_ref().map_or(Ok(()), |first| keeper.check_same_as(first))?;
        let client = keeper.client().map_err(|error| crate::Error::system("reach the keeper", error))?;
        self.use_client(client).map_err(|error| crate::Error::system("watch the keeper", error))
    }

    pub(super) fn kill(&mut self, state: &mut State, slot: Slot) {
        let Some(worker) = state.workers.get_mut(slot).and_then(Option::as_mut) else { return };
        if let Some(station) = worker.commands.thread() {
            // What it has begun it ends itself.
            worker.lane.shut();
            return station.stop();
        }
        if let Some(client) = &mut self.client {
            // A keeper that is gone has taken the worker along, and that is told soon.
            let _ = client.signal(worker.id, Signal::SIGKILL, true);
        }
        self.watch_client();
    }
}

/// Tells a worker something, if it is still there.
pub(super) fn say(state: &mut State, slot: Slot, command: Command) {
    if let Some(worker) = state.workers.get_mut(slot).and_then(Option::as_mut) {
        worker.commands.say(command);
    }
}

/// Sends what stands in a lane before its first task.
pub(super) fn send_first(
    lane: &mut HostEnd,
    initializer: Option<&FirstJob>,
    doubtful: bool,
) -> Result<Initializer, crate::Error> {
    let (sent, initializer) = match initializer {
        None if doubtful => (ask(lane), Initializer::Asked),
        None => (Ok(()), Initializer::Done),
        Some(job) => (send_initializer(lane, job), Initializer::Running),
    };
    sent.map_err(|breach| crate::Error::system("write to a lane", io::Error::other(breach)))?;
    Ok(initializer)
}

/// Sends what runs nothing and is answered all the same.
fn ask(lane: &mut HostEnd) -> Result<(), Breach> {
    // A task without arguments is the length of nothing.
    const LINE: [u8; 4] = [0; 4];
    lane.send(DownHead::question(), &LINE, &[], || Buffer::from_static(&LINE))?;
    lane.publish()
}

fn send_initializer(lane: &mut HostEnd, job: &FirstJob) -> Result<(), Breach> {
    for value in &job.shared {
        let head = DownHead::put(value.number, &value.line, value.parts.len());
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
