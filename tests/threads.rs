//! The pool over threads: the same front, and what differs.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Gate, stop_at, until};
use watertight::{Absent, Bytes, Output, Pool, Shared, StartMethod, Value, task, worker};

fn square(x: i64) -> i64 {
    x * x
}

fn at_gate(gate: PathBuf) -> u8 {
    stop_at(&gate);
    7
}

#[watertight::test]
fn every_form_of_call_gives_what_processes_give() {
    let [threads, processes] = [Pool::threads(3).unwrap(), Pool::new(3).unwrap()];
    let all = |pool: &Pool| {
        let doubled = pool.starmap(|a: i64, b: i64| a * b, (0..500).map(|x| (x, 2))).unwrap();
        let lazily: Vec<i64> = pool.imap(square, 0..500).map(Result::unwrap).collect();
        let mut unordered: Vec<i64> = pool.imap_unordered(square, 0..500).map(Result::unwrap).collect();
        unordered.sort_unstable();
        let later = pool.apply_async(square, (9,)).unwrap().get().unwrap();
        let mapped = pool.map_async(square, 0..100).unwrap().get().unwrap();
        let now = pool.apply(square, (12,)).unwrap();
        (pool.map(square, 0..10_000).unwrap(), doubled, lazily, unordered, later, mapped, now)
    };
    assert_eq!(all(&threads), all(&processes));
    threads.close();
    threads.join().unwrap();
    assert!(threads.apply(square, (1,)).unwrap_err().is_closed());
}

#[watertight::test]
fn tasks_run_in_threads_of_this_process() {
    let pool = Pool::threads(2).unwrap();
    let places =
        pool.map(|_: u32| (std::process::id(), std::thread::current().name().unwrap().to_owned()), 0..50);
    for (pid, name) in places.unwrap() {
        assert_eq!(pid, std::process::id());
        assert!(["pool-1", "pool-2"].contains(&&*name), "{name}");
    }
    assert!(pool.pids().is_empty());
}

#[watertight::test]
fn a_panic_costs_its_task_alone() {
    let pool = Pool::threads(2).unwrap();
    let outcomes = pool.outcomes(|x: i64| if x == 5 { panic!("five") } else { x }, 0..10);
    for (index, outcome) in outcomes.into_iter().enumerate() {
        match (index, outcome) {
            (5, Err(error)) => {
                assert!(error.is_panic() && error.to_string().contains("five"), "{error}");
                assert_eq!((error.pid(), error.index()), (None, Some(5)));
            }
            (index, outcome) => assert_eq!(outcome.unwrap(), index as i64),
        }
    }
    let stats = pool.stats();
    assert_eq!((stats.done, stats.failed, stats.crashed, stats.restarted), (9, 1, 0, 0));
}

#[watertight::test]
fn large_and_shared_values_come_through() {
    let pool = Pool::threads(2).unwrap();
    let bytes = Bytes::from(vec![3; 3_000_000]);
    assert_eq!(pool.apply(|bytes: Bytes| bytes, (bytes.clone(),)).unwrap(), bytes);
    assert_eq!(pool.apply(|text: String| text.len(), ("x".repeat(3_000_000),)).unwrap(), 3_000_000);
    for round in 0..5_u64 {
        let table = Shared::new(vec![round; 100]);
        let task = |table: Shared<Vec<u64>>, index: usize| table[index];
        let sums = pool.starmap(task, (0..100).map(|index| (table.clone(), index))).unwrap();
        assert_eq!(sums.iter().sum::<u64>(), 100 * round);
    }
    let counter = Value::new(0_i64).unwrap();
    let add = |counter: Value<i64>| *counter.lock().unwrap() += 1;
    pool.map(add, (0..100).map(|_| counter.clone())).unwrap();
    assert_eq!(counter.get().unwrap(), 100);
    let made = pool.apply(|x: i64| Value::new(x).unwrap(), (5,)).unwrap();
    drop(pool);
    assert_eq!(made.get().unwrap(), 5);
}

#[watertight::test]
fn a_pool_ends_while_a_large_argument_is_on_its_way() {
    for round in 0..10 {
        let pool = Pool::threads(1).unwrap();
        let bytes = Bytes::from(vec![1; 64 << 20]);
        let later = pool.apply_async(|bytes: Bytes| bytes.len(), (bytes,)).unwrap();
        pool.terminate();
        assert!(pool.join_timeout(Duration::from_secs(50)).unwrap(), "round {round}");
        assert!(later.get().is_err_and(|error| error.is_terminated()));
    }
}

#[watertight::test]
fn each_worker_has_a_state_of_its_own() {
    fn number() -> AtomicU32 {
        static NEXT: AtomicU32 = AtomicU32::new(100);
        AtomicU32::new(NEXT.fetch_add(100, Ordering::Relaxed))
    }
    let pool = Pool::builder().workers(2).threads().initializer(number, ()).start().unwrap();
    let gates = [Gate::new(), Gate::new()];
    let own = |gate: PathBuf| {
        stop_at(&gate);
        worker::state::<AtomicU32>().unwrap().fetch_add(1, Ordering::Relaxed)
    };
    let pending = gates.each_ref().map(|gate| pool.apply_async(own, (gate.path(),)).unwrap());
    // Both run at the same time, so they run on two workers.
    drop(gates.each_ref().map(Gate::wait_for_task));
    let seen: HashSet<u32> = pending.into_iter().map(|later| later.get().unwrap()).collect();
    assert_eq!(seen, HashSet::from([100, 200]));
    assert!(worker::state::<AtomicU32>().is_none());
    let failing =
        Pool::builder().workers(1).threads().initializer(|| panic!("no model"), ()).start().unwrap();
    assert!(failing.apply(square, (1,)).unwrap_err().to_string().contains("no model"));
}

#[watertight::test]
fn a_running_task_is_asked_to_stop_and_says_how_far_it_is() {
    let pool = Pool::threads(1).unwrap();
    let task = || {
        task::progress(3, 10);
        while task::sleep(Duration::from_secs(3600)) {}
        assert!(task::cancelled());
    };
    let later = pool.apply_async(task, ()).unwrap();
    until(|| later.progress().is_some_and(|progress| (progress.done, progress.total) == (3, 10)));
    assert!(!task::cancelled());
    later.cancel();
    assert!(later.get().unwrap_err().is_cancelled());
    assert_eq!(pool.apply(square, (3,)).unwrap(), 9);
}

#[watertight::test]
fn a_cancelled_task_that_does_not_stop_is_waited_for() {
    let pool = Pool::builder().workers(1).threads().grace(Duration::ZERO).start().unwrap();
    let gate = Gate::new();
    let later = pool.apply_async(at_gate, (gate.path(),)).unwrap();
    let held = gate.wait_for_task();
    later.cancel();
    let later = later.get_timeout(Duration::from_millis(20)).unwrap_err().into_inner();
    drop(held);
    // Its value counts if it was there before anybody gave it up.
    assert!(later.get().map_or_else(|error| error.is_cancelled(), |value| value == 7));
    assert_eq!(pool.map(square, 0..10).unwrap().len(), 10);
}

#[watertight::test]
fn what_has_not_begun_is_cancelled() {
    let (pool, gate) = (Pool::threads(1).unwrap(), Gate::new());
    let first = pool.apply_async(at_gate, (gate.path(),)).unwrap();
    let held = gate.wait_for_task();
    let second = pool.apply_async(square, (2,)).unwrap();
    second.cancel();
    assert!(second.get().unwrap_err().is_cancelled());
    drop(held);
    assert_eq!(first.get().unwrap(), 7);
}

#[watertight::test]
fn terminate_ends_all_tasks_and_waits_for_what_runs() {
    static STOPPED: AtomicBool = AtomicBool::new(false);
    let (pool, gate) = (Pool::threads(1).unwrap(), Gate::new());
    let stubborn = |gate: PathBuf| {
        task::progress(1, 2);
        while task::sleep(Duration::from_secs(3600)) {}
        STOPPED.store(task::cancelled(), Ordering::SeqCst);
        stop_at(&gate);
    };
    let running = pool.apply_async(stubborn, (gate.path(),)).unwrap();
    until(|| running.progress().is_some_and(|progress| progress.done == 1));
    let queued = pool.map_async(|_: u32| unreachable!("it was never to begin"), 0..100).unwrap();
    pool.terminate();
    assert!(running.get().unwrap_err().is_terminated());
    let outcomes: Vec<Result<(), _>> = queued.get().unwrap_err().into_outcomes();
    assert!(outcomes.into_iter().all(|outcome| outcome.unwrap_err().is_terminated()));
    let held = gate.wait_for_task();
    assert!(!pool.join_timeout(Duration::from_millis(10)).unwrap());
    drop(held);
    pool.join().unwrap();
    assert!(STOPPED.load(Ordering::SeqCst));
}

#[watertight::test]
fn threads_come_and_go_by_resize_and_by_share() {
    let pool = Pool::builder().workers(1).threads().max_tasks_per_worker(10).start().unwrap();
    let names = |count: u32| {
        let ids = pool.map(|_: u32| format!("{:?}", std::thread::current().id()), 0..count).unwrap();
        ids.into_iter().collect::<HashSet<String>>().len()
    };
    assert_eq!(names(100), 10);
    pool.resize(4).unwrap();
    assert_eq!(pool.map(square, 0..1000).unwrap().len(), 1000);
    pool.resize(1).unwrap();
    assert_eq!(pool.map(square, 0..1000).unwrap().len(), 1000);
    assert_eq!(pool.stats().workers, 1);
}

#[watertight::test]
fn callbacks_are_called() {
    let pool = Pool::threads(2).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    for x in 0..10 {
        let seen = Arc::clone(&seen);
        let later = pool.apply_async(square, (x,)).unwrap();
        later.on_complete(move |outcome| seen.lock().unwrap().push(outcome.unwrap()));
    }
    pool.close();
    pool.join().unwrap();
    let mut seen = std::mem::take(&mut *seen.lock().unwrap());
    seen.sort_unstable();
    assert_eq!(seen, (0..10).map(square).collect::<Vec<i64>>());
}

#[watertight::test]
fn what_only_processes_have_is_refused() {
    let threads = || Pool::builder().workers(1).threads();
    let refused = [
        (threads().timeout(Duration::from_secs(1)), "a time-out"),
        (threads().memory_limit(1 << 30), "a memory limit"),
        (threads().cpu_limit(Duration::from_secs(1)), "processor time"),
        (threads().worker("/bin/true"), "another executable"),
        (threads().env("A", "b"), "an environment"),
        (threads().env_clear(), "an environment"),
        (threads().current_dir("/"), "a folder"),
        (threads().stderr(Output::Null), "an output"),
        (threads().start_method(StartMethod::Exec), "a start method"),
    ];
    for (builder, what) in refused {
        let error = builder.start().unwrap_err().to_string();
        assert!(error.contains("a pool of threads") && error.contains(what), "{error}");
    }
    assert!(Pool::threads(0).is_err());
    assert_eq!(Absent::IsThread.to_string(), "the worker is a thread");
}

#[watertight::test]
fn pools_stand_inside_each_other() {
    let inner = |x: i64| Pool::threads(2).unwrap().map(square, 0..x).unwrap().into_iter().sum::<i64>();
    let processes = Pool::new(1).unwrap();
    assert_eq!(processes.apply(inner, (10,)).unwrap(), 285);
    let threads = Pool::threads(1).unwrap();
    let outer = |x: i64| Pool::new(1).unwrap().apply(square, (x,)).unwrap();
    assert_eq!(threads.apply(outer, (7,)).unwrap(), 49);
}
