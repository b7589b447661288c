//! Pools, from the outside: the calls that wait.

mod common;

use std::collections::BTreeSet;
use std::path::PathBuf;

use common::{note, notes, stop_at, until};
use watertight::{Bytes, Pool, Signal, TaskErrorKind};

fn square(x: i64) -> i64 {
    x * x
}

/// Aborts on the inputs that it is told to.
fn abort_on(x: u32, bad: u32) -> u32 {
    if x == bad { std::process::abort() } else { x }
}

fn note_and_abort_on_55(path: PathBuf, x: u32) -> u32 {
    note(&path, &x.to_string());
    abort_on(x, 55)
}

#[watertight::test]
fn a_pool_maps_a_function_over_inputs_in_their_order() {
    let pool = Pool::new(4).unwrap();
    assert_eq!(pool.map(square, 1..=5).unwrap(), [1, 4, 9, 16, 25]);
    let expected: Vec<i64> = (0..10_000).map(square).collect();
    assert_eq!(pool.map(square, 0..10_000).unwrap(), expected);
}

#[watertight::test]
fn apply_gives_the_value_or_the_error() {
    let pool = Pool::new(2).unwrap();
    assert_eq!(pool.apply(square, (7,)).unwrap(), 49);
    let error = pool.apply(|| -> i32 { std::process::abort() }, ()).unwrap_err();
    assert_eq!(error.signal(), Some(Signal::SIGABRT));
    assert_eq!(pool.apply(square, (8,)).unwrap(), 64);
}

#[watertight::test]
fn empty_inputs_give_empty_results() {
    let pool = Pool::new(2).unwrap();
    let none = || Vec::<i64>::new();
    assert_eq!(pool.map(square, none()).unwrap(), none());
    assert!(pool.outcomes(square, none()).is_empty());
    assert_eq!(pool.starmap(square, Vec::<(i64,)>::new()).unwrap(), none());
    assert_eq!(pool.imap(square, none()).count(), 0);
    assert_eq!(pool.imap_unordered(square, none()).count(), 0);
    assert_eq!(pool.map_async(square, none()).unwrap().get().unwrap(), none());
    assert_eq!(pool.starmap_async(square, Vec::<(i64,)>::new()).unwrap().get().unwrap(), none());
    let handle = pool.map_async(square, none()).unwrap();
    assert_eq!((handle.ready(), handle.successful()), (true, Some(true)));
}

#[watertight::test]
fn more_workers_than_a_pool_may_have_are_an_error_that_says_so() {
    let pool = Pool::new(1).unwrap();
    for many in [4097, usize::MAX] {
        let too_many = [
            Pool::new(many).map(drop),
            Pool::threads(many).map(drop),
            Pool::builder().workers(1).spare_workers(many).start().map(drop),
            pool.resize(many),
        ];
        for error in too_many.map(Result::unwrap_err) {
            assert!(error.is_option() && error.to_string().contains("at most 4096"), "{error}");
        }
    }
    assert_eq!(pool.apply(|| 1, ()).unwrap(), 1);
}

#[watertight::test]
fn zero_of_anything_that_must_be_is_an_error_that_says_so() {
    let wrong = [
        Pool::builder().workers(0),
        Pool::builder().chunk_size(0),
        Pool::builder().max_tasks_per_worker(0),
        Pool::builder().attempts(0),
        Pool::builder().buffer(0),
        Pool::builder().max_pending(0),
    ];
    for builder in wrong {
        let error = builder.start().unwrap_err();
        assert!(error.is_option(), "{error}");
        assert!(error.to_string().contains("at least one"), "{error}");
    }
    assert!(Pool::new(0).unwrap_err().is_option());
    let pool = Pool::new(1).unwrap();
    assert!(pool.resize(0).unwrap_err().is_option());
    assert_eq!(pool.stats().workers, 1);
}

#[watertight::test]
fn a_function_takes_up_to_six_arguments_of_any_types() {
    let pool = Pool::new(2).unwrap();
    assert_eq!(pool.apply(|| 1, ()).unwrap(), 1);
    assert_eq!(pool.starmap(|a: i64, b: i64| a - b, [(5, 3), (3, 5)]).unwrap(), [2, -2]);
    let six = |a: u8, b: String, c: Vec<f32>, d: Option<char>, e: (bool, i128), f: [u16; 2]| {
        format!("{a} {b} {c:?} {d:?} {e:?} {f:?}")
    };
    let text = pool.apply(six, (1, "b".to_owned(), vec![0.5], Some('d'), (true, -1), [2, 3])).unwrap();
    assert_eq!(text, "1 b [0.5] Some('d') (true, -1) [2, 3]");
}

#[watertight::test]
fn map_runs_everything_and_its_error_keeps_the_values_of_the_others() {
    let pool = Pool::new(2).unwrap();
    let error = pool.map(|x: i64| 100 / x, [4, 0, 5, 0]).unwrap_err();
    assert_eq!((error.failed(), error.first().index()), (2, Some(1)));
    assert!(error.to_string().starts_with("2 of 4 tasks failed, the first: task 1 ("), "{error}");
    assert!(error.first().panic().unwrap().message.contains("divide by zero"));
    let values: Vec<Option<i64>> = error.into_outcomes().into_iter().map(Result::ok).collect();
    assert_eq!(values, [Some(25), None, Some(20), None]);
}

#[watertight::test]
fn a_crash_costs_exactly_one_task_and_every_other_one_runs_once() {
    let folder = tempfile::tempdir().unwrap();
    for chunk in [None, Some(1), Some(10), Some(1000)] {
        let path = folder.path().join(format!("{chunk:?}"));
        let builder = Pool::builder().workers(3);
        let builder = if let Some(chunk) = chunk { builder.chunk_size(chunk) } else { builder };
        let pool = builder.start().unwrap();
        let inputs = (0..200).map(|x| (path.clone(), x));
        let outcomes = pool.starmap(note_and_abort_on_55, inputs).unwrap_err().into_outcomes();
        for (index, outcome) in outcomes.iter().enumerate() {
            match outcome {
                Ok(value) => assert_eq!(*value, index as u32),
                Err(error) => {
                    assert_eq!((error.index(), error.signal()), (Some(55), Some(Signal::SIGABRT)), "{error}");
                }
            }
        }
        assert!(outcomes[55].is_err());
        let mut once: Vec<String> = (0..200).map(|x: u32| x.to_string()).collect();
        once.sort();
        assert_eq!(notes(&path), once, "chunks of {chunk:?}");
    }
}

#[watertight::test]
fn many_crashes_cost_as_many_tasks() {
    let pool = Pool::new(2).unwrap();
    let outcomes = pool.outcomes(|x: u32| if x % 7 == 3 { std::process::abort() } else { x }, 0..100);
    for (index, outcome) in outcomes.into_iter().enumerate() {
        assert_eq!(outcome.is_err(), index % 7 == 3, "{index}");
    }
    assert_eq!((pool.stats().done, pool.stats().failed), (86, 14));
}

#[watertight::test]
fn large_values_pass_in_both_directions() {
    let pool = Pool::new(2).unwrap();
    let bytes: Bytes = (0..20_000_000_u32).map(|i| i as u8).collect::<Vec<u8>>().into();
    let reversed = pool.apply(
        |bytes: Bytes| Bytes::from(bytes.iter().rev().copied().collect::<Vec<u8>>()),
        (bytes.clone(),),
    );
    assert!(reversed.unwrap().iter().rev().eq(bytes.iter()));
    let numbers: Vec<f64> = (0..1_000_000).map(f64::from).collect();
    let halves = pool.map(
        |numbers: Vec<f64>| numbers.iter().map(|x| x / 2.0).collect::<Vec<f64>>(),
        [numbers.clone(), numbers],
    );
    assert_eq!(halves.unwrap()[1][999_999], 499_999.5);
    let text = pool.apply(|count: usize| "ä".repeat(count), (3_000_000,)).unwrap();
    assert_eq!(text.len(), 6_000_000);
}

#[watertight::test]
fn one_pool_serves_many_threads() {
    let pool = Pool::new(2).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8_i64 {
            let pool = &pool;
            scope.spawn(move || {
                let inputs = thread * 1000..thread * 1000 + 300;
                let expected: Vec<i64> = inputs.clone().map(square).collect();
                assert_eq!(pool.map(square, inputs.clone()).unwrap(), expected);
                assert_eq!(pool.apply(square, (thread,)).unwrap(), thread * thread);
                let lazily: Vec<i64> = pool.imap(square, inputs).map(Result::unwrap).collect();
                assert_eq!(lazily, expected);
            });
        }
    });
    assert_eq!(pool.stats().done, 8 * 601);
}

#[watertight::test]
fn work_goes_to_all_workers_and_comes_back_from_a_slow_one() {
    let gate = common::Gate::new();
    let pool = Pool::new(2).unwrap();
    let inputs = (0..200).map(|x| if x == 0 { Some(gate.path()) } else { None });
    let later = pool.map_async(
        |gate: Option<PathBuf>| {
            gate.map_or_else(std::process::id, |gate| {
                stop_at(&gate);
                std::process::id()
            })
        },
        inputs,
    );
    let later = later.unwrap();
    let held = gate.wait_for_task();
    // The first task does not end, and yet all others do.
    until(|| pool.stats().done == 199);
    assert!(!later.ready());
    drop(held);
    let pids = later.get().unwrap();
    assert_eq!(pids.iter().collect::<BTreeSet<_>>().len(), 2);
    assert!(pids[1..].iter().filter(|pid| **pid != pids[0]).count() > 190);
}

#[watertight::test]
fn inputs_may_come_from_the_same_pool() {
    let pool = Pool::new(2).unwrap();
    let squares = pool.imap(square, 0..50).map(Result::unwrap);
    let fourth: Vec<i64> = pool.imap(square, squares).map(Result::unwrap).collect();
    assert_eq!(fourth, (0..50).map(|x: i64| x.pow(4)).collect::<Vec<_>>());
    let inputs = (0..20).map(|x| pool.apply(square, (x,)).unwrap());
    assert_eq!(pool.map(square, inputs).unwrap()[19], 19_i64.pow(4));
}

#[watertight::test]
fn an_input_that_panics_costs_its_own_call_only() {
    let pool = Pool::new(2).unwrap();
    for round in 0..3 {
        let inputs = (0..100).map(|x: i64| if x == 50 { panic!("no input {round}") } else { x });
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pool.map(square, inputs)));
        assert!(caught.is_err());
        let inputs = (0..100).map(|x: i64| if x == 50 { panic!("no input {round}") } else { x });
        let mut lazily = pool.imap(square, inputs);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| lazily.by_ref().count()));
        assert!(caught.is_err());
    }
    assert_eq!(pool.map(square, 1..=3).unwrap(), [1, 4, 9]);
    pool.close();
    pool.join().unwrap();
}

#[watertight::test]
fn arguments_that_cannot_be_encoded_cost_their_task_only() {
    #[derive(Clone, serde::Deserialize)]
    struct Picky(i32);
    impl serde::Serialize for Picky {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self.0 {
                13 => Err(serde::ser::Error::custom("not thirteen")),
                other => other.serialize(serializer),
            }
        }
    }
    let pool = Pool::new(2).unwrap();
    let outcomes = pool.outcomes(|picky: Picky| picky.0, (0..20).map(Picky));
    for (index, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Ok(value) => assert_eq!(*value, index as i32),
            Err(error) => {
                assert!(matches!(error.kind(), TaskErrorKind::Encoding { .. }));
                assert!(error.to_string().contains("cannot encode the arguments: not thirteen"), "{error}");
            }
        }
    }
    assert!(outcomes[13].is_err() && outcomes.iter().filter(|outcome| outcome.is_err()).count() == 1);
    assert_eq!(outcomes[13].as_ref().unwrap_err().index(), Some(13));
}
