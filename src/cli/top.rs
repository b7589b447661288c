//! `watertight top`: a live table.
//!
//! The supervisor tells every transition, and where its counters lie in shared memory; they are read here, and so is
//! what the processes use. It does nothing itself for this display, and this display does nothing unseen: a tick a
//! second while it stands in somebody's terminal is for the numbers that change without any transition.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::roster;
use crate::supervisor::control::protocol::{Answer, Request};
use crate::supervisor::{State, SupervisorEvent, TaskCounts, UnitStatus, since_heartbeat};
use crate::sync::counters::{Count, Counters, Published};

use super::conversation::Following;
use super::screen::{Happened, Screen};
use super::supervision::Which;
use super::table::table;
use super::verbs::print;
use super::{Exit, Failure};

/// How often numbers are drawn anew that no event tells.
const REFRESH: Duration = Duration::from_secs(1);

pub(super) fn run(which: &Which) -> Result<Exit, Failure> {
    let mut following = Following::begin(which, &Request::Top)?;
    let mut view = View::default();
    if which.json || !io::stdout().is_terminal() {
        return print_always(which, &mut following, &mut view);
    }
    let failed = |error: io::Error| Failure::new(Exit::Failed, format!("cannot draw: {error}"));
    let mut screen = Screen::enter().map_err(failed)?;
    let mut due = Instant::now() + REFRESH;
    loop {
        let left = due.saturating_duration_since(Instant::now());
        match screen.wait(following.as_fd(), left).map_err(failed)? {
            Happened::Quit => return Ok(Exit::Success),
            Happened::News => view.take(following.take()?),
            Happened::Due => {}
        }
        if due <= Instant::now() {
            due = Instant::now() + REFRESH;
        }
        screen.draw(&view.lines()).map_err(failed)?;
    }
}

/// Without a terminal: the table or the records again and again.
fn print_always(which: &Which, following: &mut Following, view: &mut View) -> Result<Exit, Failure> {
    loop {
        let mut waited = [PollFd::new(following.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(REFRESH).unwrap_or(PollTimeout::MAX);
        if poll(&mut waited, timeout).is_ok_and(|ready| ready > 0) {
            view.take(following.take()?);
        }
        match which.json {
            true => view
                .units()
                .iter()
                .try_for_each(|unit| print(&serde_json::to_string(unit).unwrap_or_default()))?,
            false => view.lines().iter().try_for_each(|line| print(line))?,
        }
    }
}

/// What is known of all units.
#[derive(Default)]
struct View {
    /// In the order in which they were told.
    units: Vec<Told>,
    counters: BTreeMap<String, Counters>,
}

/// A unit as it was told, and when.
struct Told {
    unit: UnitStatus,
    at: Instant,
}

impl View {
    fn take(&mut self, answers: Vec<Answer>) {
        for answer in answers {
            match answer {
                Answer::Counters { name, tree, handle } => {
                    roster::become_guest(tree, "top");
                    // Without them it shows what the events tell.
                    if let Ok(published) = serde_json::from_value::<Published>(handle) {
                        self.counters.insert(name, published.into());
                    }
                }
                Answer::Event(SupervisorEvent::State(unit)) => self.put(*unit),
                Answer::Event(SupervisorEvent::Death { name, death }) => {
                    if let Some(told) = self.units.iter_mut().find(|told| told.unit.name == name) {
                        told.unit.last_exit = Some(death.how);
                    }
                }
                _ => {}
            }
        }
    }

    fn put(&mut self, unit: UnitStatus) {
        if unit.state == State::Removed {
            // Its counters may be those of a new copy of its name already.
            return self.units.retain(|told| told.unit.name != unit.name);
        }
        let told = Told { unit, at: Instant::now() };
        match self.units.iter_mut().find(|other| other.unit.name == told.unit.name) {
            Some(other) => *other = told,
            None => self.units.push(told),
        }
    }

    fn units(&self) -> Vec<UnitStatus> {
        self.units.iter().map(|told| told.now(self.counters.get(&told.unit.name))).collect()
    }

    fn lines(&self) -> Vec<String> {
        table(&self.units())
    }
}

impl Told {
    fn now(&self, counters: Option<&Counters>) -> UnitStatus {
        let mut unit = self.unit.clone();
        let since = self.at.elapsed().as_millis() as u64;
        unit.uptime_ms = unit.uptime_ms.map(|uptime| uptime + since);
        unit.next_start_ms = unit.next_start_ms.map(|wait| wait.saturating_sub(since));
        if let Some(counters) = counters {
            unit.restarts = counters.get(Count::Restarts);
            unit.heartbeat_ms = since_heartbeat(counters).filter(|_| unit.pid.is_some());
            unit.tasks = unit.tasks.map(|_| TaskCounts::of(counters));
            unit.workers = counters.workers();
        }
        unit.measure();
        unit
    }
}
