//! What victims use, what they do with it, and how they are killed over it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::raise;
use serde::{Deserialize, Serialize};
use watertight::sync::{
    Atomic, Barrier, BoundedSemaphore, ChunkMut, Condition, Event, Lock, LockError, RLock, Semaphore, waiters,
};
use watertight::{Array, Process, Signal, Value};

use crate::debugger::{MARK, Stepped, Stop};
use crate::support::{Random, is_long};

/// Longer than anything may take.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// As long as the victim waits for what it does not get.
const SHORT: Duration = Duration::from_millis(2);

/// How many instructions the last victim was stepped.
static STEPS: AtomicU64 = AtomicU64::new(0);

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
            turn: Atomic::new(0).unwrap(),
        }
    }
}

/// What the victim does.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
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
        Operation::Make => {
            let made = Value::new(1).unwrap();
            let again = serde_json::to_string(&made).unwrap();
            drop(made);
            assert!(serde_json::from_str::<Value<i32>>(&again).is_err());
        }
    }
}

fn victim(stage: Stage, operation: Operation) {
    // Known to the roster, as a thread that uses locks is.
    drop(stage.value.lock().unwrap());
    // What has waited for nothing before is done once, so that the source line has its number.
    use Operation::{Array, Bounded, Forget, HandOver, Lock, Part, Permit, RLock, TryLock, Update};
    let at_once = matches!(operation, Lock | TryLock | HandOver | RLock | Update | Array | Part);
    if at_once || matches!(operation, Permit | Forget | Bounded) {
        perform(&stage, operation);
    }
    stage.turn.store(1, Ordering::Release);
    while stage.turn.load(Ordering::Acquire) != 2 {
        std::thread::yield_now();
    }
    raise(MARK).unwrap();
    perform(&stage, operation);
    raise(MARK).unwrap();
    std::thread::park_timeout(LONG);
}

/// A victim of `operation`, stopped right before that.
fn stopped_victim(stage: &Stage, operation: Operation) -> (Process<()>, Stepped) {
    let process = Process::builder().daemon(true).spawn(victim, (stage.clone(), operation)).unwrap();
    while stage.turn.load(Ordering::Acquire) != 1 {
        std::thread::yield_now();
    }
    let stepped = Stepped::stop(process.pid());
    stage.turn.store(2, Ordering::Release);
    stepped.run_to_mark();
    (process, stepped)
}

/// Steps a victim `count` instructions, and kills it. True if the operation was over by then.
fn step_and_kill(process: Process<()>, stepped: Stepped, count: u64) -> (u32, bool) {
    STEPS.store(0, Ordering::Relaxed);
    let over = (0..count).any(|_| {
        STEPS.fetch_add(1, Ordering::Relaxed);
        stepped.step() == Stop::Mark
    });
    stepped.kill();
    let pid = process.pid();
    assert_eq!(process.join().unwrap_err().signal(), Some(Signal::SIGKILL));
    (pid, over)
}

/// Kills a victim of `operation` after `count` instructions. True if the operation was over by then.
pub(crate) fn kill_after(stage: &Stage, operation: Operation, count: u64) -> (u32, bool) {
    let (process, stepped) = stopped_victim(stage, operation);
    step_and_kill(process, stepped, count)
}

/// As `kill_after`, but the victim waits first, and `wake` does what it waits for; the instructions are counted
/// from there.
pub(crate) fn kill_woken_after(
    stage: &Stage,
    operation: Operation,
    count: u64,
    wake: impl FnOnce(),
) -> (u32, bool) {
    let (process, stepped) = stopped_victim(stage, operation);
    stepped.run();
    while !waiters().unwrap().iter().any(|waiter| waiter.party.pid == process.pid()) {
        std::thread::yield_now();
    }
    stepped.interrupt();
    wake();
    step_and_kill(process, stepped, count)
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

/// Steps one operation through. `scene` sets the stage, has the victim killed there and looks at what is left;
/// it says whether the operation was over, and whether the victim held something.
pub(crate) fn sweep(operation: Operation, mut scene: impl FnMut(u64) -> (bool, bool)) {
    let start = Instant::now();
    // Waits open descriptors and read files, which takes long in steps; what is behind the window is left out.
    let (window, most) = if is_long() { (60_000, 1500) } else { (8_000, 16) };
    let whole = scene(window).0;
    let instructions = STEPS.load(Ordering::Relaxed);
    let stride = (instructions / most).max(1);
    let (mut kills, mut held) = (1, 0);
    let first = Random::new().below(stride);
    for at in (first..instructions).step_by(stride as usize) {
        kills += 1;
        held += u32::from(scene(at).1);
    }
    let rest = if whole { "" } else { " and more" };
    let time = start.elapsed();
    println!("{operation:?}: {instructions} instructions{rest}, {kills} kills, {held} while held, {time:?}");
}
