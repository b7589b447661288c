//! What nobody wants any more.

use super::super::{Action, Batch, Config, Event, Verdict};
use super::bench::{Bench, MILLISECOND, batch, config, deliver, has, send};

/// One worker that is known to be quick.
fn quick() -> Bench {
    let mut bench = Bench::new(config(1));
    bench.submit(batch(9, 1));
    bench.later(MILLISECOND).settled(0, 1);
    bench
}

/// An item of each of these jobs in flight at one worker.
fn in_flight(jobs: [u64; 2]) -> Bench {
    let mut bench = quick();
    jobs.into_iter().for_each(|job| drop(bench.submit(batch(job, 1))));
    assert_eq!(bench.loads(), [2]);
    bench
}

fn cancelled(key: u64) -> Action {
    deliver(key, 0, 1, Verdict::Cancelled)
}

#[test]
fn what_waits_is_dropped_at_once() {
    let mut bench = Bench::new(config(1));
    bench.submit(batch(1, 1));
    bench.submit(batch(2, 5));
    let all = Action::Deliver { key: 2, items: 0..5, attempt: 1, verdict: Verdict::Cancelled };
    assert_eq!(bench.tell(Event::Cancel { job: 2 }), [all, Action::Free { key: 2 }]);
}

#[test]
fn what_runs_is_asked_to_stop_and_its_value_comes_too_late() {
    let mut bench = in_flight([1, 2]);
    assert_eq!(bench.tell(Event::Cancel { job: 1 }), [Action::TakeBack { slot: 0 }]);
    assert_eq!(bench.took_back(0, 1), [Action::AskToStop { slot: 0 }]);
    assert!(bench.machine.is_condemned(0));
    assert_eq!(bench.failed(0), [cancelled(1), Action::Free { key: 1 }, send(0, 2, 0..1)]);
}

#[test]
fn what_ignores_it_is_killed_after_the_grace_time() {
    let mut bench = Bench::new(config(1));
    bench.submit(batch(1, 1));
    bench.tell(Event::Cancel { job: 1 });
    bench.took_back(0, 0);
    assert_eq!(bench.tick(), [Action::Kill { slot: 0 }]);
    assert_eq!(bench.crashed(0)[0], cancelled(1));
}

#[test]
fn what_has_not_begun_comes_back_and_ends() {
    let mut bench = in_flight([1, 2]);
    assert_eq!(bench.tell(Event::Cancel { job: 2 }), [Action::TakeBack { slot: 0 }]);
    assert_eq!(bench.took_back(0, 1), [cancelled(2), Action::Free { key: 2 }]);
    assert!(!bench.machine.is_condemned(0));
}

#[test]
fn what_began_unnoticed_is_cancelled_too() {
    let mut bench = in_flight([1, 2]);
    bench.tell(Event::Cancel { job: 2 });
    // The worker is through with the first one, which nobody has read, and has claimed the second one.
    assert_eq!(bench.took_back(0, 0), []);
    let actions = bench.settled(0, 1);
    assert_eq!(actions, [Action::Free { key: 1 }, Action::AskToStop { slot: 0 }]);
    assert!(bench.machine.is_condemned(0));
    assert!(bench.machine.take_earliest().is_some(), "the driver hears of the grace time");
    assert_eq!(bench.failed(0)[0], cancelled(2));
}

#[test]
fn what_began_unnoticed_behind_a_failure_is_cancelled_too() {
    let mut bench = in_flight([1, 2]);
    bench.tell(Event::Cancel { job: 2 });
    bench.took_back(0, 0);
    assert!(has(&bench.failed(0), |action| *action == Action::AskToStop { slot: 0 }));
}

#[test]
fn two_of_a_job_that_cannot_be_taken_back_are_both_cancelled() {
    let mut bench = quick();
    bench.submit(batch(1, 2));
    bench.tell(Event::Cancel { job: 1 });
    assert_eq!(bench.took_back(0, 0), [Action::AskToStop { slot: 0 }]);
    assert!(has(&bench.failed(0), |action| *action == Action::AskToStop { slot: 0 }));
    assert!(bench.machine.is_condemned(0));
}

#[test]
fn a_condemned_task_that_gave_its_value_after_all_condemns_no_other() {
    let mut bench = in_flight([1, 2]);
    bench.tell(Event::Cancel { job: 1 });
    bench.took_back(0, 0);
    // Its value was read in the same look as the event before.
    bench.settled(0, 1);
    assert!(!bench.machine.is_condemned(0), "the second one is wanted");
    assert_eq!(bench.settled(0, 1), [Action::Free { key: 2 }]);
}

#[test]
fn a_failure_in_a_cancelled_job_is_told_as_such() {
    let mut bench = quick();
    bench.submit(batch(1, 1));
    bench.submit(Batch { attempts: 3, ..batch(2, 1) });
    bench.tell(Event::Cancel { job: 2 });
    bench.took_back(0, 0);
    // It crashes before anybody could ask it to stop: that ended it first, and nobody wants it again.
    assert_eq!(bench.tell(Event::Ended { slot: 0 }), []);
    assert_eq!(bench.settled(0, 1), [Action::Free { key: 1 }]);
    let actions = bench.crashed(0);
    assert_eq!(actions[0], deliver(2, 0, 1, Verdict::AsTold), "{actions:?}");
}

#[test]
fn a_failure_that_came_before_the_request_to_stop_is_told_as_such() {
    let mut bench = in_flight([1, 2]);
    bench.tell(Event::Cancel { job: 2 });
    bench.took_back(0, 0);
    assert!(has(&bench.settled(0, 1), |action| *action == Action::AskToStop { slot: 0 }));
    // The driver has read its end already.
    assert_eq!(bench.tell(Event::TooLate { slot: 0 }), []);
    assert_eq!(bench.failed(0)[0], deliver(2, 0, 1, Verdict::AsTold));
}

#[test]
fn a_crash_ends_a_task_before_the_kill_does() {
    let mut bench = Bench::new(config(1));
    bench.submit(Batch { attempts: 3, ..batch(1, 1) });
    bench.tell(Event::Cancel { job: 1 });
    assert_eq!(bench.took_back(0, 0), [Action::AskToStop { slot: 0 }]);
    assert_eq!(bench.crashed(0)[0], deliver(1, 0, 1, Verdict::AsTold));
}

#[test]
fn a_cancelled_task_that_waits_for_its_next_attempt_has_none() {
    let mut bench = Bench::new(config(1));
    bench.submit(Batch { attempts: 2, ..batch(1, 1) });
    bench.failed(0);
    let actions = bench.tell(Event::Cancel { job: 1 });
    assert_eq!(actions, [deliver(1, 0, 2, Verdict::Cancelled), Action::Free { key: 1 }]);
    assert_eq!(bench.machine.wake_at(), None);
}

#[test]
fn a_task_that_was_asked_to_stop_is_not_tried_again() {
    let mut bench = Bench::new(Config { backoff: std::time::Duration::ZERO, ..config(1) });
    bench.submit(Batch { attempts: 2, ..batch(1, 1) });
    bench.tell(Event::Cancel { job: 1 });
    bench.took_back(0, 0);
    assert_eq!(bench.failed(0)[0], cancelled(1));
}

#[test]
fn what_has_not_begun_is_withdrawn_and_what_runs_ends_in_peace() {
    let mut bench = quick();
    bench.submit(batch(1, 2));
    bench.submit(batch(2, 3));
    let withdrawn = bench.tell(Event::Withdraw { job: 2 });
    assert!(has(&withdrawn, |action| matches!(action, Action::Free { key: 2 })));
    assert_eq!(bench.tell(Event::Withdraw { job: 1 }), [Action::TakeBack { slot: 0 }]);
    assert_eq!(bench.took_back(0, 1), [deliver(1, 1, 1, Verdict::Cancelled)]);
    assert!(!bench.machine.is_condemned(0), "nobody asks it to stop");
    assert_eq!(bench.settled(0, 1), [Action::Free { key: 1 }]);
}

#[test]
fn a_withdrawn_task_that_fails_is_not_tried_again() {
    let mut bench = Bench::new(config(1));
    bench.submit(Batch { attempts: 5, ..batch(1, 1) });
    bench.tell(Event::Withdraw { job: 1 });
    bench.took_back(0, 0);
    assert_eq!(bench.failed(0)[0], deliver(1, 0, 1, Verdict::AsTold));
}

#[test]
fn what_was_withdrawn_can_still_be_cancelled() {
    let mut bench = Bench::new(config(1));
    bench.submit(batch(1, 1));
    bench.tell(Event::Withdraw { job: 1 });
    bench.took_back(0, 0);
    bench.tell(Event::Cancel { job: 1 });
    assert_eq!(bench.took_back(0, 0), [Action::AskToStop { slot: 0 }]);
}

#[test]
fn what_was_cancelled_is_not_only_withdrawn_afterwards() {
    let mut bench = in_flight([1, 2]);
    bench.tell(Event::Cancel { job: 2 });
    bench.took_back(0, 0);
    bench.tell(Event::Withdraw { job: 2 });
    bench.took_back(0, 0);
    assert!(has(&bench.settled(0, 1), |action| *action == Action::AskToStop { slot: 0 }));
}

#[test]
fn a_worker_that_was_asked_to_stop_very_often_makes_room_for_another() {
    let mut bench = Bench::new(config(1));
    let mut asked = 0;
    for job in 1.. {
        bench.submit(batch(job, 1));
        assert_eq!(bench.tell(Event::Cancel { job }), [Action::TakeBack { slot: 0 }]);
        let actions = bench.took_back(0, 0);
        assert_eq!(actions[0], Action::AskToStop { slot: 0 });
        asked += 1;
        let ended = bench.failed(0);
        assert_eq!(ended[..2], [cancelled(job), Action::Free { key: job }]);
        if actions.contains(&Action::Retire { slot: 0 }) {
            break;
        }
    }
    assert_eq!(asked, 64);
    bench.submit(batch(100, 1));
    assert_eq!(bench.loads(), [0], "it takes nothing more");
    assert!(has(&bench.died(0, false, true), |action| *action == Action::Start { slot: 0 }));
    assert_eq!(bench.loads(), [1]);
    bench.settled(0, 1);
    bench.submit(batch(101, 1));
    bench.tell(Event::Cancel { job: 101 });
    assert_eq!(bench.took_back(0, 0), [Action::AskToStop { slot: 0 }], "its successor is asked anew");
}
