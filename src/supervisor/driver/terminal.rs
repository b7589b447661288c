//! The supervisor's own stdout, written without ever waiting for it.

use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, poll};

use crate::sys::{fd, pidfd};

/// The most that waits for a slow reader; beyond it programs are not read, and so they wait.
const MOST: usize = 1 << 20;

/// A pipe that is writable takes so much without blocking.
const PIECE: usize = 4096;

/// How long the last lines may take to be written at the end.
const FAREWELL: Duration = Duration::from_secs(2);

pub(super) struct Terminal {
    target: OwnedFd,
    backlog: VecDeque<u8>,
    coloured: bool,
}

impl Terminal {
    pub(super) fn new() -> io::Result<Terminal> {
        let target = fd::standard_stream(1)?;
        let coloured = target.is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Ok(Terminal { target, backlog: VecDeque::new(), coloured })
    }

    /// A line of a program.
    pub(super) fn line(&mut self, unit: usize, label: &str, text: &str) {
        match self.coloured {
            true => self.write(format!("\x1b[3{}m{label}\x1b[0m | {text}\n", 1 + unit % 6).as_bytes()),
            false => self.write(format!("{label} | {text}\n").as_bytes()),
        }
    }

    /// A line of the supervisor.
    pub(super) fn note(&mut self, text: &str) {
        self.write(format!("watertight: {text}\n").as_bytes());
    }

    fn write(&mut self, bytes: &[u8]) {
        self.backlog.extend(bytes);
        if self.backlog.len() >= PIECE {
            self.flush();
        }
    }

    /// Writes what the reader takes now. The open file may be shared with other programs, so it is not made
    /// non-blocking, only asked each time.
    pub(super) fn flush(&mut self) {
        self.flush_within(Duration::ZERO);
    }

    fn flush_within(&mut self, time: Duration) {
        while !self.backlog.is_empty() && self.is_writable(time) {
            let (front, _) = self.backlog.as_slices();
            match nix::unistd::write(&self.target, &front[..front.len().min(PIECE)]) {
                Ok(count) => drop(self.backlog.drain(..count)),
                Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::EAGAIN) => return,
                // Nobody reads any more.
                Err(_) => self.backlog.clear(),
            }
        }
    }

    pub(super) fn finish(&mut self) {
        self.flush_within(FAREWELL);
    }

    fn is_writable(&self, time: Duration) -> bool {
        let mut fds = [PollFd::new(self.target.as_fd(), PollFlags::POLLOUT)];
        poll(&mut fds, pidfd::poll_timeout(Some(time))).is_ok_and(|ready| ready > 0)
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
