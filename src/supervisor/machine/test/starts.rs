//! What starts, and what starts again.

use super::*;

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
fn what_no_order_names_comes_last_and_belongs_to_the_tree() {
    let mut tree = specification(vec![program("one"), program("two"), program("three")]);
    tree.order = vec!["three".into()];
    tree.root.strategy = Strategy::OneForAll;
    let mut world = World::new(tree);
    world.start_all();
    assert_eq!(world.running(), ["three", "one", "two"]);
    world.end("one", End::Failure);
    assert_eq!(world.signalled(), terms(&["two", "three"]));
}
