//! Arrays, their parts, and the arena that all lies in.

use watertight::Array;
use watertight::sync::LockError;

use crate::kill::{kill, sweep};
use crate::stage::{LONG, Operation, Stage, was_held};

#[watertight::test(timeout = "3600s")]
fn an_array_whose_holder_is_killed_anywhere_passes_on() {
    sweep("Array", |at| {
        let stage = Stage::set(1, 1);
        let (pid, over) = kill(&stage, Operation::Array, at);
        let recover = || stage.array.lock_recover().unwrap().mark_consistent();
        let held = was_held(pid, stage.array.lock_timeout(LONG), recover);
        drop(stage.parts[0].lock().unwrap());
        assert!(stage.array.lock().is_ok());
        (over, held)
    });
}

#[watertight::test(timeout = "3600s")]
fn a_part_whose_holder_is_killed_anywhere_passes_on() {
    sweep("Part", |at| {
        let stage = Stage::set(1, 1);
        let (pid, over) = kill(&stage, Operation::Part, at);
        drop(stage.parts[1].lock().unwrap());
        let recover = || stage.parts[0].lock_recover().unwrap().mark_consistent();
        let held = was_held(pid, stage.parts[0].lock_timeout(LONG), recover);
        drop(stage.array.lock().unwrap());
        (over, held)
    });
}

#[watertight::test(timeout = "3600s")]
fn a_maker_that_is_killed_anywhere_leaves_no_name() {
    sweep("Make", |at| {
        let stage = Stage::set(1, 1);
        let (pid, over) = kill(&stage, Operation::Make, at);
        assert_eq!(names(pid), 0);
        assert_eq!(stage.value.get().unwrap(), 7);
        (over, false)
    });
}

#[watertight::test(timeout = "3600s")]
fn an_array_survives_whoever_is_killed_while_it_waits_for_a_part() {
    sweep("ArrayTimeout", |at| {
        let stage = Stage::set(1, 1);
        let part = stage.parts[0].lock().unwrap();
        let (pid, over) = kill(&stage, Operation::ArrayTimeout, at);
        drop(part);
        // Who waits for a part holds the whole.
        let recover = || stage.array.lock_recover().unwrap().mark_consistent();
        let held = was_held(pid, stage.array.lock_timeout(LONG), recover);
        drop((stage.parts[0].lock().unwrap(), stage.parts[1].lock().unwrap()));
        (over, held)
    });
}

#[watertight::test(timeout = "3600s")]
fn a_part_survives_whoever_is_killed_while_it_waits_for_the_whole() {
    sweep("PartTimeout", |at| {
        let stage = Stage::set(1, 1);
        let whole = stage.array.lock().unwrap();
        let (pid, over) = kill(&stage, Operation::PartTimeout, at);
        drop(whole);
        // It may have had the part in its hands when it saw that the whole was held.
        let recover = || stage.array.lock_recover().unwrap().mark_consistent();
        let held = was_held(pid, stage.array.lock_timeout(LONG), recover);
        drop((stage.parts[0].lock().unwrap(), stage.parts[1].lock().unwrap()));
        (over, held)
    });
}

#[watertight::test(timeout = "3600s")]
fn an_array_whose_divider_is_killed_anywhere_is_divided_or_not() {
    sweep("Divide", |at| {
        let stage = Stage::set(1, 1);
        let (pid, over) = kill(&stage, Operation::Divide, at);
        let recover = || stage.array.lock_recover().unwrap().mark_consistent();
        let held = was_held(pid, stage.array.lock_timeout(LONG), recover);
        let is_stale = matches!(stage.parts[0].lock(), Err(LockError::StalePart));
        assert!(is_stale || !over);
        let parts = stage.array.chunks_mut(2).unwrap();
        drop((parts[0].lock().unwrap(), parts[1].lock().unwrap()));
        (over, held)
    });
}

/// How many names in /dev/shm a process has made.
fn names(pid: u32) -> usize {
    let mark = format!("watertight-{pid}-");
    let names = std::fs::read_dir("/dev/shm").unwrap().flatten();
    names.filter(|name| name.file_name().to_string_lossy().starts_with(&mark)).count()
}

#[watertight::test(timeout = "3600s")]
fn an_object_goes_with_its_last_user_although_somebody_is_killed_anywhere_opening_it() {
    // The first lies beside others, and a second one of its size finds no room there; the other lies alone.
    for (name, operation, length) in
        [("Open", Operation::Open, 5_000), ("OpenLarge", Operation::OpenLarge, 10_000)]
    {
        let mut before = None;
        sweep(name, |at| {
            let mut stage = Stage::set(1, 1);
            let array = Array::<u64>::zeroed(length).unwrap();
            stage.text = serde_json::to_string(&array).unwrap();
            let (pid, over) = kill(&stage, operation, at);
            let recover = || array.lock_recover().unwrap().mark_consistent();
            let held = was_held(pid, array.lock_timeout(LONG), recover);
            assert!([0, 9].contains(&array.lock().unwrap()[0]));
            drop(array);
            // Its place, or its segment, is free again.
            let again = Array::<u64>::zeroed(length).unwrap();
            assert!(again.lock().unwrap().iter().all(|element| *element == 0));
            let now = names(std::process::id());
            assert!(now <= *before.get_or_insert(now), "{now} names, {before:?} at first");
            (over, held)
        });
    }
}

#[watertight::test(timeout = "3600s")]
fn a_maker_that_is_killed_anywhere_while_it_uses_places_again_leaves_no_name() {
    sweep("Reuse", |at| {
        let stage = Stage::set(1, 1);
        let (pid, over) = kill(&stage, Operation::Reuse, at);
        assert_eq!(names(pid), 0);
        (over, false)
    });
}
