//! Lazy iterators: bounded in both directions (P8).

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use common::{Gate, stop_at, until};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use watertight::{Pool, Process, TaskError, isolate};

static PULLED: AtomicU64 = AtomicU64::new(0);

fn count(_: &u64) {
    PULLED.fetch_add(1, Ordering::Relaxed);
}

fn square(x: u64) -> u64 {
    x * x
}

fn stop_and_return(gate: Option<PathBuf>, x: u64) -> u64 {
    if let Some(gate) = gate {
        stop_at(&gate);
    }
    x
}

#[watertight::test]
fn an_endless_input_is_pulled_no_further_than_the_buffer_ahead_of_its_reader() {
    let pool = Pool::builder().workers(2).buffer(10).start().unwrap();
    let endless = || (0..).inspect(count);
    let mut outcomes = pool.imap(square, endless());
    assert_eq!(PULLED.load(Ordering::Relaxed), 0, "nothing is pulled before somebody reads");
    for read in 0..100 {
        assert_eq!(outcomes.next().unwrap().unwrap(), read * read);
        assert!(PULLED.load(Ordering::Relaxed) <= read + 11, "{PULLED:?} after {read}");
    }
    // A reader that does nothing for as long as it takes the pool to do all that it may.
    let pulled = PULLED.load(Ordering::Relaxed);
    until(|| pool.stats().in_flight == 0 && pool.stats().queued == 0);
    assert_eq!(PULLED.load(Ordering::Relaxed), pulled);
    drop(outcomes);
    PULLED.store(0, Ordering::Relaxed);
    let unordered: Vec<u64> = pool.imap_unordered(square, endless()).take(50).map(Result::unwrap).collect();
    assert_eq!(unordered.len(), 50);
    assert!(PULLED.load(Ordering::Relaxed) <= 61);
}

#[watertight::test]
fn with_the_default_buffer_too_an_endless_input_is_pulled_boundedly() {
    let pool = Pool::new(2).unwrap();
    let endless = (0..).inspect(count);
    let mut outcomes = pool.imap(square, endless);
    assert_eq!(outcomes.by_ref().take(10_000).map(Result::unwrap).last(), Some(9999 * 9999));
    assert!(PULLED.load(Ordering::Relaxed) <= 10_000 + 4096);
}

#[watertight::test]
fn without_a_limit_to_the_buffer_the_iteration_goes_on_after_the_first_outcome() {
    let pool = Pool::builder().workers(1).buffer(usize::MAX).start().unwrap();
    let outcomes: Vec<u64> = pool.imap(square, 0..3).map(Result::unwrap).collect();
    assert_eq!(outcomes, [0, 1, 4]);
    // Pulled one by one, so that there is more to pull after the first one is read.
    let endless: Vec<u64> = pool.imap_unordered(square, 0..).take(1000).map(Result::unwrap).collect();
    assert_eq!(endless.len(), 1000);
}

/// Panics where this process encodes or decodes the number 3.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Touchy<const ENCODED: bool>(u64);

impl<const ENCODED: bool> Serialize for Touchy<ENCODED> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(!ENCODED || self.0 != 3, "encodes no three");
        self.0.serialize(serializer)
    }
}

impl<'de, const ENCODED: bool> Deserialize<'de> for Touchy<ENCODED> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        assert!(ENCODED || number != 3, "decodes no three");
        Ok(Touchy(number))
    }
}

/// Everything that an iterator gives, panics included, until it ends.
fn all_of<T>(mut outcomes: impl Iterator<Item = T>) -> (Vec<T>, usize) {
    let (mut all, mut panics) = (Vec::new(), 0);
    loop {
        match catch_unwind(AssertUnwindSafe(|| outcomes.next())) {
            Ok(Some(outcome)) => all.push(outcome),
            Ok(None) => return (all, panics),
            Err(_) => panics += 1,
        }
    }
}

#[watertight::test]
fn an_iteration_goes_on_to_its_end_after_a_panic_of_its_readers_own() {
    for buffer in [1, 4, 4096] {
        let pool = Pool::builder().workers(2).buffer(buffer).start().unwrap();
        let (all, panics) = all_of(pool.imap(|x: Touchy<true>| x.0, (0..10).map(Touchy)));
        let all: Vec<u64> = all.into_iter().map(Result::unwrap).collect();
        assert_eq!((all, panics), (vec![0, 1, 2, 4, 5, 6, 7, 8, 9], 1));
    }
}

#[watertight::test]
fn a_result_whose_reading_panics_is_the_error_of_its_own_task() {
    let pool = Pool::builder().workers(2).start().unwrap();
    let check = |outcomes: Vec<Result<Touchy<false>, TaskError>>| {
        let mut values: Vec<u64> = outcomes.iter().flatten().map(|value| value.0).collect();
        values.sort_unstable();
        assert_eq!(values, [0, 1, 2, 4, 5, 6, 7, 8, 9]);
        let error = outcomes.into_iter().find_map(Result::err).unwrap();
        assert!(error.to_string().contains("reading it panicked: decodes no three"), "{error}");
        assert_eq!(error.index(), Some(3));
    };
    check(pool.imap(Touchy::<false>, 0..10).collect());
    check(pool.imap_unordered(Touchy::<false>, 0..10).collect());
    check(pool.map(Touchy::<false>, 0..10).unwrap_err().into_outcomes());
    check(pool.map_async(Touchy::<false>, 0..10).unwrap().get().unwrap_err().into_outcomes());
    let (sender, receiver) = channel();
    let later = pool.map_async(Touchy::<false>, 0..10).unwrap();
    later.on_complete(move |result| drop(sender.send(result)));
    check(receiver.recv().unwrap().unwrap_err().into_outcomes());
    let message = |error: TaskError| error.to_string();
    let one = pool.apply(Touchy::<false>, (3,)).map_err(message);
    assert!(one.unwrap_err().contains("decodes no three"));
    let process = Process::spawn(Touchy::<false>, (3,)).unwrap().join().map_err(message);
    assert!(process.unwrap_err().contains("decodes no three"));
    let isolated = isolate(|| Touchy::<false>(3)).run().result.map_err(message);
    assert!(isolated.unwrap_err().contains("decodes no three"));
}

#[watertight::test]
fn a_map_whose_caller_panics_leaves_nothing_to_do() {
    let (gate, pool) = (Gate::new(), Pool::builder().workers(1).grace(Duration::ZERO).start().unwrap());
    let inputs = (0..).map(|x| if x == 0 { gate.path() } else { panic!("no more inputs") });
    let map = || pool.map(|gate: PathBuf| stop_at(&gate), inputs);
    assert!(catch_unwind(AssertUnwindSafe(map)).is_err());
    until(|| pool.stats().in_flight == 0 && pool.stats().queued == 0);
    let map = || pool.map(|x: Touchy<true>| x.0, (0..10).map(Touchy));
    assert!(catch_unwind(AssertUnwindSafe(map)).is_err());
    assert_eq!(pool.apply(square, (3,)).unwrap(), 9);
}

#[watertight::test]
fn outcomes_keep_the_order_of_the_inputs_or_come_as_they_are_done() {
    let (gate, pool) = (Gate::new(), Pool::new(2).unwrap());
    let inputs = || (0..10).map(|x| (x, (x == 0).then(|| gate.path())));
    let mut unordered =
        pool.imap_unordered(|(x, gate): (u64, Option<PathBuf>)| stop_and_return(gate, x), inputs());
    let first: Vec<u64> = unordered.by_ref().take(9).map(Result::unwrap).collect();
    assert!(!first.contains(&0), "{first:?}");
    drop(gate.wait_for_task());
    assert_eq!(unordered.next().unwrap().unwrap(), 0);
    assert!(unordered.next().is_none() && unordered.next().is_none());
    let mut ordered = pool.imap(|(x, gate): (u64, Option<PathBuf>)| stop_and_return(gate, x), inputs());
    assert!(ordered.next_timeout(Duration::from_millis(20)).is_err(), "the first is not done");
    drop(gate.wait_for_task());
    assert_eq!(ordered.map(Result::unwrap).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
}

#[watertight::test]
fn a_time_out_leaves_the_iterator_as_it_was() {
    let (gate, pool) = (Gate::new(), Pool::new(1).unwrap());
    let mut outcomes = pool.imap(|gate: PathBuf| stop_and_return(Some(gate), 7), [gate.path()]);
    for _ in 0..3 {
        assert!(outcomes.next_timeout(Duration::from_millis(5)).is_err());
    }
    drop(gate.wait_for_task());
    assert_eq!(outcomes.next_timeout(Duration::from_secs(60)).unwrap().unwrap().unwrap(), 7);
    assert!(outcomes.next_timeout(Duration::ZERO).unwrap().is_none());
}

#[watertight::test]
fn an_error_stands_at_its_place_and_the_iteration_goes_on() {
    let pool = Pool::new(2).unwrap();
    let kinds: Vec<String> = pool
        .imap(
            |x: u64| match x {
                3 => panic!("three"),
                5 => std::process::abort(),
                7 => std::process::exit(7),
                x => x,
            },
            0..10,
        )
        .map(|outcome| outcome.map_or_else(|error| error.word().to_owned(), |value| value.to_string()))
        .collect();
    assert_eq!(kinds, ["0", "1", "2", "panic", "4", "signal", "6", "exit", "8", "9"]);
}

#[watertight::test]
fn an_iterator_that_is_dropped_cancels_what_is_not_done() {
    let gate = Gate::new();
    let pool = Pool::builder().workers(1).grace(Duration::from_millis(10)).start().unwrap();
    let inputs = (0..).map(|x| (x, (x == 2).then(|| gate.path())));
    let mut outcomes = pool.imap(|(x, gate): (u64, Option<PathBuf>)| stop_and_return(gate, x), inputs);
    assert_eq!(outcomes.next().unwrap().unwrap(), 0);
    assert_eq!(outcomes.next().unwrap().unwrap(), 1);
    drop(outcomes);
    until(|| pool.stats().in_flight == 0 && pool.stats().queued == 0);
    assert_eq!(pool.apply(square, (3,)).unwrap(), 9);
}

#[watertight::test]
fn several_iterators_share_a_pool() {
    let pool = Pool::new(2).unwrap();
    let mut first = pool.imap(square, 0..1000);
    let mut second = pool.imap_unordered(square, 0..1000);
    let (mut sum_of_first, mut sum_of_second) = (0, 0);
    for _ in 0..1000 {
        sum_of_first += first.next().unwrap().unwrap();
        sum_of_second += second.next().unwrap().unwrap();
    }
    assert_eq!(sum_of_first, sum_of_second);
    assert!(first.next().is_none() && second.next().is_none());
}

#[watertight::test]
fn a_slow_input_does_not_hold_back_what_is_done() {
    let (tx, rx) = std::sync::mpsc::channel::<u64>();
    let pool = Pool::new(2).unwrap();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| pool.imap_unordered(square, rx).map(Result::unwrap).collect::<Vec<_>>());
        for x in 0..5 {
            tx.send(x).unwrap();
            // The task runs although the next input has not come.
            until(|| pool.stats().done == x + 1);
        }
        drop(tx);
        let mut squares = reader.join().unwrap();
        squares.sort_unstable();
        assert_eq!(squares, [0, 1, 4, 9, 16]);
    });
}

#[watertight::test]
fn an_iterator_whose_pool_has_ended_says_so_for_what_is_left() {
    let pool = Pool::builder().workers(1).buffer(2).start().unwrap();
    let mut outcomes = pool.imap(square, 0..20);
    assert_eq!(outcomes.next().unwrap().unwrap(), 0);
    pool.close();
    pool.join().unwrap();
    let rest: Vec<_> = outcomes.collect();
    assert_eq!(rest.len(), 19);
    let done = rest.iter().take_while(|outcome| outcome.is_ok()).count();
    assert!(rest[done..].iter().all(|outcome| outcome.as_ref().unwrap_err().is_terminated()), "{rest:?}");
}
