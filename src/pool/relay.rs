//! What workers write to stderr, passed on to this program's stderr without ever waiting for it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, poll};

use crate::sys::{fd, pidfd};

/// The most that waits for a slow reader. Beyond it the workers' pipes are not read, and so they wait.
const MOST: usize = 256 * 1024;

/// A pipe that is writable takes so much without blocking.
const PIECE: usize = 4096;

/// This program's stderr, or what stands in its place.
pub(super) struct Relay {
    target: OwnedFd,
    backlog: VecDeque<u8>,
}

impl Relay {
    pub(super) fn new() -> io::Result<Relay> {
        Ok(Relay::to(fd::standard_stream_at_once(2)?))
    }

    /// To somewhere else than stderr.
    pub(super) fn to(target: OwnedFd) -> Relay {
        Relay { target, backlog: VecDeque::new() }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.backlog.extend(bytes);
        self.flush();
    }

    /// Writes what the reader takes now. Where the open file is shared with other programs it cannot be made
    /// non-blocking, and is asked each time.
    pub(super) fn flush(&mut self) {
        while !self.backlog.is_empty() && self.is_writable() {
            let (front, _) = self.backlog.as_slices();
            let piece = &front[..front.len().min(PIECE)];
            match nix::unistd::write(&self.target, piece) {
                Ok(count) => drop(self.backlog.drain(..count)),
                Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::EAGAIN) => return,
                // Nobody reads any more.
                Err(_) => self.give_up(),
            }
        }
    }

    /// Forgets what waits: nobody will read it.
    pub(super) fn give_up(&mut self) {
        self.backlog.clear();
    }

    fn is_writable(&self) -> bool {
        let mut fds = [PollFd::new(self.target.as_fd(), PollFlags::POLLOUT)];
        poll(&mut fds, pidfd::poll_timeout(Some(Duration::ZERO))).is_ok_and(|ready| ready > 0)
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.backlog.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.backlog.len() > MOST
    }

    pub(super) fn target(&self) -> BorrowedFd<'_> {
        self.target.as_fd()
    }
}
