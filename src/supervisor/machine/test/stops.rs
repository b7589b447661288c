//! Stops, restarts by hand, and other specifications.

use super::*;

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
