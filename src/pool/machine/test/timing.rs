//! What the passing of time brings.

use std::time::Duration;

use super::super::{Action, Batch, Config, Event, Front, Verdict};
use super::bench::{Bench, MILLISECOND, SECOND, batch, config, deliver, has, send};

fn timed(job: u64, count: u32, timeout: Duration) -> Batch {
    Batch { timeout: Some(timeout), ..batch(job, count) }
}

#[test]
fn an_idle_pool_waits_for_no_time() {
    assert_eq!(Bench::new(config(4)).machine.wake_at(), None);
}

#[test]
fn a_task_over_its_time_is_asked_to_stop_and_then_killed() {
    let mut bench = Bench::new(config(1));
    bench.submit(timed(1, 1, SECOND));
    assert_eq!(bench.machine.wake_at(), Some(bench.now + SECOND));
    assert_eq!(bench.time_out(0), [Action::AskToStop { slot: 0 }]);
    assert_eq!(bench.machine.wake_at(), Some(bench.now + 200 * MILLISECOND));
    assert_eq!(bench.tick(), [Action::Kill { slot: 0 }]);
    assert_eq!(bench.crashed(0)[0], deliver(1, 0, 1, Verdict::TimedOut(SECOND)));
}

#[test]
fn a_task_that_stops_in_its_grace_time_keeps_its_worker() {
    let mut bench = Bench::new(config(1));
    bench.submit(timed(1, 2, SECOND));
    bench.time_out(0);
    let actions = bench.failed(0);
    assert_eq!(actions, [deliver(1, 0, 1, Verdict::TimedOut(SECOND)), send(0, 1, 1..2)]);
    assert_eq!(bench.machine.wake_at(), Some(bench.now + SECOND));
}

#[test]
fn a_time_out_that_begins_later_wakes_the_driver() {
    let mut bench = Bench::new(config(1));
    bench.submit(batch(9, 1));
    bench.later(MILLISECOND).settled(0, 1);
    bench.submit(batch(1, 1));
    bench.submit(timed(2, 1, SECOND));
    assert_eq!(bench.loads(), [2], "the second one stands behind a task without a time-out");
    bench.machine.take_earliest();
    bench.later(SECOND).settled(0, 1);
    let at = bench.machine.take_earliest();
    assert!(at.is_some_and(|at| at <= bench.now + SECOND), "the driver hears of {at:?}");
}

#[test]
fn a_shorter_time_out_behind_a_longer_one_wakes_the_driver() {
    let mut bench = Bench::new(config(1));
    bench.submit(batch(9, 1));
    bench.later(MILLISECOND).settled(0, 1);
    bench.submit(timed(1, 1, 100 * SECOND));
    bench.submit(timed(2, 1, SECOND));
    bench.machine.take_earliest();
    bench.failed(0);
    assert!(bench.machine.take_earliest().is_some_and(|at| at <= bench.now + SECOND));
}

#[test]
fn what_stands_behind_a_task_that_timed_out_runs_elsewhere() {
    let mut bench = Bench::new(config(2));
    bench.submit(timed(1, 2, SECOND));
    bench.later(MILLISECOND).settled(0, 1);
    bench.later(MILLISECOND).settled(1, 1);
    bench.submit(timed(2, 4, SECOND));
    assert_eq!(bench.loads(), [2, 2]);
    let actions = bench.tick();
    assert!(has(&actions, |action| *action == Action::TakeBack { slot: 0 }), "{actions:?}");
}

#[test]
fn a_long_back_off_is_waited_for() {
    let minute = 60 * SECOND;
    let mut bench = Bench::new(Config { backoff: minute, ..config(2) });
    bench.submit(Batch { attempts: 3, ..batch(1, 1) });
    let failed_at = bench.now;
    assert_eq!(bench.failed(0), [Action::Retry { key: 1, item: 0, attempt: 1 }]);
    assert_eq!(bench.machine.wake_at(), Some(failed_at + minute));
    let disturbances = [
        Event::Tick,
        Event::Resize { workers: 3 },
        Event::Submit { key: 2, batch: batch(2, 1) },
        Event::Settled { slot: 0, count: 1 },
        Event::Cancel { job: 77 },
        Event::Close,
        Event::Tick,
    ];
    for event in disturbances {
        bench.later(8 * SECOND);
        let name = format!("{event:?}");
        let actions = bench.tell(event);
        let again = |action: &Action| matches!(action, Action::Send { span, .. } if span.key == 1);
        assert!(!has(&actions, again), "cut short by {name}");
        assert_eq!(bench.machine.wake_at(), Some(failed_at + minute), "after {name}");
    }
    assert!(has(&bench.tick(), |action| matches!(action, Action::Send { span, .. } if span.attempt == 2)));
}

#[test]
fn the_back_off_doubles_up_to_ten_seconds() {
    let mut bench = Bench::new(Config { backoff: SECOND, ..config(1) });
    bench.submit(Batch { attempts: 7, ..batch(1, 1) });
    let mut waits = Vec::new();
    for _ in 0..6 {
        bench.failed(0);
        waits.push((bench.machine.wake_at().unwrap() - bench.now).as_secs());
        bench.tick();
    }
    assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
}

#[test]
fn durations_without_end_are_only_very_long() {
    let endless = Duration::MAX;
    let mut bench = Bench::new(Config { grace: endless, backoff: endless, ..config(2) });
    bench.submit(Batch { attempts: 2, ..timed(1, 1, endless) });
    bench.failed(0);
    bench.submit(batch(2, 1));
    bench.tell(Event::Cancel { job: 2 });
    bench.took_back(0, 0);
    assert!(bench.machine.wake_at().is_some_and(|at| at > bench.now + 1000 * SECOND));
}

#[test]
fn a_worker_that_is_being_killed_has_no_time_out() {
    let mut bench = Bench::new(config(1));
    bench.submit(timed(1, 1, SECOND));
    bench.tell(Event::Doomed { slot: 0 });
    assert_eq!(bench.machine.wake_at(), Some(bench.now + 5 * SECOND), "only its end is awaited");
    assert_eq!(bench.later(2 * SECOND).tell(Event::Tick), []);
}

#[test]
fn a_task_that_began_later_than_it_was_given_has_its_whole_time() {
    let mut bench = Bench::new(config(1));
    bench.submit(timed(1, 1, SECOND));
    bench.tick();
    bench.machine.take_earliest();
    let given_late = Front::Claimed(Some(400 * MILLISECOND));
    assert_eq!(bench.tell(Event::TookBack { slot: 0, count: 0, front: given_late }), []);
    let at = bench.now + 600 * MILLISECOND;
    assert_eq!((bench.machine.wake_at(), bench.machine.take_earliest()), (Some(at), Some(at)));
    bench.tick();
    let lie = Front::Claimed(Some(MILLISECOND));
    let actions = bench.tell(Event::TookBack { slot: 0, count: 0, front: lie });
    assert_eq!(actions, [Action::AskToStop { slot: 0 }], "a worker is believed once");
}

#[test]
fn a_task_that_was_claimed_and_not_begun_has_its_whole_time() {
    let mut bench = Bench::new(config(1));
    bench.submit(timed(1, 1, SECOND));
    bench.tick();
    let claimed = Event::TookBack { slot: 0, count: 0, front: Front::Claimed(None) };
    assert_eq!(bench.tell(claimed.clone()), []);
    assert_eq!(bench.machine.wake_at(), Some(bench.now + SECOND));
    bench.tick();
    assert_eq!(bench.tell(claimed), [Action::AskToStop { slot: 0 }], "a worker is believed once");
}

#[test]
fn a_task_that_was_not_begun_in_time_has_not_timed_out() {
    let mut bench = Bench::new(config(2));
    bench.submit(timed(1, 1, SECOND / 2));
    bench.submit(batch(2, 1));
    bench.later(SECOND / 4).settled(1, 1);
    assert_eq!(bench.tick(), [Action::TakeBack { slot: 0 }]);
    let actions = bench.took_back(0, 1);
    assert!(has(&actions, |action| matches!(action, Action::Send { span, .. } if span.attempt == 1)));
}

#[test]
fn a_worker_that_begins_nothing_is_replaced() {
    let mut bench = Bench::new(config(1));
    bench.submit(timed(1, 1, SECOND / 4));
    for round in 1..=4 {
        assert_eq!(bench.tick(), [Action::TakeBack { slot: 0 }]);
        let actions = bench.took_back(0, 1);
        assert_eq!(has(&actions, |action| *action == Action::Kill { slot: 0 }), round == 4, "{round}");
    }
    bench.died(0, false, true);
    assert_eq!((bench.machine.queued(), bench.machine.in_flight()), (0, 1), "its task is with the next one");
}

#[test]
fn a_task_that_no_worker_begins_in_time_is_ended() {
    let mut bench = Bench::new(config(1));
    bench.submit(timed(1, 1, 2 * SECOND));
    for round in 1..=3 {
        assert_eq!(bench.tick(), [Action::TakeBack { slot: 0 }]);
        let actions = bench.took_back(0, 1);
        let ended = deliver(1, 0, 1, Verdict::TimedOut(2 * SECOND));
        assert_eq!(has(&actions, |action| *action == ended), round == 3, "{round}: {actions:?}");
        bench.later(SECOND).died(0, false, true);
    }
}

#[test]
fn a_worker_that_is_still_starting_is_given_more_time_and_its_task_is_not_blamed() {
    let mut bench = Bench::new(config(1));
    let started = bench.now;
    bench.submit(timed(1, 1, SECOND / 10));
    let starting = Event::TookBack { slot: 0, count: 1, front: Front::Starting };
    loop {
        assert_eq!(bench.tick(), [Action::TakeBack { slot: 0 }]);
        let late = bench.now - started >= 10 * SECOND;
        let actions = bench.tell(starting.clone());
        assert_eq!(has(&actions, |action| *action == Action::Kill { slot: 0 }), late, "{actions:?}");
        assert!(!has(&actions, |action| matches!(action, Action::Deliver { .. })), "{actions:?}");
        if late {
            break;
        }
    }
}

#[test]
fn a_task_that_is_still_on_its_way_has_not_timed_out() {
    let mut bench = Bench::new(config(1));
    bench.submit(timed(1, 1, SECOND));
    for _ in 0..3 {
        assert_eq!(bench.tick(), [Action::TakeBack { slot: 0 }]);
        assert_eq!(bench.tell(Event::TookBack { slot: 0, count: 0, front: Front::Unclaimed }), []);
        assert_eq!(bench.machine.wake_at(), Some(bench.now + SECOND));
    }
    bench.tick();
    let begun = Front::Claimed(Some(SECOND / 2));
    assert_eq!(bench.tell(Event::TookBack { slot: 0, count: 0, front: begun }), [], "it has its whole time");
    assert_eq!(bench.time_out(0), [Action::AskToStop { slot: 0 }]);
}

#[test]
fn a_worker_that_takes_in_nothing_is_replaced() {
    let mut bench = Bench::new(config(1));
    bench.submit(timed(1, 1, SECOND));
    for round in 1..=10 {
        assert_eq!(bench.tick(), [Action::TakeBack { slot: 0 }]);
        let actions = bench.tell(Event::TookBack { slot: 0, count: 0, front: Front::Unclaimed });
        assert_eq!(actions == [Action::Kill { slot: 0 }], round == 10, "{round}: {actions:?}");
    }
}

/// A worker in whose initializer nothing comes to its end.
fn never_ready(timeout: Option<Duration>, initializer_timeout: Option<Duration>) -> Option<Duration> {
    let mut bench = Bench::new(Config { initializer: true, timeout, initializer_timeout, ..config(1) });
    let started = bench.now;
    let at = bench.machine.wake_at()?;
    assert_eq!(bench.machine.take_earliest(), Some(at), "the driver hears of it");
    assert_eq!(bench.tick(), [Action::Kill { slot: 0 }]);
    assert!(bench.machine.wake_at().is_some_and(|then| then > at), "only once");
    Some(at - started)
}

#[test]
fn an_initializer_may_take_as_long_as_a_task_but_at_least_ten_seconds_or_what_was_chosen() {
    assert_eq!(never_ready(None, None), None);
    assert_eq!(never_ready(Some(SECOND), None), Some(10 * SECOND));
    assert_eq!(never_ready(Some(60 * SECOND), None), Some(60 * SECOND));
    assert_eq!(never_ready(Some(60 * SECOND), Some(SECOND)), Some(SECOND));
    assert_eq!(never_ready(None, Some(100 * SECOND)), Some(100 * SECOND));
}

#[test]
fn an_initializer_that_is_through_has_no_limit_any_more() {
    let limit = Some(SECOND);
    let mut bench = Bench::new(Config { initializer: true, initializer_timeout: limit, ..config(1) });
    bench.tell(Event::Initialized { slot: 0 });
    assert_eq!(bench.machine.wake_at(), None);
}

#[test]
fn a_worker_that_has_to_answer_first_does_so_in_ten_seconds_if_tasks_have_a_limit() {
    for (limit, expected) in [(None, None), (Some(60 * SECOND), Some(10 * SECOND))] {
        let mut bench = Bench::new(Config { timeout: limit, ..config(1) });
        bench.submit(Batch { timeout: limit, ..batch(1, 1) });
        bench.not_started(0);
        assert_eq!(bench.tick(), [Action::Start { slot: 0 }]);
        let at = bench.machine.wake_at();
        assert_eq!(at.map(|at| at - bench.now), expected);
        if at.is_some() {
            assert_eq!(bench.tick(), [Action::Kill { slot: 0 }]);
            bench.not_started(0);
            assert_eq!(bench.tick(), [Action::Start { slot: 0 }]);
        }
    }
}

#[test]
fn a_pool_whose_workers_are_never_ready_breaks_and_says_so() {
    let limit = Some(SECOND);
    let mut bench = Bench::new(Config { initializer: true, initializer_timeout: limit, ..config(1) });
    bench.submit(batch(1, 1));
    for _ in 0..4 {
        assert_eq!(bench.tick(), [Action::Kill { slot: 0 }]);
        assert!(!has(&bench.died(0, false, true), |action| matches!(action, Action::Deliver { .. })));
        bench.tick();
    }
    bench.tick();
    let actions = bench.died(0, false, true);
    let reason = Verdict::NoWorker("a worker was not initialized after 1s".into());
    assert_eq!(actions[0], deliver(1, 0, 1, reason));
}
