//! Locks at the edges of a thread's and a process's life, and what guards say of deaths.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::cell::RefCell;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use watertight::sync::{Barrier, BarrierError, Condition, Event, RLock};
use watertight::{Array, Pool, Process, Value};

/// Holds a lock in its destructor, until it is told to go on.
struct Last {
    value: Value<u64>,
    holds: Sender<()>,
    goes_on: Receiver<()>,
}

impl Drop for Last {
    fn drop(&mut self) {
        let mut guard = self.value.lock().unwrap();
        *guard += 1;
        self.holds.send(()).unwrap();
        self.goes_on.recv().unwrap();
        *guard += 1;
    }
}

thread_local! {
    static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
}

#[watertight::test]
fn a_lock_that_is_taken_at_the_very_end_of_a_thread_is_held_by_the_living() {
    let value = Value::new(0_u64).unwrap();
    let ((holds, held), (go_on, goes_on)) = (channel(), channel());
    let last = Last { value: value.clone(), holds, goes_on };
    let thread = std::thread::spawn(move || {
        // First, so that it is destroyed after whatever the lock leaves in this thread.
        LAST.with(|place| place.replace(Some(last)));
        LAST.with_borrow(|last| assert_eq!(last.as_ref().unwrap().value.get().unwrap(), 0));
    });
    held.recv().unwrap();
    assert!(value.try_lock().unwrap().is_none(), "it is held, and nobody has died");
    go_on.send(()).unwrap();
    thread.join().unwrap();
    assert_eq!(value.get().unwrap(), 2);
}

#[watertight::test]
fn a_worker_that_comes_and_goes_for_ever_uses_up_no_room_for_threads() {
    let bump = |value: Value<u64>| value.update(|count| count + 1).unwrap();
    let (pool, value) = (Pool::new(1).unwrap(), Value::new(0_u64).unwrap());
    // A task's handle is the only one in its worker, which leaves the tree of those who share after each.
    for count in 1..=2500 {
        assert_eq!(pool.apply(bump, (value.clone(),)).unwrap(), count);
    }
}

#[watertight::test]
fn a_leader_that_comes_late_leaves_a_barrier_alone_that_was_reset() {
    let barrier = Barrier::new(2).unwrap();
    let ((begins, begun), (go_on, goes_on)) = (channel(), channel::<()>());
    let leader = barrier.clone();
    let impatient = {
        let barrier = barrier.clone();
        std::thread::spawn(move || barrier.wait_timeout(Duration::from_millis(100)))
    };
    while barrier.waiting_count() == 0 && !barrier.is_broken() {
        std::thread::yield_now();
    }
    let leader = std::thread::spawn(move || {
        leader.wait_with(|| {
            begins.send(()).unwrap();
            goes_on.recv().unwrap();
        })
    });
    // On a very busy machine the first one has lost its patience before the second one came.
    if begun.recv().is_ok() {
        assert!(matches!(impatient.join().unwrap(), Err(BarrierError::Broken)));
        barrier.reset().unwrap();
        let next = {
            let barrier = barrier.clone();
            std::thread::spawn(move || barrier.wait())
        };
        while barrier.waiting_count() == 0 {
            std::thread::yield_now();
        }
        go_on.send(()).unwrap();
        assert!(matches!(leader.join().unwrap(), Err(BarrierError::Broken)), "its own round was broken");
        assert!(!barrier.is_broken());
        barrier.wait().unwrap();
        next.join().unwrap().unwrap();
    }
}

fn hold_and_die(array: Array<u64>, part: usize) {
    let parts = array.chunks_mut(2).unwrap();
    let _guard = parts[part].lock().unwrap();
    std::process::abort();
}

#[watertight::test]
fn who_recovers_a_whole_is_told_who_died_with_a_part() {
    let array = Array::<u64>::zeroed(8).unwrap();
    let parts = array.chunks_mut(2).unwrap();
    let holder = Process::spawn(hold_and_die, (array.clone(), 1)).unwrap();
    let pid = holder.pid();
    holder.join().unwrap_err();
    assert!(array.lock().unwrap_err().is_holder_died());
    let mut guard = array.lock_recover().unwrap();
    assert_eq!(guard.holder_died().unwrap().holder.pid, pid);
    guard.mark_consistent();
    assert!(guard.holder_died().is_none());
    drop(guard);
    assert!(parts[1].lock().unwrap().holder_died().is_none());
}

#[watertight::test]
fn who_recovers_a_part_is_told_who_died_with_the_whole() {
    let array = Array::<u64>::zeroed(8).unwrap();
    let parts = array.chunks_mut(2).unwrap();
    let hold = |array: Array<u64>| {
        let _guard = array.lock().unwrap();
        std::process::abort();
    };
    let holder: Process<()> = Process::spawn(hold, (array.clone(),)).unwrap();
    let pid = holder.pid();
    holder.join().unwrap_err();
    assert!(parts[0].lock().unwrap_err().is_holder_died());
    assert_eq!(parts[0].lock_recover().unwrap().holder_died().unwrap().holder.pid, pid);
}

#[watertight::test]
fn all_guards_of_a_thread_know_of_a_death_and_none_forgets_it() {
    let (lock, condition, waits) = (RLock::new().unwrap(), Condition::new().unwrap(), Event::new().unwrap());
    let die = |lock: RLock, waits: Event| {
        waits.wait().unwrap();
        let _guard = lock.lock().unwrap();
        std::process::abort();
    };
    let victim: Process<()> = Process::spawn(die, (lock.clone(), waits.clone())).unwrap();
    let mut outer = lock.lock().unwrap();
    let mut inner = lock.lock().unwrap();
    waits.set();
    // Each wait gives the lock up for a moment; in one of them the victim takes it and dies.
    while inner.holder_died().is_none() {
        condition.wait_timeout(&mut inner, Duration::from_millis(10)).unwrap();
    }
    assert_eq!(outer.holder_died().unwrap().holder.pid, victim.pid());
    condition.wait_timeout(&mut outer, Duration::from_millis(1)).unwrap();
    assert!(outer.holder_died().is_some() && inner.holder_died().is_some());
    outer.mark_consistent();
    assert!(inner.holder_died().is_none());
    drop((inner, outer));
    victim.join().unwrap_err();
    drop(lock.lock().unwrap());
}
