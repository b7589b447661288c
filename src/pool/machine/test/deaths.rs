//! What follows the end of a worker.

use super::super::{Action, Batch, Config, Death, Event, Verdict};
use super::bench::{Bench, MILLISECOND, SECOND, batch, config, deliver, has, send};

fn is_break(action: &Action) -> bool {
    matches!(action, Action::Break { .. })
}

fn starts(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::Start { .. })).count()
}

/// Two quick ones at one worker, whose first is begun.
fn laden() -> Bench {
    let mut bench = Bench::new(config(1));
    bench.submit(batch(1, 3));
    bench.later(MILLISECOND).settled(0, 1);
    assert_eq!(bench.loads(), [2]);
    bench
}

#[test]
fn a_crash_costs_the_task_that_ran_and_the_others_run_elsewhere() {
    let actions = laden().crashed(0);
    let expected = [deliver(1, 1, 1, Verdict::AsTold), Action::Start { slot: 0 }, send(0, 1, 2..3)];
    assert_eq!(actions, expected);
}

#[test]
fn a_worker_that_dies_idle_costs_nothing() {
    let mut bench = Bench::new(config(1));
    bench.submit(batch(1, 1));
    bench.settled(0, 1);
    assert_eq!(bench.died(0, false, true), [Action::Start { slot: 0 }]);
}

#[test]
fn a_crash_is_followed_by_another_attempt_if_one_is_left() {
    let mut bench = Bench::new(Config { backoff: std::time::Duration::ZERO, ..config(1) });
    bench.submit(Batch { attempts: 2, ..batch(1, 1) });
    bench.later(SECOND);
    let actions = bench.crashed(0);
    assert_eq!(actions[0], Action::Retry { key: 1, item: 0, attempt: 1 });
    assert!(has(&actions, |action| matches!(action, Action::Send { span, .. } if span.attempt == 2)));
    bench.later(SECOND);
    assert_eq!(bench.crashed(0)[0], deliver(1, 0, 2, Verdict::AsTold));
}

#[test]
fn what_was_not_begun_keeps_its_attempt() {
    let mut bench = Bench::new(config(1));
    bench.submit(Batch { attempts: 3, ..batch(1, 1) });
    bench.later(SECOND);
    let actions = bench.died(0, false, true);
    bench.now = bench.machine.wake_at().unwrap_or(bench.now);
    let actions = [actions, bench.tell(Event::Tick)].concat();
    assert_eq!(actions, [Action::Start { slot: 0 }, send(0, 1, 0..1)]);
}

#[test]
fn one_failed_start_a_worker_does_not_break_a_pool_of_many() {
    let mut bench = Bench::new(config(64));
    bench.submit(batch(1, 1000));
    for slot in 0..64 {
        let actions = bench.not_started(slot);
        assert!(!has(&actions, is_break), "worker {slot}: each place has tries of its own");
    }
    assert_eq!(bench.machine.wake_at(), Some(bench.now + 10 * MILLISECOND), "and the same short delay");
    assert_eq!(starts(&bench.tick()), 64);
}

#[test]
fn a_pool_breaks_when_every_place_has_failed_five_times() {
    let mut bench = Bench::new(config(2));
    bench.submit(batch(1, 3));
    for round in 1..=5 {
        let first = bench.not_started(0);
        assert!(!has(&first, is_break), "round {round}: the other one may still start");
        let second = bench.not_started(1);
        assert_eq!(has(&second, is_break), round == 5, "round {round}");
        if round < 5 {
            assert_eq!(starts(&bench.tick()), 2);
        }
    }
    assert!(bench.machine.broken().is_some());
    assert_eq!((bench.machine.queued(), bench.machine.in_flight()), (0, 0), "nothing waits any more");
    let actions = bench.submit(batch(2, 1));
    assert!(matches!(&actions[0], Action::Deliver { verdict: Verdict::NoWorker(_), .. }));
}

/// The worker ends before it was ready, while another one runs a task.
fn not_started_beside_another(bench: &mut Bench, slot: usize) -> Vec<Action> {
    let death = Death { running: false, ready: false, others_run: true, reason: "it ended".into() };
    bench.tell(Event::Died { slot, death })
}

#[test]
fn a_pool_does_not_break_while_a_task_runs_and_may_when_that_is_over() {
    let mut bench = Bench::new(config(2));
    bench.submit(batch(1, 1));
    bench.machine.workers.iter_mut().for_each(|worker| worker.failed_starts = 5);
    assert_eq!(bench.loads(), [1, 0]);
    for _ in 0..3 {
        assert!(!has(&not_started_beside_another(&mut bench, 1), is_break));
        bench.tick();
    }
    assert_eq!(bench.crashed(0)[0], deliver(1, 0, 1, Verdict::AsTold));
    assert!(has(&bench.not_started(1), is_break), "neither has ever done anything");
}

#[test]
fn a_task_that_runs_to_its_end_saves_a_pool_that_would_have_broken() {
    let mut bench = Bench::new(config(2));
    bench.submit(batch(1, 1));
    bench.machine.workers.iter_mut().for_each(|worker| worker.failed_starts = 5);
    not_started_beside_another(&mut bench, 1);
    bench.settled(0, 1);
    for _ in 0..3 {
        bench.tick();
        assert!(!has(&bench.not_started(1), is_break));
    }
}

#[test]
fn workers_that_do_not_start_blame_no_task() {
    let mut bench = Bench::new(config(1));
    bench.submit(batch(1, 2));
    for _ in 0..4 {
        let actions = bench.not_started(0);
        assert!(!has(&actions, |action| matches!(action, Action::Deliver { .. })), "{actions:?}");
        bench.tick();
    }
    let actions = bench.not_started(0);
    let told = actions.iter().map(|action| match action {
        Action::Deliver { items, verdict: Verdict::NoWorker(_), .. } => items.len(),
        _ => 0,
    });
    assert_eq!(told.sum::<usize>(), 2, "{actions:?}");
}

#[test]
fn a_pool_goes_on_with_those_that_start() {
    let mut bench = Bench::new(config(2));
    bench.submit(batch(1, 1));
    bench.settled(0, 1);
    let mut waited = MILLISECOND;
    for _ in 0..20 {
        let died_at = bench.now;
        assert!(!has(&bench.not_started(1), is_break));
        assert_eq!(starts(&bench.tick()), 1);
        assert!(bench.now - died_at >= waited.min(10 * SECOND), "it tries more and more seldom");
        waited = bench.now - died_at;
        // That another one works does not make this one start sooner.
        bench.submit(batch(2, 1));
        bench.settled(0, 1);
    }
}

#[test]
fn the_delay_of_a_place_outlives_shrinking_and_growing() {
    let mut bench = Bench::new(config(2));
    for _ in 0..3 {
        bench.not_started(1);
        bench.tick();
    }
    bench.not_started(1);
    let at = bench.machine.wake_at();
    assert_eq!(at, Some(bench.now + 80 * MILLISECOND));
    assert_eq!(bench.tell(Event::Resize { workers: 1 }), []);
    assert_eq!(bench.machine.wake_at(), None);
    assert_eq!(bench.tell(Event::Resize { workers: 2 }), [], "it is not started before its time");
    assert_eq!(bench.machine.wake_at(), at);
    assert_eq!(bench.tick(), [Action::Start { slot: 1 }]);
}

#[test]
fn a_worker_that_keeps_dying_idle_is_replaced_more_and_more_seldom() {
    let mut bench = Bench::new(config(1));
    let mut delays = Vec::new();
    for _ in 0..8 {
        bench.died(0, false, true);
        let died_at = bench.now;
        assert_eq!(starts(&bench.tick()), 1);
        delays.push(bench.now - died_at);
    }
    assert!(delays.is_sorted() && delays[7] > 10 * delays[0], "{delays:?}");
    assert!(delays[7] < SECOND, "{delays:?}");
}

#[test]
fn an_item_at_which_worker_after_worker_dies_unbegun_is_ended() {
    let mut bench = Bench::new(config(1));
    bench.submit(batch(1, 2));
    for _ in 0..2 {
        assert!(!has(&bench.died(0, false, true), |action| matches!(action, Action::Deliver { .. })));
        bench.tick();
    }
    assert!(has(&bench.died(0, false, true), |action| *action == deliver(1, 0, 1, Verdict::AsTold)));
    bench.tick();
    assert_eq!(bench.settled(0, 1), [Action::Free { key: 1 }]);
    assert!(bench.machine.suspects.is_empty(), "nothing is remembered of what is over");
}

#[test]
fn an_item_that_ends_workers_as_if_they_were_not_ready_is_given_to_one_that_has_answered() {
    let mut bench = Bench::new(config(1));
    bench.submit(batch(1, 1));
    let mut deaths = 0;
    let is_end = |action: &Action| *action == deliver(1, 0, 1, Verdict::AsTold);
    loop {
        bench.not_started(0);
        assert_eq!(bench.tick(), [Action::Start { slot: 0 }], "it is given nothing before it has answered");
        assert_eq!(bench.tell(Event::Initialized { slot: 0 }), [send(0, 1, 0..1)]);
        deaths += 2;
        if has(&bench.died(0, false, true), is_end) {
            break;
        }
        assert_eq!(bench.tick(), [Action::Start { slot: 0 }, send(0, 1, 0..1)]);
    }
    assert_eq!(deaths, 6);
    assert!(bench.machine.broken().is_none());
}

#[test]
fn an_item_that_ends_workers_with_merits_is_ended_too() {
    let mut bench = Bench::new(config(1));
    bench.submit(batch(1, 1));
    let is_end = |action: &Action| *action == deliver(1, 0, 1, Verdict::AsTold);
    for death in 1..=9 {
        // Something else came before it, and was done.
        bench.machine.workers[0].proven = true;
        assert_eq!(has(&bench.later(SECOND).died(0, false, true), is_end), death == 9, "{death}");
    }
}

#[test]
fn nothing_is_remembered_of_a_suspect_that_succeeded() {
    let mut bench = Bench::new(config(1));
    bench.submit(batch(1, 1));
    bench.died(0, false, true);
    bench.tick();
    bench.settled(0, 1);
    assert!(bench.machine.suspects.is_empty());
}

#[test]
fn a_worker_that_replaces_another_one_is_counted() {
    let mut bench = Bench::new(config(2));
    assert_eq!(bench.machine.restarted(), 0, "the first ones replace nobody");
    bench.submit(batch(1, 2));
    bench.later(SECOND);
    bench.crashed(0);
    assert_eq!(bench.machine.restarted(), 1);
    bench.not_started(0);
    assert_eq!(bench.machine.restarted(), 1, "not before it is started");
    bench.tick();
    assert_eq!(bench.machine.restarted(), 2);
    bench.tell(Event::Resize { workers: 3 });
    assert_eq!(bench.machine.restarted(), 2, "an additional one replaces nobody");
    bench.tell(Event::Resize { workers: 1 });
    bench.died(2, false, true);
    bench.died(1, false, true);
    bench.tell(Event::Resize { workers: 2 });
    assert_eq!(bench.machine.restarted(), 2, "nor does one in a place that was given up");
}

#[test]
fn a_doomed_worker_that_did_nothing_is_replaced_with_a_delay() {
    let mut bench = Bench::new(config(1));
    bench.tell(Event::Doomed { slot: 0 });
    assert_eq!(bench.died(0, true, true), []);
    assert_eq!(bench.tick(), [Action::Start { slot: 0 }]);
}
