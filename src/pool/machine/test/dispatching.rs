//! Who is given what.

use super::super::{Action, Event, Span};
use super::bench::{Bench, MILLISECOND, SECOND, batch, config, given, has, send, span};

#[test]
fn a_pool_starts_its_workers_and_their_spares() {
    let bench = Bench::new(super::super::Config { spares: 1, ..config(2) });
    assert_eq!(bench.first, [0, 1, 2].map(|slot| Action::Start { slot }));
}

#[test]
fn items_go_to_the_workers_that_have_least_in_the_order_of_their_batch() {
    let mut bench = Bench::new(config(2));
    assert_eq!(bench.submit(batch(1, 2)), [send(0, 1, 0..1), send(1, 1, 1..2)]);
    assert_eq!(bench.submit(batch(2, 1)), []);
    assert_eq!(bench.settled(1, 1), [send(1, 2, 0..1)]);
}

#[test]
fn a_batch_without_items_is_over_at_once() {
    let mut bench = Bench::new(config(1));
    assert_eq!(bench.submit(batch(1, 0)), [Action::Free { key: 1 }]);
}

#[test]
fn a_batch_is_freed_with_its_last_item() {
    let mut bench = Bench::new(config(2));
    bench.submit(batch(1, 2));
    assert_eq!(bench.settled(0, 1), []);
    assert_eq!(bench.settled(1, 1), [Action::Free { key: 1 }]);
}

#[test]
fn quick_items_are_given_ahead_and_long_ones_one_by_one() {
    let mut bench = Bench::new(config(1));
    bench.submit(batch(1, 1000));
    for _ in 0..4 {
        bench.later(MILLISECOND / 1000).settled(0, 1);
    }
    let ahead = bench.loads()[0];
    assert!(ahead > 8, "{ahead} ahead");
    let mut slow = Bench::new(config(1));
    slow.submit(batch(1, 1000));
    for _ in 0..4 {
        slow.later(SECOND).settled(0, 1);
    }
    assert_eq!(slow.loads(), [1]);
}

#[test]
fn nothing_is_given_behind_an_item_that_turns_out_to_be_long() {
    let mut bench = Bench::new(config(2));
    bench.submit(batch(1, 2));
    bench.later(MILLISECOND / 1000).settled(0, 1);
    bench.settled(1, 1);
    // Both have been quick so far, and get some ahead.
    bench.submit(batch(2, 8));
    let behind = bench.loads()[1];
    assert!(behind > 1, "{behind}");
    while bench.loads()[0] > 0 {
        bench.later(MILLISECOND / 1000).settled(0, 1);
    }
    assert_eq!(bench.tick(), [Action::TakeBack { slot: 1 }], "it is in a long one");
    bench.later(SECOND);
    let back = given(&bench.took_back(1, behind - 1));
    assert!(
        !back.is_empty() && back.iter().all(|slot| *slot == 0),
        "{back:?} and not to the one that it was taken from"
    );
    bench.submit(batch(3, 1000));
    assert_eq!(bench.loads()[1], 1);
}

#[test]
fn the_callers_chunk_is_kept() {
    let mut bench = Bench::new(super::super::Config { chunk: Some(5), ..config(1) });
    let chunked = super::super::Batch { chunk: Some(5), ..batch(1, 20) };
    assert_eq!(bench.submit(chunked)[0], send(0, 1, 0..5));
}

#[test]
fn an_idle_worker_gets_what_a_busy_one_has_not_begun() {
    let mut bench = Bench::new(config(2));
    bench.submit(batch(1, 2));
    bench.later(MILLISECOND).settled(0, 1);
    bench.later(MILLISECOND).settled(1, 1);
    // By now both are known to be quick, and get more ahead than they can begin.
    bench.submit(batch(2, 4));
    let loads = bench.loads();
    assert_eq!(loads, [2, 2]);
    let actions = bench.settled(0, 2);
    assert_eq!(actions, [Action::TakeBack { slot: 1 }]);
    assert_eq!(given(&bench.took_back(1, 1)), [0]);
    assert_eq!(bench.loads(), [1, 1]);
}

#[test]
fn a_take_back_that_brought_nothing_is_not_tried_again_before_progress() {
    let mut bench = Bench::new(config(2));
    bench.submit(batch(1, 2));
    bench.later(MILLISECOND).settled(0, 1);
    bench.later(MILLISECOND).settled(1, 1);
    bench.submit(batch(2, 4));
    bench.settled(0, 2);
    assert_eq!(bench.took_back(1, 0), []);
    assert_eq!(bench.later(SECOND).tell(Event::Tick), []);
}

#[test]
fn nobody_wakes_for_items_that_cannot_be_moved() {
    let mut bench = Bench::new(config(2));
    bench.submit(batch(1, 2));
    bench.later(MILLISECOND / 100).settled(0, 1);
    bench.later(MILLISECOND / 100).settled(1, 1);
    bench.submit(batch(2, 4));
    bench.settled(0, 2);
    assert!(bench.machine.wake_at().is_some(), "it looks again whether the other one is stalled");
    // Everybody gets so much to do that something waits.
    bench.submit(batch(3, 100_000));
    bench.later(SECOND).tell(Event::Tick);
    assert!(bench.machine.wake_at().is_none_or(|at| at > bench.now), "the clock does not stand still");
}

/// What takes a worker out of service, told to the first of two that both run one item.
type Doom = (&'static str, fn(&mut Bench));

fn dooms() -> [Doom; 5] {
    [
        ("its process is gone", |bench| drop(bench.tell(Event::Ended { slot: 0 }))),
        ("it broke the protocol", |bench| drop(bench.tell(Event::Doomed { slot: 0 }))),
        ("it timed out", |bench| drop(bench.time_out(0))),
        ("it is being killed", |bench| {
            bench.time_out(0);
            bench.tick();
        }),
        ("its item was cancelled", |bench| {
            bench.tell(Event::Cancel { job: 1 });
            bench.took_back(0, 0);
        }),
    ]
}

/// Two quick workers with one task each, which would get more.
fn with_room() -> Bench {
    let mut bench = Bench::new(config(2));
    bench.submit(batch(8, 2));
    bench.later(MILLISECOND).settled(0, 1);
    bench.later(MILLISECOND).settled(1, 1);
    bench.submit(super::super::Batch { timeout: Some(SECOND), ..batch(1, 1) });
    bench.submit(batch(2, 1));
    bench
}

#[test]
fn a_doomed_worker_is_given_nothing_more() {
    let healthy = given(&with_room().submit(batch(3, 10)));
    assert!(healthy.contains(&0) && healthy.contains(&1));
    for (name, doom) in dooms() {
        let mut bench = with_room();
        doom(&mut bench);
        let (settled, submitted) = (bench.settled(1, 1), bench.submit(batch(3, 10)));
        let slots = given(&[settled, submitted].concat());
        assert!(slots.contains(&1) && !slots.contains(&0), "{name}: {slots:?}");
        assert_eq!(bench.loads()[0], 1, "{name}");
    }
}

#[test]
fn a_worker_that_leaves_is_given_nothing_more() {
    let mut bench = Bench::new(config(2));
    bench.submit(batch(1, 2));
    assert_eq!(bench.tell(Event::Resize { workers: 1 }), [Action::Retire { slot: 1 }]);
    assert!(!given(&bench.submit(batch(2, 10))).contains(&1));
    bench.settled(0, 1);
    assert!(given(&bench.settled(1, 1)).is_empty());
}

#[test]
fn a_doomed_worker_is_killed_once() {
    let mut bench = Bench::new(config(1));
    bench.submit(batch(1, 1));
    assert_eq!(bench.tell(Event::Doomed { slot: 0 }), [Action::Kill { slot: 0 }]);
    assert_eq!(bench.tell(Event::Doomed { slot: 0 }), []);
}

#[test]
fn a_worker_retires_after_its_share_and_its_successor_goes_on() {
    let mut bench = Bench::new(super::super::Config { max_tasks_per_worker: Some(2), ..config(1) });
    bench.submit(batch(1, 3));
    bench.later(MILLISECOND).settled(0, 1);
    let actions = bench.settled(0, 1);
    assert_eq!(actions, [Action::Retire { slot: 0 }]);
    let actions = bench.died(0, false, true);
    assert_eq!(actions, [Action::Start { slot: 0 }, send(0, 1, 2..3)]);
}

#[test]
fn large_items_are_not_piled_up_before_a_worker() {
    let mut bench = Bench::new(config(1));
    let large = super::super::Batch { bytes: 1 << 20, ..batch(1, 1) };
    bench.submit(batch(9, 1));
    bench.later(MILLISECOND / 10).settled(0, 1);
    for key in 1..10 {
        bench.submit(super::super::Batch { job: key, ..large });
    }
    assert_eq!(bench.loads(), [2], "one runs, one travels");
}

#[test]
fn bytes_that_were_taken_back_are_not_counted() {
    let mut bench = Bench::new(config(2));
    bench.submit(batch(1, 2));
    bench.later(MILLISECOND).settled(0, 1);
    bench.later(MILLISECOND).settled(1, 1);
    bench.submit(super::super::Batch { bytes: 4000, ..batch(2, 4) });
    bench.settled(0, 2);
    bench.took_back(1, 1);
    assert_eq!(bench.machine.workers[1].bytes, 1000);
}

#[test]
fn a_spare_works_only_in_the_place_of_another() {
    let mut bench = Bench::new(super::super::Config { spares: 1, ..config(1) });
    assert_eq!(given(&bench.submit(batch(1, 10))), [0]);
    bench.later(SECOND);
    let actions = bench.crashed(0);
    assert_eq!(given(&actions), [1], "the spare is there at once");
    assert!(has(&actions, |action| *action == Action::Start { slot: 0 }), "and there is a new spare");
    assert_eq!(bench.loads(), [0, 1]);
}

#[test]
fn spans_that_follow_each_other_are_one() {
    let mut first = span(1, 0..2);
    let rest = first.split_front(1);
    assert_eq!((rest, first), (span(1, 0..1), span(1, 1..2)));
    let mut last = Span { attempt: 2, ..span(1, 0..3) };
    assert_eq!(last.split_back(2), Span { attempt: 2, ..span(1, 1..3) });
    assert_eq!(last.len(), 1);
}
