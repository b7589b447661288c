//! What the driver holds of one worker's process.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::Instant;

use ipc_channel::ipc::IpcSender;

use crate::link::command::Command;
use crate::link::frame::DownHead;
use crate::link::host_end::HostEnd;
use crate::link::ring::Breach;
use crate::process::stdio::Capture;
use crate::runtime::thread::Station;
use crate::task::error::{Absent, TaskErrorKind};
use crate::task::shared::Encoded;

use super::reader::LATE;

/// A worker, from the request for it to its exit notice.
pub(super) struct WorkerProcess {
    /// Its number at the keeper; never used again.
    pub(super) id: u32,
    /// 0 until it has started.
    pub(super) pid: u32,
    pub(super) process: Option<OwnedFd>,
    pub(super) lane: HostEnd,
    pub(super) stderr: Capture,
    pub(super) commands: Commands,
    pub(super) started: Instant,
    /// Its initializer runs, or has failed so.
    pub(super) initializer: Initializer,
    /// Why the host kills it.
    pub(super) breach: Option<Breach>,
    /// It was told that it is ready.
    pub(super) told_ready: bool,
    /// Why it counts as one that did not start, although it did.
    pub(super) not_started: Option<String>,
    /// Its results wait in the lane until its pid is known.
    pub(super) awaits_pid: bool,
    /// Whether it rings, and when.
    armed: Option<(Armed, u32)>,
    /// The first task that it had in flight when it was last armed, and since when.
    front: (Option<u32>, Instant),
    /// The shared values that went down its lane.
    shared: HashMap<u64, Weak<Encoded>>,
}

/// When a worker rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Armed {
    /// At its next commit.
    Next,
    /// When it is half through with what it has.
    HalfWay,
}

/// How far a worker's initializer is.
pub(super) enum Initializer {
    /// There is none, and it was asked something that it has to answer before it is given anything.
    Asked,
    Running,
    Done,
    Failed(TaskErrorKind),
}

impl Initializer {
    /// Whether what comes next is no result of a task.
    pub(super) fn is_pending(&self) -> bool {
        matches!(self, Initializer::Asked | Initializer::Running)
    }
}

/// Who hears what a worker is told.
enum Listener {
    Process(IpcSender<Command>),
    Thread(Arc<Station>),
    /// There is no way to it.
    Nobody,
}

impl Listener {
    fn tell(&self, command: Command) {
        match self {
            Listener::Process(sender) => drop(sender.send(command)),
            Listener::Thread(station) => station.obey(command),
            Listener::Nobody => {}
        }
    }
}

/// The command channel of a worker.
#[derive(Default)]
pub(super) struct Commands {
    listener: Option<Listener>,
    /// What is to be said as soon as the channel is there.
    waiting: Vec<Command>,
}

impl Commands {
    /// Says something, now or later. A worker that is gone hears nothing, and its exit is told anyway.
    pub(super) fn say(&mut self, command: Command) {
        match &self.listener {
            Some(listener) => listener.tell(command),
            None => self.waiting.push(command),
        }
    }

    /// The channel is there.
    pub(super) fn attach(&mut self, sender: IpcSender<Command>) {
        let listener = Listener::Process(sender);
        let waiting = std::mem::take(&mut self.waiting);
        std::iter::once(Command::Attach).chain(waiting).for_each(|command| listener.tell(command));
        self.listener = Some(listener);
    }

    /// There will be no channel.
    pub(super) fn give_up(&mut self) {
        (self.listener, self.waiting) = (Some(Listener::Nobody), Vec::new());
    }

    /// Of a worker that is a thread.
    pub(super) fn to_thread(station: Arc<Station>) -> Commands {
        Commands { listener: Some(Listener::Thread(station)), waiting: Vec::new() }
    }

    /// The worker, if it is a thread.
    pub(super) fn thread(&self) -> Option<&Station> {
        match &self.listener {
            Some(Listener::Thread(station)) => Some(station),
            Some(Listener::Process(_) | Listener::Nobody) | None => None,
        }
    }
}

impl WorkerProcess {
    pub(super) fn new(id: u32, lane: HostEnd, stderr: Capture, initializer: Initializer) -> WorkerProcess {
        WorkerProcess {
            id,
            pid: 0,
            process: None,
            lane,
            stderr,
            commands: Commands::default(),
            started: Instant::now(),
            initializer,
            breach: None,
            told_ready: false,
            not_started: None,
            awaits_pid: false,
            armed: None,
            front: (None, Instant::now()),
            shared: HashMap::new(),
        }
    }

    /// Its process id, once the keeper has told it.
    pub(super) fn pid(&self) -> Option<u32> {
        (self.pid != 0).then_some(self.pid)
    }

    /// The last lines that it has written to stderr, whoever has read them.
    pub(super) fn said(&self) -> Result<String, Absent> {
        match self.commands.thread() {
            Some(_) => Err(Absent::IsThread),
            None => self.stderr.text_with_unread().map_err(|_| Absent::NotReadable),
        }
    }

    /// Whether anything that stands in its lane is read now.
    pub(super) fn is_read(&self) -> bool {
        self.breach.is_none() && !self.awaits_pid
    }

    /// Has it ring, if it has anything to do.
    pub(super) fn arm(&mut self) -> Option<Armed> {
        if !self.lane.is_busy() {
            self.disarm();
            return None;
        }
        let moves = self.moves();
        let (half_way, mark) = self.lane.mark(moves);
        self.lane.lane().host_bell().arm();
        let armed = if half_way { Armed::HalfWay } else { Armed::Next };
        self.armed = Some((armed, mark));
        Some(armed)
    }

    /// Whether it has been elsewhere lately. Who has not is in a long task, and nobody looks at it any more.
    fn moves(&mut self) -> bool {
        let (front, now) = (self.lane.front_number(), Instant::now());
        if self.front.0 != front {
            self.front = (front, now);
        }
        now - self.front.1 < LATE
    }

    pub(super) fn disarm(&mut self) {
        if self.armed.take().is_some() {
            self.lane.lane().host_bell().disarm();
        }
    }

    /// After a reading, the mark is of the past.
    pub(super) fn renew_arming(&mut self) {
        if self.armed.is_some() {
            self.arm();
        }
    }

    /// Whether a reading would bring anything: a result, room for what waits for it, or a breach.
    pub(super) fn has_news(&self) -> bool {
        self.is_read() && (self.lane.lane().has_news() || self.may_have_missed())
    }

    /// Whether it may have come to its mark before it was armed.
    pub(super) fn may_have_missed(&self) -> bool {
        match self.armed {
            // Nothing that it says is read, any more or yet.
            _ if !self.is_read() => false,
            None => false,
            Some((Armed::Next, _)) => self.lane.lane().has_news(),
            Some((Armed::HalfWay, mark)) => self.lane.lane().has_reached(mark),
        }
    }

    /// Sends the shared values that tasks refer to and that this worker does not have, and takes away those
    /// that nobody has any more.
    pub(super) fn share(&mut self, values: &[Arc<Encoded>]) -> Result<(), Breach> {
        if values.is_empty() {
            return Ok(());
        }
        for value in values {
            if self.shared.contains_key(&value.number) {
                continue;
            }
            let head = DownHead::put(value.number, &value.line, value.parts.len());
            self.lane.send(head, &value.line, &value.parts, || value.line.clone())?;
            self.shared.insert(value.number, Arc::downgrade(value));
        }
        let gone: Vec<u64> = self
            .shared
            .iter()
            .filter(|(_, value)| value.strong_count() == 0)
            .map(|(number, _)| *number)
            .collect();
        for number in gone {
            self.shared.remove(&number);
            self.lane.send(DownHead::drop(number), &[], &[], bytes::Bytes::new)?;
        }
        Ok(())
    }
}
