//! Where a worker's output goes, and what the host keeps of it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, fcntl};

use crate::sys::fd;

/// Where a process's stdout or stderr goes.
#[derive(Debug, Default)]
#[non_exhaustive]
pub enum Stdio {
    /// Where this program's own goes.
    #[default]
    Inherit,
    /// Nowhere.
    Null,
    /// Into this program's memory, up to 16 MiB; what comes after is read and forgotten.
    Capture,
    /// Into this file, pipe or terminal.
    Fd(OwnedFd),
}

impl From<File> for Stdio {
    fn from(file: File) -> Stdio {
        Stdio::Fd(file.into())
    }
}

impl From<OwnedFd> for Stdio {
    fn from(fd: OwnedFd) -> Stdio {
        Stdio::Fd(fd)
    }
}

/// The most that is captured of one stream.
const MOST_CAPTURED: usize = 16 << 20;

/// Bytes of stderr that an error shows.
const SHOWN: usize = 8 * 1024;

/// One of the two output streams, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout = 1,
    Stderr = 2,
}

impl Stdio {
    /// The worker's end, and the pipe that captures it if it is captured.
    pub(crate) fn open(self, stream: Stream) -> io::Result<(OwnedFd, Option<Capture>)> {
        match self {
            Stdio::Inherit => Ok((fd::standard_stream(stream as i32)?, None)),
            Stdio::Null => Ok((File::options().read(true).write(true).open("/dev/null")?.into(), None)),
            Stdio::Fd(fd) => Ok((fd, None)),
            Stdio::Capture => {
                let (pipe, end) = fd::pipe()?;
                Ok((
                    end,
                    Some(Capture {
                        pipe: Some(pipe),
                        bytes: Vec::new(),
                        most: MOST_CAPTURED,
                        keep: Keep::First,
                    }),
                ))
            }
        }
    }
}

/// What a pipe brought.
#[derive(Debug)]
pub(crate) struct Capture {
    /// `None` after its end.
    pipe: Option<File>,
    bytes: Vec<u8>,
    most: usize,
    keep: Keep,
}

/// Which bytes are kept of more than there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    First,
    Last,
}

impl Capture {
    /// Keeps the last `most` bytes that come through a new pipe; the worker's end goes with it.
    pub(crate) fn tail(most: usize) -> io::Result<(OwnedFd, Capture)> {
        let (pipe, end) = fd::pipe()?;
        Ok((end, Capture { pipe: Some(pipe), bytes: Vec::new(), most, keep: Keep::Last }))
    }

    /// Of a worker that has no stderr of its own.
    pub(crate) fn nothing() -> Capture {
        Capture { pipe: None, bytes: Vec::new(), most: 0, keep: Keep::Last }
    }

    /// The pipe, until its end.
    pub(crate) fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Reads what is there, without waiting, and hands it to `also`. Reads a bounded amount, so that a
    /// process that writes for ever does not keep its reader.
    pub(crate) fn read(&mut self, mut also: impl FnMut(&[u8])) {
        let mut buffer = [0; 16 * 1024];
        for _ in 0..8 {
            let Some(pipe) = &mut self.pipe else { return };
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(count) => {
                    also(&buffer[..count]);
                    self.keep(&buffer[..count]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// After its process has ended: reads what that has left in the pipe. No more than a pipe can hold, because
    /// a process that it has left behind may write for ever.
    pub(crate) fn read_rest(&mut self) {
        let Some(pipe) = &self.pipe else { return };
        let capacity = fcntl(pipe, FcntlArg::F_GETPIPE_SZ).unwrap_or_default();
        let (mut come, mut before) = (0, None);
        while before != Some(come) && come < capacity as usize {
            before = Some(come);
            self.read(|bytes| come += bytes.len());
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        match self.keep {
            Keep::First => {
                let room = self.most - self.bytes.len();
                self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            Keep::Last => {
                self.bytes.extend_from_slice(bytes);
                // Cut seldom: moving the rest costs. One byte more stays, which tells that there was a cut, and
                // whether it was between two lines.
                if self.bytes.len() > 2 * self.most + 1 {
                    self.bytes.drain(..self.bytes.len() - self.most - 1);
                }
            }
        }
    }

    /// What was kept; of the last bytes, whole lines where a line begins among them.
    pub(crate) fn text(&self) -> String {
        self.text_of(&self.bytes)
    }

    /// The same with what still stands in the pipe, where it stays for whoever reads it next.
    pub(crate) fn text_with_unread(&self) -> io::Result<String> {
        let unread = self.pipe().map_or(Ok(Vec::new()), fd::peek)?;
        Ok(self.text_of(&[&self.bytes[..], &unread].concat()))
    }

    fn text_of(&self, bytes: &[u8]) -> String {
        let bytes = match self.keep {
            Keep::First => bytes,
            Keep::Last => last_lines(bytes, self.most),
        };
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// The last whole lines of it, as errors show them.
    pub(crate) fn last_lines(&self) -> String {
        String::from_utf8_lossy(last_lines(&self.bytes, SHOWN)).into_owned()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

fn last_lines(bytes: &[u8], most: usize) -> &[u8] {
    if bytes.len() <= most {
        return bytes;
    }
    let (before, tail) = bytes.split_at(bytes.len() - most);
    if before.last() == Some(&b'\n') {
        return tail;
    }
    let start = tail.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    if start == tail.len() { tail } else { &tail[start..] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_tail_of_a_stream_is_its_last_whole_lines() {
        let (end, mut tail) = Capture::tail(20).unwrap();
        let mut end = File::from(end);
        let mut seen = 0;
        for number in 0..10_000 {
            writeln!(end, "line {number}").unwrap();
            tail.read(|bytes| seen += bytes.len());
        }
        assert_eq!(tail.text(), "line 9998\nline 9999\n");
        drop(end);
        tail.read(|_| ());
        assert!(tail.pipe().is_none() && seen > 80_000);
    }

    #[test]
    fn what_is_unread_is_shown_and_stays() {
        let (end, mut tail) = Capture::tail(20).unwrap();
        let mut end = File::from(end);
        assert_eq!(tail.text_with_unread().unwrap(), "");
        end.write_all(b"read\n").unwrap();
        tail.read(|_| ());
        end.write_all(b"unread\n").unwrap();
        for _ in 0..2 {
            assert_eq!(tail.text_with_unread().unwrap(), "read\nunread\n");
        }
        let mut seen = Vec::new();
        tail.read(|bytes| seen.extend_from_slice(bytes));
        assert_eq!(seen, b"unread\n");
        // However much its process has made room for.
        fcntl(&end, FcntlArg::F_SETPIPE_SZ(1 << 18)).unwrap();
        (0..20_000).for_each(|number| writeln!(end, "line {number}").unwrap());
        assert_eq!(tail.text_with_unread().unwrap(), "line 19999\n");
        drop(end);
        assert!(tail.text_with_unread().unwrap().ends_with("line 19999\n"));
    }

    #[test]
    fn a_line_without_end_is_kept_as_far_as_there_is_room() {
        assert_eq!(last_lines(b"abcdefgh", 3), b"fgh");
        assert_eq!(last_lines(b"ab\ncdefgh\n", 3), b"gh\n");
        assert_eq!(last_lines(b"ab\ncd\nef\n", 6), b"cd\nef\n");
        assert_eq!(last_lines(b"ab\ncd\nef\n", 5), b"ef\n");
        assert_eq!(last_lines(b"ab", 3), b"ab");
    }

    #[test]
    fn whoever_writes_for_ever_does_not_keep_the_reader_of_the_rest() {
        let (end, mut tail) = Capture::tail(20).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut end = File::from(end);
                // A full pipe makes it wait, and the end of its reader is an error.
                while !stop.load(std::sync::atomic::Ordering::Relaxed) && end.write(&[b'x'; 4096]).is_ok() {
                    std::hint::spin_loop();
                }
            });
            (0..100).for_each(|_| tail.read_rest());
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            drop(tail);
        });
    }
}
