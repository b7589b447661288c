//! The machine alone: processes are played, the clock is a number.

mod random;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::supervisor::specification::{
    AutoShutdown, Condition, DependsOn, Group, Intensity, Program, Readiness, RestartPolicy, Specification,
    StopLadder, StopStep, Strategy, Supervision,
};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn program(name: &str) -> Program {
    let mut program = Program::new(name, vec!["true".into()]);
    program.backoff.jitter = 0.0;
    program
}

fn after(name: &str, others: &[(&str, Condition)]) -> Program {
    let on =
        |(name, condition): &(&str, Condition)| DependsOn { name: (*name).into(), condition: *condition };
    Program { depends_on: others.iter().map(on).collect(), ..program(name) }
}

fn specification(programs: Vec<Program>) -> Specification {
    let order = programs.iter().map(|program| program.name.clone()).collect();
    Specification { programs, order, ..Specification::default() }
}

/// A machine whose processes do what the test says.
struct World {
    machine: Machine,
    now: Instant,
    /// How often each unit was started, while it is alive.
    alive: BTreeMap<UnitId, u64>,
    starts: Vec<(UnitId, Instant)>,
    signals: Vec<(UnitId, Signal)>,
    finished: bool,
}

impl World {
    fn new(specification: Specification) -> World {
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

    fn send(&mut self, event: Event) {
        let actions = self.machine.handle(event, self.now);
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<Action>) {
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

    fn id(&self, label: &str) -> UnitId {
        self.machine.units().find(|(_, unit)| unit.label() == label).map(|(id, _)| id).unwrap()
    }

    fn start(&mut self, label: &str) {
        let unit = self.id(label);
        self.send(Event::Started { unit });
    }

    fn start_all(&mut self) {
        let starts =
            |machine: &Machine, unit: &UnitId| matches!(machine.unit(*unit).phase, Phase::Starting { .. });
        while let Some(unit) = self.alive.keys().copied().find(|unit| starts(&self.machine, unit)) {
            self.send(Event::Started { unit });
        }
    }

    fn end(&mut self, label: &str, end: End) {
        let unit = self.id(label);
        self.end_unit(unit, end);
    }

    fn end_unit(&mut self, unit: UnitId, end: End) {
        assert!(self.alive.remove(&unit).is_some(), "it does not run");
        self.send(Event::Ended { unit, end });
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.send(Event::Tick);
    }

    fn running(&self) -> Vec<String> {
        self.alive.keys().map(|unit| self.machine.unit(*unit).label()).collect()
    }

    fn signalled(&mut self) -> Vec<(String, Signal)> {
        let signals = std::mem::take(&mut self.signals);
        signals.into_iter().map(|(unit, signal)| (self.machine.unit(unit).label(), signal)).collect()
    }
}

fn terms(names: &[&str]) -> Vec<(String, Signal)> {
    names.iter().map(|name| ((*name).to_owned(), Signal::SIGTERM)).collect()
}

#[test]
fn a_program_starts_when_what_it_depends_on_has_come_so_far() {
    let mut first = program("first");
    first.readiness = Readiness::Notify;
    for condition in [Condition::Started, Condition::Ready, Condition::Healthy] {
        let mut world =
            World::new(specification(vec![after("second", &[("first", condition)]), first.clone()]));
        assert_eq!(world.running(), ["first"]);
        world.start("first");
        assert_eq!(world.alive.len() == 2, condition == Condition::Started);
        let unit = world.id("first");
        world.send(Event::Ready { unit });
        assert_eq!(world.alive.len() == 2, condition != Condition::Healthy);
        world.pass(10 * SECOND);
        assert_eq!(world.alive.len(), 2, "{condition:?}");
    }
}

#[test]
fn what_waits_for_a_job_starts_after_its_success_and_not_after_its_failure() {
    for end in [End::Success, End::Failure] {
        let mut job = program("job");
        job.restart = RestartPolicy::Temporary;
        let mut world =
            World::new(specification(vec![job, after("server", &[("job", Condition::Finished)])]));
        world.start_all();
        assert_eq!(world.running(), ["job"]);
        world.end("job", end);
        assert_eq!(world.alive.len() == 1, end == End::Success);
    }
}

#[test]
fn a_program_that_fails_waits_longer_each_time_and_the_first_time_again_after_a_healthy_life() {
    let mut world = World::new(specification(vec![program("one")]));
    for wait in [100, 200, 400] {
        world.start("one");
        world.end("one", End::Failure);
        let wait = Duration::from_millis(wait);
        assert_eq!(world.machine.wake_at(), Some(world.now + wait));
        world.pass(wait - Duration::from_millis(1));
        assert!(world.alive.is_empty());
        world.pass(Duration::from_millis(1));
    }
    world.start("one");
    world.pass(10 * SECOND);
    world.end("one", End::Failure);
    assert_eq!(world.machine.wake_at(), Some(world.now + Duration::from_millis(100)));
}

#[test]
fn one_for_all_and_rest_for_one_stop_the_others_before_anybody_starts_again() {
    let table = [
        (Strategy::OneForOne, vec![]),
        (Strategy::OneForAll, vec!["c", "a"]),
        (Strategy::RestForOne, vec!["c"]),
    ];
    for (strategy, stopped) in table {
        let mut all = specification(vec![program("a"), program("b"), program("c")]);
        all.root.strategy = strategy;
        let mut world = World::new(all);
        world.start_all();
        world.end("b", End::Failure);
        assert_eq!(world.signalled(), terms(&stopped), "{strategy:?}");
        world.pass(SECOND);
        for (at, name) in stopped.iter().enumerate() {
            assert_eq!(world.alive.len(), 2 - at, "{strategy:?}: nobody starts before all have stopped");
            world.end(name, End::Success);
        }
        assert_eq!(world.running(), ["a", "b", "c"], "{strategy:?}");
    }
}

#[test]
fn too_many_failures_end_everything_with_a_reason() {
    let mut all = specification(vec![program("bad"), program("good")]);
    all.root.intensity = Intensity { restarts: 2, period: 60 * SECOND };
    let mut world = World::new(all);
    world.start_all();
    for _ in 0..3 {
        assert!(world.machine.outcome().is_none());
        world.end("bad", End::Failure);
        world.pass(SECOND);
        world.start_all();
    }
    assert!(matches!(world.machine.outcome(), Some(Outcome::GaveUp { reason }) if reason.contains("bad")));
    assert_eq!(world.signalled(), terms(&["good"]));
    assert!(!world.finished);
    world.end("good", End::Success);
    assert!(world.finished);
}

fn grouped(restart: RestartPolicy) -> Specification {
    let mut all = specification(vec![program("outside"), program("bad"), program("good")]);
    let intensity = Intensity { restarts: 1, period: 60 * SECOND };
    all.groups = vec![Group {
        name: "inner".into(),
        children: vec!["bad".into(), "good".into()],
        supervision: Supervision { intensity, ..Supervision::default() },
        restart,
        significant: false,
        depends_on: vec![],
    }];
    all.order = vec!["outside".into(), "inner".into(), "bad".into(), "good".into()];
    all
}

#[test]
fn a_group_that_gives_up_is_a_failed_child_of_the_group_above() {
    for restart in [RestartPolicy::Permanent, RestartPolicy::Temporary] {
        let mut world = World::new(grouped(restart));
        world.start_all();
        world.end("bad", End::Failure);
        world.pass(SECOND);
        world.start_all();
        world.end("bad", End::Failure);
        assert_eq!(world.signalled(), terms(&["good"]));
        world.end("good", End::Success);
        assert_eq!(world.running(), ["outside"], "a group waits like a unit");
        world.pass(SECOND);
        let expected: &[&str] = match restart {
            RestartPolicy::Permanent => &["outside", "bad", "good"],
            _ => &["outside"],
        };
        assert_eq!(world.running(), expected, "{restart:?}");
        assert!(world.machine.outcome().is_none());
    }
}

#[test]
fn significant_children_end_the_tree_as_the_rule_says() {
    for rule in [AutoShutdown::Never, AutoShutdown::AnySignificant, AutoShutdown::AllSignificant] {
        let job = |name| Program { restart: RestartPolicy::Transient, significant: true, ..program(name) };
        let mut all = specification(vec![job("one"), job("two"), program("helper")]);
        all.root.auto_shutdown = rule;
        let mut world = World::new(all);
        world.start_all();
        world.end("one", End::Success);
        assert_eq!(world.machine.outcome().is_some(), rule == AutoShutdown::AnySignificant);
        if rule == AutoShutdown::AnySignificant {
            continue;
        }
        world.end("two", End::Success);
        assert_eq!(world.machine.outcome().is_some(), rule == AutoShutdown::AllSignificant);
    }
}

#[test]
fn a_stop_goes_backwards_through_the_dependencies() {
    let all = specification(vec![
        program("base"),
        after("middle", &[("base", Condition::Started)]),
        after("top", &[("middle", Condition::Started)]),
    ]);
    let mut world = World::new(all);
    world.start_all();
    world.send(Event::ShutDown { at_once: false });
    for name in ["top", "middle", "base"] {
        assert_eq!(world.signalled(), terms(&[name]));
        assert!(!world.finished);
        world.end(name, End::Failure);
    }
    assert!(world.finished);
    assert_eq!(world.machine.outcome(), Some(&Outcome::Asked));
}

#[test]
fn a_second_request_to_stop_kills_at_once() {
    let all = specification(vec![program("base"), after("top", &[("base", Condition::Started)])]);
    let mut world = World::new(all);
    world.start_all();
    world.send(Event::ShutDown { at_once: false });
    world.signalled();
    world.send(Event::ShutDown { at_once: true });
    let kills = ["top", "base"].map(|name| (name.to_owned(), Signal::SIGKILL));
    assert_eq!(world.signalled(), kills);
}

#[test]
fn a_stop_climbs_its_ladder_and_ends_in_a_kill() {
    let mut stubborn = program("stubborn");
    let steps = vec![
        StopStep::Signal(Signal::SIGINT),
        StopStep::Wait(2 * SECOND),
        StopStep::Signal(Signal::SIGTERM),
        StopStep::Wait(3 * SECOND),
    ];
    stubborn.stop = StopLadder { steps };
    let mut world = World::new(specification(vec![stubborn]));
    world.start_all();
    let unit = world.id("stubborn");
    world.send(Event::Stop { units: vec![unit] });
    let one = |signal| vec![("stubborn".to_owned(), signal)];
    assert_eq!(world.signalled(), one(Signal::SIGINT));
    assert_eq!(world.machine.wake_at(), Some(world.now + 2 * SECOND));
    world.pass(SECOND);
    assert_eq!(world.signalled(), []);
    world.pass(SECOND);
    assert_eq!(world.signalled(), one(Signal::SIGTERM));
    world.pass(3 * SECOND);
    assert_eq!(world.signalled(), one(Signal::SIGKILL));
    world.end("stubborn", End::Failure);
    assert_eq!(world.machine.unit(unit).phase, Phase::Stopped);
}

#[test]
fn a_restart_that_a_person_asks_for_is_no_failure() {
    let mut all = specification(vec![program("one")]);
    all.root.intensity = Intensity { restarts: 0, period: SECOND };
    let mut world = World::new(all);
    for _ in 0..5 {
        world.start_all();
        let unit = world.id("one");
        world.send(Event::Restart { units: vec![unit], rolling: false });
        world.end("one", End::Failure);
        assert_eq!(world.running(), ["one"], "at once, without a wait");
    }
    assert_eq!(world.machine.unit(0).restarts, 0);
}

#[test]
fn a_rolling_restart_waits_until_each_copy_is_ready() {
    let mut web = program("web");
    web.replicas = 3;
    web.readiness = Readiness::Notify;
    let mut world = World::new(specification(vec![web]));
    world.start_all();
    (0..3).for_each(|unit| world.send(Event::Ready { unit }));
    world.send(Event::Restart { units: vec![0, 1, 2], rolling: true });
    for (unit, label) in ["web", "web.2", "web.3"].iter().enumerate() {
        assert_eq!(world.signalled(), terms(&[label]));
        world.end(label, End::Success);
        world.start(label);
        assert_eq!(world.signalled(), []);
        world.send(Event::Ready { unit });
    }
    assert_eq!(world.signalled(), []);
}

#[test]
fn who_is_not_ready_in_time_or_gives_no_sign_of_life_fails() {
    let mut web = program("web");
    web.readiness = Readiness::Notify;
    web.watchdog = Some(crate::supervisor::specification::Watchdog { within: 5 * SECOND });
    web.ready_within = 3 * SECOND;
    let mut world = World::new(specification(vec![web]));
    world.start_all();
    world.pass(3 * SECOND);
    assert_eq!(world.signalled(), terms(&["web"]));
    world.end("web", End::Success);
    assert_eq!(world.machine.unit(0).restarts, 1);
    world.pass(SECOND);
    world.start_all();
    world.send(Event::Ready { unit: 0 });
    for _ in 0..4 {
        world.pass(4 * SECOND);
        world.send(Event::Heartbeat { unit: 0 });
    }
    assert_eq!(world.signalled(), []);
    world.pass(5 * SECOND);
    assert_eq!(world.signalled(), terms(&["web"]));
}

#[test]
fn a_start_that_hangs_is_stopped_in_time_or_when_it_is_asked_to() {
    let mut slow = program("slow");
    slow.ready_within = 3 * SECOND;
    let mut world = World::new(specification(vec![slow]));
    assert_eq!(world.machine.wake_at(), Some(world.now + 3 * SECOND));
    world.pass(3 * SECOND);
    assert_eq!(world.signalled(), terms(&["slow"]));
    world.end("slow", End::Failure);
    assert_eq!(world.machine.unit(0).restarts, 1);
    world.pass(SECOND);
    world.send(Event::Stop { units: vec![0] });
    assert_eq!(world.signalled(), terms(&["slow"]));
    world.end("slow", End::Failure);
    assert_eq!(world.machine.unit(0).phase, Phase::Stopped);
}

#[test]
fn a_reload_touches_only_what_changed() {
    let mut world = World::new(specification(vec![program("same"), program("changed"), program("gone")]));
    world.start_all();
    let mut changed = program("changed");
    changed.command.push("argument".into());
    let new = specification(vec![program("same"), changed, program("new")]);
    let actions = world.machine.reload(new, world.now);
    world.act(actions);
    assert_eq!(world.signalled(), terms(&["gone", "changed"]));
    world.end("changed", End::Success);
    world.end("gone", End::Success);
    assert_eq!(world.running(), ["same", "changed", "new"]);
    assert_eq!(world.starts.len(), 5, "what did not change was not started again");
}

#[test]
fn scaling_starts_and_stops_the_last_copies() {
    let mut world = World::new(specification(vec![program("web")]));
    world.start_all();
    let actions = world.machine.scale("web", 3, world.now);
    world.act(actions);
    world.start_all();
    assert_eq!(world.running(), ["web", "web.2", "web.3"]);
    let actions = world.machine.scale("web", 1, world.now);
    world.act(actions);
    assert_eq!(world.signalled(), terms(&["web.3", "web.2"]));
}

#[test]
fn a_copy_that_is_wanted_again_waits_for_the_end_of_the_one_before() {
    let mut world = World::new(specification(vec![program("web")]));
    for replicas in [2, 1, 2] {
        let actions = world.machine.scale("web", replicas, world.now);
        world.act(actions);
        world.start_all();
    }
    assert_eq!(world.starts.len(), 2, "the one before has not ended");
    world.end_unit(1, End::Success);
    assert_eq!(world.starts.len(), 3);
}
