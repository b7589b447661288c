//! How much more may be submitted.

use super::super::{Batch, Config, Event};
use super::bench::{Bench, MILLISECOND, SECOND, batch, config};

#[test]
fn an_idle_pool_has_room_for_one_and_a_reserve_a_worker() {
    assert_eq!(Bench::new(config(4)).machine.appetite(), 8);
}

#[test]
fn a_chunk_is_wanted_whole() {
    assert_eq!(Bench::new(Config { chunk: Some(100), ..config(2) }).machine.appetite(), 202);
}

#[test]
fn what_was_submitted_stills_it() {
    let mut bench = Bench::new(config(4));
    bench.submit(batch(1, 8));
    assert_eq!(bench.machine.appetite(), 0);
    bench.later(SECOND).settled(0, 1);
    assert_eq!(bench.machine.appetite(), 0, "little of it is nothing");
    bench.settled(1, 1);
    assert_eq!(bench.machine.appetite(), 2);
}

#[test]
fn what_workers_on_their_way_out_still_do_spoils_no_appetite() {
    let mut bench = Bench::new(config(8));
    bench.submit(batch(1, 8));
    bench.tell(Event::Resize { workers: 1 });
    bench.later(SECOND).settled(0, 1);
    assert_eq!(bench.loads(), [0, 1, 1, 1, 1, 1, 1, 1]);
    assert!(bench.machine.appetite() > 0, "the worker that stays is idle");
}

#[test]
fn what_killed_workers_still_have_spoils_no_appetite() {
    let mut bench = Bench::new(config(2));
    bench.submit(Batch { timeout: Some(SECOND), ..batch(1, 1) });
    bench.time_out(0);
    bench.tick();
    assert_eq!(bench.machine.appetite(), 4);
}

#[test]
fn bytes_of_workers_on_their_way_out_spoil_no_appetite() {
    let mut bench = Bench::new(config(2));
    bench.submit(Batch { bytes: 1 << 20, ..batch(1, 2) });
    bench.submit(Batch { bytes: 1 << 20, ..batch(2, 1) });
    assert_eq!(bench.machine.appetite(), 0, "one large item waits already");
    bench.settled(0, 1);
    bench.tell(Event::Resize { workers: 1 });
    bench.settled(0, 1);
    assert!(bench.machine.appetite() > 1);
}

#[test]
fn a_pool_that_takes_nothing_any_more_lets_everything_through() {
    let mut bench = Bench::new(config(1));
    bench.submit(batch(1, 10));
    bench.tell(Event::Terminate);
    assert!(bench.machine.appetite() > 0, "so that it ends");
}

#[test]
fn items_that_wait_for_another_attempt_do_not_still_it() {
    let mut bench = Bench::new(Config { backoff: 60 * SECOND, ..config(1) });
    bench.submit(Batch { attempts: 2, ..batch(1, 1) });
    bench.later(MILLISECOND).failed(0);
    assert!(bench.machine.appetite() > 0);
}
