//! What a person asks for. It counts as no failure, and it forgets the failures before it.

use std::time::Instant;

use super::{Machine, Outcome, Phase, Then, UnitId};

impl Machine {
    pub(super) fn ask_start(&mut self, units: &[UnitId], _now: Instant) {
        for unit in units.iter().copied() {
            self.units[unit].failures = 0;
            match self.units[unit].phase {
                Phase::Stopped | Phase::Finished { .. } | Phase::Waiting { .. } => {
                    self.set_phase(unit, Phase::Waiting { until: None });
                }
                // It was just told to stop: it starts again afterwards.
                Phase::Starting { .. } | Phase::Running { .. } if self.units[unit].leaving.is_some() => {
                    self.leave(unit, Then::Restart);
                }
                Phase::Starting { .. } | Phase::Running { .. } | Phase::Removed => {}
            }
        }
    }

    pub(super) fn ask_stop(&mut self, units: &[UnitId]) {
        self.rolling.retain(|unit| !units.contains(unit));
        for unit in units.iter().copied() {
            match self.units[unit].phase {
                Phase::Starting { .. } | Phase::Running { .. } => self.leave(unit, Then::Stop),
                Phase::Waiting { .. } => self.set_phase(unit, Phase::Stopped),
                Phase::Stopped | Phase::Finished { .. } | Phase::Removed => {}
            }
        }
    }

    pub(super) fn ask_restart(&mut self, units: &[UnitId], rolling: bool, now: Instant) {
        if rolling {
            let new: Vec<UnitId> =
                units.iter().copied().filter(|unit| !self.rolling.contains(unit)).collect();
            self.rolling.extend(new);
            return;
        }
        for unit in units.iter().copied() {
            match self.units[unit].phase {
                Phase::Starting { .. } | Phase::Running { .. } => {
                    self.units[unit].failures = 0;
                    self.leave(unit, Then::Restart);
                }
                _ => self.ask_start(&[unit], now),
            }
        }
    }

    pub(super) fn shut_down(&mut self, outcome: Outcome, at_once: bool) {
        self.outcome.get_or_insert(outcome);
        self.rolling.clear();
        for unit in 0..self.units.len() {
            match self.units[unit].phase {
                Phase::Starting { .. } | Phase::Running { .. } => {
                    self.leave(unit, Then::Stop);
                    if at_once {
                        self.hurry(unit);
                    }
                }
                Phase::Waiting { .. } => self.set_phase(unit, Phase::Stopped),
                Phase::Stopped | Phase::Finished { .. } | Phase::Removed => {}
            }
        }
        self.at_once |= at_once;
    }

    /// Leaves out all steps before SIGKILL.
    fn hurry(&mut self, unit: UnitId) {
        if let Some(leaving) = &mut self.units[unit].leaving {
            leaving.ladder = None;
        }
        let mut rules = (*self.units[unit].rules).clone();
        rules.stop.clear();
        self.units[unit].rules = rules.into();
    }
}
