//! What was submitted and is not done: handles, callbacks, futures.

mod common;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use common::{Gate, note, notes, stop_at, until};
use watertight::{AsyncResult, Pool, task};

const MOMENT: Duration = Duration::from_millis(20);

fn square(x: i64) -> i64 {
    x * x
}

fn stop_and_return(gate: PathBuf, x: i64) -> i64 {
    stop_at(&gate);
    x
}

/// Runs until it is cancelled, and says so.
fn patient(gate: PathBuf) -> &'static str {
    stop_at(&gate);
    while !task::cancelled() {
        std::thread::yield_now();
    }
    "stopped by itself"
}

fn patient_text(gate: PathBuf) -> String {
    patient(gate).to_owned()
}

#[watertight::test]
fn a_handle_is_ready_when_the_value_has_come() {
    let (gate, pool) = (Gate::new(), Pool::new(1).unwrap());
    let later = pool.apply_async(stop_and_return, (gate.path(), 7)).unwrap();
    let held = gate.wait_for_task();
    assert_eq!((later.ready(), later.successful(), later.wait(MOMENT)), (false, None, false));
    // A time-out gives the handle back and cancels nothing.
    let later = later.get_timeout(MOMENT).unwrap_err().into_inner();
    let later = later.get_timeout(Duration::ZERO).unwrap_err().into_inner();
    drop(held);
    assert!(later.wait(Duration::from_secs(60)));
    assert_eq!((later.ready(), later.successful()), (true, Some(true)));
    assert_eq!(later.get_timeout(Duration::ZERO).unwrap().unwrap(), 7);
}

#[watertight::test]
fn a_handle_on_a_failure_is_ready_and_not_successful() {
    let pool = Pool::new(1).unwrap();
    let later = pool.apply_async(|| -> i64 { panic!("no") }, ()).unwrap();
    assert!(later.wait(Duration::from_secs(60)));
    assert_eq!((later.ready(), later.successful()), (true, Some(false)));
    assert!(later.get().unwrap_err().is_panic());
    let many = pool.map_async(|x: i64| 1 / x, [1, 0]).unwrap();
    assert!(many.wait(Duration::from_secs(60)));
    assert_eq!(many.successful(), Some(false));
    assert_eq!(many.get().unwrap_err().first().index(), Some(1));
}

#[watertight::test]
fn many_at_once_come_in_the_order_of_their_inputs() {
    let pool = Pool::new(2).unwrap();
    let squares = pool.map_async(square, 0..1000).unwrap();
    let differences = pool.starmap_async(|a: i64, b: i64| a - b, (0..1000).map(|x| (x, 1))).unwrap();
    assert_eq!(differences.get().unwrap()[999], 998);
    assert_eq!(squares.get().unwrap()[999], 998_001);
}

#[watertight::test]
fn a_queued_task_that_is_cancelled_never_runs() {
    let (gate, folder) = (Gate::new(), tempfile::tempdir().unwrap());
    let path = folder.path().join("ran");
    let pool = Pool::new(1).unwrap();
    let first = pool.apply_async(stop_and_return, (gate.path(), 1)).unwrap();
    let held = gate.wait_for_task();
    let queued = pool.apply_async(|path: PathBuf| note(&path, "ran"), (path.clone(),)).unwrap();
    queued.cancel();
    // It ends although the worker is busy.
    let error = queued.get().unwrap_err();
    assert!(error.is_cancelled(), "{error}");
    drop(held);
    assert_eq!(first.get().unwrap(), 1);
    assert_eq!(pool.apply(square, (3,)).unwrap(), 9);
    assert!(notes(&path).is_empty());
    assert_eq!(pool.stats().crashed, 0);
}

#[watertight::test]
fn a_running_task_that_is_cancelled_may_stop_by_itself() {
    let gate = Gate::new();
    let pool = Pool::builder().workers(1).grace(Duration::from_secs(3600)).start().unwrap();
    let pid = pool.apply(std::process::id, ()).unwrap();
    let later = pool.apply_async(patient_text, (gate.path(),)).unwrap();
    drop(gate.wait_for_task());
    later.cancel();
    assert!(later.get().unwrap_err().is_cancelled());
    assert_eq!(pool.apply(std::process::id, ()).unwrap(), pid, "the worker lives on");
    assert!(!pool.apply(task::cancelled, ()).unwrap(), "the next task is not cancelled");
}

#[watertight::test]
fn a_running_task_that_does_not_stop_is_killed_and_its_worker_replaced() {
    let gate = Gate::new();
    let pool = Pool::builder().workers(1).grace(MOMENT).start().unwrap();
    let pid = pool.apply(std::process::id, ()).unwrap();
    let later = pool.apply_async(stop_and_return, (gate.path(), 1)).unwrap();
    let _held = gate.wait_for_task();
    later.cancel();
    let error = later.get().unwrap_err();
    assert!(error.is_cancelled(), "{error}");
    assert_eq!(error.pid(), Some(pid));
    assert_ne!(pool.apply(std::process::id, ()).unwrap(), pid);
}

#[watertight::test]
fn cancelling_many_keeps_what_is_done() {
    let gate = Gate::new();
    let pool = Pool::builder().workers(1).grace(MOMENT).start().unwrap();
    let inputs = (0..100).map(|x| (x, (x == 10).then(|| gate.path())));
    let later = pool.starmap_async(
        |x: i64, gate: Option<PathBuf>| gate.map_or(x, |gate| stop_and_return(gate, x)),
        inputs,
    );
    let later = later.unwrap();
    let _held = gate.wait_for_task();
    later.cancel();
    let error = later.get().unwrap_err();
    let outcomes = error.into_outcomes();
    assert!(outcomes[..10].iter().enumerate().all(|(x, outcome)| *outcome == Ok(x as i64)));
    assert!(outcomes[10..].iter().all(|outcome| outcome.as_ref().unwrap_err().is_cancelled()));
    assert_eq!(outcomes.len(), 100);
}

#[watertight::test]
fn what_is_done_is_told_although_every_worker_is_in_a_long_task_now() {
    let gates: Vec<Gate> = (0..3).map(|_| Gate::new()).collect();
    let pool = Pool::builder().workers(2).chunk_size(1000).start().unwrap();
    let long = pool.apply_async(|gate: PathBuf| stop_at(&gate), (gates[0].path(),)).unwrap();
    let held = gates[0].wait_for_task();
    let at = |gate: usize| Some(gates[gate].path());
    let inputs = (0..4000).map(|x| match x {
        0 => at(1),
        100 => at(2),
        _ => None,
    });
    let many = pool.map_async(|gate: Option<PathBuf>| gate.map(|gate| stop_at(&gate)), inputs).unwrap();
    let first = gates[1].wait_for_task();
    // So long that nobody looks for a while what it does.
    std::thread::sleep(MOMENT);
    drop(first);
    let second = gates[2].wait_for_task();
    until(|| pool.stats().done == 100);
    drop((held, second));
    long.get().unwrap();
    many.get().unwrap();
}

#[watertight::test]
fn cancelling_what_is_done_changes_nothing() {
    let pool = Pool::new(1).unwrap();
    let later = pool.apply_async(square, (5,)).unwrap();
    assert!(later.wait(Duration::from_secs(60)));
    later.cancel();
    assert_eq!(later.get().unwrap(), 25);
}

#[watertight::test]
fn progress_is_what_the_running_task_said_last() {
    fn work(gate: PathBuf) {
        task::progress(3, 10);
        stop_at(&gate);
        task::progress(10, 10);
        stop_at(&gate);
    }
    let (gate, pool) = (Gate::new(), Pool::new(1).unwrap());
    let later = pool.apply_async(work, (gate.path(),)).unwrap();
    drop(gate.wait_for_task());
    until(|| later.progress().is_some_and(|progress| (progress.done, progress.total) == (10, 10)));
    let _all = gate.open();
    later.get().unwrap();
}

#[watertight::test]
fn a_callback_gets_the_outcome_whenever_it_is_registered() {
    let (tx, rx) = channel();
    let pool = Pool::new(2).unwrap();
    let sender = tx.clone();
    pool.apply_async(square, (6,)).unwrap().on_complete(move |outcome| sender.send(outcome).unwrap());
    assert_eq!(rx.recv().unwrap(), Ok(36));
    let done = pool.apply_async(|| -> i64 { panic!("no") }, ()).unwrap();
    assert!(done.wait(Duration::from_secs(60)));
    done.on_complete(move |outcome| tx.send(outcome).unwrap());
    assert!(rx.recv().unwrap().unwrap_err().is_panic());
    let (tx, rx) = channel();
    pool.map_async(square, 0..10).unwrap().on_complete(move |outcome| tx.send(outcome.unwrap()).unwrap());
    assert_eq!(rx.recv().unwrap()[9], 81);
}

/// Panics once more when what was thrown is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("in a destructor");
    }
}

#[watertight::test]
fn a_callback_that_panics_stops_nothing() {
    let (tx, rx) = channel();
    let pool = Pool::new(1).unwrap();
    for round in 0..3 {
        pool.apply_async(square, (round,)).unwrap().on_complete(|_| panic!("in a callback"));
        pool.apply_async(square, (round,)).unwrap().on_complete(|_| std::panic::panic_any(Bomb));
        let tx = tx.clone();
        pool.apply_async(square, (round,)).unwrap().on_complete(move |outcome| tx.send(outcome).unwrap());
        assert_eq!(rx.recv().unwrap(), Ok(round * round));
    }
}

#[watertight::test]
fn a_callback_is_called_even_if_the_value_was_awaited_before() {
    let pool = Pool::new(1).unwrap();
    let mut later = pool.apply_async(square, (3,)).unwrap();
    assert!(later.wait(Duration::from_secs(60)));
    let mut context = Context::from_waker(Waker::noop());
    assert_eq!(Pin::new(&mut later).poll(&mut context), Poll::Ready(Ok(9)));
    let (tx, rx) = channel();
    // It submits, for which the pool's lock must be free.
    let (pool, again) = (Arc::new(pool), Arc::new(Mutex::new(None)));
    let (submitting, kept) = (Arc::clone(&pool), Arc::clone(&again));
    later.on_complete(move |outcome: Result<i64, _>| {
        *kept.lock().unwrap() = Some(submitting.apply(square, (4,)));
        tx.send(outcome).unwrap();
    });
    assert!(rx.recv().unwrap().is_err(), "there is one value");
    assert_eq!(again.lock().unwrap().take(), Some(Ok(16)));
}

#[watertight::test]
fn a_callback_may_submit_and_wait() {
    /// Each callback submits the next task.
    fn count_up(pool: Arc<Pool>, x: i64, done: std::sync::mpsc::Sender<(Arc<Pool>, i64)>) {
        let next = Arc::clone(&pool);
        pool.apply_async(|x: i64| x + 1, (x,)).unwrap().on_complete(move |outcome| match outcome.unwrap() {
            50 => {
                let waited = next.apply(square, (50,)).unwrap();
                done.send((next, waited)).unwrap();
            }
            x => count_up(next, x, done),
        });
    }
    let (tx, rx) = channel();
    let pool = Arc::new(Pool::new(2).unwrap());
    for _ in 0..3 {
        count_up(Arc::clone(&pool), 0, tx.clone());
    }
    for _ in 0..3 {
        assert_eq!(rx.recv().unwrap().1, 2500);
    }
}

#[watertight::test]
fn a_map_that_is_terminated_among_its_inputs_is_no_success() {
    let pool = Pool::builder().workers(1).max_pending(1).start().unwrap();
    // All inputs that were pulled are answered when the pool ends, and there are more.
    let inputs = (0..1_000_000_i64).inspect(|x| {
        if *x == 10_000 {
            pool.terminate();
        }
    });
    let error = pool.map(square, inputs).unwrap_err();
    assert!(error.outcomes().len() > 10_000 && error.first().is_terminated());
}

#[watertight::test(leftovers = "allow")]
fn a_callback_may_drop_the_last_handle_of_its_pool() {
    let (tx, rx) = channel();
    let pool = Pool::new(1).unwrap();
    let pid = pool.apply(std::process::id, ()).unwrap();
    let slot = Arc::new(Mutex::new(None));
    let later = pool.apply_async(square, (4,)).unwrap();
    *slot.lock().unwrap() = Some(pool);
    later.on_complete(move |outcome| {
        drop(slot.lock().unwrap().take());
        tx.send(outcome).unwrap();
    });
    assert_eq!(rx.recv().unwrap(), Ok(16));
    until(|| !common::runs(pid));
}

#[watertight::test]
fn a_callback_that_joins_its_pool_is_told_that_it_cannot() {
    let (tx, rx) = channel();
    let pool = Arc::new(Pool::new(1).unwrap());
    let own = Arc::clone(&pool);
    pool.apply_async(square, (4,)).unwrap().on_complete(move |_| {
        own.close();
        tx.send((own.join().is_err(), own.join_timeout(Duration::from_secs(60)).is_err())).unwrap();
    });
    assert_eq!(rx.recv().unwrap(), (true, true));
    pool.join().unwrap();
    let other = Pool::new(1).unwrap();
    let (tx, rx) = channel();
    let later = other.apply_async(square, (5,)).unwrap();
    later.on_complete(move |_| tx.send(pool.join().is_ok()).unwrap());
    assert!(rx.recv().unwrap(), "another one can be waited for");
}

#[watertight::test]
fn a_callback_hears_of_the_end_of_its_pool() {
    let (tx, rx) = channel();
    let (gate, pool) = (Gate::new(), Pool::new(1).unwrap());
    let later = pool.apply_async(stop_and_return, (gate.path(), 1)).unwrap();
    let _held = gate.wait_for_task();
    let sender = tx.clone();
    later.on_complete(move |outcome| sender.send(outcome).unwrap());
    let late = pool.apply_async(square, (2,)).unwrap();
    drop(pool);
    assert!(rx.recv().unwrap().unwrap_err().is_terminated());
    late.on_complete(move |outcome| tx.send(outcome).unwrap());
    assert!(rx.recv().unwrap().unwrap_err().is_terminated());
}

#[watertight::test]
fn a_handle_that_is_dropped_lets_its_task_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ran");
    let pool = Pool::new(1).unwrap();
    drop(pool.apply_async(|path: PathBuf| note(&path, "ran"), (path.clone(),)).unwrap());
    pool.close();
    pool.join().unwrap();
    assert_eq!(notes(&path), ["ran"]);
}

#[watertight::test]
fn a_handle_outlives_its_pool() {
    let pool = Pool::new(1).unwrap();
    let done = pool.apply_async(square, (9,)).unwrap();
    assert!(done.wait(Duration::from_secs(60)));
    let gate = Gate::new();
    let running = pool.apply_async(stop_and_return, (gate.path(), 1)).unwrap();
    let _held = gate.wait_for_task();
    drop(pool);
    assert_eq!(done.get().unwrap(), 81);
    assert!(running.ready());
    assert!(running.get().unwrap_err().is_terminated());
}

#[watertight::test]
fn handles_are_futures_under_tokio() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let pool = Pool::new(2).unwrap();
    let gate = Gate::new();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..20).map(|x| tokio::spawn(pool.apply_async(square, (x,)).unwrap())).collect();
        for (x, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.await.unwrap().unwrap(), (x * x) as i64);
        }
        assert!(pool.apply_async(|| -> i64 { panic!("no") }, ()).unwrap().await.unwrap_err().is_panic());
        assert_eq!(pool.map_async(square, 0..4).unwrap().await.unwrap(), [0, 1, 4, 9]);
        let mut slow = pool.apply_async(stop_and_return, (gate.path(), 5)).unwrap();
        assert!(tokio::time::timeout(MOMENT, &mut slow).await.is_err());
        drop(gate.wait_for_task());
        assert_eq!(slow.await.unwrap(), 5);
    });
}

#[watertight::test]
fn handles_are_futures_of_any_executor() {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let pool = Pool::new(1).unwrap();
    let gate = Gate::new();
    let mut later = std::pin::pin!(pool.apply_async(stop_and_return, (gate.path(), 3)).unwrap());
    // A first poll with a waker that does nothing: the last one counts.
    assert!(later.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(gate.wait_for_task());
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let value = loop {
        match later.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => break value,
            Poll::Pending => std::thread::park(),
        }
    };
    assert_eq!(value.unwrap(), 3);
}

#[watertight::test]
fn a_submission_waits_while_too_many_are_pending() {
    let gate = Gate::new();
    let pool = Pool::builder().workers(1).max_pending(3).start().unwrap();
    let first = pool.apply_async(stop_and_return, (gate.path(), 0)).unwrap();
    let held = gate.wait_for_task();
    let queued: Vec<_> = (1..3).map(|x| pool.apply_async(square, (x,)).unwrap()).collect();
    let (tx, rx) = channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let fourth = pool.apply_async(square, (3,)).unwrap();
            tx.send(()).unwrap();
            assert_eq!(fourth.get().unwrap(), 9);
        });
        assert!(rx.recv_timeout(MOMENT * 5).is_err(), "the fourth is taken although three are pending");
        assert_eq!(pool.stats().in_flight + pool.stats().queued, 3);
        drop(held);
        rx.recv().unwrap();
    });
    assert_eq!(first.get().unwrap(), 0);
    assert_eq!(queued.into_iter().map(|later| later.get().unwrap()).collect::<Vec<_>>(), [1, 4]);
    // One submission may be larger than the bound, and comes in pieces.
    assert_eq!(pool.map_async(square, 0..100).unwrap().get().unwrap().len(), 100);
}

/// A waker that asks the pool something when it is woken, and owns what is dropped with it.
struct Meddler {
    pool: Weak<Pool>,
    woken: Sender<()>,
    _owned: Option<Mutex<AsyncResult<i64>>>,
}

impl Wake for Meddler {
    fn wake(self: Arc<Self>) {
        let _ = self.pool.upgrade().map(|pool| pool.stats());
        let _ = self.woken.send(());
    }
}

#[watertight::test]
fn a_waker_may_use_the_pool_and_drop_its_handles() {
    let (gate, pool) = (Gate::new(), Arc::new(Pool::new(1).unwrap()));
    let (woken, wakings) = channel();
    let meddler = |owned: bool| {
        let owned = owned.then(|| Mutex::new(pool.apply_async(square, (2,)).unwrap()));
        Waker::from(Arc::new(Meddler { pool: Arc::downgrade(&pool), woken: woken.clone(), _owned: owned }))
    };
    let poll =
        |later: &mut AsyncResult<i64>, waker: Waker| Pin::new(later).poll(&mut Context::from_waker(&waker));
    let mut later = pool.apply_async(stop_and_return, (gate.path(), 7)).unwrap();
    assert!(poll(&mut later, meddler(true)).is_pending());
    assert!(poll(&mut later, meddler(true)).is_pending(), "the first waker is dropped");
    assert!(poll(&mut later, meddler(false)).is_pending());
    drop(gate.wait_for_task());
    wakings.recv().unwrap();
    let Poll::Ready(value) = poll(&mut later, meddler(true)) else { panic!("it was woken") };
    assert_eq!(value.unwrap(), 7);
    let mut dropped = pool.apply_async(stop_and_return, (gate.path(), 7)).unwrap();
    assert!(poll(&mut dropped, meddler(true)).is_pending());
    drop(dropped);
    drop(gate.wait_for_task());
    assert_eq!(pool.apply(square, (3,)).unwrap(), 9);
}
