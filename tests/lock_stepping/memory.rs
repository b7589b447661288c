//! Arrays, their parts, and the arena that all lies in.

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
        let mark = format!("watertight-{pid}-");
        let names = std::fs::read_dir("/dev/shm").unwrap().flatten();
        let left = names.filter(|name| name.file_name().to_string_lossy().starts_with(&mark)).count();
        assert_eq!(left, 0);
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
