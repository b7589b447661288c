//! What programs print: pipes that outlive a restart, cut into lines.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::epoll::{EpollEvent, EpollFlags};

use crate::supervisor::control::protocol::Answer;
use crate::supervisor::machine::{Event, UnitId};
use crate::supervisor::specification::Readiness;
use crate::sys::fd;

use super::{Driver, PIPES};

/// How many lines are kept for `logs`, and how many of stderr for a death.
const LINES_KEPT: usize = 100;
const STDERR_KEPT: usize = 20;

/// A line that is longer is cut here.
const LONGEST_LINE: usize = 8 * 1024;

/// How much is read before others have their turn.
const TURN: usize = 64 * 1024;

/// Both pipes of a unit.
pub(super) struct Pipes {
    streams: [Stream; 2],
    /// The last lines of both.
    pub(super) recent: VecDeque<(bool, String)>,
    /// The last lines of stderr since the last death.
    pub(super) tail: VecDeque<String>,
}

struct Stream {
    reader: File,
    /// Held here too, so that a restart goes on in the same pipe.
    writer: OwnedFd,
    unfinished: Vec<u8>,
    held_back: bool,
}

impl Stream {
    fn new() -> io::Result<Stream> {
        let (reader, writer) = fd::pipe()?;
        Ok(Stream { reader, writer, unfinished: Vec::new(), held_back: false })
    }

    /// Reads what is there, at most so much; whole lines, and whether more may be there.
    fn read(&mut self, most: usize) -> (Vec<String>, bool) {
        let (mut lines, mut length) = (Vec::new(), 0);
        let mut piece = vec![0; 16 * 1024];
        while length < most {
            match self.reader.read(&mut piece) {
                Ok(0) => return (lines, false),
                Ok(more) => {
                    length += more;
                    self.cut(&piece[..more], &mut lines);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return (lines, false),
            }
        }
        (lines, true)
    }

    fn cut(&mut self, mut bytes: &[u8], lines: &mut Vec<String>) {
        while !bytes.is_empty() {
            let room = LONGEST_LINE - self.unfinished.len();
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let taken = end.unwrap_or(bytes.len()).min(room);
            self.unfinished.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if bytes.first() == Some(&b'\n') {
                bytes = &bytes[1..];
            } else if self.unfinished.len() < LONGEST_LINE {
                return;
            }
            lines.push(self.take_unfinished());
        }
    }

    fn take_unfinished(&mut self) -> String {
        let line = String::from_utf8_lossy(&self.unfinished).into_owned();
        self.unfinished.clear();
        line
    }
}

impl Driver {
    /// Copies of the writing ends for a new process.
    pub(super) fn ends_of_pipes(&mut self, unit: UnitId) -> io::Result<(OwnedFd, OwnedFd)> {
        if !self.pipes.contains_key(&unit) {
            let streams = [Stream::new()?, Stream::new()?];
            for (token, stream) in (PIPES + 2 * unit as u64..).zip(&streams) {
                self.events.add(&stream.reader, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
            }
            self.pipes.insert(unit, Pipes { streams, recent: VecDeque::new(), tail: VecDeque::new() });
        }
        let [stdout, stderr] = &self.pipes[&unit].streams;
        Ok((stdout.writer.try_clone()?, stderr.writer.try_clone()?))
    }

    /// `number`: twice the unit's, and one more for stderr.
    pub(super) fn read_pipe(&mut self, number: u64) {
        let (unit, which) = ((number / 2) as UnitId, (number % 2) as usize);
        if self.terminal.as_ref().is_some_and(super::Terminal::is_full) {
            return self.hold_back(unit, which);
        }
        let Some(pipes) = self.pipes.get_mut(&unit) else { return };
        let (lines, _) = pipes.streams[which].read(TURN);
        self.pass_on(unit, which == 1, lines);
        self.watch_terminal();
    }

    fn hold_back(&mut self, unit: UnitId, which: usize) {
        let Some(pipes) = self.pipes.get_mut(&unit) else { return };
        let stream = &mut pipes.streams[which];
        stream.held_back = true;
        let token = PIPES + 2 * unit as u64 + which as u64;
        let _ = self.events.modify(&stream.reader, &mut EpollEvent::new(EpollFlags::empty(), token));
    }

    /// Reads again what was held back.
    pub(super) fn resume_pipes(&mut self) {
        for (unit, pipes) in &mut self.pipes {
            for (token, stream) in (PIPES + 2 * *unit as u64..).zip(&mut pipes.streams) {
                if std::mem::take(&mut stream.held_back) {
                    let _ = self
                        .events
                        .modify(stream.reader.as_fd(), &mut EpollEvent::new(EpollFlags::EPOLLIN, token));
                }
            }
        }
    }

    /// Everything that a process wrote before its end; its last line need not have an end.
    pub(super) fn drain(&mut self, unit: UnitId) {
        for which in 0..2 {
            loop {
                let Some(pipes) = self.pipes.get_mut(&unit) else { return };
                let (mut lines, more) = pipes.streams[which].read(TURN);
                if !more && !pipes.streams[which].unfinished.is_empty() {
                    lines.push(pipes.streams[which].take_unfinished());
                }
                self.pass_on(unit, which == 1, lines);
                if !more {
                    break;
                }
            }
        }
    }

    pub(super) fn drain_all(&mut self) {
        let units: Vec<UnitId> = self.pipes.keys().copied().collect();
        units.into_iter().for_each(|unit| self.drain(unit));
    }

    fn pass_on(&mut self, unit: UnitId, is_stderr: bool, lines: Vec<String>) {
        let label = self.machine.unit(unit).label();
        for line in lines {
            self.look_for_sign(unit, &line);
            if let Some(terminal) = &mut self.terminal {
                terminal.line(unit, &label, &line);
            }
            self.tell_followers(unit, &label, is_stderr, &line);
            let Some(pipes) = self.pipes.get_mut(&unit) else { return };
            if is_stderr {
                keep(&mut pipes.tail, line.clone(), STDERR_KEPT);
            }
            keep(&mut pipes.recent, (is_stderr, line), LINES_KEPT);
        }
    }

    /// Whether the line is the one by which a program says that it is ready.
    fn look_for_sign(&mut self, unit: UnitId, line: &str) {
        if matches!(self.readiness_of(unit), Some(Readiness::LogLine(text)) if line.contains(text)) {
            self.handle(Event::Ready { unit });
        }
    }

    fn tell_followers(&mut self, unit: UnitId, label: &str, stderr: bool, text: &str) {
        if self.followers.is_empty() {
            return;
        }
        let answer = Answer::Line { name: label.to_owned(), stderr, text: text.to_owned() };
        for (asker, units) in std::mem::take(&mut self.followers) {
            if !units.contains(&unit) || self.say(&asker, &answer) {
                self.followers.push((asker, units));
            }
        }
    }
}

fn keep<T>(list: &mut VecDeque<T>, item: T, most: usize) {
    list.truncate(list.len().min(most));
    if list.len() == most {
        list.pop_front();
    }
    list.push_back(item);
}
