//! The supervisor's own stdout, which may be a terminal, a pipe that nobody reads, or a file.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{MsgFlags, send};

use crate::sys::{fd, pidfd};

/// More than this waiting, and whoever has lines for the terminal must not be read.
const FULL: usize = 256 * 1024;

/// A longer tag pushes its own lines to the right, and no others.
const WIDEST: usize = 24;

/// How long the last lines may take to be written at the end.
const FAREWELL: Duration = Duration::from_secs(2);

/// Lines on their way to stdout, which never makes the supervisor wait.
#[derive(Debug)]
pub(crate) struct Terminal {
    out: Out,
    pending: Vec<u8>,
    colours: bool,
    /// Of the longest tag so far.
    width: usize,
}

#[derive(Debug)]
enum Out {
    File(File),
    Socket(OwnedFd),
}

impl Terminal {
    /// This process's stdout. It is opened anew where that is possible, because making it non-blocking would
    /// change it for the shell too.
    pub(crate) fn stdout() -> io::Result<Terminal> {
        let own = fd::standard_stream(1)?;
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Terminal::new(own, !plain)
    }

    fn new(own: OwnedFd, colours: bool) -> io::Result<Terminal> {
        let file = File::from(own);
        let kind = file.metadata()?.file_type();
        let colours = colours && file.is_terminal();
        let out = if kind.is_socket() {
            Out::Socket(file.into())
        } else if kind.is_file() {
            Out::File(file)
        } else {
            let name = format!("/proc/self/fd/{}", file.as_raw_fd());
            let flags = nix::fcntl::OFlag::O_NONBLOCK | nix::fcntl::OFlag::O_NOCTTY;
            // Another user's terminal cannot be opened; it is written to as it is.
            let anew = File::options().write(true).custom_flags(flags.bits()).open(name);
            Out::File(anew.unwrap_or(file))
        };
        Ok(Terminal { out, pending: Vec::new(), colours, width: 0 })
    }

    /// What to wait at, for writing, while something is pending.
    pub(crate) fn target(&self) -> BorrowedFd<'_> {
        match &self.out {
            Out::File(file) => file.as_fd(),
            Out::Socket(socket) => socket.as_fd(),
        }
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether those that print here must wait.
    pub(crate) fn is_full(&self) -> bool {
        self.pending.len() >= FULL
    }

    /// Adds a line with its tag.
    pub(crate) fn line(&mut self, tag: &str, line: &[u8]) {
        self.width = self.width.max(tag.len().min(WIDEST));
        let width = self.width;
        if self.colours {
            let colour = 31 + tag.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31) + u32::from(byte)) % 6;
            let _ = write!(self.pending, "\x1b[{colour}m{tag:width$} |\x1b[0m ");
        } else {
            let _ = write!(self.pending, "{tag:width$} | ");
        }
        self.pending.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        self.pending.push(b'\n');
    }

    /// Adds a line of the supervisor's own.
    pub(crate) fn note(&mut self, text: &str) {
        let _ = writeln!(self.pending, "watertight: {text}");
        self.flush();
    }

    /// Writes the rest, as far as that goes within a moment: a reader that has stopped must not keep the
    /// supervisor from ending.
    pub(crate) fn finish(&mut self) {
        let end = Instant::now() + FAREWELL;
        self.flush();
        while self.is_waiting() {
            let mut fds = [PollFd::new(self.target(), PollFlags::POLLOUT)];
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || poll(&mut fds, pidfd::poll_timeout(Some(left))) == Ok(0) {
                return;
            }
            self.flush();
        }
    }

    /// Writes what it can without waiting. An output that is gone takes everything.
    pub(crate) fn flush(&mut self) {
        let mut done = 0;
        while done < self.pending.len() {
            match self.write(done) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => done = self.pending.len(),
            }
        }
        self.pending.drain(..done);
    }

    /// Forgets what is pending: nobody will read it.
    pub(crate) fn give_up(&mut self) {
        self.pending.clear();
    }

    fn write(&mut self, from: usize) -> io::Result<usize> {
        let bytes = &self.pending[from..];
        match &mut self.out {
            Out::File(file) => file.write(bytes),
            Out::Socket(socket) => {
                let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
                Ok(send(socket.as_raw_fd(), bytes, flags)?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn lines_have_tags_and_a_pipe_that_nobody_reads_holds_nobody_up() {
        let (mut reader, writer) = fd::pipe().unwrap();
        let mut terminal = Terminal::new(writer, true).unwrap();
        terminal.line("web.2", b"hello\r");
        terminal.line("db", b"");
        terminal.flush();
        let mut text = [0; 100];
        let count = reader.read(&mut text).unwrap();
        assert_eq!(&text[..count], b"web.2 | hello\ndb    | \n");
        while !terminal.is_full() {
            terminal.line("x", &[b'y'; 1000]);
            terminal.flush();
        }
        assert!(terminal.is_waiting());
        drop(reader);
        terminal.flush();
        assert!(!terminal.is_waiting());
    }

    #[test]
    fn a_socket_and_a_file_can_be_written_to() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut terminal = Terminal::new(ours.into(), false).unwrap();
        terminal.line("a", b"b");
        terminal.flush();
        let mut text = [0; 6];
        (&theirs).read_exact(&mut text).unwrap();
        assert_eq!(&text, b"a | b\n");
        let file = tempfile::NamedTempFile::new_in("/tmp").unwrap();
        let mut terminal = Terminal::new(file.reopen().unwrap().into(), false).unwrap();
        terminal.line("a", b"b");
        terminal.flush();
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "a | b\n");
    }
}
