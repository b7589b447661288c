//! Starts and stops whatever can be started and stopped now.

use std::time::Instant;

use crate::supervisor::policy::End;
use crate::supervisor::specification::{Condition, StopStep};
use crate::sys::signal::Signal;

use super::{Action, Ladder, Leaving, Machine, Phase, Then, Unit, UnitId};

impl Machine {
    pub(super) fn settle(&mut self, now: Instant) {
        self.begin_stops(now);
        self.end_groups(now);
        self.release_gathered();
        self.roll(now);
        self.begin_starts(now);
        self.finish();
    }

    /// A unit that is to end waits for those that depend on it and are to end as well.
    fn begin_stops(&mut self, now: Instant) {
        let leaving: Vec<UnitId> =
            (0..self.units.len()).filter(|unit| self.units[*unit].leaving.is_some()).collect();
        for unit in leaving.iter().rev().copied() {
            let begun = self.units[unit].leaving.as_ref().is_none_or(|leaving| leaving.ladder.is_some());
            if begun || !self.units[unit].phase.is_alive() {
                continue;
            }
            if !self.at_once && leaving.iter().any(|other| self.holds_up(*other, unit)) {
                continue;
            }
            let steps = self.units[unit].rules.stop.iter().copied().collect();
            if let Some(leaving) = &mut self.units[unit].leaving {
                leaving.ladder = Some(Ladder { steps, next: None });
            }
            self.tell_change(unit);
            self.climb(unit, now);
        }
    }

    fn holds_up(&self, dependent: UnitId, unit: UnitId) -> bool {
        let (dependent, unit) = (&self.units[dependent], &self.units[unit]);
        dependent.phase.is_alive()
            && dependent
                .dependencies
                .iter()
                .any(|(name, condition)| **name == *unit.name && *condition != Condition::Finished)
    }

    /// The steps of a stop that are due. After the last one comes SIGKILL.
    pub(super) fn climb(&mut self, unit: UnitId, now: Instant) {
        let Some(Leaving { ladder: Some(ladder), .. }) = &mut self.units[unit].leaving else { return };
        if ladder.next.is_some_and(|next| next > now) {
            return;
        }
        ladder.next = None;
        while let Some(step) = ladder.steps.pop_front() {
            match step {
                StopStep::Signal(signal) => self.actions.push(Action::Signal { unit, signal }),
                StopStep::Wait(time) => {
                    ladder.next = Some(now + time);
                    return;
                }
            }
        }
        self.actions.push(Action::Signal { unit, signal: Signal::SIGKILL });
    }

    /// A restart that takes others along begins when all of them have ended.
    fn release_gathered(&mut self) {
        for group in 0..self.groups.len() {
            let alive = self.groups[group].gathering.iter().any(|unit| self.units[*unit].phase.is_alive());
            if !alive {
                self.groups[group].gathering.clear();
            }
        }
    }

    fn is_gathered(&self, unit: UnitId) -> bool {
        self.groups.iter().any(|group| group.gathering.contains(&unit))
    }

    /// The next of a rolling restart, once the one before is ready again or has ended for good.
    fn roll(&mut self, now: Instant) {
        loop {
            if let Some((unit, generation)) = self.rolled {
                let unit = &self.units[unit];
                let over = matches!(unit.phase, Phase::Stopped | Phase::Finished { .. } | Phase::Removed);
                let again = unit.generation > generation && unit.is_ready();
                if !over && !again {
                    return;
                }
            }
            self.rolled = None;
            let Some(unit) = self.rolling.pop_front() else { return };
            self.rolled = Some((unit, self.units[unit].generation));
            self.ask_restart(&[unit], false, now);
            self.begin_stops(now);
        }
    }

    fn begin_starts(&mut self, now: Instant) {
        if self.outcome.is_some() {
            return;
        }
        let leaving: Vec<UnitId> =
            (0..self.units.len()).filter(|unit| self.units[*unit].is_leaving_for_good()).collect();
        for unit in 0..self.units.len() {
            let Phase::Waiting { until } = self.units[unit].phase else { continue };
            if until.is_some_and(|until| until > now) || self.is_gathered(unit) {
                continue;
            }
            // A copy of its name and number that was given up may still be there.
            if leaving.iter().any(|other| self.units[*other].is_same_copy(&self.units[unit])) {
                continue;
            }
            if self.missing(unit).is_some() {
                self.units[unit].phase = Phase::Waiting { until: None };
                continue;
            }
            self.units[unit].generation += 1;
            self.set_phase(unit, Phase::Starting { since: now });
            self.actions.push(Action::Start { unit });
        }
    }

    /// What a unit still waits for.
    pub(crate) fn missing(&self, unit: UnitId) -> Option<&(String, Condition)> {
        self.units[unit].dependencies.iter().find(|(name, condition)| {
            let mut copies = self.units().filter(|(_, other)| *other.name == **name).peekable();
            copies.peek().is_some() && !copies.all(|(_, copy)| copy.fulfills(*condition))
        })
    }

    fn finish(&mut self) {
        if self.outcome.is_some() && !self.finished && !self.units.iter().any(|unit| unit.phase.is_alive()) {
            self.finished = true;
            self.actions.push(Action::Finish);
        }
    }

    pub(super) fn tick(&mut self, now: Instant) {
        for unit in 0..self.units.len() {
            if self.units[unit].leaving.is_some() {
                self.climb(unit, now);
                continue;
            }
            match self.units[unit].phase {
                Phase::Waiting { until: Some(until) } if until <= now => {
                    self.units[unit].phase = Phase::Waiting { until: None };
                }
                Phase::Starting { since } | Phase::Running { since, ready: None, .. }
                    if now >= since + self.units[unit].rules.ready_within =>
                {
                    self.tell(unit, "was not ready in time");
                    self.leave(unit, Then::Fail);
                }
                Phase::Running { ready: Some(_), .. } => self.look_after(unit, now),
                _ => {}
            }
        }
    }

    /// A unit that is ready: is it healthy, is it hung?
    fn look_after(&mut self, unit: UnitId, now: Instant) {
        let rules = self.units[unit].rules.clone();
        let Phase::Running { since, ready: Some(ready), alive, healthy } = self.units[unit].phase else {
            return;
        };
        if rules.watchdog.is_some_and(|within| now >= alive.max(ready) + within) {
            self.tell(unit, "gave no sign of life");
            self.leave(unit, Then::Fail);
        } else if !healthy && now >= ready + rules.backoff.reset_after {
            self.units[unit].failures = 0;
            self.set_phase(unit, Phase::Running { since, ready: Some(ready), alive, healthy: true });
        }
    }

    pub(super) fn tell(&mut self, unit: UnitId, what: &str) {
        let text = format!("{} {what}", self.units[unit].label());
        self.actions.push(Action::Tell { text });
    }

    pub(super) fn started(&mut self, unit: UnitId, now: Instant) {
        let Phase::Starting { since } = self.units[unit].phase else { return };
        let ready = (!self.units[unit].rules.waits_for_ready).then_some(now);
        self.set_phase(unit, Phase::Running { since, ready, alive: now, healthy: false });
    }

    pub(super) fn ready(&mut self, unit: UnitId, now: Instant) {
        if let Phase::Running { since, ready: None, alive, healthy } = self.units[unit].phase {
            self.set_phase(unit, Phase::Running { since, ready: Some(now), alive, healthy });
        }
    }

    pub(super) fn heartbeat(&mut self, unit: UnitId, now: Instant) {
        if let Phase::Running { alive, .. } = &mut self.units[unit].phase {
            *alive = now;
        }
    }

    /// Has a unit that is alive end, and says what becomes of it then. The stronger wish stays.
    pub(super) fn leave(&mut self, unit: UnitId, then: Then) {
        match &mut self.units[unit].leaving {
            Some(leaving) if leaving.then == Then::Remove => {}
            Some(leaving) => leaving.then = then,
            leaving @ None => *leaving = Some(Leaving { then, ladder: None }),
        }
    }
}

impl Unit {
    fn fulfills(&self, condition: Condition) -> bool {
        match (condition, self.phase) {
            (Condition::Started, Phase::Running { .. }) => true,
            (Condition::Ready, Phase::Running { ready: Some(_), .. }) => true,
            (Condition::Healthy, Phase::Running { healthy, .. }) => healthy,
            // What has done its work was there.
            (_, Phase::Finished { end }) => end == End::Success,
            _ => false,
        }
    }

    /// Its name, and its number if there may be several.
    pub(crate) fn label(&self) -> String {
        match self.replica {
            1 => self.name.to_string(),
            replica => format!("{}.{replica}", self.name),
        }
    }

    fn is_same_copy(&self, other: &Unit) -> bool {
        self.name == other.name && self.replica == other.replica
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.leaving.is_some()
    }
}
