//! What victims use, and what they do with it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::sys::signal::raise;
use serde::{Deserialize, Serialize};
use watertight::sync::{
    Atomic, Barrier, BoundedSemaphore, ChunkMut, Condition, Event, Lock, LockError, RLock, Semaphore, waiters,
};
use watertight::{Array, Process, Value};

use crate::debugger::{MARK, Stepped};
use crate::waiting::until;

/// Longer than anything may take.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// As long as the victim waits for what it does not get: it should come to sleep, however often it is stopped.
const SHORT: Duration = Duration::from_millis(100);

/// Everything that a victim may use.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Stage {
    pub(crate) lock: Lock,
    pub(crate) rlock: RLock,
    pub(crate) semaphore: Semaphore,
    pub(crate) bounded: BoundedSemaphore,
    pub(crate) condition: Condition,
    pub(crate) event: Event,
    pub(crate) barrier: Barrier,
    pub(crate) value: Value<u64>,
    pub(crate) array: Array<u32>,
    pub(crate) parts: Vec<ChunkMut<u32>>,
    /// The handle of an object that the victim does not know yet.
    pub(crate) text: String,
    /// 1: the victim is ready; 2: it may go.
    turn: Atomic<u32>,
}

impl Stage {
    pub(crate) fn set(permits: u32, parties: u32) -> Stage {
        let array = Array::zeroed(10).unwrap();
        Stage {
            lock: Lock::new().unwrap(),
            rlock: RLock::new().unwrap(),
            semaphore: Semaphore::new(permits).unwrap(),
            bounded: BoundedSemaphore::new(1).unwrap(),
            condition: Condition::new().unwrap(),
            event: Event::new().unwrap(),
            barrier: Barrier::new(parties).unwrap(),
            value: Value::new(7).unwrap(),
            parts: array.chunks_mut(2).unwrap(),
            array,
            text: String::new(),
            turn: Atomic::new(0).unwrap(),
        }
    }
}

/// What the victim does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Operation {
    Lock,
    TryLock,
    LockTimeout,
    LockWait,
    HandOver,
    Inherit,
    RLock,
    RLockTimeout,
    Update,
    Permit,
    PermitTimeout,
    PermitWait,
    Forget,
    Release,
    Bounded,
    ConditionWait,
    ConditionWaitLong,
    Notify,
    NotifyAll,
    EventSet,
    EventClear,
    EventWait,
    BarrierAlone,
    BarrierWait,
    BarrierLast,
    BarrierReset,
    BarrierAbort,
    Array,
    ArrayTimeout,
    Part,
    PartTimeout,
    Divide,
    Make,
    Reuse,
    Open,
    OpenLarge,
    Circle,
    LockTold,
    RLockWait,
    BoundedWait,
    EventWaitLong,
    BarrierAction,
    ArrayWait,
    PartWait,
}

fn perform(stage: &Stage, operation: Operation) {
    match operation {
        Operation::Lock => drop(stage.lock.lock().unwrap()),
        Operation::TryLock => drop(stage.lock.try_lock().unwrap()),
        Operation::LockWait => drop(stage.lock.lock().unwrap()),
        Operation::HandOver => {
            stage.lock.lock().unwrap().hand_over();
            stage.lock.release();
        }
        Operation::LockTimeout => drop(stage.lock.lock_timeout(SHORT).unwrap()),
        Operation::Inherit => stage.lock.lock_recover().unwrap().mark_consistent(),
        Operation::RLock => drop((stage.rlock.lock().unwrap(), stage.rlock.lock().unwrap())),
        Operation::RLockTimeout => drop(stage.rlock.lock_timeout(SHORT).unwrap()),
        Operation::Update => drop(stage.value.update(|x| x + 1).unwrap()),
        Operation::Permit => drop(stage.semaphore.acquire().unwrap()),
        Operation::PermitTimeout => drop(stage.semaphore.acquire_timeout(SHORT).unwrap()),
        Operation::PermitWait => drop(stage.semaphore.acquire().unwrap()),
        Operation::Release => stage.semaphore.release(1).unwrap(),
        Operation::Bounded => {
            stage.bounded.acquire().unwrap().forget().unwrap();
            stage.bounded.release(1).unwrap().unwrap();
        }
        Operation::Forget => {
            stage.semaphore.acquire().unwrap().forget().unwrap();
            stage.semaphore.release(1).unwrap();
        }
        Operation::ConditionWait => {
            let mut guard = stage.lock.lock().unwrap();
            stage.condition.wait_timeout(&mut guard, SHORT).unwrap();
        }
        Operation::Notify => stage.condition.notify_one().unwrap(),
        Operation::NotifyAll => stage.condition.notify_all().unwrap(),
        Operation::ConditionWaitLong => {
            let mut guard = stage.lock.lock().unwrap();
            stage.condition.wait(&mut guard).unwrap();
        }
        Operation::EventSet => stage.event.set(),
        Operation::EventClear => stage.event.clear(),
        Operation::EventWait => drop(stage.event.wait_timeout(SHORT).unwrap()),
        Operation::BarrierAlone => drop(stage.barrier.wait().unwrap()),
        Operation::BarrierWait => drop(stage.barrier.wait_timeout(SHORT)),
        Operation::BarrierLast => drop(stage.barrier.wait_timeout(LONG)),
        Operation::BarrierReset => stage.barrier.reset().unwrap(),
        Operation::BarrierAbort => stage.barrier.abort().unwrap(),
        Operation::Array => stage.array.lock().unwrap().fill(1),
        Operation::ArrayTimeout => drop(stage.array.lock_timeout(SHORT).unwrap()),
        Operation::PartTimeout => drop(stage.parts[0].lock_timeout(SHORT).unwrap()),
        Operation::Divide => drop(stage.array.chunks_mut(3).unwrap()),
        Operation::Part => stage.parts[0].lock().unwrap().fill(1),
        Operation::Circle => {
            assert!(matches!(stage.rlock.lock(), Err(LockError::Deadlock(_))));
        }
        Operation::LockTold => assert!(matches!(stage.lock.lock(), Err(LockError::HolderDied(_)))),
        Operation::RLockWait => drop(stage.rlock.lock().unwrap()),
        Operation::BoundedWait => drop(stage.bounded.acquire().unwrap()),
        Operation::EventWaitLong => stage.event.wait().unwrap(),
        Operation::BarrierAction => {
            let action = || assert_eq!(stage.value.update(|value| value + 1).unwrap(), 8);
            drop(stage.barrier.wait_with(action));
        }
        Operation::ArrayWait => drop(stage.array.lock().unwrap()),
        Operation::PartWait => drop(stage.parts[0].lock().unwrap()),
        Operation::Open => drop(serde_json::from_str::<Array<u64>>(&stage.text).unwrap()),
        Operation::OpenLarge => {
            serde_json::from_str::<Array<u64>>(&stage.text).unwrap().lock().unwrap()[0] = 9
        }
        Operation::Reuse => {
            // The second and third take the places of the first ones.
            let first = [(); 2].map(|()| Value::new([7_u64; 9]).unwrap());
            drop(first);
            let second = [(); 2].map(|()| Value::new([0_u64; 9]).unwrap());
            drop(second);
            drop(Array::<u64>::zeroed(10_000).unwrap());
        }
        Operation::Make => {
            let made = Value::new(1).unwrap();
            let again = serde_json::to_string(&made).unwrap();
            drop(made);
            assert!(serde_json::from_str::<Value<i32>>(&again).is_err());
        }
    }
}

/// A process that takes a lock and never gives it up.
pub(crate) fn holder(lock: &Lock) -> Process<()> {
    let hold = |lock: Lock| {
        std::mem::forget(lock.lock().unwrap());
        std::thread::park_timeout(LONG);
    };
    let process = Process::builder().daemon(true).spawn(hold, (lock.clone(),)).unwrap();
    until(|| lock.try_lock().unwrap().is_none());
    process
}

/// Ends a process.
pub(crate) fn end(process: Process<()>) {
    process.kill().unwrap();
    assert!(process.join().is_err());
}

fn victim(stage: Stage, operation: Operation, rehearsed: bool) {
    // Known to the roster, as a thread that uses locks is.
    drop(stage.value.lock().unwrap());
    use Operation::{Array, Bounded, Forget, HandOver, Lock, Part, Permit, RLock, TryLock, Update};
    let is_at_once = matches!(operation, Lock | TryLock | HandOver | RLock | Update | Array | Part);
    if rehearsed && (is_at_once || matches!(operation, Permit | Forget | Bounded)) {
        perform(&stage, operation);
    }
    let outer = (operation == Operation::Circle).then(|| stage.lock.lock().unwrap());
    if outer.is_some() {
        // Somebody who has the other lock waits for this one.
        until(|| !waiters().unwrap().is_empty());
    }
    stage.turn.store(1, Ordering::Release);
    until(|| stage.turn.load(Ordering::Acquire) == 2);
    raise(MARK).unwrap();
    perform(&stage, operation);
    drop(outer);
    raise(MARK).unwrap();
    std::thread::park_timeout(LONG);
}

/// A victim of `operation`, stopped right before that. If it has `rehearsed` an operation that
/// needs nobody else, it knows the numbers of its source lines already.
pub(crate) fn stopped_victim(stage: &Stage, operation: Operation, rehearsed: bool) -> (Process<()>, Stepped) {
    let builder = Process::builder().daemon(true);
    let process = builder.spawn(victim, (stage.clone(), operation, rehearsed)).unwrap();
    until(|| stage.turn.load(Ordering::Acquire) == 1);
    let stepped = Stepped::stop(process.pid());
    stage.turn.store(2, Ordering::Release);
    stepped.run_to_mark();
    (process, stepped)
}

/// Takes a lock that the victim may have held when it died; whether it had.
pub(crate) fn was_held<G>(pid: u32, taken: Result<Option<G>, LockError>, recover: impl FnOnce()) -> bool {
    match taken {
        Ok(guard) => {
            assert!(guard.is_some(), "the lock should come in time");
            false
        }
        Err(LockError::HolderDied(died)) => {
            assert_eq!(died.holder.pid, pid);
            recover();
            true
        }
        Err(error) => panic!("{error}"),
    }
}

pub(crate) fn lock_was_held(stage: &Stage, pid: u32) -> bool {
    let recover = || stage.lock.lock_recover().unwrap().mark_consistent();
    let held = was_held(pid, stage.lock.lock_timeout(LONG), recover);
    assert!(stage.lock.try_lock().unwrap().is_some());
    held
}

/// After the barrier's reset both parties pass it.
pub(crate) fn both_pass(stage: &Stage) {
    stage.barrier.reset().unwrap();
    let pass = |barrier: Barrier| barrier.wait_timeout(LONG).is_ok();
    let other = Process::spawn(pass, (stage.barrier.clone(),)).unwrap();
    assert!(stage.barrier.wait_timeout(LONG).is_ok());
    assert!(other.join().unwrap());
}

/// Takes all permits there are, dead owners' included.
pub(crate) fn permits(semaphore: &Semaphore) -> usize {
    let mut permits = Vec::new();
    while let Some(permit) = semaphore.try_acquire().unwrap() {
        permits.push(permit);
    }
    permits.len()
}
