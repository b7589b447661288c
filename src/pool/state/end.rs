//! The end of a worker, and what is known of it.

use std::sync::Arc;

use tracing::Level;

use crate::link::frame::Measure;
use crate::link::request::Step;
use crate::link::ring::Breach;
use crate::pool::machine::{Death, Event, Slot};
use crate::pool::worker::Initializer;
use crate::process::verdict;
use crate::sync::counters::Count;
use crate::sys::clock::monotonic_nanos;
use crate::sys::exit::{ExitStatus, ResourceUsage};
use crate::task::error::{Absent, TaskContext, TaskError, TaskErrorKind};

use super::State;
use super::telling::{Told, WorkerContext};

/// How a worker ended.
#[derive(Clone, Copy, Debug)]
pub(in crate::pool) enum Ending {
    Exited(ExitStatus, ResourceUsage),
    /// Its keeper died, and so nobody knows.
    Lost,
    /// It never came to be.
    NotStarted,
    /// It was a thread.
    Departed,
}

impl State {
    /// A worker wrote what no worker writes: it is killed, and its running task ends with that.
    #[must_use]
    pub(super) fn breached(&mut self, slot: Slot, breach: Breach) -> Event {
        if let Some(worker) = self.workers[slot].as_mut().filter(|worker| worker.breach.is_none()) {
            let (pid, told) = (worker.pid, breach.to_string());
            self.events.push(Level::WARN, move || {
                tracing::warn!(pid, breach = told, "worker broke the protocol of its lane");
            });
            worker.breach = Some(breach);
            self.renew_lanes();
        }
        Event::Doomed { slot }
    }

    /// A worker came without what one talks to it by. Who has begun nothing is ended, as one that could not be
    /// started; who has works on, and can be killed if it does not end what it should.
    pub(in crate::pool) fn lacks_descriptors(&mut self, slot: Slot) {
        let Some(worker) = self.workers[slot].as_mut() else { return };
        worker.commands.give_up();
        let reason = Step::too_few_descriptors();
        let (pid, told) = (worker.pid, reason.clone());
        self.events.push(Level::WARN, move || {
            tracing::warn!(pid, reason = told, "no command channel to a worker");
        });
        if worker.lane.claimed().is_ok_and(|claimed| claimed == 0) {
            // It begins nothing more.
            worker.lane.shut();
            worker.not_started = Some(reason);
            self.run(Event::Doomed { slot });
        }
    }

    /// A worker has ended. What it committed counts, and what was running ends with it.
    pub(in crate::pool) fn worker_ended(&mut self, slot: Slot, ending: Ending, reason: Option<String>) {
        self.run(Event::Ended { slot });
        if let Some(worker) = self.workers[slot].as_mut() {
            // A keeper's death can be seen before that of its workers: nothing is claimed any more from here on.
            worker.lane.shut();
            worker.awaits_pid = false;
        }
        self.drain(slot);
        let Some(worker) = self.workers[slot].as_mut() else {
            let reason = Arc::from(reason.unwrap_or_default());
            let death = Death { running: false, ready: false, others_run: self.others_run(slot), reason };
            self.run(Event::Died { slot, death });
            return;
        };
        let (ending, reason) = match worker.not_started.take() {
            Some(started) => (Ending::NotStarted, Some(started)),
            None => (ending, reason),
        };
        // What is on its way from there is opened by now.
        crate::shm::mapped::process_ended(worker.pid);
        worker.stderr.read_rest();
        let notes = worker.lane.lane().black_box();
        let begun = notes.begun(monotonic_nanos());
        let stderr = worker.stderr.text();
        // A lane that was scribbled on does not say what was running; the first task is the one to blame.
        let running = worker.lane.claimed().map_or(true, |claimed| claimed > 0) || worker.breach.is_some();
        // Its own word for it is a hint; what runs or has answered was ready.
        let ready = running || notes.is_ready() || worker.lane.has_answered();
        let ready = ready && !matches!(ending, Ending::NotStarted);
        let kind = match (&worker.breach, &worker.initializer, ending) {
            (Some(breach), ..) => TaskErrorKind::Breach { message: breach.to_string() },
            (None, Initializer::Failed(kind), _) => kind.clone(),
            (None, _, Ending::Exited(status, _)) => {
                verdict::of_death(status, notes, &self.limits, Some(&stderr))
            }
            (None, _, Ending::NotStarted) => {
                TaskErrorKind::NoWorker { message: reason.clone().unwrap_or_default() }
            }
            (None, _, Ending::Lost | Ending::Departed) => TaskErrorKind::Lost,
        };
        let usage: Result<ResourceUsage, Absent> = match ending {
            Ending::Exited(_, usage) => Ok(usage),
            Ending::Lost => Err(Absent::KeeperDied),
            Ending::NotStarted => Err(Absent::NotStarted),
            Ending::Departed => Err(Absent::IsThread),
        };
        let max_rss = usage.map_or(0, |usage| usage.max_rss);
        let measure = begun.map(|(start, elapsed)| Measure { start, elapsed, max_rss });
        let context = WorkerContext { pid: worker.pid(), measure, usage, stderr: worker.said() };
        let reason = reason.unwrap_or_else(|| death_text(&kind, worker.pid(), &stderr));
        let expected = worker.breach.is_none() && self.machine.expects_end(slot, running);
        let pid = worker.pid;
        self.tell_end(pid, &kind, expected, running);
        if !expected {
            self.counters.add(Count::Crashed, 1);
        }
        self.workers[slot] = None;
        self.counters.set_worker(slot, 0);
        self.told = Some(Told { kind, context });
        let death = Death { running, ready, others_run: self.others_run(slot), reason: reason.into() };
        self.run(Event::Died { slot, death });
        self.told = None;
    }

    /// Whether another worker has begun a task, or has a result that is not read.
    fn others_run(&self, slot: Slot) -> bool {
        self.workers.iter().enumerate().filter(|(other, _)| *other != slot).any(|(other, worker)| {
            let claims = worker.as_ref().is_some_and(|worker| worker.lane.claimed().is_ok_and(|n| n > 0));
            claims && self.machine.front(other).is_some()
        })
    }

    fn tell_end(&mut self, pid: u32, kind: &TaskErrorKind, expected: bool, running: bool) {
        if expected {
            return self.events.push(Level::DEBUG, move || tracing::debug!(pid, "worker exited"));
        }
        let kind = kind.clone();
        self.events.push(Level::INFO, move || tracing::info!(pid, ?kind, running, "worker died"));
    }

    /// What is known of a worker that lives.
    pub(super) fn context(
        &mut self,
        slot: Slot,
        measure: Option<Measure>,
        usage: Result<ResourceUsage, Absent>,
    ) -> WorkerContext {
        let Some(worker) = self.workers[slot].as_mut() else {
            return WorkerContext { pid: None, measure, usage, stderr: Err(Absent::NotStarted) };
        };
        WorkerContext { pid: worker.pid(), measure, usage, stderr: worker.said() }
    }
}

/// What a pool that gives up says of its last worker.
fn death_text(kind: &TaskErrorKind, pid: Option<u32>, stderr: &str) -> String {
    let context = TaskContext { pid, ..TaskContext::not_started("", None) };
    let error = TaskError::new(kind.clone(), context);
    match stderr.trim() {
        "" => error.cause().to_string(),
        said => format!("{}; it said: {}", error.cause(), said.replace('\n', " ")),
    }
}
