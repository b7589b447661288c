//! A request to a running supervisor, and the lines of its answer.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::supervisor::control::Place;
use crate::supervisor::control::protocol::{Answer, Request};

use super::supervision::Which;
use super::{Exit, Failure};

/// A request under way, whose answer is waited for line by line.
pub(super) struct Conversation {
    lines: io::Lines<BufReader<UnixStream>>,
    deadline: Option<Instant>,
}

impl Conversation {
    pub(super) fn begin(
        which: &Which,
        request: &Request,
        timeout: Option<Duration>,
    ) -> Result<Conversation, Failure> {
        let stream = ask(which, request)?;
        stream.set_read_timeout(timeout).map_err(|error| not_running(which, &error))?;
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        Ok(Conversation { lines: BufReader::new(stream).lines(), deadline })
    }

    /// The next line of the answer; `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<Answer>, Failure> {
        let line = match self.lines.next() {
            Some(Ok(line)) => line,
            Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(Failure::new(Exit::TimedOut, "not in time"));
            }
            Some(Err(_)) | None => return Err(ended()),
        };
        if self.deadline.is_some_and(|deadline| Instant::now() > deadline) {
            return Err(Failure::new(Exit::TimedOut, "not in time"));
        }
        understand(line.as_bytes())
    }
}

/// A request whose answer comes bit by bit, to one who waits for other things as well.
pub(super) struct Following {
    stream: UnixStream,
    input: Vec<u8>,
}

impl Following {
    pub(super) fn begin(which: &Which, request: &Request) -> Result<Following, Failure> {
        let stream = ask(which, request)?;
        stream.set_nonblocking(true).map_err(|error| not_running(which, &error))?;
        Ok(Following { stream, input: Vec::new() })
    }

    /// All lines that are there. A failure is the end.
    pub(super) fn take(&mut self) -> Result<Vec<Answer>, Failure> {
        let mut over = false;
        let mut piece = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => over = true,
                Ok(length) => {
                    self.input.extend_from_slice(&piece[..length]);
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => over = true,
            }
            break;
        }
        let end = self.input.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let whole: Vec<u8> = self.input.drain(..end).collect();
        let lines = whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let answers = lines.map(|line| understand(line)?.ok_or_else(ended)).collect::<Result<Vec<_>, _>>()?;
        if over && answers.is_empty() { Err(ended()) } else { Ok(answers) }
    }
}

impl AsFd for Following {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn ask(which: &Which, request: &Request) -> Result<UnixStream, Failure> {
    let place = Place::of(&which.config).map_err(|error| not_running(which, &error))?;
    let mut stream = UnixStream::connect(place.socket()).map_err(|error| not_running(which, &error))?;
    let mut line =
        serde_json::to_vec(request).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(|error| not_running(which, &error))?;
    Ok(stream)
}

fn not_running(which: &Which, error: &io::Error) -> Failure {
    Failure::new(Exit::NotRunning, format!("no supervisor runs {}: {error}", which.config.display()))
}

fn ended() -> Failure {
    Failure::new(Exit::NotRunning, "the supervisor has ended")
}

/// A line of an answer; `None` for the last.
fn understand(line: &[u8]) -> Result<Option<Answer>, Failure> {
    match serde_json::from_slice(line) {
        Ok(Answer::End { error: None }) => Ok(None),
        Ok(Answer::End { error: Some(text) }) => Err(Failure::new(Exit::Failed, text)),
        Ok(answer) => Ok(Some(answer)),
        Err(error) => Err(Failure::new(Exit::Failed, format!("the supervisor is not understood: {error}"))),
    }
}
