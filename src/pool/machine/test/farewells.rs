//! How the pool comes to its end.

use super::super::{Action, Batch, Config, Event, Stage, Verdict};
use super::bench::{Bench, SECOND, batch, config, deliver, has};

#[test]
fn a_pool_that_is_closed_finishes_what_it_has() {
    let mut bench = Bench::new(config(1));
    bench.submit(batch(1, 2));
    assert_eq!(bench.tell(Event::Close), []);
    assert_eq!(bench.machine.stage(), Stage::Closing);
    bench.later(SECOND).settled(0, 1);
    assert_eq!(bench.settled(0, 1), [Action::Free { key: 1 }, Action::Retire { slot: 0 }]);
    assert!(!bench.machine.is_finished());
    assert_eq!(bench.died(0, false, true), []);
    assert!(bench.machine.is_finished());
}

#[test]
fn a_pool_is_not_finished_while_a_task_waits_for_a_worker_that_comes_later() {
    let mut bench = Bench::new(config(1));
    bench.submit(batch(1, 1));
    bench.tell(Event::Close);
    bench.not_started(0);
    assert!(!bench.machine.is_finished(), "its only worker is started again in a while");
    bench.tick();
    bench.tell(Event::Initialized { slot: 0 });
    bench.settled(0, 1);
    bench.died(0, false, true);
    assert!(bench.machine.is_finished());
}

#[test]
fn a_pool_is_not_finished_while_a_task_waits_for_its_next_attempt() {
    let mut bench = Bench::new(config(1));
    bench.submit(Batch { attempts: 2, ..batch(1, 1) });
    bench.tell(Event::Close);
    bench.crashed(0);
    bench.died(0, false, true);
    assert!(!bench.machine.is_finished());
}

#[test]
fn closing_an_idle_pool_lets_its_workers_go() {
    let mut bench = Bench::new(config(2));
    assert_eq!(bench.tell(Event::Close), [Action::Retire { slot: 0 }, Action::Retire { slot: 1 }]);
}

#[test]
fn a_worker_that_is_due_when_nothing_is_left_is_not_started() {
    let mut bench = Bench::new(config(2));
    bench.not_started(1);
    bench.tell(Event::Close);
    assert_eq!(bench.machine.wake_at(), Some(bench.now + 5 * SECOND), "only the other one's exit is awaited");
    bench.died(0, false, true);
    assert!(bench.machine.is_finished());
}

#[test]
fn terminating_ends_everything_at_once() {
    let mut bench = Bench::new(Config { backoff: SECOND, ..config(2) });
    bench.submit(Batch { attempts: 2, ..batch(1, 1) });
    bench.failed(0);
    bench.submit(batch(2, 9));
    bench.not_started(1);
    let actions = bench.tell(Event::Terminate);
    let delivered = actions.iter().map(|action| match action {
        Action::Deliver { items, verdict: Verdict::Terminated, .. } => items.len(),
        _ => 0,
    });
    assert_eq!(delivered.sum::<usize>(), 10);
    assert!(has(&actions, |action| *action == Action::Kill { slot: 0 }));
    assert!(!has(&actions, |action| *action == Action::Kill { slot: 1 }), "it has no process");
    assert_eq!(bench.crashed(0), [], "nobody is replaced");
    assert!(bench.machine.is_finished());
}

#[test]
fn a_worker_that_does_not_exit_is_killed() {
    let mut bench = Bench::new(config(1));
    bench.submit(batch(1, 1));
    bench.tell(Event::Close);
    assert_eq!(bench.machine.wake_at(), None, "a task may take its time");
    bench.later(SECOND).settled(0, 1);
    assert_eq!(bench.machine.take_earliest(), Some(bench.now + 5 * SECOND));
    assert_eq!(bench.tick(), [Action::Kill { slot: 0 }]);
    assert_eq!(bench.died(0, false, true), []);
    assert_eq!(bench.machine.wake_at(), None);
    assert!(bench.machine.is_finished());
}

#[test]
fn a_worker_that_is_used_up_and_does_not_exit_is_replaced() {
    let mut bench = Bench::new(Config { max_tasks_per_worker: Some(1), grace: 9 * SECOND, ..config(1) });
    bench.submit(batch(1, 2));
    assert!(has(&bench.settled(0, 1), |action| *action == Action::Retire { slot: 0 }));
    assert_eq!(bench.machine.wake_at(), Some(bench.now + 9 * SECOND));
    assert_eq!(bench.tick(), [Action::Kill { slot: 0 }]);
    assert!(has(&bench.died(0, false, true), |action| matches!(action, Action::Send { slot: 0, .. })));
}

#[test]
fn an_initializer_may_take_as_long_as_an_exit_although_its_worker_is_to_go() {
    let mut bench = Bench::new(Config { initializer: true, ..config(2) });
    bench.tell(Event::Resize { workers: 1 });
    assert_eq!(bench.machine.wake_at(), Some(bench.now + 5 * SECOND));
    bench.later(4 * SECOND).tell(Event::Initialized { slot: 1 });
    assert_eq!(bench.machine.wake_at(), Some(bench.now + 5 * SECOND));
    assert!(has(&bench.tick(), |action| *action == Action::Kill { slot: 1 }));
}

#[test]
fn a_pool_that_is_closed_does_not_wait_for_a_worker_that_is_never_ready() {
    let initializing = Bench::new(Config { initializer: true, ..config(1) });
    let mut doubtful = Bench::new(config(1));
    doubtful.submit(batch(1, 1));
    doubtful.not_started(0);
    doubtful.tell(Event::Cancel { job: 1 });
    doubtful.tick();
    for mut bench in [initializing, doubtful] {
        assert_eq!(bench.machine.wake_at(), None);
        bench.machine.take_earliest();
        assert_eq!(bench.tell(Event::Close), [Action::Retire { slot: 0 }]);
        assert_eq!(bench.machine.take_earliest(), Some(bench.now + 5 * SECOND));
        assert_eq!(bench.tick(), [Action::Kill { slot: 0 }]);
        bench.died(0, false, false);
        assert!(bench.machine.is_finished());
    }
}

#[test]
fn what_comes_after_the_end_ends_at_once() {
    let mut bench = Bench::new(config(1));
    bench.tell(Event::Terminate);
    assert_eq!(bench.submit(batch(1, 1))[0], deliver(1, 0, 1, Verdict::Terminated));
}

#[test]
fn what_a_call_that_began_before_the_close_still_submits_gets_a_worker() {
    let mut bench = Bench::new(config(1));
    bench.tell(Event::Close);
    bench.died(0, false, true);
    assert_eq!(bench.submit(batch(1, 1))[0], Action::Start { slot: 0 });
    assert!(!bench.machine.is_finished());
}

#[test]
fn what_comes_when_only_a_surplus_worker_is_left_is_still_done() {
    let mut bench = Bench::new(config(2));
    bench.tell(Event::Resize { workers: 1 });
    bench.tell(Event::Close);
    bench.died(0, false, true);
    let actions = bench.submit(batch(1, 1));
    assert!(has(&actions, |action| *action == Action::Start { slot: 0 }), "{actions:?}");
}

#[test]
fn what_comes_while_the_last_workers_leave_is_still_done() {
    let mut bench = Bench::new(config(1));
    bench.tell(Event::Close);
    assert_eq!(bench.submit(batch(1, 1)), []);
    let actions = bench.died(0, false, true);
    let actions = if actions.is_empty() { bench.tick() } else { actions };
    assert!(has(&actions, |action| matches!(action, Action::Send { .. })), "{actions:?}");
}
