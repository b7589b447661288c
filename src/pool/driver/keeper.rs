//! What the keeper says, and what follows.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ipc_channel::ipc::IpcSender;
use nix::sys::epoll::{EpollEvent, EpollFlags};
use tracing::Level;

use crate::keeper::client::Client;
use crate::link::command::Command;
use crate::link::request::{Incoming, Notice};
use crate::pool::core::{CLIENT, KEEPER};
use crate::pool::machine::Slot;
use crate::pool::state::{Ending, State};
use crate::sys::pidfd;
use crate::sys::signal::Signal;

use super::{Connect, Driver};

impl Driver {
    pub(super) fn use_client(&mut self, client: Client) -> io::Result<()> {
        let events = &self.core.events;
        events.add(client.socket(), EpollEvent::new(EpollFlags::EPOLLIN, CLIENT))?;
        events.add(client.keeper().process(), EpollEvent::new(EpollFlags::EPOLLIN, KEEPER))?;
        self.client = Some(client);
        Ok(())
    }

    /// What the keeper has to say.
    pub(super) fn hear(&mut self, events: EpollFlags) {
        if events.contains(EpollFlags::EPOLLOUT) {
            if let Some(client) = &mut self.client {
                let _ = client.flush();
            }
            self.watch_client();
        }
        while let Some(client) = &self.client {
            match client.receive() {
                Ok(Incoming::Message(notice, descriptors)) => self.heard(notice, descriptors),
                Ok(Incoming::Short(notice)) => self.heard_short(notice),
                Ok(Incoming::Empty) => return,
                Ok(Incoming::End) | Err(_) => self.lose_keeper(),
            }
        }
    }

    pub(super) fn heard(&mut self, notice: Notice, descriptors: Vec<OwnedFd>) {
        let core = Arc::clone(&self.core);
        let mut state = core.lock();
        match notice {
            Notice::Started { id, pid, commands } => {
                let Some(slot) = state.slot_of(id) else { return self.tell_connected(id) };
                let mut descriptors = descriptors.into_iter();
                let connect = commands.zip(descriptors.next());
                state.name(slot, pid, descriptors.next());
                state.counters.set_worker(slot, pid);
                self.connects.extend(connect.map(|(name, _listener)| Connect { id, name, _listener }));
            }
            Notice::Failed { id, step, errno } => {
                self.ended(&mut state, id, Ending::NotStarted, Some(step.failed(errno)));
            }
            Notice::Exited { id, status, usage } => {
                self.ended(&mut state, id, Ending::Exited(status, usage), None)
            }
            Notice::Tasks { .. } | Notice::Strays { .. } => {}
        }
        core.release(state);
    }

    /// The descriptors of a worker found no number in this process: it cannot be talked to.
    fn heard_short(&mut self, notice: Notice) {
        let Notice::Started { id, pid, .. } = notice else { return self.heard(notice, Vec::new()) };
        let core = Arc::clone(&self.core);
        let mut state = core.lock();
        if let Some(slot) = state.slot_of(id) {
            state.name(slot, pid, None);
            state.counters.set_worker(slot, pid);
            state.lacks_descriptors(slot);
        }
        core.release(state);
        self.tell_connected(id);
    }

    pub(super) fn ended(&mut self, state: &mut State, id: u32, ending: Ending, reason: Option<String>) {
        let Some(slot) = state.slot_of(id) else { return };
        self.pass_on(state, slot);
        if let Some(worker) = state.workers[slot].as_ref() {
            let _ = self.core.bells.delete(worker.lane.doorbell());
        }
        if let Some(at) = self.connects.iter().position(|connect| connect.id == id) {
            self.connects.remove(at);
            self.tell_connected(id);
        }
        self.held_back.retain(|other| *other != id);
        state.worker_ended(slot, ending, reason);
        state.renew_lanes();
    }

    /// What it told before its end counts.
    pub(super) fn keeper_ended(&mut self) {
        self.hear(EpollFlags::empty());
        self.lose_keeper();
    }

    /// The keeper is dead, and its workers with it. What they committed counts; a new keeper is started with
    /// the next worker.
    pub(super) fn lose_keeper(&mut self) {
        let Some(client) = self.client.take() else { return };
        let events = &self.core.events;
        let _ = events.delete(client.socket());
        let _ = events.delete(client.keeper().process());
        let pid = client.keeper().pid();
        let core = Arc::clone(&self.core);
        let mut state = core.lock();
        state.events.push(Level::WARN, move || tracing::warn!(pid, "keeper died"));
        // What one of them gives back must not go to another one that is gone as well.
        state.workers.iter_mut().flatten().for_each(|worker| worker.lane.shut());
        let workers = state.workers.iter_mut().flatten();
        let processes: Vec<(u32, u32, Option<OwnedFd>)> =
            workers.map(|worker| (worker.id, worker.pid, worker.process.take())).collect();
        for (id, pid, process) in processes {
            if let Some(process) = process {
                // Its leader died with the keeper; this is for the rest of its group.
                pidfd::kill_group(process.as_fd(), pid);
                let _ = pidfd::wait_for_end(process.as_fd(), Some(Duration::from_secs(1)));
            }
            self.ended(&mut state, id, Ending::Lost, Some("the keeper died".to_owned()));
        }
        core.release(state);
    }

    /// A keeper that does not end its workers is stopped, or worse: the kernel ends them with it.
    pub(super) fn kill_keeper(&mut self, state: &mut State) {
        self.end_by = None;
        if let Some(client) = &self.client {
            let pid = client.keeper().pid();
            state
                .events
                .push(Level::WARN, move || tracing::warn!(pid, "keeper does not answer and is killed"));
            let _ = pidfd::send_signal(client.keeper().process(), Signal::SIGKILL);
        }
    }

    /// A keeper that does not tell of an end is stopped, if there is one to tell of, or has never started the worker.
    pub(super) fn blame_keeper(&mut self, state: &mut State, slot: Slot) {
        let Some(worker) = state.workers.get(slot).and_then(Option::as_ref) else { return };
        let hangs = worker.process.as_ref().is_some_and(|process| {
            !pidfd::wait_for_end(process.as_fd(), Some(Duration::ZERO)).unwrap_or(false)
        });
        if worker.commands.thread().is_none() && !hangs {
            self.kill_keeper(state);
        }
    }

    /// Connects one command channel. Its other end listens as long as it is held here, so this neither waits
    /// nor fails.
    pub(super) fn connect_one(&mut self) {
        let Some(Connect { id, name, _listener }) = self.connects.pop_front() else { return };
        // A connect to nowhere leaks a descriptor, and a worker can remove what it can reach.
        let sender = Path::new(&name).exists().then(|| IpcSender::<Command>::connect(name));
        self.tell_connected(id);
        let core = Arc::clone(&self.core);
        let mut state = core.lock();
        let Some(slot) = state.slot_of(id) else { return };
        let Some(worker) = state.workers[slot].as_mut() else { return };
        let pid = worker.pid;
        let reason = match sender {
            Some(Ok(sender)) => return worker.commands.attach(sender),
            Some(Err(error)) => error.to_string(),
            None => "its socket is gone".to_owned(),
        };
        worker.commands.give_up();
        state.events.push(Level::WARN, move || tracing::warn!(pid, reason, "no command channel to a worker"));
        core.release(state);
    }

    /// The keeper need not keep the channel any longer.
    fn tell_connected(&mut self, id: u32) {
        if let Some(client) = &mut self.client {
            let _ = client.connected(id);
        }
        self.watch_client();
    }

    /// Watches for room if requests wait for it.
    pub(super) fn watch_client(&self) {
        if let Some(client) = &self.client {
            let mut flags = EpollFlags::EPOLLIN;
            flags.set(EpollFlags::EPOLLOUT, client.is_waiting_for_room());
            let _ = self.core.events.modify(client.socket(), &mut EpollEvent::new(flags, CLIENT));
        }
    }
}

/// Kills a worker, and its group where the kernel can do so by a descriptor.
pub(super) fn kill_itself(state: &State, slot: Slot) {
    let Some(worker) = state.workers.get(slot).and_then(Option::as_ref) else { return };
    if let Some(process) = &worker.process {
        pidfd::kill_group(process.as_fd(), worker.pid);
        let _ = pidfd::send_signal(process.as_fd(), Signal::SIGKILL);
    }
}
