//! The keeper's process: starts workers, reaps them, and ends everything when its host ends.
//!
//! One thread, one epoll, no user code. After a fork the loop returns in the child with everything that a
//! worker needs; all else that the child inherited is closed by then.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustc_hash::FxHashMap;

use crate::link::command::Command;
use crate::link::request::{self, Hello, Incoming, Notice, Request};
use crate::shm;
use crate::sys::child;
use crate::sys::fork::SingleThreaded;
use crate::sys::image::Image;
use crate::task::registry;

use super::children::{Children, Ended};
use super::folder::{Folder, Server};
use super::launch::Inheritance;
use super::programs::Programs;

/// What a process that entered the keeper's loop came out as.
pub(crate) enum Served {
    /// The host is gone, and so is everything that was started for it.
    Finished,
    /// A forked worker.
    Worker(Box<Inheritance>),
}

/// A keeper's sockets.
const CONTROL: u64 = 0;
const HOST: u64 = 1;
const SIGNALS: u64 = 2;
/// Clients are numbered from here.
const FIRST_CLIENT: u64 = 3;

/// Everything the keeper knows.
pub(super) struct Keeper {
    pub(super) single_threaded: Option<SingleThreaded>,
    pub(super) folder: io::Result<Folder>,
    pub(super) epoll: Epoll,
    signals: SignalFd,
    control: Option<OwnedFd>,
    /// Watched, never read.
    _host: OwnedFd,
    host_pid: u32,
    clients: FxHashMap<u64, Client>,
    next_client: u64,
    pub(super) children: Children,
    pub(super) programs: Programs,
    /// A command channel made ahead of the next worker.
    pub(super) spare: Option<Server>,
}

/// One pool or process of the host.
struct Client {
    socket: OwnedFd,
    /// Notices that found no room, in order.
    waiting: VecDeque<(Notice, Vec<OwnedFd>)>,
}

/// Serves until the host is gone.
pub(crate) fn serve(control: OwnedFd, host: OwnedFd) -> io::Result<Served> {
    child::lead_own_group();
    child::adopt_orphans();
    let mut keeper = Keeper::new(control, host)?;
    child::name_process("watertight");
    keeper.greet()?;
    let mut swept = false;
    loop {
        match keeper.wait_and_handle()? {
            // What others left behind goes once the first worker is under way.
            Turn::Continue if !swept && !keeper.children.is_empty() => {
                keeper.sweep();
                swept = true;
            }
            Turn::Continue => {}
            Turn::End => {
                keeper.children.end_all();
                // As is a roster that only dead workers had joined.
                shm::name::sweep_of(keeper.host_pid);
                // Workers that were hosts have keepers of their own, which were killed with the rest.
                if let Ok(folder) = &keeper.folder {
                    folder.sweep();
                    shm::name::sweep(Some(folder.path()));
                }
                return Ok(Served::Finished);
            }
            Turn::Child(inheritance) => {
                keeper.forget_in_child();
                return Ok(Served::Worker(inheritance));
            }
        }
    }
}

/// What follows one event.
enum Turn {
    Continue,
    End,
    Child(Box<Inheritance>),
}

impl Keeper {
    fn new(control: OwnedFd, host: OwnedFd) -> io::Result<Keeper> {
        let mut signals = SigSet::empty();
        [NixSignal::SIGCHLD, NixSignal::SIGTERM, NixSignal::SIGINT, NixSignal::SIGHUP]
            .into_iter()
            .for_each(|signal| signals.add(signal));
        signals.thread_block()?;
        let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let watched: [(BorrowedFd<'_>, u64); 3] =
            [(control.as_fd(), CONTROL), (host.as_fd(), HOST), (signals.as_fd(), SIGNALS)];
        for (fd, token) in watched {
            epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
        }
        let single_threaded = SingleThreaded::check();
        let (folder, spare) = match Folder::create() {
            Ok((folder, server)) => (Ok(folder), single_threaded.as_ref().map(|_| server)),
            Err(error) => (Err(error), None),
        };
        Ok(Keeper {
            single_threaded,
            folder,
            epoll,
            signals,
            control: Some(control),
            _host: host,
            host_pid: nix::unistd::getppid().as_raw() as u32,
            clients: FxHashMap::default(),
            next_client: FIRST_CLIENT,
            children: Children::default(),
            programs: Programs::default(),
            spare,
        })
    }

    /// Removes folders and shared-memory names whose owners all died at one stroke.
    fn sweep(&self) {
        if let Ok(folder) = &self.folder {
            folder.sweep();
        }
        shm::name::sweep(None);
    }

    /// Says who we are and what we offer.
    fn greet(&self) -> io::Result<()> {
        let Some(control) = &self.control else { return Ok(()) };
        let hello = Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build_id: Image::own().build_id,
            single_threaded: self.single_threaded.is_some(),
            folder: self.folder.as_ref().map(|folder| folder.path().to_owned()).map_err(ToString::to_string),
        };
        crate::sys::socket::send(control.as_fd(), &hello.encode()?, &[])?;
        let tasks = registry::offered();
        // A description is far smaller than this share of a packet.
        const TASKS_A_PACKET: usize = 32;
        let mut pieces = tasks.chunks(TASKS_A_PACKET).peekable();
        if pieces.peek().is_none() {
            return request::send(control.as_fd(), &Notice::Tasks { tasks: Vec::new(), last: true }, &[]);
        }
        while let Some(piece) = pieces.next() {
            let notice = Notice::Tasks { tasks: piece.to_vec(), last: pieces.peek().is_none() };
            request::send(control.as_fd(), &notice, &[])?;
        }
        Ok(())
    }

    fn wait_and_handle(&mut self) -> io::Result<Turn> {
        let mut events = [EpollEvent::empty(); 16];
        let count = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(errno.into()),
        };
        for event in &events[..count] {
            let turn = match event.data() {
                CONTROL => self.open_clients()?,
                HOST => Turn::End,
                SIGNALS => self.handle_signals(),
                token => self.handle_event(token, event.events())?,
            };
            if !matches!(turn, Turn::Continue) {
                return Ok(turn);
            }
        }
        Ok(Turn::Continue)
    }

    /// New clients, or the end of the host's handle.
    fn open_clients(&mut self) -> io::Result<Turn> {
        while let Some(control) = &self.control {
            match request::receive::<Request>(control.as_fd())? {
                Incoming::Message(Request::Open, mut descriptors) => {
                    if let Some(socket) = descriptors.pop() {
                        let token = self.take_token();
                        self.epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
                        self.clients.insert(token, Client { socket, waiting: VecDeque::new() });
                    }
                }
                // A client without its socket is told by the end of its own.
                Incoming::Message(..) | Incoming::Short(_) => {}
                Incoming::Empty => return Ok(Turn::Continue),
                Incoming::End => {
                    self.epoll.delete(control)?;
                    self.control = None;
                }
            }
        }
        Ok(self.end_if_unused())
    }

    pub(super) fn take_token(&mut self) -> u64 {
        self.next_client += 1;
        self.next_client
    }

    fn end_if_unused(&self) -> Turn {
        if self.control.is_none() && self.clients.is_empty() { Turn::End } else { Turn::Continue }
    }

    fn handle_event(&mut self, token: u64, events: EpollFlags) -> io::Result<Turn> {
        if !self.clients.contains_key(&token) {
            match self.programs.starting(token) {
                Some(pid) => self.finish_program(pid),
                None => self.finish_setups(),
            }
            return Ok(Turn::Continue);
        }
        if events.contains(EpollFlags::EPOLLOUT) {
            self.flush(token);
        }
        self.handle_requests(token)
    }

    fn handle_requests(&mut self, token: u64) -> io::Result<Turn> {
        while let Some(client) = self.clients.get(&token) {
            match request::receive::<Request>(client.socket.as_fd()) {
                Ok(Incoming::Message(Request::Spawn(launch), descriptors)) => {
                    if let Some(inheritance) = self.spawn(token, *launch, descriptors) {
                        return Ok(Turn::Child(inheritance));
                    }
                }
                Ok(Incoming::Message(Request::Run(program), descriptors)) => {
                    self.run_program(token, *program, descriptors);
                }
                Ok(Incoming::Message(Request::Signal { id, signal, group }, _)) => {
                    self.children.signal(token, id, signal, group);
                }
                Ok(Incoming::Message(Request::Connected { id }, _)) => self.children.drop_channel(token, id),
                Ok(Incoming::Short(Request::Spawn(launch))) => self.lacks_descriptors(token, launch.id),
                Ok(Incoming::Short(Request::Run(program))) => self.lacks_descriptors(token, program.id),
                Ok(Incoming::Message(Request::Open, _) | Incoming::Short(_)) => {}
                Ok(Incoming::Empty) => return Ok(Turn::Continue),
                // A client that sends nonsense is a host that is not itself any more.
                Ok(Incoming::End) | Err(_) => self.close_client(token),
            }
        }
        Ok(self.end_if_unused())
    }

    /// All that a client started ends with it.
    fn close_client(&mut self, token: u64) {
        if let Some(client) = self.clients.remove(&token) {
            let _ = self.epoll.delete(&client.socket);
        }
        self.children.kill_all_of(token);
    }

    fn handle_signals(&mut self) -> Turn {
        let mut end = false;
        while let Ok(Some(signal)) = self.signals.read_signal() {
            end |= signal.ssi_signo != NixSignal::SIGCHLD as u32;
        }
        self.reap_all();
        if end { Turn::End } else { Turn::Continue }
    }

    fn reap_all(&mut self) {
        while let Some(pid) = self.children.ended() {
            // What an executed worker had to say comes before its end.
            self.finish_setup_of(pid);
            self.finish_program(pid);
            let Some(Ended { child, status, usage }) = self.children.reap(pid) else { continue };
            if child.program.is_some() {
                self.programs.ended(pid, child, status, usage);
                continue;
            }
            if let Some(setup) = &child.setup {
                let _ = self.epoll.delete(setup);
            }
            self.notify(child.client, Notice::Exited { id: child.id, status, usage }, Vec::new());
        }
        self.tell_ended_programs();
    }

    /// Sends a notice, or queues it behind those that wait. Never blocks: a host that does not read delays
    /// its own news only.
    pub(super) fn notify(&mut self, token: u64, notice: Notice, descriptors: Vec<OwnedFd>) {
        if let Some(client) = self.clients.get_mut(&token) {
            client.waiting.push_back((notice, descriptors));
            self.flush(token);
        }
    }

    fn flush(&mut self, token: u64) {
        let Some(client) = self.clients.get_mut(&token) else { return };
        while let Some((notice, descriptors)) = client.waiting.front() {
            let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
            match request::send(client.socket.as_fd(), notice, &descriptors) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // A closed socket is seen by the next read.
                Ok(()) | Err(_) => client.waiting.pop_front(),
            };
        }
        let mut flags = EpollFlags::EPOLLIN;
        flags.set(EpollFlags::EPOLLOUT, !client.waiting.is_empty());
        let _ = self.epoll.modify(&client.socket, &mut EpollEvent::new(flags, token));
    }

    /// In a forked worker: gives up all that belongs to the keeper and to other workers.
    fn forget_in_child(self) {
        let Keeper { spare, children, .. } = self;
        spare.into_iter().for_each(Server::forget_in_child);
        children.forget_in_child();
    }
}

/// The worker's end of a command channel.
pub(crate) type CommandServer = ipc_channel::ipc::IpcOneShotServer<Command>;
