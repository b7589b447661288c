//! What follows when a unit or a group has ended.

use std::time::{Duration, Instant};

use crate::supervisor::policy::{self, End};

use super::{Action, GroupId, Leaving, Machine, Member, Outcome, Phase, Then, UnitId};

impl Machine {
    pub(super) fn ended(&mut self, unit: UnitId, end: End, now: Instant) {
        if !self.units[unit].phase.is_alive() {
            return;
        }
        let uptime = match self.units[unit].phase {
            Phase::Running { ready: Some(ready), .. } => Some(now.saturating_duration_since(ready)),
            _ => None,
        };
        if uptime.is_some_and(|uptime| uptime >= self.units[unit].rules.backoff.reset_after) {
            self.units[unit].failures = 0;
        }
        match self.units[unit].leaving.take() {
            Some(Leaving { then: Then::Stop, .. }) => self.set_phase(unit, Phase::Stopped),
            Some(Leaving { then: Then::Remove, .. }) => self.set_phase(unit, Phase::Removed),
            Some(Leaving { then: Then::Restart, .. }) => self.set_phase(unit, Phase::Waiting { until: None }),
            Some(Leaving { then: Then::Fail, .. }) => self.ended_by_itself(unit, End::Failure, now),
            None => self.ended_by_itself(unit, end, now),
        }
    }

    fn ended_by_itself(&mut self, unit: UnitId, end: End, now: Instant) {
        let rules = self.units[unit].rules.clone();
        let group = self.units[unit].group;
        let before = self.units[unit].failures;
        self.units[unit].failures = before.saturating_add(1);
        if self.outcome.is_some() || self.is_ending(group) {
            return self.set_phase(unit, Phase::Stopped);
        }
        if !policy::restarts(rules.restart, end) {
            self.set_phase(unit, Phase::Finished { end });
            if rules.significant {
                self.significant_ended(group, &Member::Named(self.units[unit].name.to_string()));
            }
            return;
        }
        if !self.admits(group, now) {
            self.set_phase(unit, Phase::Finished { end: End::Failure });
            let reason = format!("{} {}", self.units[unit].label(), self.too_often(group));
            return self.give_up(group, reason);
        }
        let chance = self.chance();
        let delay = policy::delay(&rules.backoff, before, chance);
        self.units[unit].restarts += 1;
        // Without a wait there is no moment to be told of.
        let until = Some(now + delay).filter(|_| !delay.is_zero());
        self.set_phase(unit, Phase::Waiting { until });
        self.take_along(group, &Member::Named(self.units[unit].name.to_string()), unit);
    }

    fn admits(&mut self, group: GroupId, now: Instant) -> bool {
        let group = &mut self.groups[group];
        group.window.admits(group.supervision.intensity, now)
    }

    fn too_often(&self, group: GroupId) -> String {
        let intensity = self.groups[group].supervision.intensity;
        format!("ended more than {} times within {:?}", intensity.restarts, intensity.period)
    }

    /// The restart of one member takes along what the strategy says.
    fn take_along(&mut self, group: GroupId, member: &Member, failed: UnitId) {
        let members = &self.groups[group].members;
        let Some(position) = members.iter().position(|other| other == member) else { return };
        let range = policy::affected(self.groups[group].supervision.strategy, position, members.len());
        if range.len() <= 1 && self.groups[group].supervision.strategy == Default::default() {
            return;
        }
        let members: Vec<Member> = members[range].to_vec();
        let units: Vec<UnitId> = members.iter().flat_map(|member| self.units_of(member)).collect();
        for unit in units.iter().copied().filter(|unit| *unit != failed) {
            self.begin_anew(unit);
        }
        self.groups[group].gathering.extend(units);
    }

    /// As OTP does: what had finished is started too, unless it is temporary; what a person stopped stays so.
    fn begin_anew(&mut self, unit: UnitId) {
        let temporary = self.units[unit].rules.restart == crate::supervisor::RestartPolicy::Temporary;
        match self.units[unit].phase {
            Phase::Starting { .. } | Phase::Running { .. } if self.units[unit].leaving.is_none() => {
                self.leave(unit, if temporary { Then::Stop } else { Then::Restart });
            }
            Phase::Finished { .. } if !temporary => self.set_phase(unit, Phase::Waiting { until: None }),
            _ => {}
        }
    }

    pub(super) fn units_of(&self, member: &Member) -> Vec<UnitId> {
        match member {
            Member::Named(name) => {
                self.units().filter(|(_, unit)| *unit.name == **name).map(|(id, _)| id).collect()
            }
            Member::Group(group) => {
                self.groups[*group].members.iter().flat_map(|member| self.units_of(member)).collect()
            }
        }
    }

    fn is_ending(&self, group: GroupId) -> bool {
        let above = self.groups[group].parent;
        self.groups[group].ending.is_some() || above.is_some_and(|above| self.is_ending(above))
    }

    fn significant_ended(&mut self, group: GroupId, member: &Member) {
        let others = self.groups[group].members.iter().filter(|other| *other != member);
        let others: Vec<bool> = others.filter_map(|other| self.significant_has_ended(other)).collect();
        let own = self.significant_has_ended(member).unwrap_or(true);
        if own && policy::shuts_down(self.groups[group].supervision.auto_shutdown, others.into_iter()) {
            match group {
                0 => self.shut_down(Outcome::AutoShutdown, false),
                _ => self.end_group(group, End::Success),
            }
        }
    }

    /// Whether a significant member has ended for good; `None` for one that is not significant.
    fn significant_has_ended(&self, member: &Member) -> Option<bool> {
        match member {
            Member::Group(group) => self.groups[*group].significant.then_some(self.groups[*group].finished),
            Member::Named(_) => {
                let units = self.units_of(member);
                let significant = units.iter().any(|unit| self.units[*unit].rules.significant);
                let ended = |unit: &UnitId| matches!(self.units[*unit].phase, Phase::Finished { .. });
                significant.then(|| units.iter().all(ended))
            }
        }
    }

    fn give_up(&mut self, group: GroupId, reason: String) {
        let place = match group {
            0 => String::new(),
            _ => format!("group {}: ", self.groups[group].name),
        };
        self.actions.push(Action::Tell { text: format!("{place}{reason}; giving up") });
        match group {
            0 => self.shut_down(Outcome::GaveUp { reason }, false),
            _ => self.end_group(group, End::Failure),
        }
    }

    fn end_group(&mut self, group: GroupId, end: End) {
        self.groups[group].ending = Some(end);
        for unit in self.units_of(&Member::Group(group)) {
            match self.units[unit].phase {
                Phase::Starting { .. } | Phase::Running { .. } => self.leave(unit, Then::Stop),
                Phase::Waiting { .. } => self.set_phase(unit, Phase::Stopped),
                Phase::Stopped | Phase::Finished { .. } | Phase::Removed => {}
            }
        }
    }

    /// Groups that were to end and have nobody left: the group above decides, as for a unit.
    pub(super) fn end_groups(&mut self, now: Instant) {
        for group in (1..self.groups.len()).rev() {
            let alive = |unit: &UnitId| self.units[*unit].phase.is_alive();
            if self.groups[group].ending.is_none() || self.units_of(&Member::Group(group)).iter().any(alive) {
                continue;
            }
            if let Some(end) = self.groups[group].ending.take() {
                self.group_ended(group, end, now);
            }
        }
    }

    fn group_ended(&mut self, group: GroupId, end: End, now: Instant) {
        let above = self.groups[group].parent.unwrap_or(0);
        if self.outcome.is_some() || self.is_ending(above) {
            return;
        }
        if !policy::restarts(self.groups[group].restart, end) {
            self.groups[group].finished = true;
            if self.groups[group].significant {
                self.significant_ended(above, &Member::Group(group));
            }
            return;
        }
        if !self.admits(above, now) {
            let reason = format!("group {} {}", self.groups[group].name, self.too_often(above));
            return self.give_up(above, reason);
        }
        self.groups[group].window.clear();
        let wait = self.wait_of_group(group);
        let until = Some(now + wait).filter(|_| !wait.is_zero());
        for unit in self.units_of(&Member::Group(group)) {
            if self.units[unit].rules.restart != crate::supervisor::RestartPolicy::Temporary {
                self.set_phase(unit, Phase::Waiting { until });
            }
        }
        self.take_along(above, &Member::Group(group), UnitId::MAX);
    }

    /// A group that starts anew waits as long as the one of its units that would wait longest.
    fn wait_of_group(&mut self, group: GroupId) -> Duration {
        let chance = self.chance();
        let failed = self.units_of(&Member::Group(group)).into_iter().map(|unit| &self.units[unit]);
        let failed = failed.filter(|unit| unit.failures > 0);
        let waits = failed.map(|unit| policy::delay(&unit.rules.backoff, unit.failures - 1, chance));
        waits.max().unwrap_or_default()
    }
}
