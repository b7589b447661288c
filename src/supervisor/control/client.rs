//! One client: lines in, lines out, both bounded, and never waited for.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use super::protocol::{Answer, LONGEST_REQUEST, Request};

/// What a client that does not read may have waiting before it is given up.
const MOST_WAITING: usize = 4 << 20;

pub(crate) struct Client {
    stream: UnixStream,
    input: Vec<u8>,
    output: VecDeque<u8>,
    /// It is closed when all that waits is sent.
    ends: bool,
    broken: bool,
}

/// What a client said.
pub(crate) enum Heard {
    Request(Request),
    /// Nothing whole yet.
    Nothing,
    /// What it said is no request.
    Nonsense(String),
    Gone,
}

impl Client {
    pub(crate) fn new(stream: UnixStream) -> Client {
        Client { stream, input: Vec::new(), output: VecDeque::new(), ends: false, broken: false }
    }

    /// The next line that is there.
    pub(crate) fn hear(&mut self) -> Heard {
        loop {
            if let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.input.drain(..=end).collect();
                return match serde_json::from_slice(&line) {
                    Ok(request) => Heard::Request(request),
                    Err(error) => Heard::Nonsense(error.to_string()),
                };
            }
            if self.input.len() > LONGEST_REQUEST {
                return Heard::Nonsense("the line is too long".to_owned());
            }
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece) {
                Ok(0) => return Heard::Gone,
                Ok(length) => self.input.extend_from_slice(&piece[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Heard::Nothing,
                Err(_) => return Heard::Gone,
            }
        }
    }

    pub(crate) fn say(&mut self, answer: &Answer) {
        self.output.extend(answer.to_line());
        if self.output.len() > MOST_WAITING {
            self.broken = true;
        }
        self.flush();
    }

    /// Says that this was all, and closes when it is sent.
    pub(crate) fn end(&mut self, answer: &Answer) {
        self.ends = true;
        self.say(answer);
    }

    pub(crate) fn flush(&mut self) {
        while !self.output.is_empty() {
            let (front, _) = self.output.as_slices();
            match self.stream.write(front) {
                Ok(length) => drop(self.output.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.broken = true;
                    return;
                }
            }
        }
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.output.is_empty()
    }

    /// Whether nothing more is to come from or to it.
    pub(crate) fn is_over(&self) -> bool {
        self.broken || (self.ends && self.output.is_empty())
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
