//! Processes that use locks under load are killed at any time, by SIGKILL: the others go on, and all counts are
//! right. 300 rounds a kind with `WATERTIGHT_LONG=1`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test says what it saw")]

mod support;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use support::{Random, is_long};
use watertight::sync::{
    Atomic, Barrier, BoundedSemaphore, ChunkMut, Condition, Event, Lock, LockError, RLock, Semaphore,
};
use watertight::{Array, Process, SharedMemory, Value};

const LONG: Duration = Duration::from_secs(100);

#[derive(Clone, Serialize, Deserialize)]
struct Stage {
    lock: Lock,
    rlock: RLock,
    value: Value<u64>,
    semaphore: Semaphore,
    bounded: BoundedSemaphore,
    barrier: Barrier,
    condition: Condition,
    event: Event,
    parts: Vec<ChunkMut<u64>>,
    array: Array<u64>,
    /// The handle of an array that is opened anew each time.
    text: String,
    working: Atomic<u32>,
    stop: Event,
}

impl Stage {
    fn set(other: &Array<u64>) -> Stage {
        let array = Array::zeroed(8).unwrap();
        Stage {
            lock: Lock::new().unwrap(),
            rlock: RLock::new().unwrap(),
            value: Value::new(0).unwrap(),
            semaphore: Semaphore::new(2).unwrap(),
            bounded: BoundedSemaphore::new(2).unwrap(),
            barrier: Barrier::new(2).unwrap(),
            condition: Condition::new().unwrap(),
            event: Event::new().unwrap(),
            parts: array.chunks_mut(2).unwrap(),
            array,
            text: serde_json::to_string(other).unwrap(),
            working: Atomic::new(0).unwrap(),
            stop: Event::new().unwrap(),
        }
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Work {
    Locks,
    RLocks,
    Values,
    Permits,
    Bounded,
    Conditions,
    Events,
    Barriers,
    Parts,
    Handles,
}

/// Takes a lock, whoever died with it.
macro_rules! recovered {
    ($lock:expr) => {
        match $lock.lock_timeout(LONG) {
            Ok(guard) => guard.expect("the lock should come in time"),
            Err(LockError::HolderDied(_)) => {
                let mut guard = $lock.lock_recover().unwrap();
                guard.mark_consistent();
                guard
            }
            Err(error) => panic!("{error}"),
        }
    };
}

fn work(stage: Stage, work: Work) -> u64 {
    let mut rounds = 0;
    while !stage.stop.is_set() {
        match work {
            Work::Locks => {
                let _outer = recovered!(stage.lock);
                let _inner = recovered!(stage.rlock);
                *recovered!(stage.value) += 1;
            }
            Work::RLocks => {
                let _outer = recovered!(stage.rlock);
                assert_eq!(stage.rlock.lock().unwrap().depth(), 2);
            }
            Work::Values => {
                let value = recovered!(stage.value).wrapping_add(1);
                *recovered!(stage.value) = value;
            }
            Work::Bounded => drop(stage.bounded.acquire_timeout(LONG).unwrap().expect("a permit in time")),
            Work::Barriers => {
                if stage.barrier.wait_timeout(LONG).is_err() {
                    // Whoever was sent away by a reset does not reset in turn.
                    if stage.barrier.is_broken() {
                        stage.barrier.reset().unwrap();
                    }
                    continue;
                }
            }
            Work::Handles => {
                let other: Array<u64> = serde_json::from_str(&stage.text).unwrap();
                recovered!(other)[7] += 1;
                let made = [Value::new(0).unwrap(), Value::new(1).unwrap()];
                assert_eq!(made[1].get().unwrap(), 1);
            }
            Work::Permits => drop(stage.semaphore.acquire_timeout(LONG).unwrap().expect("a permit in time")),
            Work::Conditions => {
                let mut guard = recovered!(stage.lock);
                stage.condition.notify_one().unwrap();
                stage.condition.wait_timeout(&mut guard, Duration::from_micros(100)).unwrap();
            }
            Work::Events => {
                stage.event.set();
                assert!(stage.event.wait_timeout(LONG).unwrap());
                stage.event.clear();
            }
            Work::Parts => {
                recovered!(stage.parts[0])[0] += 1;
                recovered!(stage.array)[7] += 1;
            }
        }
        rounds += 1;
        stage.working.fetch_add(1, Ordering::Relaxed);
    }
    rounds
}

fn rounds_of(kind: Work) {
    let (mut random, start) = (Random::new(), Instant::now());
    let other = Array::zeroed(8).unwrap();
    let stage = Stage::set(&other);
    let survivors = [(); 2].map(|()| Process::spawn(work, (stage.clone(), kind)).unwrap());
    let rounds = if is_long() { 300 } else { 15 };
    for _ in 0..rounds {
        let victim = Process::builder().daemon(true).spawn(work, (stage.clone(), kind)).unwrap();
        work_goes_on(&stage, &survivors, 1 + random.below(200) as u32);
        victim.kill().unwrap();
        assert!(victim.join().is_err());
        // Who has cleared an event sets it next, unless it dies before.
        stage.event.set();
    }
    work_goes_on(&stage, &survivors, 100);
    stage.stop.set();
    // Nobody is left at a barrier, or at an event that the other one has cleared.
    while survivors.iter().any(|survivor| survivor.is_alive()) {
        stage.event.set();
        stage.barrier.abort().unwrap();
        std::thread::yield_now();
    }
    for survivor in survivors {
        assert!(survivor.join().unwrap() > 0);
    }
    look_at(&stage);
    println!("{kind:?}: {rounds} kills, {:?}", start.elapsed());
    drop(recovered!(other));
}

/// Waits until so much more was done.
fn work_goes_on(stage: &Stage, survivors: &[Process<u64>], turns: u32) {
    let before = stage.working.load(Ordering::Relaxed);
    while stage.working.load(Ordering::Relaxed).wrapping_sub(before) < turns {
        assert!(survivors.iter().all(|survivor| survivor.is_alive()), "nobody but the victims dies");
        std::thread::yield_now();
    }
}

/// Everything is as it was at first.
fn look_at(stage: &Stage) {
    let permits: Vec<_> = std::iter::from_fn(|| stage.semaphore.try_acquire().unwrap()).collect();
    assert_eq!(permits.len(), 2);
    let permits: Vec<_> = std::iter::from_fn(|| stage.bounded.try_acquire().unwrap()).collect();
    assert_eq!(permits.len(), 2);
    drop(permits);
    assert!(stage.bounded.release(1).unwrap().is_err());
    drop((recovered!(stage.lock), recovered!(stage.rlock), recovered!(stage.value), recovered!(stage.array)));
    stage.barrier.reset().unwrap();
    let pass = |barrier: Barrier| barrier.wait_timeout(LONG).is_ok();
    let both = [(); 2].map(|()| Process::spawn(pass, (stage.barrier.clone(),)).unwrap());
    assert!(both.into_iter().all(|process| process.join().unwrap()));
    assert_eq!(stage.condition.notify(100).unwrap(), 0);
}

#[watertight::test(timeout = "1200s")]
fn locks_survive_kills_under_load() {
    rounds_of(Work::Locks);
}

#[watertight::test(timeout = "1200s")]
fn rlocks_survive_kills_under_load() {
    rounds_of(Work::RLocks);
}

#[watertight::test(timeout = "1200s")]
fn values_survive_kills_under_load() {
    rounds_of(Work::Values);
}

#[watertight::test(timeout = "1200s")]
fn bounded_semaphores_survive_kills_under_load() {
    rounds_of(Work::Bounded);
}

#[watertight::test(timeout = "1200s")]
fn barriers_survive_kills_under_load() {
    rounds_of(Work::Barriers);
}

#[watertight::test(timeout = "1200s")]
fn handles_survive_kills_under_load() {
    rounds_of(Work::Handles);
}

#[watertight::test(timeout = "1200s")]
fn permits_survive_kills_under_load() {
    rounds_of(Work::Permits);
}

#[watertight::test(timeout = "1200s")]
fn conditions_survive_kills_under_load() {
    rounds_of(Work::Conditions);
}

#[watertight::test(timeout = "1200s")]
fn events_survive_kills_under_load() {
    rounds_of(Work::Events);
}

#[watertight::test(timeout = "1200s")]
fn parts_survive_kills_under_load() {
    rounds_of(Work::Parts);
}

#[watertight::test]
fn shared_memory_is_found_by_its_name_and_goes_with_its_last_user() {
    let name = format!("a name: of {}", std::process::id());
    assert!(SharedMemory::open(&name).is_err());
    let memory = SharedMemory::create(&name, 1001).unwrap();
    assert!(SharedMemory::create(&name, 8).is_err());
    memory.write(990, b"eleven byte").unwrap();
    assert!(memory.write(991, b"eleven byte").is_err() && memory.read(usize::MAX, &mut [0]).is_err());
    let read = |memory: SharedMemory| {
        let mut bytes = [0; 11];
        memory.read(990, &mut bytes).unwrap();
        memory.write(0, b"x").unwrap();
        (memory.len(), bytes.to_vec())
    };
    let handle = SharedMemory::open(&name).unwrap();
    let child = Process::spawn(|name: String| SharedMemory::open(&name).unwrap().len(), (name.clone(),));
    assert_eq!(child.unwrap().join().unwrap(), 1008);
    let text = serde_json::to_string(&memory).unwrap();
    let same = serde_json::from_str::<SharedMemory>(&text).unwrap();
    assert_eq!(read(same), (1001, b"eleven byte".to_vec()));
    drop(memory);
    let mut first = [0];
    handle.read(0, &mut first).unwrap();
    assert_eq!(&first, b"x");
    drop(handle);
    assert!(SharedMemory::open(&name).is_err());
    for wrong in ["", "a/b", "a\0b"] {
        assert!(SharedMemory::create(wrong, 8).is_err());
    }
    assert!(SharedMemory::create("empty", 0).is_err());
    let unnamed = SharedMemory::create_unnamed(8).unwrap();
    unnamed.unlink();
    assert!(SharedMemory::open(unnamed.name()).is_err());
}
