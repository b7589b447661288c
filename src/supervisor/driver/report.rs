//! What is said of units: their status, and the records of their deaths.

use std::time::Instant;

use crate::supervisor::machine::{Phase, UnitId};
use crate::supervisor::policy::End;
use crate::supervisor::status::{Death, State, SupervisorEvent, UnitStatus};
use crate::sync::counters::Counters;

use super::{Driver, milliseconds, output};

impl Driver {
    pub(super) fn state_of(&self, unit: UnitId) -> State {
        let unit = self.machine.unit(unit);
        state_in(unit.phase, unit.is_stopping())
    }

    pub(super) fn status_of(&self, unit: UnitId, whole: bool) -> UnitStatus {
        let (id, unit) = (unit, self.machine.unit(unit));
        let process = self.processes.get(&id);
        let pid = process.and_then(|process| process.pid);
        let runs = matches!(unit.phase, Phase::Running { .. });
        let deaths = self.deaths.get(&id);
        let waits = matches!(unit.phase, Phase::Waiting { .. });
        let missing = self.machine.missing(id).filter(|_| waits);
        UnitStatus {
            name: unit.label(),
            state: self.state_of(id),
            pid,
            uptime_ms: process.filter(|_| runs).map(|process| milliseconds(process.since.elapsed())),
            starts: unit.generation,
            restarts: unit.restarts,
            says: self.signs.get(&id).and_then(|signs| signs.status.clone()),
            waits_for: missing.map(|(name, condition)| format!("{name} ({condition:?})").to_lowercase()),
            next_start_ms: self.next_start(id, Instant::now()),
            rss: None,
            cpu_ms: None,
            heartbeat_ms: self.heartbeat_of(id).filter(|_| pid.is_some()),
            tasks: self.tasks_of(id),
            workers: self.counters.get(&id).map(Counters::workers).unwrap_or_default(),
            last_exit: deaths.and_then(|deaths| deaths.newest()).map(|death| death.how.clone()),
            deaths: deaths.filter(|_| whole).map(|deaths| deaths.all()).unwrap_or_default(),
            stderr: deaths.filter(|_| whole).map(|deaths| deaths.stderr.clone()).unwrap_or_default(),
        }
    }

    fn next_start(&self, unit: UnitId, now: Instant) -> Option<u64> {
        match self.machine.unit(unit).phase {
            Phase::Waiting { until: Some(until) } => Some(milliseconds(until.saturating_duration_since(now))),
            _ => None,
        }
    }

    /// Writes a death down, after the machine has decided what follows.
    pub(super) fn record(&mut self, unit: UnitId, mut death: Death, asked: bool, ended: Instant) {
        death.next_start_ms = self.next_start(unit, ended);
        death.decision = match (self.machine.unit(unit).phase, asked) {
            (Phase::Waiting { until: Some(_) }, _) => "started again after a wait".to_owned(),
            (Phase::Waiting { .. } | Phase::Starting { .. } | Phase::Running { .. }, true) => {
                "started again, as it was asked".to_owned()
            }
            (Phase::Waiting { .. } | Phase::Starting { .. } | Phase::Running { .. }, false) => {
                "started again".to_owned()
            }
            (Phase::Stopped | Phase::Removed, _) => "stays down, as it was asked".to_owned(),
            (Phase::Finished { end: End::Success }, _) => "has finished".to_owned(),
            (Phase::Finished { end: End::Failure }, _) => "stays down, by its policy".to_owned(),
        };
        let label = self.machine.unit(unit).label();
        let tail = self.pipes.get_mut(&unit).map(output::Pipes::take_tail).unwrap_or_default();
        let tail = if tail.is_empty() { self.functions.take_last_words(unit) } else { tail };
        if !asked {
            let wait = death.next_start_ms.map_or_else(String::new, |wait| format!(" of {wait} ms"));
            self.note(format!("{label} {}; {}{wait}", death.how, death.decision));
        }
        if !death.strays_left.is_empty() {
            self.note(format!("{label} may have left processes that bear no mark: {:?}", death.strays_left));
        }
        self.tell_watchers(&SupervisorEvent::Death { name: label, death: Box::new(death.clone()) });
        self.deaths.entry(unit).or_default().add(death, tail);
    }
}

/// What a phase is called.
pub(super) fn state_in(phase: Phase, stopping: bool) -> State {
    match phase {
        _ if stopping => State::Stopping,
        Phase::Stopped => State::Stopped,
        Phase::Removed => State::Removed,
        Phase::Waiting { .. } => State::Waiting,
        Phase::Starting { .. } | Phase::Running { ready: None, .. } => State::Starting,
        Phase::Running { ready: Some(_), .. } => State::Running,
        Phase::Finished { end: End::Success } => State::Finished,
        Phase::Finished { end: End::Failure } => State::Failed,
    }
}
