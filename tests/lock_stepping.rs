//! A process is stepped through an operation on a shared object, one instruction after the other, and killed
//! after each: nobody hangs, nobody is told wrongly, and all counts are right.
//!
//! Thousands of kills are spread over each operation with `WATERTIGHT_LONG=1`, and a few otherwise; a short
//! operation is then tried at every instruction.
//!
//! The test is the victim's debugger. A mark, a signal that is ignored by whoever is not debugged, shows where
//! the operation begins and ends.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test says what it saw")]

mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal as NixSignal, kill, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use support::{Random, is_long};
use watertight::sync::{Atomic, Barrier, ChunkMut, Condition, Event, Lock, LockError, RLock, Semaphore};
use watertight::{Array, Process, Signal, Value};

/// What shows the debugger where the operation begins and ends; without a debugger it is ignored.
const MARK: NixSignal = NixSignal::SIGWINCH;

/// Longer than anything may take.
const LONG: Duration = Duration::from_secs(60);

/// As long as the victim waits for what it does not get.
const SHORT: Duration = Duration::from_millis(2);

/// How many instructions the last victim was stepped.
static STEPS: AtomicU64 = AtomicU64::new(0);

/// Everything that a victim may use.
#[derive(Clone, Serialize, Deserialize)]
struct Stage {
    lock: Lock,
    rlock: RLock,
    semaphore: Semaphore,
    condition: Condition,
    event: Event,
    barrier: Barrier,
    value: Value<u64>,
    array: Array<u32>,
    parts: Vec<ChunkMut<u32>>,
    /// 1: the victim is ready; 2: it may go.
    turn: Atomic<u32>,
}

impl Stage {
    fn set(permits: u32, parties: u32) -> Stage {
        let array = Array::zeroed(10).unwrap();
        Stage {
            lock: Lock::new().unwrap(),
            rlock: RLock::new().unwrap(),
            semaphore: Semaphore::new(permits).unwrap(),
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
enum Operation {
    Lock,
    LockTimeout,
    Inherit,
    RLock,
    Update,
    Permit,
    PermitTimeout,
    Forget,
    ConditionWait,
    Notify,
    EventSet,
    EventWait,
    BarrierAlone,
    BarrierWait,
    Array,
    Part,
    Make,
}

fn perform(stage: &Stage, operation: Operation) {
    match operation {
        Operation::Lock => drop(stage.lock.lock().unwrap()),
        Operation::LockTimeout => drop(stage.lock.lock_timeout(SHORT).unwrap()),
        Operation::Inherit => stage.lock.lock_recover().unwrap().mark_consistent(),
        Operation::RLock => drop((stage.rlock.lock().unwrap(), stage.rlock.lock().unwrap())),
        Operation::Update => drop(stage.value.update(|x| x + 1).unwrap()),
        Operation::Permit => drop(stage.semaphore.acquire().unwrap()),
        Operation::PermitTimeout => drop(stage.semaphore.acquire_timeout(SHORT).unwrap()),
        Operation::Forget => {
            stage.semaphore.acquire().unwrap().forget().unwrap();
            stage.semaphore.release(1).unwrap();
        }
        Operation::ConditionWait => {
            let mut guard = stage.lock.lock().unwrap();
            stage.condition.wait_timeout(&mut guard, SHORT).unwrap();
        }
        Operation::Notify => stage.condition.notify_one().unwrap(),
        Operation::EventSet => stage.event.set(),
        Operation::EventWait => drop(stage.event.wait_timeout(SHORT).unwrap()),
        Operation::BarrierAlone => drop(stage.barrier.wait().unwrap()),
        Operation::BarrierWait => drop(stage.barrier.wait_timeout(SHORT)),
        Operation::Array => stage.array.lock().unwrap().fill(1),
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
    use Operation::{Array, Forget, Lock, Part, Permit, RLock, Update};
    if matches!(operation, Lock | RLock | Update | Permit | Forget | Array | Part) {
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

/// A process under our debugger, stopped.
struct Stepped(Pid);

#[derive(Debug, PartialEq, Eq)]
enum Stop {
    Step,
    Mark,
}

impl Stepped {
    fn stop(pid: u32) -> Stepped {
        let pid = Pid::from_raw(pid as i32);
        ptrace::seize(pid, Options::PTRACE_O_EXITKILL).expect(
            "this test needs to debug a process of its own; a container may need `--cap-add=SYS_PTRACE`, and \
             /proc/sys/kernel/yama/ptrace_scope may have to be 0",
        );
        ptrace::interrupt(pid).unwrap();
        let status = waitpid(pid, Some(WaitPidFlag::__WALL)).unwrap();
        assert!(matches!(status, WaitStatus::PtraceEvent(..)), "{status:?}");
        // On one processor a step takes microseconds, across two of them tens of these.
        let here = sched_getcpu().unwrap();
        let mut processor = CpuSet::new();
        processor.set(here).unwrap();
        sched_setaffinity(pid, &processor).unwrap();
        sched_setaffinity(Pid::from_raw(0), &processor).unwrap();
        Stepped(pid)
    }

    fn run_to_mark(&self) {
        ptrace::cont(self.0, None).unwrap();
        assert_eq!(self.wait(), Stop::Mark);
    }

    /// Steps `count` instructions, or to the end of the operation; true if that came.
    fn step(&self, count: u64) -> bool {
        STEPS.store(0, Ordering::Relaxed);
        (0..count).any(|_| {
            STEPS.fetch_add(1, Ordering::Relaxed);
            ptrace::step(self.0, None).unwrap();
            self.wait() == Stop::Mark
        })
    }

    fn wait(&self) -> Stop {
        match waitpid(self.0, Some(WaitPidFlag::__WALL)).unwrap() {
            WaitStatus::Stopped(_, NixSignal::SIGTRAP) => Stop::Step,
            WaitStatus::Stopped(_, MARK) => Stop::Mark,
            status => panic!("the victim should step: {status:?}"),
        }
    }

    /// Kills it. Its keeper hears of it only after the debugger.
    fn kill(self) {
        kill(self.0, NixSignal::SIGKILL).unwrap();
        while !matches!(
            waitpid(self.0, Some(WaitPidFlag::__WALL)).unwrap(),
            WaitStatus::Signaled(_, NixSignal::SIGKILL, _)
        ) {}
    }
}

/// Kills a victim of `operation` after `count` instructions. True if the operation was over by then.
fn kill_after(stage: &Stage, operation: Operation, count: u64) -> (u32, bool) {
    let process = Process::builder().daemon(true).spawn(victim, (stage.clone(), operation)).unwrap();
    while stage.turn.load(Ordering::Acquire) != 1 {
        std::thread::yield_now();
    }
    let stepped = Stepped::stop(process.pid());
    stage.turn.store(2, Ordering::Release);
    stepped.run_to_mark();
    let over = stepped.step(count);
    stepped.kill();
    let pid = process.pid();
    assert_eq!(process.join().unwrap_err().signal(), Some(Signal::SIGKILL));
    (pid, over)
}

/// Takes a lock that the victim may have held when it died; whether it had.
fn was_held<G>(pid: u32, taken: Result<Option<G>, LockError>, recover: impl FnOnce()) -> bool {
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

fn lock_was_held(stage: &Stage, pid: u32) -> bool {
    let recover = || stage.lock.lock_recover().unwrap().mark_consistent();
    let held = was_held(pid, stage.lock.lock_timeout(LONG), recover);
    assert!(stage.lock.try_lock().unwrap().is_some());
    held
}

/// Steps one operation through. `scene` sets the stage, has the victim killed there and looks at what is left;
/// it says whether the operation was over, and whether the victim held something.
fn sweep(operation: Operation, mut scene: impl FnMut(u64) -> (bool, bool)) {
    let start = Instant::now();
    // Waits open descriptors and read files, which takes long in steps; what is behind the window is left out.
    let (window, most) = if is_long() { (200_000, 5000) } else { (8_000, 16) };
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

#[watertight::test(timeout = "3600s")]
fn a_lock_whose_holder_is_killed_anywhere_passes_on() {
    sweep(Operation::Lock, |count| {
        let stage = Stage::set(1, 1);
        let (pid, over) = kill_after(&stage, Operation::Lock, count);
        (over, lock_was_held(&stage, pid))
    });
}

#[watertight::test(timeout = "3600s")]
fn a_waiter_that_is_killed_anywhere_is_not_noticed() {
    sweep(Operation::LockTimeout, |count| {
        let stage = Stage::set(1, 1);
        let guard = stage.lock.lock().unwrap();
        let (_, over) = kill_after(&stage, Operation::LockTimeout, count);
        drop(guard);
        drop(stage.lock.lock_timeout(LONG).unwrap().unwrap());
        let take = |lock: Lock| lock.lock_timeout(LONG).unwrap().is_some();
        assert!(Process::spawn(take, (stage.lock.clone(),)).unwrap().join().unwrap());
        (over, false)
    });
}

#[watertight::test(timeout = "3600s")]
fn an_heir_that_is_killed_anywhere_is_inherited_from() {
    sweep(Operation::Inherit, |count| {
        let stage = Stage::set(1, 1);
        let die = |lock: Lock| -> () {
            std::mem::forget(lock.lock().unwrap());
            std::process::abort()
        };
        let first = Process::spawn(die, (stage.lock.clone(),)).unwrap();
        let first_pid = first.pid();
        assert!(first.join().is_err());
        let (pid, over) = kill_after(&stage, Operation::Inherit, count);
        let died = match stage.lock.lock_timeout(LONG) {
            Ok(guard) => {
                assert!(guard.is_some());
                None
            }
            Err(LockError::HolderDied(died)) => Some(died.holder.pid),
            Err(error) => panic!("{error}"),
        };
        assert!(died.is_none_or(|died| died == pid || died == first_pid), "{died:?}");
        stage.lock.lock_recover().unwrap().mark_consistent();
        assert!(stage.lock.try_lock().unwrap().is_some());
        (over, died == Some(pid))
    });
}

#[watertight::test(timeout = "3600s")]
fn an_rlock_whose_holder_is_killed_anywhere_passes_on() {
    sweep(Operation::RLock, |count| {
        let stage = Stage::set(1, 1);
        let (pid, over) = kill_after(&stage, Operation::RLock, count);
        let recover = || stage.rlock.lock_recover().unwrap().mark_consistent();
        let held = was_held(pid, stage.rlock.lock_timeout(LONG), recover);
        assert_eq!(stage.rlock.try_lock().unwrap().unwrap().depth(), 1);
        (over, held)
    });
}

#[watertight::test(timeout = "3600s")]
fn a_value_whose_update_is_killed_anywhere_is_old_or_new() {
    sweep(Operation::Update, |count| {
        let stage = Stage::set(1, 1);
        let (pid, over) = kill_after(&stage, Operation::Update, count);
        let recover = || stage.value.lock_recover().unwrap().mark_consistent();
        let held = was_held(pid, stage.value.lock_timeout(LONG), recover);
        let value = stage.value.get().unwrap();
        assert!(value == 8 || value == 9);
        (over, held)
    });
}

/// Takes all permits there are, dead owners' included.
fn permits(semaphore: &Semaphore) -> usize {
    let mut permits = Vec::new();
    while let Some(permit) = semaphore.try_acquire().unwrap() {
        permits.push(permit);
    }
    permits.len()
}

#[watertight::test(timeout = "3600s")]
fn a_permit_whose_owner_is_killed_anywhere_comes_back() {
    sweep(Operation::Permit, |count| {
        let stage = Stage::set(2, 1);
        let (_, over) = kill_after(&stage, Operation::Permit, count);
        let before = stage.semaphore.value();
        assert_eq!(permits(&stage.semaphore), 2);
        (over, before < 2)
    });
}

#[watertight::test(timeout = "3600s")]
fn whoever_is_killed_while_it_waits_for_a_permit_takes_none_along() {
    sweep(Operation::PermitTimeout, |count| {
        let stage = Stage::set(1, 1);
        let permit = stage.semaphore.acquire().unwrap();
        let (_, over) = kill_after(&stage, Operation::PermitTimeout, count);
        drop(permit);
        assert_eq!(permits(&stage.semaphore), 1);
        (over, false)
    });
}

#[watertight::test(timeout = "3600s")]
fn a_permit_that_was_forgotten_is_counted_once_or_not() {
    sweep(Operation::Forget, |count| {
        let stage = Stage::set(2, 1);
        let (_, over) = kill_after(&stage, Operation::Forget, count);
        let left = permits(&stage.semaphore);
        assert!(left == 2 || left == 1 && !over, "{left} permits");
        (over, left == 1)
    });
}

#[watertight::test(timeout = "3600s")]
fn a_condition_survives_a_waiter_that_is_killed_anywhere() {
    sweep(Operation::ConditionWait, |count| {
        let stage = Stage::set(1, 1);
        let (pid, over) = kill_after(&stage, Operation::ConditionWait, count);
        let held = lock_was_held(&stage, pid);
        let wait = |lock: Lock, condition: Condition| {
            let mut guard = lock.lock().unwrap();
            condition.wait_timeout(&mut guard, LONG).unwrap()
        };
        let waiter = Process::spawn(wait, (stage.lock.clone(), stage.condition.clone())).unwrap();
        // The dead one's entry is not taken for a waiter.
        while stage.condition.notify_one().map(|()| waiter.is_alive()).unwrap() {
            std::thread::yield_now();
        }
        assert!(waiter.join().unwrap());
        (over, held)
    });
}

#[watertight::test(timeout = "3600s")]
fn a_notification_that_is_killed_anywhere_wakes_one_or_none() {
    sweep(Operation::Notify, |count| {
        let stage = Stage::set(1, 1);
        let wait = |lock: Lock, condition: Condition| {
            let mut guard = lock.lock().unwrap();
            condition.wait_timeout(&mut guard, LONG).unwrap()
        };
        let waiters =
            [(); 2].map(|()| Process::spawn(wait, (stage.lock.clone(), stage.condition.clone())).unwrap());
        while stage.condition.waiting_count().unwrap() < 2 {
            std::thread::yield_now();
        }
        let (_, over) = kill_after(&stage, Operation::Notify, count);
        let left = stage.condition.notify(2).unwrap();
        assert!(left == 1 || left == 2 && !over, "{left} were not woken");
        for waiter in waiters {
            assert!(waiter.join().unwrap());
        }
        assert_eq!(stage.condition.waiting_count().unwrap(), 0);
        (over, left == 1)
    });
}

#[watertight::test(timeout = "3600s")]
fn an_event_that_is_set_by_somebody_who_is_killed_anywhere_wakes_all_or_none() {
    sweep(Operation::EventSet, |count| {
        let stage = Stage::set(1, 1);
        let wait = |event: Event| event.wait_timeout(LONG).unwrap();
        let waiter = Process::spawn(wait, (stage.event.clone(),)).unwrap();
        let (_, over) = kill_after(&stage, Operation::EventSet, count);
        let set = stage.event.is_set();
        assert!(set || !over);
        if !set {
            stage.event.set();
        }
        assert!(waiter.join().unwrap());
        (over, set)
    });
}

#[watertight::test(timeout = "3600s")]
fn an_event_survives_a_waiter_that_is_killed_anywhere() {
    sweep(Operation::EventWait, |count| {
        let stage = Stage::set(1, 1);
        let (_, over) = kill_after(&stage, Operation::EventWait, count);
        assert!(!stage.event.is_set());
        stage.event.set();
        assert!(stage.event.wait_timeout(LONG).unwrap());
        (over, false)
    });
}

fn both_pass(stage: &Stage) {
    stage.barrier.reset().unwrap();
    let pass = |barrier: Barrier| barrier.wait_timeout(LONG).is_ok();
    let other = Process::spawn(pass, (stage.barrier.clone(),)).unwrap();
    assert!(stage.barrier.wait_timeout(LONG).is_ok());
    assert!(other.join().unwrap());
}

#[watertight::test(timeout = "3600s")]
fn a_barrier_survives_a_party_that_is_killed_anywhere() {
    sweep(Operation::BarrierWait, |count| {
        let stage = Stage::set(1, 2);
        let (_, over) = kill_after(&stage, Operation::BarrierWait, count);
        assert!(stage.barrier.wait_timeout(LONG).is_err(), "a party is dead");
        both_pass(&stage);
        (over, false)
    });
}

#[watertight::test(timeout = "3600s")]
fn a_barrier_survives_its_last_party_killed_anywhere() {
    sweep(Operation::BarrierAlone, |count| {
        let stage = Stage::set(1, 1);
        let (_, over) = kill_after(&stage, Operation::BarrierAlone, count);
        stage.barrier.reset().unwrap();
        assert_eq!(stage.barrier.wait_timeout(LONG).unwrap(), 0);
        (over, false)
    });
}

#[watertight::test(timeout = "3600s")]
fn an_array_whose_holder_is_killed_anywhere_passes_on() {
    sweep(Operation::Array, |count| {
        let stage = Stage::set(1, 1);
        let (pid, over) = kill_after(&stage, Operation::Array, count);
        let recover = || stage.array.lock_recover().unwrap().mark_consistent();
        let held = was_held(pid, stage.array.lock_timeout(LONG), recover);
        drop(stage.parts[0].lock().unwrap());
        assert!(stage.array.lock().is_ok());
        (over, held)
    });
}

#[watertight::test(timeout = "3600s")]
fn a_part_whose_holder_is_killed_anywhere_passes_on() {
    sweep(Operation::Part, |count| {
        let stage = Stage::set(1, 1);
        let (pid, over) = kill_after(&stage, Operation::Part, count);
        drop(stage.parts[1].lock().unwrap());
        let recover = || stage.parts[0].lock_recover().unwrap().mark_consistent();
        let held = was_held(pid, stage.parts[0].lock_timeout(LONG), recover);
        drop(stage.array.lock().unwrap());
        (over, held)
    });
}

#[watertight::test(timeout = "3600s")]
fn a_maker_that_is_killed_anywhere_leaves_no_name() {
    sweep(Operation::Make, |count| {
        let stage = Stage::set(1, 1);
        let (pid, over) = kill_after(&stage, Operation::Make, count);
        let mark = format!("watertight-{pid}-");
        let names = std::fs::read_dir("/dev/shm").unwrap().flatten();
        let left = names.filter(|name| name.file_name().to_string_lossy().starts_with(&mark)).count();
        assert_eq!(left, 0);
        assert_eq!(stage.value.get().unwrap(), 7);
        (over, false)
    });
}
