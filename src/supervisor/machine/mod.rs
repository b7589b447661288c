//! Decides what the supervisor does next. Pure: events and the time in, actions out; no clock, no process, no
//! thread.
//!
//! A *unit* is one copy of a program, or a pool. Each has a phase; a unit that is to end has a `Leaving` besides,
//! which says what becomes of it then. What follows from an event is done in two steps: the event changes phases
//! and wishes, and `settle` starts and stops whatever can be started and stopped now.
//!
//! Invariants: a unit is started only when the one before it has been told to have ended, so it never has two
//! generations; only ends that nobody asked for count as failures.

mod asks;
mod build;
mod ends;
mod settle;
#[cfg(test)]
mod test;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

pub(crate) use build::names_below;

use crate::sys::signal::Signal;

use super::policy::{End, Window};
use super::specification::{Backoff, Condition, RestartPolicy, Specification, StopStep, Supervision};

/// A unit's number; never used twice.
pub(crate) type UnitId = usize;
/// A group's number; the root is 0.
pub(crate) type GroupId = usize;

/// What the rules need to know of a program or pool.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rules {
    pub(crate) restart: RestartPolicy,
    pub(crate) backoff: Backoff,
    pub(crate) significant: bool,
    pub(crate) stop: Vec<StopStep>,
    /// Whether a sign must come before it is ready.
    pub(crate) waits_for_ready: bool,
    pub(crate) ready_within: std::time::Duration,
    pub(crate) watchdog: Option<std::time::Duration>,
}

/// One copy of a program, or a pool.
#[derive(Debug)]
pub(crate) struct Unit {
    /// The program's or pool's name.
    pub(crate) name: Arc<str>,
    /// Counted from 1.
    pub(crate) replica: u32,
    pub(crate) rules: Arc<Rules>,
    pub(crate) phase: Phase,
    /// It is to end, and nobody has heard of its end yet.
    pub(crate) leaving: Option<Leaving>,
    /// How often it was started.
    pub(crate) generation: u64,
    /// Restarts by policy over its life.
    pub(crate) restarts: u64,
    /// Failures since it was last healthy; the exponent of its back-off.
    failures: u32,
    /// Somebody waits until it is healthy.
    awaited: bool,
    group: GroupId,
    /// What must be there before it starts: for each name its units.
    dependencies: Vec<(String, Condition)>,
}

/// Where a unit is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Phase {
    /// It does not run, and nobody wants it to.
    Stopped,
    /// It starts when this moment has come, if there is one, and its dependencies are there.
    Waiting { until: Option<Instant> },
    /// The driver was asked to start it.
    Starting { since: Instant },
    /// It runs.
    Running { since: Instant, ready: Option<Instant>, alive: Instant, healthy: bool },
    /// It ended for good.
    Finished { end: End },
    /// It is no part of the tree any more.
    Removed,
}

impl Phase {
    /// Whether a process of it may be there.
    pub(crate) fn is_alive(self) -> bool {
        matches!(self, Phase::Starting { .. } | Phase::Running { .. })
    }
}

impl Unit {
    /// The next moment at which something may follow for it.
    fn wakes(&self) -> Option<Instant> {
        if let Some(leaving) = &self.leaving {
            return leaving.ladder.as_ref()?.next;
        }
        match self.phase {
            Phase::Waiting { until } => until,
            Phase::Starting { since } | Phase::Running { since, ready: None, .. } => {
                Some(since + self.rules.ready_within)
            }
            Phase::Running { ready: Some(ready), alive, healthy, .. } => {
                let watchdog = self.rules.watchdog.map(|within| alive.max(ready) + within);
                let healthy = (!healthy && (self.failures > 0 || self.awaited))
                    .then_some(ready + self.rules.backoff.reset_after);
                [watchdog, healthy].into_iter().flatten().min()
            }
            Phase::Stopped | Phase::Finished { .. } | Phase::Removed => None,
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Running { ready: Some(_), .. }) && self.leaving.is_none()
    }
}

/// A unit that is to end.
#[derive(Clone, Debug)]
pub(crate) struct Leaving {
    pub(crate) then: Then,
    /// Begun when its dependents are gone.
    ladder: Option<Ladder>,
}

/// How far a stop is.
#[derive(Clone, Debug)]
struct Ladder {
    steps: VecDeque<StopStep>,
    next: Option<Instant>,
}

/// What becomes of a unit when it has ended as it was told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Stop,
    /// Started again; not counted.
    Restart,
    /// Never ready, or without a sign of life: as if it had failed by itself.
    Fail,
    Remove,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    Started {
        unit: UnitId,
    },
    Ready {
        unit: UnitId,
    },
    /// A sign of life.
    #[allow(dead_code, reason = "sent by programs with a watchdog")]
    Heartbeat {
        unit: UnitId,
    },
    /// It ended, or could not be started.
    Ended {
        unit: UnitId,
        end: End,
    },
    /// Time has passed.
    Tick,
    Start {
        units: Vec<UnitId>,
    },
    Stop {
        units: Vec<UnitId>,
    },
    /// All at once, or one after another, each ready before the next.
    Restart {
        units: Vec<UnitId>,
        rolling: bool,
    },
    /// Ends all: in reverse order of dependencies, or at once.
    ShutDown {
        at_once: bool,
    },
}

/// What the driver has to do, in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Start {
        unit: UnitId,
    },
    Signal {
        unit: UnitId,
        signal: Signal,
    },
    /// The unit is in another phase, or is to end.
    Changed {
        unit: UnitId,
        phase: Phase,
        stopping: bool,
    },
    /// Why something happens, for people.
    Tell {
        text: String,
    },
    /// Everything has ended.
    Finish,
}

/// Why the tree ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Asked,
    /// Significant children have ended.
    AutoShutdown,
    GaveUp {
        reason: String,
    },
}

#[derive(Debug)]
struct Group {
    name: String,
    parent: Option<GroupId>,
    members: Vec<Member>,
    supervision: Supervision,
    restart: RestartPolicy,
    significant: bool,
    window: Window,
    /// It stops all its members; then it has ended like this.
    ending: Option<End>,
    finished: bool,
    /// These wait until all of them have ended.
    gathering: BTreeSet<UnitId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Member {
    /// All copies of it.
    Named(String),
    Group(GroupId),
}

/// All that is supervised.
#[derive(Debug)]
pub(crate) struct Machine {
    units: Vec<Unit>,
    groups: Vec<Group>,
    actions: Vec<Action>,
    outcome: Option<Outcome>,
    finished: bool,
    at_once: bool,
    rolling: VecDeque<UnitId>,
    /// The one that is being restarted, and the generation that it had.
    rolled: Option<(UnitId, u64)>,
    random: u64,
    specification: Specification,
}

impl Machine {
    /// Takes one event and says what is to be done, in order.
    pub(crate) fn handle(&mut self, event: Event, now: Instant) -> Vec<Action> {
        match event {
            Event::Started { unit } => self.started(unit, now),
            Event::Ready { unit } => self.ready(unit, now),
            Event::Heartbeat { unit } => self.heartbeat(unit, now),
            Event::Ended { unit, end } => self.ended(unit, end, now),
            Event::Tick => self.tick(now),
            Event::Start { units } => self.ask_start(&units, now),
            Event::Stop { units } => self.ask_stop(&units),
            Event::Restart { units, rolling } => self.ask_restart(&units, rolling, now),
            Event::ShutDown { at_once } => self.shut_down(Outcome::Asked, at_once),
        }
        self.settle(now);
        std::mem::take(&mut self.actions)
    }

    /// When to send the next `Tick`.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.units.iter().filter_map(Unit::wakes).min()
    }

    pub(crate) fn units(&self) -> impl Iterator<Item = (UnitId, &Unit)> {
        self.units.iter().enumerate().filter(|(_, unit)| unit.phase != Phase::Removed)
    }

    pub(crate) fn unit(&self, unit: UnitId) -> &Unit {
        &self.units[unit]
    }

    pub(crate) fn specification(&self) -> &Specification {
        &self.specification
    }

    /// Why the tree ends, if it does.
    pub(crate) fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    fn set_phase(&mut self, unit: UnitId, phase: Phase) {
        self.units[unit].phase = phase;
        self.tell_change(unit);
    }

    /// As it is now: before the driver hears of it, more may change.
    fn tell_change(&mut self, unit: UnitId) {
        let Unit { phase, .. } = self.units[unit];
        let stopping = self.units[unit].is_stopping();
        self.actions.push(Action::Changed { unit, phase, stopping });
    }

    /// A number from 0 to 1 for jitter.
    fn chance(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1_u64 << 53) as f64
    }
}
