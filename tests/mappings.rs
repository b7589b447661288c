//! A pool's worker keeps the mappings of arrays that it has seen, and no memory of those that are gone.

use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::sys::resource::{UsageWho, getrusage};
use watertight::sync::Chunk;
use watertight::{Array, Pool, Process, Value};

/// 8 MiB of data. The kernel maps at most 64 KiB at one fault.
const LENGTH: usize = 1 << 20;
const FAULTS: i64 = 128;

fn sum(part: &Chunk<u64>) -> u64 {
    part.lock().unwrap().iter().sum()
}

/// Reads all of it, and counts the pages that had to be mapped for that.
fn faults(part: Chunk<u64>) -> i64 {
    let count = || getrusage(UsageWho::RUSAGE_THREAD).unwrap().minor_page_faults();
    let before = count();
    assert_eq!(sum(&part), part.len() as u64);
    count() - before
}

fn ones() -> Array<u64> {
    let array = Array::zeroed(LENGTH).unwrap();
    array.lock().unwrap().fill(1);
    array
}

fn whole(array: &Array<u64>) -> Chunk<u64> {
    array.chunks(1).unwrap().remove(0)
}

/// The segments that a process has mapped.
fn mapped(pid: u32) -> usize {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    maps.lines().filter(|line| line.contains("/dev/shm/watertight-")).count()
}

/// The largest memory that a process has a segment's descriptor of.
fn largest(pid: u32) -> u64 {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let segments = descriptors.map(|entry| entry.path()).filter(|path| {
        fs::read_link(path).is_ok_and(|target| target.starts_with("/dev/shm") && is_ours(&target))
    });
    segments.map(|path| fs::metadata(path).unwrap().blocks() * 512).max().unwrap_or(0)
}

fn is_ours(path: &std::path::Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("watertight-"))
}

fn own_mappings() -> usize {
    mapped(std::process::id())
}

#[watertight::test]
fn the_second_task_on_an_array_maps_no_page_anew() {
    let (array, pool) = (ones(), Pool::new(1).unwrap());
    let first = pool.apply(faults, (whole(&array),)).unwrap();
    assert!(first >= FAULTS, "{first}");
    let second = pool.apply(faults, (whole(&array),)).unwrap();
    assert!(second < FAULTS / 8, "{second}");
}

#[watertight::test]
fn the_memory_of_a_dropped_array_is_free_while_the_worker_that_used_it_idles() {
    let (array, pool) = (ones(), Pool::new(1).unwrap());
    pool.apply(faults, (whole(&array),)).unwrap();
    let worker = pool.apply(std::process::id, ()).unwrap();
    let before = mapped(worker);
    assert!(largest(worker) > LENGTH as u64 * 8, "it was kept");
    drop(array);
    assert!(largest(worker) < 1 << 18, "{}", largest(worker));
    // The next task begins without it.
    assert_eq!(pool.apply(own_mappings, ()).unwrap(), before - 1);
}

#[watertight::test]
fn a_worker_keeps_few_mappings() {
    let pool = Pool::new(1).unwrap();
    let arrays: Vec<_> = (0..30).map(|_| ones_of(20_000)).collect();
    let before = pool.apply(own_mappings, ()).unwrap();
    for array in &arrays {
        pool.apply(faults, (whole(array),)).unwrap();
    }
    let after = pool.apply(own_mappings, ()).unwrap();
    assert!(after > before && after <= before + 9, "{before} {after}");
}

fn ones_of(length: usize) -> Array<u64> {
    Array::from_items(std::iter::repeat_n(1, length)).unwrap()
}

#[watertight::test]
fn an_array_whose_last_holder_is_a_worker_goes_with_that_task() {
    let (array, pool) = (ones(), Pool::new(2).unwrap());
    let name = segment_of(&array);
    pool.map(faults, [whole(&array), whole(&array)]).unwrap();
    let keep = |array: Array<u64>| array.lock().unwrap().iter().sum::<u64>();
    let last = pool.apply_async(keep, (array,)).unwrap();
    assert_eq!(last.get().unwrap(), LENGTH as u64);
    pool.close();
    pool.join().unwrap();
    assert!(!fs::exists(name).unwrap());
}

fn segment_of(array: &Array<u64>) -> String {
    let handle = serde_json::to_value(array).unwrap();
    let (pid, number) = (&handle["segment"]["pid"], handle["segment"]["number"].as_u64().unwrap());
    format!("/dev/shm/watertight-{pid}-{number:016x}")
}

#[watertight::test]
fn what_is_written_between_two_tasks_is_seen_by_the_second() {
    let (value, array, pool) = (Value::new(1_u64).unwrap(), ones(), Pool::new(1).unwrap());
    let both = |value: Value<u64>, array: Array<u64>| (value.get().unwrap(), array.get(LENGTH - 1).unwrap());
    assert_eq!(pool.apply(both, (value.clone(), array.clone())).unwrap(), (1, Some(1)));
    value.set(2).unwrap();
    assert!(array.set(LENGTH - 1, 3).unwrap());
    assert_eq!(pool.apply(both, (value.clone(), array.clone())).unwrap(), (2, Some(3)));
    // A holder's death is noticed by a worker that has the mapping from before.
    let die = |array: Array<u64>| {
        let _guard = array.lock().unwrap();
        std::process::abort()
    };
    let process = Process::spawn(die, (array.clone(),)).unwrap();
    let _: Result<(), _> = process.join();
    let told = |array: Array<u64>| array.lock().is_err_and(|error| error.is_holder_died());
    assert!(pool.apply(told, (array,)).unwrap());
}
