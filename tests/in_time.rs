//! Calls that wait no longer than the caller likes.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::path::PathBuf;
use std::time::Duration;

use common::{Gate, note, notes, stop_at};
use nix::sys::signal::{Signal, raise};
use watertight::{Absent, Pool, TaskError, task};

const MOMENT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(3600);

#[watertight::task]
fn square(x: i64) -> i64 {
    x * x
}

#[watertight::task]
fn sleep(hours: u64) -> u64 {
    std::thread::sleep(LONG * hours as u32);
    hours
}

fn stopped() {
    raise(Signal::SIGSTOP).unwrap();
}

fn until_cancelled(gate: PathBuf, begun: PathBuf) {
    note(&begun, "begun");
    while !task::cancelled() {
        std::thread::yield_now();
    }
    stop_at(&gate);
}

/// A pool whose tasks are killed at once when they are cancelled.
fn strict(workers: usize) -> Pool {
    Pool::builder().workers(workers).grace(Duration::ZERO).start().unwrap()
}

fn out_of_time(error: &TaskError) {
    assert!(error.is_timeout(), "{error}");
    assert_eq!((error.pid(), error.attempt(), error.elapsed()), (None, (0, 0), None));
    assert_eq!((error.usage(), error.stderr()), (Err(Absent::NotAwaited), Err(Absent::NotAwaited)));
}

#[watertight::test]
fn a_call_that_ends_in_time_is_as_one_without_a_timeout() {
    let pool = strict(2);
    assert_eq!(pool.apply_timeout(square, (9,), LONG).unwrap(), 81);
    assert_eq!(pool.call_timeout::<i64, _>("square", (9_i64,), LONG).unwrap(), 81);
    assert_eq!(pool.map_timeout(square, 0..1000, LONG).unwrap(), pool.map(square, 0..1000).unwrap());
    let differences = pool.starmap_timeout(|a: i64, b: i64| a - b, [(5, 3), (3, 5)], LONG).unwrap();
    assert_eq!(differences, [2, -2]);
    let outcomes = pool.outcomes_timeout(|x: i64| 10 / x, [5, 0, 2], Duration::MAX);
    assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert!(outcomes[1].as_ref().unwrap_err().is_panic());
}

#[watertight::test]
fn what_is_done_in_time_is_kept() {
    let pool = strict(2);
    let mut timeout = MOMENT;
    // A busy machine may need longer for the first task.
    let outcomes = loop {
        let outcomes = pool.outcomes_timeout(sleep, [0, 1, 0, 1], timeout);
        if outcomes[0].is_ok() {
            break outcomes;
        }
        timeout *= 2;
    };
    assert!(outcomes.iter().any(Result::is_err) && outcomes.len() <= 4);
    for (index, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Ok(hours) => assert_eq!((*hours, index % 2), (0, 0)),
            Err(error) => {
                out_of_time(error);
                assert_eq!(error.index(), Some(index as u64));
            }
        }
    }
    let error = pool.map_timeout(sleep, [1, 1], MOMENT).unwrap_err();
    assert_eq!((error.failed(), error.first().index()), (error.outcomes().len(), Some(0)));
    out_of_time(pool.starmap_timeout(sleep, [(1,), (1,)], MOMENT).unwrap_err().first());
}

#[watertight::test]
fn a_stopped_worker_holds_up_no_call_with_a_timeout_and_is_replaced() {
    let pool = strict(1);
    for _ in 0..3 {
        out_of_time(&pool.apply_timeout(stopped, (), MOMENT).unwrap_err());
        assert_eq!(pool.apply(square, (3,)).unwrap(), 9);
    }
    out_of_time(&pool.call_timeout::<u64, _>("sleep", (1_u64,), MOMENT).unwrap_err());
    assert_eq!(pool.apply(square, (4,)).unwrap(), 16);
}

#[watertight::test]
fn endless_inputs_are_pulled_no_longer_than_the_timeout() {
    let pool = strict(2);
    let outcomes = pool.outcomes_timeout(square, 0.., 5 * MOMENT);
    let (last, others) = outcomes.split_last().unwrap();
    out_of_time(last.as_ref().unwrap_err());
    for (index, outcome) in others.iter().enumerate() {
        match outcome {
            Ok(value) => assert_eq!(*value, (index * index) as i64),
            Err(error) => out_of_time(error),
        }
    }
    assert_eq!(pool.map(square, 0..10).unwrap()[9], 81);
}

#[watertight::test]
fn no_time_at_all_is_an_error_and_no_hang() {
    let pool = strict(1);
    out_of_time(&pool.apply_timeout(sleep, (1,), Duration::ZERO).unwrap_err());
    assert!(pool.map_timeout(sleep, [1, 1, 1], Duration::ZERO).unwrap_err().first().is_timeout());
    assert_eq!(pool.map_timeout(square, [], Duration::ZERO).unwrap(), [0_i64; 0]);
}

/// Has the pool's one worker run a task whose caller does not wait for it, until the task has seen that.
fn leave_a_task_alone(pool: &Pool) {
    let (gate, folder) = (Gate::new(), tempfile::tempdir().unwrap());
    let begun = folder.path().join("begun");
    // One that had not begun in time never does.
    while notes(&begun).is_empty() {
        let error = pool.apply_timeout(until_cancelled, (gate.path(), begun.clone()), MOMENT).unwrap_err();
        out_of_time(&error);
    }
    drop(gate.wait_for_task());
    assert_eq!(pool.apply(square, (5,)).unwrap(), 25);
}

#[watertight::test]
fn a_task_whose_caller_has_gone_is_asked_to_stop() {
    leave_a_task_alone(&Pool::builder().workers(1).grace(LONG).start().unwrap());
}

#[watertight::test]
fn a_thread_that_takes_its_time_holds_up_no_call_with_a_timeout() {
    leave_a_task_alone(&Pool::threads(1).unwrap());
}

#[watertight::test]
fn a_closed_pool_refuses_a_call_with_a_timeout() {
    let pool = strict(1);
    pool.close();
    assert!(pool.apply_timeout(square, (1,), LONG).unwrap_err().is_closed());
    assert!(pool.map_timeout(square, 0..5, LONG).unwrap_err().first().is_closed());
    assert!(pool.outcomes_timeout(square, 0..5, LONG)[0].as_ref().unwrap_err().is_closed());
}
