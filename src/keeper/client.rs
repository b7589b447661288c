//! One pool's or process's connection to the keeper.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::link::request::{self, Incoming, Launch, Notice, Request, RunProgram};
use crate::sys::signal::Signal;

use super::handle::Keeper;

/// A connection to the keeper. What was started over it ends with it.
pub(crate) struct Client {
    // Closed before the keeper may be ended by the last handle on it.
    socket: OwnedFd,
    keeper: Arc<Keeper>,
    /// Held where this process has closed its own.
    _standard_streams: Vec<OwnedFd>,
    /// Requests that found no room; the keeper is slow or stopped.
    waiting: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
}

impl Client {
    pub(super) fn new(keeper: Arc<Keeper>, socket: OwnedFd, standard_streams: Vec<OwnedFd>) -> Client {
        Client { socket, keeper, _standard_streams: standard_streams, waiting: VecDeque::new() }
    }

    pub(crate) fn keeper(&self) -> &Arc<Keeper> {
        &self.keeper
    }

    /// Readable when a notice is there.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Asks for a worker. Descriptors: lane, doorbell, stdout, stderr, and stdin if the launch says so.
    pub(crate) fn spawn(&mut self, launch: Launch, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        self.request(&Request::Spawn(Box::new(launch)), descriptors)
    }

    #[allow(dead_code, reason = "the supervisor uses it")]
    /// Asks for a program, with a descriptor for each of its numbers.
    pub(crate) fn run(&mut self, program: RunProgram, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        self.request(&Request::Run(Box::new(program)), descriptors)
    }

    /// Asks for a signal to a worker, or to its group.
    pub(crate) fn signal(&mut self, id: u32, signal: Signal, group: bool) -> io::Result<()> {
        self.request(&Request::Signal { id, signal, group }, Vec::new())
    }

    /// Tells that the worker's command channel is connected or not wanted.
    pub(crate) fn connected(&mut self, id: u32) -> io::Result<()> {
        self.request(&Request::Connected { id }, Vec::new())
    }

    /// Whether requests wait until the socket is writable.
    pub(crate) fn is_waiting_for_room(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn request(&mut self, request: &Request, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        self.waiting.push_back((request::encode(request)?, descriptors));
        self.flush()
    }

    /// Sends what waits, as far as there is room.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while let Some((bytes, descriptors)) = self.waiting.front() {
            let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
            match crate::sys::socket::send(self.socket.as_fd(), bytes, &descriptors) {
                Ok(()) => self.waiting.pop_front(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
        }
        Ok(())
    }

    /// The next notice, without waiting.
    pub(crate) fn receive(&self) -> io::Result<Incoming<Notice>> {
        request::receive(self.socket.as_fd())
    }
}
