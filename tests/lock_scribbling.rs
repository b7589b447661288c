//! A process that writes over shared memory breaks what lies there and nothing else: no panic, no crash.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use support::{Random, is_long};
use watertight::sync::{
    Atomic, Barrier, BoundedSemaphore, ChunkMut, Condition, Event, Lock, RLock, Semaphore,
};
use watertight::{Array, Process, Value};

const SHORT: Duration = Duration::from_millis(1);

#[derive(Clone, Serialize, Deserialize)]
struct Stage {
    lock: Lock,
    rlock: RLock,
    semaphore: Semaphore,
    bounded: BoundedSemaphore,
    condition: Condition,
    event: Event,
    barrier: Barrier,
    value: Value<[u32; 3]>,
    atomic: Atomic<u64>,
    array: Array<u16>,
    parts: Vec<ChunkMut<u16>>,
}

fn set() -> Stage {
    let array = Array::zeroed(9).unwrap();
    Stage {
        lock: Lock::new().unwrap().named("scribbled"),
        rlock: RLock::new().unwrap(),
        semaphore: Semaphore::new(2).unwrap(),
        bounded: BoundedSemaphore::new(2).unwrap(),
        condition: Condition::new().unwrap(),
        event: Event::new().unwrap(),
        barrier: Barrier::new(1).unwrap(),
        value: Value::new([1, 2, 3]).unwrap(),
        atomic: Atomic::new(5).unwrap(),
        parts: array.chunks_mut(2).unwrap(),
        array,
    }
}

/// Uses everything, and takes any answer.
fn use_all(stage: &Stage) {
    let _ = (stage.lock.name(), stage.lock.is_locked(), stage.lock.release());
    let _ = stage.lock.lock_timeout(SHORT).map(drop);
    let _ = stage.rlock.lock_timeout(SHORT).map(|guard| guard.map(|guard| guard.depth()));
    let _ = stage.semaphore.acquire_timeout(SHORT).map(drop);
    let _ = stage.semaphore.release(3);
    let _ = stage.bounded.acquire_timeout(SHORT).map(drop);
    let _ = stage.bounded.release(1);
    if let Ok(Some(mut guard)) = stage.lock.lock_timeout(SHORT) {
        let _ = stage.condition.wait_timeout(&mut guard, SHORT);
    }
    let _ = stage.condition.notify(3);
    let _ = stage.event.wait_timeout(SHORT);
    stage.event.set();
    stage.event.clear();
    let _ = stage.barrier.wait_timeout(SHORT);
    let _ = stage.barrier.reset();
    let _ = (stage.barrier.parties(), stage.barrier.waiting_count());
    let _ = stage.value.lock_timeout(SHORT).map(|guard| guard.map(|guard| guard[0]));
    stage.atomic.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let _ = stage.array.lock_timeout(SHORT).map(|guard| guard.map(|guard| guard.len()));
    for part in &stage.parts {
        let _ = part.lock_timeout(SHORT).map(|guard| guard.map(|guard| guard.len()));
    }
    let _ = watertight::sync::waiters();
    // Handles are opened anew from the scribbled memory.
    let text = serde_json::to_string(stage).unwrap();
    let _ = serde_json::from_str::<Stage>(&text);
    let _ = Value::new(1).map(|value| value.try_lock().map(drop));
}

/// The segments of ours that this process has mapped: those of its objects, and its tree's roster.
fn mapped() -> Vec<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let paths = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    let mut ours: Vec<_> =
        paths.filter(|path| path.starts_with("/dev/shm/watertight-")).map(PathBuf::from).collect();
    ours.sort();
    ours.dedup();
    ours
}

/// Where the objects lie.
fn objects(stage: &Stage) -> PathBuf {
    let handle = serde_json::to_value(&stage.lock).unwrap();
    let number = handle["segment"]["number"].as_u64().unwrap();
    PathBuf::from(format!("/dev/shm/watertight-{}-{number:016x}", handle["segment"]["pid"]))
}

fn roster(stage: &Stage) -> PathBuf {
    let others: Vec<_> = mapped().into_iter().filter(|path| *path != objects(stage)).collect();
    let [roster] = &others[..] else { panic!("{others:?}") };
    roster.clone()
}

fn scribble(path: &Path, random: &mut Random, writes: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let words = file.metadata().unwrap().len() / 8;
    for _ in 0..writes {
        let word = match random.below(5) {
            0 => 0,
            1 => u64::MAX,
            2 => random.below(1 << 32),
            3 => random.below(1 << 16) << 32,
            _ => random.below(u64::MAX),
        };
        // What a segment is known by stays: without that nothing would be opened at all.
        let at = 512 + random.below(words - 512);
        file.write_at(&word.to_le_bytes(), at * 8).unwrap();
    }
    // What stands once is hit surely: counters behind the header.
    for at in 2048..2052 {
        if random.below(4) == 0 {
            file.write_at(&u64::MAX.to_le_bytes(), at * 8).unwrap();
        }
    }
}

fn victim(seed: u64) {
    let stage = set();
    let mut random = Random::from(seed);
    for _ in 0..20 {
        scribble(&objects(&stage), &mut random, 300);
        use_all(&stage);
    }
    // Whatever was broken, the process comes to its end.
    std::process::exit(0);
}

#[watertight::test(timeout = "600s", leftovers = "allow")]
fn whatever_is_written_over_shared_objects_others_neither_panic_nor_hang() {
    let mut random = Random::new();
    for _ in 0..if is_long() { 500 } else { 10 } {
        let seed = random.below(u64::MAX);
        let process = Process::builder().daemon(true).spawn(victim, (seed,)).unwrap();
        let outcome = process.join_timeout(Duration::from_secs(60)).expect("it should not hang");
        let error = outcome.unwrap_err();
        assert_eq!(error.exit_status().and_then(|status| status.code()), Some(0), "seed {seed}: {error}");
    }
}

/// Scribbles over the roster, while others of the same tree go on using what they share with each other.
fn scribbler(stage: Stage, seed: u64, over: Event) {
    let mut random = Random::from(seed);
    let roster = roster(&stage);
    while !over.is_set() {
        scribble(&roster, &mut random, 200);
        std::thread::yield_now();
    }
    std::process::exit(0);
}

fn bystander(stage: Stage) {
    (0..30).for_each(|_| use_all(&stage));
    // A lock without a time-out, whose holder dies.
    let Ok(lock) = Lock::new() else { std::process::exit(0) };
    let die = |lock: Lock| {
        std::mem::forget(lock.lock());
        std::process::abort();
    };
    let dying: Result<Process<()>, _> = Process::spawn(die, (lock.clone(),));
    let _ = lock.lock().map(drop);
    let _ = dying.map(Process::join);
    let _ = lock.lock_recover().map(drop);
    std::process::exit(0);
}

/// Whether nobody but the scribbler came to harm.
fn nobody_comes_to_harm(seed: u64) -> bool {
    let (stage, over) = (set(), Event::new().unwrap());
    let builder = || Process::builder().daemon(true);
    let scribbler = builder().spawn(scribbler, (set(), seed, over.clone())).unwrap();
    let others = [(); 2].map(|()| builder().spawn(bystander, (stage.clone(),)).unwrap());
    let well = others.into_iter().all(|process| {
        let outcome = process.join_timeout(Duration::from_secs(60)).expect("it should not hang");
        let error = outcome.unwrap_err();
        println!("{error}");
        error.exit_status().and_then(|status| status.code()) == Some(0)
    });
    over.set();
    drop(scribbler);
    well
}

#[watertight::test(timeout = "1200s", leftovers = "allow")]
fn whatever_is_written_over_the_roster_others_neither_panic_nor_hang() {
    let mut random = Random::new();
    for _ in 0..if is_long() { 100 } else { 5 } {
        let seed = random.below(u64::MAX);
        assert!(nobody_comes_to_harm(seed), "seed {seed}");
    }
}
