//! The processes of a machine, played.

use super::*;

/// A machine whose processes do what the test says.
pub(super) struct World {
    pub(super) machine: Machine,
    pub(super) now: Instant,
    /// How often each unit was started, while it is alive.
    pub(super) alive: BTreeMap<UnitId, u64>,
    pub(super) starts: Vec<(UnitId, Instant)>,
    pub(super) signals: Vec<(UnitId, Signal)>,
    pub(super) finished: bool,
}

impl World {
    pub(super) fn new(specification: Specification) -> World {
        let mut world = World {
            machine: Machine::new(specification, 7),
            now: Instant::now(),
            alive: BTreeMap::new(),
            starts: Vec::new(),
            signals: Vec::new(),
            finished: false,
        };
        world.send(Event::Tick);
        world
    }

    pub(super) fn send(&mut self, event: Event) {
        let actions = self.machine.handle(event, self.now);
        self.act(actions);
    }

    pub(super) fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start { unit } => {
                    let before = self.alive.insert(unit, self.machine.unit(unit).generation);
                    assert_eq!(before, None, "two generations of {}", self.machine.unit(unit).label());
                    let label = |unit: &UnitId| self.machine.unit(*unit).label();
                    let same = self.alive.keys().filter(|other| label(other) == label(&unit)).count();
                    assert_eq!(same, 1, "two of {}", label(&unit));
                    self.starts.push((unit, self.now));
                }
                Action::Signal { unit, signal } => {
                    assert!(self.alive.contains_key(&unit), "a signal to the dead");
                    self.signals.push((unit, signal));
                }
                Action::Finish => {
                    assert!(self.alive.is_empty(), "it finished while something ran");
                    assert!(!self.finished, "it finished twice");
                    self.finished = true;
                }
                Action::Changed { .. } | Action::Tell { .. } => {}
            }
        }
    }

    pub(super) fn id(&self, label: &str) -> UnitId {
        self.machine.units().find(|(_, unit)| unit.label() == label).map(|(id, _)| id).unwrap()
    }

    pub(super) fn start(&mut self, label: &str) {
        let unit = self.id(label);
        self.send(Event::Started { unit });
    }

    pub(super) fn start_all(&mut self) {
        let starts =
            |machine: &Machine, unit: &UnitId| matches!(machine.unit(*unit).phase, Phase::Starting { .. });
        while let Some(unit) = self.alive.keys().copied().find(|unit| starts(&self.machine, unit)) {
            self.send(Event::Started { unit });
        }
    }

    pub(super) fn end(&mut self, label: &str, end: End) {
        let unit = self.id(label);
        self.end_unit(unit, end);
    }

    pub(super) fn end_unit(&mut self, unit: UnitId, end: End) {
        assert!(self.alive.remove(&unit).is_some(), "it does not run");
        self.send(Event::Ended { unit, end });
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.send(Event::Tick);
    }

    pub(super) fn running(&self) -> Vec<String> {
        self.alive.keys().map(|unit| self.machine.unit(*unit).label()).collect()
    }

    pub(super) fn signalled(&mut self) -> Vec<(String, Signal)> {
        let signals = std::mem::take(&mut self.signals);
        signals.into_iter().map(|(unit, signal)| (self.machine.unit(unit).label(), signal)).collect()
    }
}
