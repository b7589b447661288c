//! Shared memory, from the outside: values, handles, names.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use watertight::bytemuck::{Pod, Zeroable};
use watertight::sync::{Atomic, Event, Lock};
use watertight::{Pool, Process, Value};

fn count(counter: Value<i64>, times: u32) {
    for _ in 0..times {
        *counter.lock().unwrap() += 1;
    }
}

#[watertight::test]
fn two_processes_count_to_two_million() {
    let counter = Value::new(0_i64).unwrap();
    let processes = [(); 2].map(|()| Process::spawn(count, (counter.clone(), 1_000_000)).unwrap());
    for process in processes {
        process.join().unwrap();
    }
    assert_eq!(counter.get().unwrap(), 2_000_000);
}

#[watertight::test]
fn a_value_is_read_set_and_updated() {
    let value = Value::new([1.5_f64, 2.5]).unwrap();
    assert_eq!(value.get().unwrap(), [1.5, 2.5]);
    value.set([3.0, 4.0]).unwrap();
    assert_eq!(value.update(|[a, b]| [b, a + b]).unwrap(), [4.0, 7.0]);
    assert_eq!(*value.lock().unwrap(), [4.0, 7.0]);
}

#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[bytemuck(crate = "watertight::bytemuck")]
#[repr(C)]
struct Counters {
    seen: u64,
    small: u32,
    large: u32,
}

fn sort(counters: Value<Counters>, x: u64) {
    let mut counters = counters.lock().unwrap();
    counters.seen += 1;
    if x < 10 { counters.small += 1 } else { counters.large += 1 }
}

#[watertight::test]
fn a_struct_of_counters_is_filled_by_a_pool() {
    let counters = Value::new(Counters { seen: 0, small: 0, large: 0 }).unwrap();
    let pool = Pool::new(2).unwrap();
    pool.starmap(sort, (0..100).map(|x| (counters.clone(), x))).unwrap();
    assert_eq!(counters.get().unwrap(), Counters { seen: 100, small: 10, large: 90 });
}

#[watertight::test]
fn atomics_count_without_a_lock() {
    let hits = Atomic::new(0_u64).unwrap();
    let hit = |hits: Atomic<u64>| {
        for _ in 0..10_000 {
            hits.fetch_add(1, Ordering::Relaxed);
        }
    };
    let processes = [(); 2].map(|()| Process::spawn(hit, (hits.clone(),)).unwrap());
    hit(hits.clone());
    for process in processes {
        process.join().unwrap();
    }
    assert_eq!(hits.load(Ordering::Relaxed), 30_000);
}

fn grandchild(value: Value<i32>) -> Value<i32> {
    *value.lock().unwrap() *= 2;
    value
}

fn child(value: Value<i32>) -> (Value<i32>, Value<i32>) {
    let process = Process::spawn(grandchild, (value.clone(),)).unwrap();
    let back = process.join().unwrap();
    *back.lock().unwrap() += 1;
    (back, Value::new(7).unwrap().named("made by the child"))
}

#[watertight::test]
fn handles_travel_to_grandchildren_and_back() {
    let value = Value::new(20_i32).unwrap();
    let (back, new) = Process::spawn(child, (value.clone(),)).unwrap().join().unwrap();
    assert_eq!(value.get().unwrap(), 41);
    back.set(5).unwrap();
    assert_eq!(value.get().unwrap(), 5);
    // Its maker has ended, and it lives on with its last handle.
    assert_eq!((new.get().unwrap(), new.name().as_deref()), (7, Some("made by the child")));
}

#[watertight::test]
fn a_handle_on_its_way_keeps_its_object_alive() {
    let pool = Pool::new(2).unwrap();
    let made = pool.map(|x: i64| Value::new(x).unwrap(), 0..50).unwrap();
    for (x, value) in (0..).zip(&made) {
        assert_eq!(value.get().unwrap(), x);
    }
    // The arguments are the last handles that the host has.
    let sums = pool.map(|value: Value<i64>| value.get().unwrap() + 1, made).unwrap();
    assert_eq!(sums, (1..=50).collect::<Vec<_>>());
}

#[watertight::test]
fn ten_thousand_values_live_in_a_handful_of_segments() {
    let maps = || std::fs::read_to_string("/proc/self/maps").unwrap().matches("/dev/shm/watertight-").count();
    let before = maps();
    let values: Vec<_> = (0..10_000).map(|x| Value::new(x).unwrap()).collect();
    assert!(maps() - before < 8, "{} maps", maps() - before);
    assert!((0..).zip(&values).all(|(x, value)| value.get().unwrap() == x));
    // What was let go of is used again.
    drop(values);
    let kept = Value::new(1).unwrap();
    for x in 0..10_000 {
        assert_eq!(Value::new(x).unwrap().get().unwrap(), x);
    }
    assert_eq!(kept.get().unwrap(), 1);
    assert!(maps() - before <= 2);
}

#[watertight::test]
fn a_handle_of_another_type_is_refused() {
    let value = Value::new(1_i64).unwrap();
    let text = serde_json::to_string(&value).unwrap();
    assert_eq!(serde_json::from_str::<Value<u64>>(&text).unwrap().get().unwrap(), 1);
    assert!(serde_json::from_str::<Value<i32>>(&text).is_err());
    assert!(serde_json::from_str::<Value<[i64; 2]>>(&text).is_err());
    assert!(serde_json::from_str::<Atomic<i64>>(&text).is_err());
    assert!(serde_json::from_str::<Lock>(&text).is_err());
}

#[watertight::test]
fn stale_and_forged_handles_are_errors() {
    let value = Value::new(1_i64).unwrap();
    let other = Value::new(2_i64).unwrap();
    let text = serde_json::to_string(&value).unwrap();
    drop(value);
    let error = serde_json::from_str::<Value<i64>>(&text).unwrap_err().to_string();
    assert!(error.contains("gone"), "{error}");
    // The block is another object's now.
    let third = Value::new(3_i64).unwrap();
    assert!(serde_json::from_str::<Value<i64>>(&text).is_err());
    let text = serde_json::to_value(&third).unwrap();
    let size = std::fs::metadata("/proc/self/exe").unwrap().len();
    for offset in [0, 8, 64, 4096, 1 << 20, 1 << 40, size, u64::MAX, u64::MAX - 63] {
        let mut forged = text.clone();
        forged["offset"] = offset.into();
        assert!(serde_json::from_value::<Value<i64>>(forged).is_err(), "offset {offset}");
    }
    let mut forged = text.clone();
    forged["segment"]["number"] = 7.into();
    assert!(serde_json::from_value::<Value<i64>>(forged).is_err());
    let mut forged = text.clone();
    forged["shape"]["size"] = (1_u64 << 40).into();
    assert!(serde_json::from_value::<Value<i64>>(forged).is_err());
    assert_eq!((other.get().unwrap(), third.get().unwrap()), (2, 3));
}

/// Two values in one segment, which the first of them keeps.
fn pair() -> (Value<i32>, Value<i32>) {
    (Value::new(1).unwrap(), Value::new(2).unwrap())
}

fn is_gone(text: &str) -> bool {
    serde_json::from_str::<Value<i32>>(text).is_err_and(|error| error.to_string().contains("gone"))
}

#[watertight::test]
fn a_handle_is_stale_when_all_have_let_go_and_the_maker_is_dead() {
    let (kept, gone) = Process::spawn(pair, ()).unwrap().join().unwrap();
    let text = serde_json::to_string(&gone).unwrap();
    let again: Value<i32> = serde_json::from_str(&text).unwrap();
    drop(gone);
    assert_eq!((kept.get().unwrap(), again.get().unwrap()), (1, 2));
    drop(again);
    assert!(is_gone(&text));
    assert_eq!(kept.get().unwrap(), 1);
}

/// Makes two values, and lets go of the second once somebody else has both.
fn lend(path: PathBuf, [made, opened, left, end]: [Event; 4]) {
    let (kept, gone) = pair();
    std::fs::write(path, serde_json::to_string(&(&kept, &gone)).unwrap()).unwrap();
    made.set();
    opened.wait().unwrap();
    drop(gone);
    left.set();
    end.wait().unwrap();
}

#[watertight::test]
fn a_handle_is_stale_when_all_have_let_go_and_the_maker_is_not_the_last() {
    let folder = tempfile::tempdir().unwrap();
    let (path, events) = (folder.path().join("handles"), [(); 4].map(|()| Event::new().unwrap()));
    let process = Process::spawn(lend, (path.clone(), events.clone())).unwrap();
    let [made, opened, left, end] = events;
    made.wait().unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let (kept, gone): (Value<i32>, Value<i32>) = serde_json::from_str(&text).unwrap();
    opened.set();
    left.wait().unwrap();
    let text = serde_json::to_string(&gone).unwrap();
    drop(gone);
    assert!(is_gone(&text));
    assert_eq!(kept.get().unwrap(), 1);
    end.set();
    process.join().unwrap();
}

#[watertight::test]
fn the_death_of_every_user_frees_the_object() {
    let value = Value::new(1_i64).unwrap();
    for _ in 0..3 {
        let process = Process::spawn(
            |value: Value<i64>| -> () {
                std::mem::forget(value);
                std::process::abort()
            },
            (value.clone(),),
        );
        assert!(process.unwrap().join().is_err());
    }
    let text = serde_json::to_string(&value).unwrap();
    drop(value);
    // Searched for room, the segment gives the block up although three dead users never let go of it.
    let values: Vec<_> = (0..400).map(|x| Value::new(x).unwrap()).collect();
    assert!(serde_json::from_str::<Value<i64>>(&text).is_err());
    drop(values);
}

#[watertight::test]
fn a_killed_makers_names_are_swept() {
    let process = Process::spawn(
        || -> () {
            let value = Value::new(1_i64).unwrap();
            println!("{:?}", value.get());
            std::process::abort()
        },
        (),
    )
    .unwrap();
    let pid = process.pid();
    assert!(process.join().is_err());
    let mark = format!("watertight-{pid}-");
    let left = std::fs::read_dir("/dev/shm").unwrap().flatten();
    let left: Vec<_> = left.filter(|entry| entry.file_name().to_string_lossy().starts_with(&mark)).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[watertight::test]
fn a_shareable_list_keeps_items_of_many_types_in_their_places() {
    use watertight::sync::{Item, ShareableList};
    let items = vec![
        Item::from("größer"),
        273.15.into(),
        42.into(),
        true.into(),
        Item::None,
        Item::from(&b"bytes"[..]),
        42.into(),
    ];
    let list = ShareableList::new(items.clone()).unwrap();
    assert_eq!((list.len(), list.to_vec().unwrap()), (7, items.clone()));
    assert_eq!((list.count(&42.into()).unwrap(), list.index(&42.into()).unwrap()), (2, Some(2)));
    assert_eq!((list.index(&"none".into()).unwrap(), list.get(7).unwrap()), (None, None));
    let change = |list: ShareableList| {
        list.set(2, "answer").unwrap();
        list.set(4, -1.5).unwrap();
        // Eight bytes, not characters, and nothing runs into the neighbour.
        assert!(list.set(0, "ößößö").is_err() && list.set(7, 1).is_err());
    };
    Process::spawn(change, (list.clone(),)).unwrap().join().unwrap();
    assert_eq!(list.get(0).unwrap(), Some("größer".into()));
    assert_eq!(list.get(2).unwrap(), Some("answer".into()));
    assert_eq!(list.to_vec().unwrap()[3..5], [true.into(), Item::Float(-1.5)]);
    assert!(ShareableList::new([]).unwrap().is_empty());
    let lengths = [serde_json::to_string(&list).unwrap().len(), 400];
    assert!(lengths[0] < lengths[1], "a handle does not grow with its list");
}
