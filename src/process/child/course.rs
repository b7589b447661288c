//! What becomes of a child: its news, its end, and what it leaves.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes as Buffer;
use nix::sys::epoll::EpollEvent;

use crate::link::frame::UpKind;
use crate::link::request::{Incoming, Notice};
use crate::process::stdio::Capture;
use crate::process::verdict;
use crate::sys::clock::monotonic_nanos;
use crate::sys::exit::ExitStatus;
use crate::sys::pidfd;
use crate::sys::signal::Signal;
use crate::task::error::{Absent, TaskContext, TaskError, TaskErrorKind};
use crate::task::passengers;

use super::{Answer, Child, Exit, ID};

/// The end of a process is told so soon by a keeper that is not stopped.
const LONGEST_END: Duration = Duration::from_secs(5);

/// How long a process that is being killed may take to end.
const LONGEST_DEATH: Duration = Duration::from_secs(1);

impl Child {
    /// Takes in what has come: results, output, the exit. Never waits.
    pub(crate) fn advance(&mut self) {
        self.read_lane();
        for capture in [&mut self.stdout, &mut self.stderr].into_iter().flatten() {
            capture.read(|_| ());
        }
        let was_running = self.exit.is_none();
        while self.exit.is_none() {
            // Asked first: what a keeper told before its end counts.
            let alive = self.client.keeper().is_alive();
            match self.client.receive() {
                Ok(Incoming::Message(Notice::Exited { status, usage, .. }, _)) => {
                    self.exit = Some(Exit::Known(status, usage));
                }
                Ok(Incoming::Message(..) | Incoming::Short(_)) => {}
                Ok(Incoming::Empty) if alive => return,
                Ok(Incoming::Empty | Incoming::End) | Err(_) => self.lose(),
            }
        }
        // What it wrote before it ended stands in the lane and in the pipes, and nothing more will come.
        self.read_lane();
        if was_running {
            // What is on its way from there is opened by now.
            crate::shm::mapped::process_ended(self.pid);
        }
        for capture in [&mut self.stdout, &mut self.stderr].into_iter().flatten() {
            capture.read_rest();
        }
    }

    /// The keeper died, and the worker with it; the rest of its group is left to this side.
    fn lose(&mut self) {
        self.exit = Some(Exit::Lost);
        if let Some(process) = &self.process {
            pidfd::kill_group(process.as_fd(), self.pid);
            let _ = pidfd::wait_for_end(process.as_fd(), Some(LONGEST_DEATH));
        }
        // Its sockets are closed a moment before it has ended; whoever starts the next process must not ask this one.
        let _ = pidfd::wait_for_end(self.client.keeper().process(), Some(LONGEST_DEATH));
    }

    fn read_lane(&mut self) {
        if self.breached {
            return;
        }
        let (answer, boards) = (&mut self.answer, self.boards);
        let read = self.end.read(|mut arrival| {
            if boards {
                passengers::take_on(&mut arrival.parts);
            }
            *answer = Some(Answer {
                kind: arrival.kind,
                line: arrival.line.bytes().to_vec(),
                parts: arrival.parts,
            });
        });
        if let Err(breach) = read.and_then(|_| self.end.publish()) {
            self.breached = true;
            self.verdict.get_or_insert(TaskErrorKind::Breach { message: breach.to_string() });
            let _ = self.client.signal(ID, Signal::SIGKILL, true);
        }
    }

    /// How it ended, if it has.
    pub(crate) fn exit_status(&self) -> Option<Option<ExitStatus>> {
        self.exit.map(|exit| match exit {
            Exit::Known(status, _) => Some(status),
            Exit::Lost => None,
        })
    }

    /// Waits until the process has ended, at most until `deadline`. True if it has.
    pub(crate) fn wait(&mut self, deadline: Option<Instant>) -> bool {
        loop {
            // Armed before the look, so that nothing that comes after it goes unnoticed.
            let lane = Arc::clone(self.end.lane());
            lane.host_bell().arm();
            self.advance();
            if self.exit.is_some() {
                lane.host_bell().disarm();
                return true;
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return false;
            }
            self.sleep(left);
        }
    }

    fn sleep(&self, timeout: Option<Duration>) {
        let mut events = [EpollEvent::empty(); 4];
        // An error is a signal that came: look again.
        let _ = self.epoll.wait(&mut events, pidfd::poll_timeout(timeout));
    }

    /// Kills the process and its group; `verdict` is why, if nothing else has ended it before.
    pub(crate) fn kill(&mut self, verdict: Option<TaskErrorKind>) {
        self.advance();
        if self.exit.is_none() {
            if let Some(verdict) = verdict.filter(|_| self.answer.is_none()) {
                self.verdict.get_or_insert(verdict);
            }
            let _ = self.client.signal(ID, Signal::SIGKILL, true);
        }
    }

    /// Waits for the end of a process that was killed. A keeper that is stopped neither kills nor tells.
    pub(crate) fn wait_for_death(&mut self) {
        if self.wait(Instant::now().checked_add(LONGEST_END)) {
            return;
        }
        if let Some(process) = &self.process {
            pidfd::kill_group(process.as_fd(), self.pid);
            let _ = pidfd::send_signal(process.as_fd(), Signal::SIGKILL);
        }
        self.wait_for_notice();
    }

    /// Waits for what the keeper tells of a process that has ended, or is about to. A keeper that does not is stopped:
    /// it is killed, and nobody knows then.
    pub(crate) fn wait_for_notice(&mut self) {
        if self.wait(Instant::now().checked_add(LONGEST_END)) {
            return;
        }
        let is_gone =
            |process: &OwnedFd| pidfd::wait_for_end(process.as_fd(), Some(Duration::ZERO)).unwrap_or(true);
        if self.process.as_ref().is_none_or(is_gone) {
            let keeper = self.client.keeper();
            tracing::warn!(pid = keeper.pid(), "keeper does not answer and is killed");
            let _ = pidfd::send_signal(keeper.process(), Signal::SIGKILL);
        }
        self.wait(None);
    }

    /// The value's bytes, or why there is none. The process has ended.
    pub(crate) fn outcome(&mut self) -> Result<(Vec<u8>, Vec<Buffer>), TaskError> {
        if let Some(answer) = self.answer.take_if(|answer| answer.kind == UpKind::Value) {
            return Ok((answer.line, answer.parts));
        }
        let stderr = self.stderr.as_ref().map(Capture::text);
        let kind = match (self.verdict.take(), &self.answer, self.exit) {
            (Some(verdict), ..) => verdict,
            (None, Some(answer), _) => verdict::of_result(answer.kind, &answer.line),
            (None, None, Some(Exit::Known(status, _))) => {
                verdict::of_death(status, self.end.lane().black_box(), &self.limits, stderr.as_deref())
            }
            (None, None, Some(Exit::Lost) | None) => TaskErrorKind::Lost,
        };
        Err(self.error(kind))
    }

    /// An error with what is known about this process.
    pub(crate) fn error(&self, kind: TaskErrorKind) -> TaskError {
        let usage = match self.exit {
            Some(Exit::Known(_, usage)) => Ok(usage),
            Some(Exit::Lost) => Err(Absent::KeeperDied),
            None => Err(Absent::WorkerLivesOn),
        };
        let context = TaskContext {
            pid: Some(self.pid),
            attempt: 1,
            attempts: 1,
            elapsed: Some(Duration::from_nanos(monotonic_nanos().saturating_sub(self.started))),
            usage,
            stderr: self.stderr.as_ref().map(Capture::last_lines).ok_or(Absent::NotCaptured),
            ..TaskContext::not_started(&self.task, None)
        };
        TaskError::new(kind, context)
    }
}
