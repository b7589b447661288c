//! Kills that nobody carries out.

use super::super::{Action, Config, Event, Stage, Verdict};
use super::bench::{Bench, MILLISECOND, SECOND, batch, config, deliver, has};

const KILL: Action = Action::Kill { slot: 0 };

/// Its end is not told.
fn is_pursued(bench: &mut Bench) {
    let ordered = bench.now;
    assert_eq!(bench.tick(), [Action::KillItself { slot: 0 }]);
    assert_eq!(bench.now, ordered + 5 * SECOND);
    assert_eq!(bench.tick(), [Action::BlameKeeper { slot: 0 }]);
    assert_eq!(bench.now, ordered + 10 * SECOND);
    assert_eq!(bench.machine.wake_at(), None, "nothing more can be done");
}

#[test]
fn a_worker_whose_end_is_not_told_is_killed_without_its_keeper_and_then_the_keeper_is_blamed() {
    let mut bench = Bench::new(config(1));
    bench.submit(super::super::Batch { timeout: Some(SECOND), ..batch(1, 1) });
    bench.time_out(0);
    assert_eq!(bench.tick(), [KILL]);
    bench.machine.take_earliest();
    is_pursued(&mut bench);
    assert_eq!(bench.crashed(0)[0], deliver(1, 0, 1, Verdict::TimedOut(SECOND)));
}

#[test]
fn whoever_is_killed_is_pursued_for_whatever_reason() {
    let initializing = || Bench::new(Config { initializer: true, ..config(1) });
    type Order = fn(&mut Bench) -> Vec<Action>;
    let reasons: [(&str, Order, Bench); 5] = [
        ("it broke the protocol", |bench| bench.tell(Event::Doomed { slot: 0 }), Bench::new(config(1))),
        ("its initializer failed", |bench| bench.tell(Event::Doomed { slot: 0 }), initializing()),
        ("the pool is terminated", |bench| bench.tell(Event::Terminate), Bench::new(config(1))),
        (
            "it does not exit",
            |bench| {
                bench.tell(Event::Close);
                bench.tick()
            },
            Bench::new(config(1)),
        ),
        (
            "its task was cancelled",
            |bench| {
                bench.submit(batch(1, 1));
                bench.tell(Event::Cancel { job: 1 });
                bench.took_back(0, 0);
                bench.tick()
            },
            Bench::new(config(1)),
        ),
    ];
    for (reason, order, mut bench) in reasons {
        assert!(order(&mut bench).contains(&KILL), "{reason}");
        assert_eq!(bench.machine.wake_at(), Some(bench.now + 5 * SECOND), "{reason}");
        is_pursued(&mut bench);
    }
}

#[test]
fn whoever_is_killed_when_the_pool_breaks_is_pursued() {
    let mut bench = Bench::new(config(2));
    for _ in 0..5 {
        bench.not_started(0);
        bench.not_started(1);
        if bench.machine.broken().is_none() {
            bench.tick();
        }
    }
    assert!(bench.machine.broken().is_some());
    assert_eq!(bench.machine.wake_at(), None, "nobody is left");
    let mut bench = Bench::new(config(2));
    for _ in 0..5 {
        bench.not_started(0);
        bench.tick();
    }
    for _ in 0..4 {
        bench.not_started(1);
        bench.tick();
    }
    assert!(has(&bench.not_started(1), |action| *action == KILL));
    is_pursued(&mut bench);
}

#[test]
fn a_worker_whose_end_is_told_in_time_is_not_pursued() {
    let mut bench = Bench::new(config(1));
    bench.tell(Event::Doomed { slot: 0 });
    bench.later(4 * SECOND).died(0, false, true);
    bench.later(20 * SECOND);
    let actions = bench.tell(Event::Tick);
    assert!(!has(&actions, |action| matches!(
        action,
        Action::KillItself { .. } | Action::BlameKeeper { .. }
    )));
    assert_eq!(bench.machine.wake_at(), None);
}

#[test]
fn terminating_a_pool_whose_worker_should_be_gone_kills_it_again() {
    let mut bench = Bench::new(config(1));
    bench.tell(Event::Doomed { slot: 0 });
    bench.later(MILLISECOND);
    assert_eq!(bench.tell(Event::Terminate), [KILL]);
    assert_eq!(bench.machine.stage(), Stage::Terminating);
    is_pursued(&mut bench);
}
