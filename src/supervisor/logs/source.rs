//! One stream of one replica.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, fcntl};

use super::splitter::{Chunk, Splitter};
use super::tail::Tail;
use crate::sys::fd;

/// What is kept of stderr for the report of a death.
const TAIL: usize = 4 * 1024;

/// How often one call reads, so that a program that floods does not keep the supervisor.
const READS: usize = 4;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// A pipe whose both ends are held here, so that it outlives each generation of its program.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) stream: Stream,
    reader: File,
    writer: OwnedFd,
    splitter: Splitter,
    /// Of stderr alone.
    tail: Option<Tail>,
    /// Whether the pipe was made larger.
    grown: bool,
}

impl Source {
    pub(crate) fn new(stream: Stream) -> io::Result<Source> {
        let (reader, writer) = fd::pipe()?;
        let tail = (stream == Stream::Stderr).then(|| Tail::new(TAIL));
        Ok(Source { stream, reader, writer, splitter: Splitter::default(), tail, grown: false })
    }

    /// The end to wait at, for reading.
    pub(crate) fn pipe(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    /// The end that each generation of the program gets.
    pub(crate) fn writer(&self) -> BorrowedFd<'_> {
        self.writer.as_fd()
    }

    /// The last lines of this generation's stderr.
    pub(crate) fn tail(&self) -> String {
        self.tail.as_ref().map(Tail::text).unwrap_or_default()
    }

    /// A new generation begins.
    pub(crate) fn begin(&mut self) {
        if let Some(tail) = &mut self.tail {
            tail.clear();
        }
    }

    /// Reads what is there, a bounded amount, through `buffer`, which all sources share. How many bytes came.
    pub(crate) fn read(&mut self, buffer: &mut [u8], mut emit: impl FnMut(Chunk<'_>)) -> usize {
        let mut all = 0;
        for _ in 0..READS {
            let count = self.fill(buffer);
            if count == 0 {
                break;
            }
            all += count;
            if let Some(tail) = &mut self.tail {
                tail.push(&buffer[..count]);
            }
            self.splitter.push(&buffer[..count], &mut emit);
            if count < buffer.len() {
                break;
            }
            self.grow();
        }
        all
    }

    /// Reads until the buffer is full or the pipe is empty: a few large pieces cost less than many small ones.
    fn fill(&mut self, buffer: &mut [u8]) -> usize {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.reader.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        filled
    }

    /// A program that fills its pipe gets a larger one; where the user's share of pipes is used up, it keeps
    /// what it has.
    fn grow(&mut self) {
        if !self.grown {
            self.grown = true;
            let _ = fcntl(&self.writer, FcntlArg::F_SETPIPE_SZ(LARGE_PIPE));
        }
    }

    /// After its program has ended: reads what that left in the pipe, and gives out an unfinished line. No
    /// more than a pipe can hold, because a process that was left behind may write for ever.
    pub(crate) fn finish(&mut self, buffer: &mut [u8], mut emit: impl FnMut(Chunk<'_>)) {
        let capacity = fcntl(&self.reader, FcntlArg::F_GETPIPE_SZ).unwrap_or_default();
        let mut come = 0;
        while come < capacity as usize {
            match self.read(buffer, &mut emit) {
                0 => break,
                count => come += count,
            }
        }
        self.splitter.finish(&mut emit);
    }
}

const LARGE_PIPE: i32 = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    fn run(source: &Source, script: &str) {
        let end = source.writer().try_clone_to_owned().unwrap();
        let mut command = Command::new("/bin/sh");
        let status = command.args(["-c", script]).stdout(Stdio::from(end)).status().unwrap();
        assert!(status.success());
    }

    #[test]
    fn a_pipe_outlives_its_program_and_nothing_is_lost() {
        let mut source = Source::new(Stream::Stdout).unwrap();
        let (mut buffer, mut out) = (vec![0; 64 * 1024], Vec::new());
        for generation in 0..3 {
            source.begin();
            run(&source, &format!("echo of {generation}; printf unfinished"));
            source.finish(&mut buffer, |chunk| {
                out.extend(chunk.lines().map(|line| String::from_utf8(line.into_owned()).unwrap()));
            });
        }
        assert_eq!(out, ["of 0", "unfinished", "of 1", "unfinished", "of 2", "unfinished"]);
    }

    #[test]
    fn the_tail_is_that_of_this_generation() {
        let mut source = Source::new(Stream::Stderr).unwrap();
        let mut buffer = vec![0; 4096];
        run(&source, "echo old");
        source.finish(&mut buffer, |_| ());
        assert_eq!(source.tail(), "old\n");
        source.begin();
        run(&source, "echo new; echo last");
        source.finish(&mut buffer, |_| ());
        assert_eq!(source.tail(), "new\nlast\n");
    }

    #[test]
    fn whoever_writes_for_ever_does_not_keep_the_reader() {
        let mut source = Source::new(Stream::Stdout).unwrap();
        let mut end = File::from(source.writer().try_clone_to_owned().unwrap());
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let _ = end.write(&[b'x'; 4096]);
                }
            });
            let (mut buffer, mut come) = (vec![0; 64 * 1024], 0);
            while come < 8 << 20 {
                source.read(&mut buffer, |chunk| come += chunk.len());
                source.finish(&mut buffer, |chunk| come += chunk.len());
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            // The writer may stand before a full pipe.
            source.finish(&mut buffer, |_| ());
        });
    }
}
