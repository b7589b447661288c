//! Locks: their holders and those who wait.

use watertight::Process;
use watertight::sync::{Lock, LockError};

use crate::stage::{LONG, Operation, Stage, kill_after, kill_woken_after, lock_was_held, sweep, was_held};

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

#[watertight::test(timeout = "3600s")]
fn whoever_is_killed_anywhere_while_it_only_tries_leaves_the_lock() {
    sweep(Operation::TryLock, |count| {
        let stage = Stage::set(1, 1);
        let (pid, over) = kill_after(&stage, Operation::TryLock, count);
        (over, lock_was_held(&stage, pid))
    });
}

#[watertight::test(timeout = "3600s")]
fn a_hold_whose_giver_is_killed_anywhere_is_given_or_told_of() {
    sweep(Operation::HandOver, |count| {
        let stage = Stage::set(1, 1);
        let (pid, over) = kill_after(&stage, Operation::HandOver, count);
        // Handed over and not released yet: nobody is dead who holds it.
        let released = stage.lock.release();
        assert!(!(released && over));
        let held = lock_was_held(&stage, pid);
        assert!(!(released && held));
        (over, held)
    });
}

#[watertight::test(timeout = "3600s")]
fn a_lock_that_a_woken_waiter_is_killed_with_passes_on() {
    sweep(Operation::LockWait, |count| {
        let stage = Stage::set(1, 1);
        let guard = stage.lock.lock().unwrap();
        let (pid, over) = kill_woken_after(&stage, Operation::LockWait, count, || drop(guard));
        (over, lock_was_held(&stage, pid))
    });
}

#[watertight::test(timeout = "3600s")]
fn an_rlock_survives_a_waiter_that_is_killed_anywhere() {
    sweep(Operation::RLockTimeout, |count| {
        let stage = Stage::set(1, 1);
        let guard = stage.rlock.lock().unwrap();
        let (_, over) = kill_after(&stage, Operation::RLockTimeout, count);
        assert_eq!(guard.depth(), 1);
        drop(guard);
        assert_eq!(stage.rlock.lock_timeout(LONG).unwrap().unwrap().depth(), 1);
        (over, false)
    });
}
