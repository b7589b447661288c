//! From a specification to the tree, and from one tree to the next.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::supervisor::policy::Window;
use crate::supervisor::specification::{
    Condition, DependsOn, Pool, Program, Readiness, RestartPolicy, Specification, StopStep, Supervision,
};

use super::{Event, Group, GroupId, Machine, Member, Phase, Rules, Then, Unit, UnitId};
use crate::supervisor::machine::Action;

impl From<&Program> for Rules {
    fn from(program: &Program) -> Rules {
        Rules {
            restart: program.restart,
            backoff: program.backoff,
            significant: program.significant,
            stop: program.stop.steps.clone(),
            waits_for_ready: program.readiness != Readiness::None,
            ready_within: program.ready_within,
            watchdog: program.watchdog.map(|watchdog| watchdog.within),
        }
    }
}

impl From<&Pool> for Rules {
    fn from(pool: &Pool) -> Rules {
        Rules {
            restart: pool.restart,
            backoff: pool.backoff,
            significant: pool.significant,
            stop: vec![StopStep::Signal(crate::Signal::SIGTERM)],
            waits_for_ready: true,
            ready_within: Duration::from_secs(60),
            watchdog: None,
        }
    }
}

/// A program or pool, as far as the machine is concerned.
struct Blueprint {
    name: String,
    rules: Rules,
    replicas: u32,
    autostart: bool,
    depends_on: Vec<DependsOn>,
}

fn blueprints(specification: &Specification) -> Vec<Blueprint> {
    let programs = specification.programs.iter().map(|program| Blueprint {
        name: program.name.clone(),
        rules: program.into(),
        replicas: program.replicas,
        autostart: program.autostart,
        depends_on: program.depends_on.clone(),
    });
    let pools = specification.pools.iter().map(|pool| Blueprint {
        name: pool.name.clone(),
        rules: pool.into(),
        replicas: 1,
        autostart: true,
        depends_on: pool.depends_on.clone(),
    });
    let mut list: Vec<Blueprint> = programs.chain(pools).collect();
    list.sort_by_key(|blueprint| specification.order.iter().position(|name| *name == blueprint.name));
    list
}

impl Machine {
    /// The tree of a specification, in which nothing runs. `random` seeds the jitter.
    pub(crate) fn new(specification: Specification, random: u64) -> Machine {
        let specification = specification.in_order();
        let mut machine = Machine {
            units: Vec::new(),
            groups: groups(&specification),
            actions: Vec::new(),
            outcome: None,
            finished: false,
            at_once: false,
            rolling: VecDeque::new(),
            rolled: None,
            random: random | 1,
            specification,
        };
        for blueprint in blueprints(&machine.specification) {
            for replica in 1..=blueprint.replicas {
                machine.add(&blueprint, replica);
            }
        }
        machine.link();
        machine
    }

    fn add(&mut self, blueprint: &Blueprint, replica: u32) -> UnitId {
        let phase = match blueprint.autostart {
            true => Phase::Waiting { until: None },
            false => Phase::Stopped,
        };
        self.units.push(Unit {
            name: blueprint.name.as_str().into(),
            replica,
            rules: Arc::new(blueprint.rules.clone()),
            phase,
            leaving: None,
            generation: 0,
            restarts: 0,
            failures: 0,
            awaited: false,
            group: 0,
            dependencies: Vec::new(),
        });
        self.tell_change(self.units.len() - 1);
        self.units.len() - 1
    }

    /// Finds each unit's group and what it depends on, its groups' dependencies included.
    fn link(&mut self) {
        let own: Vec<(String, Vec<DependsOn>)> =
            blueprints(&self.specification).into_iter().map(|each| (each.name, each.depends_on)).collect();
        let mut awaited = BTreeSet::new();
        for unit in 0..self.units.len() {
            let name = self.units[unit].name.to_string();
            let named = Member::Named(name.clone());
            let group = self.groups.iter().position(|group| group.members.contains(&named)).unwrap_or(0);
            let mut depends_on: Vec<DependsOn> = own
                .iter()
                .find(|(other, _)| *other == name)
                .map(|(_, list)| list.clone())
                .unwrap_or_default();
            let mut above = Some(group);
            while let Some(at) = above {
                let found = self.specification.groups.iter().find(|other| other.name == self.groups[at].name);
                depends_on.extend(found.into_iter().flat_map(|group| group.depends_on.clone()));
                above = self.groups[at].parent;
            }
            self.units[unit].group = group;
            self.units[unit].dependencies.clear();
            for DependsOn { name, condition } in depends_on {
                if condition == Condition::Healthy {
                    awaited.insert(name.clone());
                }
                for name in names_below(&self.specification, &name) {
                    self.units[unit].dependencies.push((name, condition));
                }
            }
        }
        let awaited: BTreeSet<String> =
            awaited.iter().flat_map(|name| names_below(&self.specification, name)).collect();
        for unit in &mut self.units {
            unit.awaited = awaited.contains(&*unit.name);
        }
    }

    /// Takes another specification: what is new is started, what is gone is stopped, what changed is restarted, and
    /// the rest is left alone.
    pub(crate) fn reload(&mut self, specification: Specification, now: Instant) -> Vec<Action> {
        let old = std::mem::replace(&mut self.specification, specification.in_order());
        let windows: Vec<(String, Window)> =
            self.groups.drain(..).map(|group| (group.name, group.window)).collect();
        self.groups = groups(&self.specification);
        for group in &mut self.groups {
            if let Some((_, window)) = windows.iter().find(|(name, _)| *name == group.name) {
                group.window = window.clone();
            }
        }
        let list = blueprints(&self.specification);
        let mut restart = Vec::new();
        for unit in 0..self.units.len() {
            let Unit { name, replica, phase, .. } = &self.units[unit];
            if *phase == Phase::Removed {
                continue;
            }
            match list.iter().find(|other| *other.name == **name && *replica <= other.replicas) {
                None => self.remove(unit),
                Some(blueprint) => {
                    if !is_same(&old, &self.specification, name) && phase.is_alive() {
                        restart.push(unit);
                    }
                    self.units[unit].rules = Arc::new(blueprint.rules.clone());
                }
            }
        }
        for blueprint in &list {
            self.fill_up(blueprint);
        }
        self.link();
        self.handle(Event::Restart { units: restart, rolling: false }, now)
    }

    fn fill_up(&mut self, blueprint: &Blueprint) {
        for replica in 1..=blueprint.replicas {
            let there = self.units().any(|(_, unit)| {
                *unit.name == *blueprint.name && unit.replica == replica && !unit.is_leaving_for_good()
            });
            if !there {
                self.add(blueprint, replica);
            }
        }
    }

    /// Runs so many copies of a program.
    pub(crate) fn scale(&mut self, name: &str, replicas: u32, now: Instant) -> Vec<Action> {
        if let Some(program) = self.specification.programs.iter_mut().find(|program| program.name == name) {
            program.replicas = replicas;
        }
        let surplus: Vec<UnitId> = self
            .units()
            .filter(|(_, unit)| *unit.name == *name && unit.replica > replicas)
            .map(|(id, _)| id)
            .collect();
        surplus.into_iter().for_each(|unit| self.remove(unit));
        let list = blueprints(&self.specification);
        list.iter().filter(|other| other.name == name).for_each(|blueprint| self.fill_up(blueprint));
        self.link();
        self.handle(Event::Tick, now)
    }

    fn remove(&mut self, unit: UnitId) {
        match self.units[unit].phase.is_alive() {
            true => self.leave(unit, Then::Remove),
            false => self.set_phase(unit, Phase::Removed),
        }
    }
}

impl Unit {
    pub(super) fn is_leaving_for_good(&self) -> bool {
        self.leaving.as_ref().is_some_and(|leaving| leaving.then == Then::Remove)
    }
}

/// Whether a reload leaves a program or pool alone: only the number of copies and the order may differ.
fn is_same(old: &Specification, new: &Specification, name: &str) -> bool {
    let program = |all: &Specification| {
        let found = all.programs.iter().find(|program| program.name == name);
        found.map(|program| Program { replicas: 1, depends_on: Vec::new(), ..program.clone() })
    };
    let pool = |all: &Specification| all.pools.iter().find(|pool| pool.name == name).cloned();
    program(old) == program(new) && pool(old) == pool(new)
}

fn groups(specification: &Specification) -> Vec<Group> {
    let group = |name: &str, supervision: &Supervision| Group {
        name: name.to_owned(),
        parent: None,
        members: Vec::new(),
        supervision: supervision.clone(),
        restart: RestartPolicy::Temporary,
        significant: false,
        window: Window::default(),
        ending: None,
        finished: false,
        gathering: BTreeSet::new(),
    };
    let mut groups = vec![group("", &specification.root)];
    for other in &specification.groups {
        groups.push(Group {
            parent: Some(0),
            restart: other.restart,
            significant: other.significant,
            ..group(&other.name, &other.supervision)
        });
    }
    let number = |name: &str| -> Option<GroupId> {
        specification.groups.iter().position(|group| group.name == name).map(|at| at + 1)
    };
    let member = |name: &String| number(name).map_or(Member::Named(name.clone()), Member::Group);
    let mut owned = BTreeSet::new();
    for (at, other) in specification.groups.iter().enumerate() {
        groups[at + 1].members = other.children.iter().map(member).collect();
        for child in &other.children {
            owned.insert(child.as_str());
            if let Some(child) = number(child) {
                groups[child].parent = Some(at + 1);
            }
        }
    }
    groups[0].members =
        specification.order.iter().filter(|name| !owned.contains(name.as_str())).map(member).collect();
    groups
}

/// The programs and pools that a name means: itself, or all within a group.
pub(crate) fn names_below(specification: &Specification, name: &str) -> Vec<String> {
    match specification.groups.iter().find(|group| group.name == name) {
        None => vec![name.to_owned()],
        Some(group) => group.children.iter().flat_map(|child| names_below(specification, child)).collect(),
    }
}
