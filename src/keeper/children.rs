//! The keeper's workers, from their start to their end, and the command channels that wait for the host.

use std::os::fd::OwnedFd;

use nix::unistd::{Pid, getpgid, getpid};
use rustc_hash::FxHashMap;

use crate::shm;
use crate::sys::exit::{ExitStatus, ResourceUsage, ended_child, reap, reap_any};
use crate::sys::procfs;
use crate::sys::signal::Signal;

use super::folder::{Server, ServerFolder};
use super::programs::Started;

/// A worker.
pub(super) struct Child {
    pub(super) client: u64,
    pub(super) id: u32,
    /// An executed worker that has not yet told the name of its command channel.
    pub(super) setup: Option<OwnedFd>,
    /// Where an executed worker makes its command channel.
    pub(super) folder: Option<ServerFolder>,
    /// The host needs its command channel no more, or never did.
    pub(super) connected: bool,
    /// Set for a program that is no worker.
    pub(super) program: Option<Started>,
}

/// What is kept of a command channel until the host has connected to it.
enum Channel {
    /// Made here, for a forked worker.
    Own(Server),
    /// Made by an executed worker, which is dead.
    Left { _folder: ServerFolder },
}

/// How a worker ended.
pub(super) struct Ended {
    pub(super) child: Child,
    pub(super) status: ExitStatus,
    pub(super) usage: ResourceUsage,
}

/// All workers that live, and what is kept for their host.
#[derive(Default)]
pub(super) struct Children {
    by_pid: FxHashMap<i32, Child>,
    /// By client and worker. A worker may be dead long before its host connects.
    channels: FxHashMap<(u64, u32), Channel>,
}

impl Children {
    pub(super) fn insert(&mut self, pid: Pid, child: Child) {
        self.by_pid.insert(pid.as_raw(), child);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_pid.is_empty()
    }

    pub(super) fn get(&self, pid: Pid) -> Option<&Child> {
        self.by_pid.get(&pid.as_raw())
    }

    /// Keeps a forked worker's command channel until the host has connected.
    pub(super) fn keep_server(&mut self, client: u64, id: u32, server: Server) {
        self.channels.insert((client, id), Channel::Own(server));
    }

    /// The host has connected.
    pub(super) fn drop_channel(&mut self, client: u64, id: u32) {
        self.channels.remove(&(client, id));
        let mut children = self.by_pid.values_mut();
        if let Some(child) = children.find(|child| child.client == client && child.id == id) {
            child.connected = true;
        }
    }

    /// Workers that have not told the name of their command channel.
    pub(super) fn setting_up(&self) -> Vec<Pid> {
        let waiting = self.by_pid.iter().filter(|(_, child)| child.setup.is_some());
        waiting.map(|(pid, _)| Pid::from_raw(*pid)).collect()
    }

    pub(super) fn program(&mut self, pid: Pid) -> Option<&mut Started> {
        self.by_pid.get_mut(&pid.as_raw())?.program.as_mut()
    }

    pub(super) fn take_setup(&mut self, pid: Pid) -> Option<OwnedFd> {
        self.by_pid.get_mut(&pid.as_raw())?.setup.take()
    }

    pub(super) fn signal(&self, client: u64, id: u32, signal: Signal, group: bool) {
        let found = self.by_pid.iter().find(|(_, child)| child.client == client && child.id == id);
        let Some((&pid, _)) = found else { return };
        // The child is not reaped yet, so the number is still its own.
        if group && signal == Signal::SIGKILL {
            return kill_group(pid);
        }
        // Once for each: who is asked to end a second time may take that for impatience.
        let left = || getpgid(Some(Pid::from_raw(pid))).is_ok_and(|leader| leader.as_raw() != pid);
        if group {
            crate::sys::signal::send(-pid, signal);
        }
        if !group || left() {
            crate::sys::signal::send(pid, signal);
        }
    }

    /// Kills what a client started.
    pub(super) fn kill_all_of(&mut self, client: u64) {
        self.channels.retain(|(other, _), _| *other != client);
        for (pid, child) in self.by_pid.iter_mut().filter(|(_, child)| child.client == client) {
            child.connected = true;
            kill_group(*pid);
        }
    }

    /// A child that has ended and is not reaped.
    pub(super) fn ended(&self) -> Option<Pid> {
        ended_child()
    }

    /// Reaps a child that has ended; the worker that it was, unless it was somebody's orphan.
    pub(super) fn reap(&mut self, pid: Pid) -> Option<Ended> {
        if self.by_pid.contains_key(&pid.as_raw()) {
            // While the leader is not reaped, the group's number cannot be another's.
            kill_group(pid.as_raw());
        }
        let (status, usage) = reap(pid).ok()?;
        let mut child = self.by_pid.remove(&pid.as_raw())?;
        // Only now that it is dead nothing is added to its folder.
        if let Some(folder) = child.folder.take().filter(|_| !child.connected) {
            self.channels.insert((child.client, child.id), Channel::Left { _folder: folder });
        }
        Some(Ended { child, status, usage })
    }

    /// Kills every group, then whoever else of the descendants is left, and waits for all.
    pub(super) fn end_all(&mut self) {
        self.by_pid.keys().for_each(|pid| kill_group(*pid));
        loop {
            // Orphans come to this process when their parents end, so in the end all are its children.
            for entry in procfs::children(getpid()) {
                crate::sys::signal::send(entry.pid.as_raw(), Signal::SIGKILL);
            }
            if !reap_any() {
                break;
            }
        }
        // Their host has no more ears, so nothing of theirs is on its way to anybody.
        self.by_pid.keys().for_each(|pid| shm::name::sweep_of(*pid as u32));
    }

    /// In a forked worker: gives up what belongs to other workers.
    pub(super) fn forget_in_child(self) {
        for channel in self.channels.into_values() {
            match channel {
                Channel::Own(server) => server.forget_in_child(),
                Channel::Left { _folder: folder } => folder.forget_in_child(),
            }
        }
        for child in self.by_pid.into_values() {
            child.folder.into_iter().for_each(ServerFolder::forget_in_child);
            child.program.into_iter().for_each(Started::forget_in_child);
        }
    }
}

/// Kills a child's group, and the child itself, which may have left that.
fn kill_group(pid: i32) {
    crate::sys::signal::send(-pid, Signal::SIGKILL);
    crate::sys::signal::send(pid, Signal::SIGKILL);
}
