//! A peer's process, seen from the comparison: it is asked one thing at a time.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::answer::Answer;
use crate::meter;
use crate::work::{Row, Work};

/// Who is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Watertight,
    Python,
    Procspawn,
    /// What the machine does without any processes to talk to, or with bare ones.
    Limit,
}

/// Where a peer and all its processes may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    Free,
    /// On one processor.
    Pinned,
}

/// So long may an answer take before the peer counts as hanging.
const PATIENCE: Duration = Duration::from_secs(30);

impl Peer {
    pub(crate) const ALL: [Peer; 4] = [Peer::Watertight, Peer::Python, Peer::Procspawn, Peer::Limit];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Peer::Watertight => "watertight",
            Peer::Python => "Python",
            Peer::Procspawn => "procspawn",
            Peer::Limit => "limit",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Peer> {
        Peer::ALL.into_iter().find(|peer| peer.name() == name)
    }

    fn command(self, placement: Placement) -> io::Result<Command> {
        let mut command = match self {
            Peer::Python => {
                let mut python = Command::new("python3");
                python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/compare/peer.py"));
                python
            }
            Peer::Watertight | Peer::Procspawn | Peer::Limit => Command::new(std::env::current_exe()?),
        };
        if placement == Placement::Pinned {
            command.arg("--pinned");
        }
        if self != Peer::Python {
            command.args(["--peer", self.name()]);
        }
        Ok(command)
    }
}

/// A peer that runs.
pub(crate) struct Contender {
    pub(crate) peer: Peer,
    pub(crate) placement: Placement,
    running: Option<Running>,
}

struct Running {
    child: Child,
    questions: ChildStdin,
    answers: Receiver<String>,
}

impl Contender {
    /// A peer that is not on this machine answers `Absent` to all.
    pub(crate) fn start(peer: Peer, placement: Placement) -> Contender {
        Contender { peer, placement, running: Running::start(peer, placement).ok() }
    }

    /// Has the peer do a row's work once.
    pub(crate) fn ask(&mut self, row: &Row) -> Answer {
        let Some(running) = &mut self.running else { return Answer::Absent };
        let answer = match row.work.is_idle() {
            true => running.hold(row.work),
            false => running.converse(row.key),
        };
        answer.unwrap_or_else(|| {
            // It hangs or is gone. The next question goes to another one.
            self.stop();
            self.running = Running::start(self.peer, self.placement).ok();
            Answer::Never
        })
    }

    fn stop(&mut self) {
        if let Some(Running { mut child, questions, answers }) = self.running.take() {
            drop(questions);
            // A peer ends with its input, and its output with it.
            while answers.recv_timeout(Duration::from_secs(5)).is_ok() {}
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Running {
    fn start(peer: Peer, placement: Placement) -> io::Result<Running> {
        let mut command = peer.command(placement)?;
        if peer != Peer::Watertight {
            // A peer that panics has no answer; why is not of interest here.
            command.stderr(Stdio::null());
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(questions), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut running = Running { child, questions, answers };
        // Its start is over when it answers.
        match running.converse("hello") {
            Some(_) => Ok(running),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// `None` if there is no answer.
    fn converse(&mut self, question: &str) -> Option<Answer> {
        writeln!(self.questions, "{question}").ok()?;
        Answer::from_line(&self.answers.recv_timeout(PATIENCE).ok()?)
    }

    fn hold(&mut self, work: Work) -> Option<Answer> {
        match self.converse("hold")? {
            Answer::Held => {}
            other => return Some(other),
        }
        let value = meter::measure(self.child.id(), work);
        self.converse("release")?;
        Some(value.map_or(Answer::Absent, Answer::Value))
    }
}
