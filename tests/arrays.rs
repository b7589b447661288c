//! Arrays and their parts, from the outside.

use std::sync::atomic::Ordering;
use std::time::Duration;

use watertight::sync::{Atomic, Chunk, ChunkMut, Event, LockError, waiters};
use watertight::{Array, Pool, Process};

const LONG: Duration = Duration::from_secs(50);

fn until(mut reached: impl FnMut() -> bool) {
    while !reached() {
        std::thread::yield_now();
    }
}

#[watertight::test]
fn an_array_is_zeroed_even_when_memory_is_used_again() {
    for _ in 0..3 {
        let array = Array::<u32>::zeroed(1000).unwrap();
        assert_eq!(array.to_vec().unwrap(), vec![0; 1000]);
        array.lock().unwrap().fill(u32::MAX);
    }
    assert!(Array::<u8>::zeroed(0).unwrap().is_empty());
    assert!(Array::<u8>::zeroed(usize::MAX / 2).is_err());
    assert!(Array::<()>::zeroed(1).is_err());
}

#[watertight::test]
fn elements_are_read_and_set_by_index_and_as_a_slice() {
    let array = Array::from_items(0..10_u16).unwrap();
    assert_eq!((array.len(), array.get(9).unwrap(), array.get(10).unwrap()), (10, Some(9), None));
    assert!(array.set(3, 300).unwrap() && !array.set(10, 1).unwrap());
    array.lock().unwrap().swap(0, 3);
    assert_eq!(array.to_vec().unwrap(), [300, 1, 2, 0, 4, 5, 6, 7, 8, 9]);
    let doubled = |array: Array<u16>| array.lock().unwrap().iter_mut().for_each(|x| *x *= 2);
    Process::spawn(doubled, (array.clone(),)).unwrap().join().unwrap();
    assert_eq!(array.to_vec().unwrap(), [600, 2, 4, 0, 8, 10, 12, 14, 16, 18]);
}

fn square(part: ChunkMut<f64>) -> f64 {
    let mut part = part.lock().unwrap();
    part.iter_mut().for_each(|x| *x *= *x);
    part.iter().sum()
}

#[watertight::test]
fn parts_are_changed_in_place_by_workers() {
    let array = Array::from_items((0..1001).map(f64::from)).unwrap();
    let pool = Pool::new(2).unwrap();
    let parts = array.chunks_mut(4).unwrap();
    let ranges: Vec<_> = parts.iter().map(ChunkMut::range).collect();
    assert_eq!(ranges, [0..251, 251..501, 501..751, 751..1001]);
    let sums: f64 = pool.map(square, parts).unwrap().iter().sum();
    let expected: f64 = (0..1001).map(|x| f64::from(x * x)).sum();
    assert_eq!(sums, expected);
    assert_eq!(array.lock().unwrap().iter().sum::<f64>(), expected);
    let read = |part: Chunk<f64>| part.lock().unwrap().iter().sum::<f64>();
    let sums: f64 = pool.map(read, array.chunks(7).unwrap()).unwrap().iter().sum();
    assert_eq!(sums, expected);
}

#[watertight::test]
fn a_part_is_held_by_one_and_keeps_the_whole_from_everybody() {
    let array = Array::<u8>::zeroed(10).unwrap();
    let parts = array.chunks_mut(2).unwrap();
    let guard = parts[0].lock().unwrap();
    assert!(parts[0].try_lock().unwrap().is_none());
    assert!(array.chunks_mut(2).is_err(), "the same thread would wait for itself");
    let same = |parts: Vec<ChunkMut<u8>>, array: Array<u8>| {
        (
            parts[0].try_lock().unwrap().is_none(),
            array.try_lock().unwrap().is_none(),
            parts[1].lock().unwrap().len(),
        )
    };
    let process = Process::spawn(same, (parts.clone(), array.clone())).unwrap();
    assert_eq!(process.join().unwrap(), (true, true, 5));
    drop(guard);
    let whole = array.lock().unwrap();
    assert!(parts[1].try_lock().unwrap().is_none());
    assert!(parts[1].lock_timeout(Duration::from_millis(1)).unwrap().is_none());
    assert!(parts[1].lock().unwrap_err().is_deadlock());
    drop(whole);
    assert_eq!(parts[1].lock().unwrap().len(), 5);
}

#[watertight::test]
fn parts_of_an_earlier_division_are_stale() {
    let array = Array::<u8>::zeroed(10).unwrap();
    let old = array.chunks_mut(2).unwrap();
    let same = array.chunks_mut(2).unwrap();
    drop(same[0].lock().unwrap());
    drop(old[0].lock().unwrap());
    let new = array.chunks(5).unwrap();
    assert!(matches!(old[0].lock(), Err(LockError::StalePart)));
    assert_eq!(new[4].lock().unwrap().len(), 2);
    assert!(array.chunks(0).is_err() && array.chunks(65).is_err());
    let mut forged = serde_json::to_value(&new[0]).unwrap();
    forged[1]["parts"] = 1.into();
    let forged: ChunkMut<u8> = serde_json::from_value(forged).unwrap();
    assert!(matches!(forged.lock(), Err(LockError::StalePart)));
    let mut damaged = serde_json::to_value(&new[0]).unwrap();
    damaged[1]["part"] = 9.into();
    assert!(serde_json::from_value::<Chunk<u8>>(damaged).is_err());
}

fn hold_part(part: ChunkMut<u8>, ready: Event) {
    let mut guard = part.lock().unwrap();
    guard[0] = 1;
    ready.set();
    std::thread::park_timeout(LONG);
}

#[watertight::test]
fn the_death_of_a_holder_frees_its_part_with_notice() {
    let (array, ready) = (Array::<u8>::zeroed(10).unwrap().named("pixels"), Event::new().unwrap());
    let parts = array.chunks_mut(2).unwrap();
    let process =
        Process::builder().daemon(true).spawn(hold_part, (parts[1].clone(), ready.clone())).unwrap();
    ready.wait().unwrap();
    let pid = process.pid();
    std::thread::scope(|scope| {
        let part = scope.spawn(|| parts[1].lock().map(drop).unwrap_err());
        until(|| !waiters().unwrap().is_empty());
        assert_eq!(parts[0].lock().unwrap().len(), 5, "the other part is free");
        process.kill().unwrap();
        let LockError::HolderDied(died) = part.join().unwrap() else { panic!("it was not told") };
        assert_eq!((died.holder.pid, died.object.as_deref()), (pid, Some("pixels")));
    });
    assert!(process.join().is_err());
    assert!(array.lock().unwrap_err().is_holder_died());
    assert_eq!(parts[0].lock().unwrap().len(), 5);
    let mut guard = parts[1].lock_recover().unwrap();
    assert_eq!(guard[0], 1);
    guard.mark_consistent();
    drop(guard);
    assert!(array.lock().is_ok());
}

#[watertight::test]
fn whole_and_parts_never_meet() {
    let array = Array::<u64>::zeroed(8).unwrap();
    let parts = array.chunks_mut(4).unwrap();
    let rounds = Atomic::new(0_u32).unwrap();
    let work = |part: ChunkMut<u64>, rounds: Atomic<u32>| {
        for _ in 0..3000 {
            let mut part = part.lock().unwrap();
            let before = part[0];
            part[1] = before + 1;
            part[0] = before + 1;
            rounds.fetch_add(1, Ordering::Relaxed);
        }
    };
    let processes: Vec<_> =
        parts.iter().map(|part| Process::spawn(work, (part.clone(), rounds.clone())).unwrap()).collect();
    while rounds.load(Ordering::Relaxed) < 12_000 {
        let whole = array.lock().unwrap();
        let before = whole.to_vec();
        assert!(before.chunks(2).all(|pair| pair[0] == pair[1]));
        std::thread::yield_now();
        assert_eq!(whole.to_vec(), before);
    }
    for process in processes {
        process.join().unwrap();
    }
    assert_eq!(array.lock().unwrap().iter().sum::<u64>(), 8 * 3000);
}

#[watertight::test]
fn a_large_array_has_a_segment_of_its_own_that_goes_with_it() {
    let maps = || std::fs::read_to_string("/proc/self/maps").unwrap().matches("/dev/shm/watertight-").count();
    let small = Array::<u8>::zeroed(1).unwrap();
    let before = maps();
    let large = Array::<u64>::zeroed(1 << 20).unwrap();
    assert_eq!(maps(), before + 1);
    let fill = |array: Array<u64>| array.lock().unwrap().fill(7);
    Process::spawn(fill, (large.clone(),)).unwrap().join().unwrap();
    assert!(large.lock().unwrap().iter().all(|x| *x == 7));
    drop(large);
    assert_eq!(maps(), before);
    drop(small);
}
