//! One pool's or process's connection to the keeper.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::link::request::{self, Incoming, Launch, Notice, Request, RunProgram};
use crate::sys::signal::Signal;
use crate::sys::socket;

use super::handle::Keeper;

/// A connection to the keeper. What was started over it ends with it.
pub(crate) struct Client {
    // Closed before the keeper may be ended by the last handle on it.
    socket: OwnedFd,
    keeper: Arc<Keeper>,
    /// Held where this process has closed its own.
    _standard_streams: Vec<OwnedFd>,
    outbox: Outbox,
}

/// Requests that found no room; the keeper is slow or stopped.
#[derive(Default)]
struct Outbox(VecDeque<(Vec<u8>, Vec<OwnedFd>)>);

impl Client {
    pub(super) fn new(keeper: Arc<Keeper>, socket: OwnedFd, standard_streams: Vec<OwnedFd>) -> Client {
        Client { socket, keeper, _standard_streams: standard_streams, outbox: Outbox::default() }
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
        !self.outbox.0.is_empty()
    }

    fn request(&mut self, request: &Request, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        self.outbox.send(self.socket.as_fd(), request::encode(request)?, descriptors)
    }

    /// Sends what waits, as far as there is room.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.outbox.flush(self.socket.as_fd())
    }

    /// The next notice, without waiting.
    pub(crate) fn receive(&self) -> io::Result<Incoming<Notice>> {
        request::receive(self.socket.as_fd())
    }
}

impl Outbox {
    /// Sends a request, now or when there is room. If it cannot be sent, whoever asks is told, and it never is.
    fn send(&mut self, socket: BorrowedFd<'_>, bytes: Vec<u8>, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        let is_first = self.0.is_empty();
        self.0.push_back((bytes, descriptors));
        match self.flush(socket) {
            Err(error) if is_first => {
                self.0.clear();
                Err(error)
            }
            // What fails is somebody else's, who was told that it waits, and so does this one.
            Err(_) | Ok(()) => Ok(()),
        }
    }

    fn flush(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        while let Some((bytes, descriptors)) = self.0.front() {
            let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
            match socket::send(socket, bytes, &descriptors) {
                Ok(()) => self.0.pop_front(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod test {
    use super::*;
    use crate::sys::socket::Received;

    #[test]
    fn a_request_that_failed_is_not_sent_later() {
        let (ours, theirs) = socket::pair().unwrap();
        let mut outbox = Outbox::default();
        let null: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
        // The kernel refuses more than 253 descriptors in one message.
        let many = (0..300).map(|_| null.try_clone().unwrap()).collect();
        assert!(outbox.send(ours.as_fd(), b"refused".to_vec(), many).is_err());
        outbox.send(ours.as_fd(), b"next".to_vec(), Vec::new()).unwrap();
        let mut buffer = [0; 16];
        let received = socket::receive(theirs.as_fd(), &mut buffer).unwrap();
        assert!(matches!(received, Received::Packet(4, _)) && buffer.starts_with(b"next"));
        assert!(matches!(socket::receive(theirs.as_fd(), &mut buffer).unwrap(), Received::Empty));
    }

    #[test]
    fn a_request_that_found_no_room_goes_first_when_there_is_some() {
        let (ours, theirs) = socket::pair().unwrap();
        let mut outbox = Outbox::default();
        let mut sent = 0_u32;
        while outbox.0.is_empty() {
            outbox.send(ours.as_fd(), sent.to_le_bytes().to_vec(), Vec::new()).unwrap();
            sent += 1;
        }
        outbox.send(ours.as_fd(), sent.to_le_bytes().to_vec(), Vec::new()).unwrap();
        let mut buffer = [0; 4];
        for expected in 0..=sent {
            let received = socket::receive(theirs.as_fd(), &mut buffer).unwrap();
            assert!(matches!(received, Received::Packet(4, _)), "{expected}");
            assert_eq!(u32::from_le_bytes(buffer), expected);
            outbox.flush(ours.as_fd()).unwrap();
        }
    }
}
