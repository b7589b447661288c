//! Locks: their holders and those who wait.

use watertight::Process;
use watertight::sync::{Lock, LockError, RLock};

use crate::kill::{At, kill, kill_woken, sweep};
use crate::stage::{LONG, Operation, Stage, lock_was_held, was_held};
use crate::waiting::until;

#[watertight::test(timeout = "3600s")]
fn a_lock_whose_holder_is_killed_anywhere_passes_on() {
    sweep("Lock", |at| {
        let stage = Stage::set(1, 1);
        let (pid, over) = kill(&stage, Operation::Lock, at);
        (over, lock_was_held(&stage, pid))
    });
}

#[watertight::test(timeout = "3600s")]
fn a_waiter_that_is_killed_anywhere_is_not_noticed() {
    sweep("LockTimeout", |at| {
        let stage = Stage::set(1, 1);
        let guard = stage.lock.lock().unwrap();
        let (_, over) = kill(&stage, Operation::LockTimeout, at);
        drop(guard);
        drop(stage.lock.lock_timeout(LONG).unwrap().unwrap());
        let take = |lock: Lock| lock.lock_timeout(LONG).unwrap().is_some();
        assert!(Process::spawn(take, (stage.lock.clone(),)).unwrap().join().unwrap());
        (over, false)
    });
}

#[watertight::test(timeout = "3600s")]
fn an_heir_that_is_killed_anywhere_is_inherited_from() {
    sweep("Inherit", |at| {
        let stage = Stage::set(1, 1);
        let die = |lock: Lock| -> () {
            std::mem::forget(lock.lock().unwrap());
            std::process::abort()
        };
        let first = Process::spawn(die, (stage.lock.clone(),)).unwrap();
        let first_pid = first.pid();
        assert!(first.join().is_err());
        let (pid, over) = kill(&stage, Operation::Inherit, at);
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
    sweep("RLock", |at| {
        let stage = Stage::set(1, 1);
        let (pid, over) = kill(&stage, Operation::RLock, at);
        let recover = || stage.rlock.lock_recover().unwrap().mark_consistent();
        let held = was_held(pid, stage.rlock.lock_timeout(LONG), recover);
        assert_eq!(stage.rlock.try_lock().unwrap().unwrap().depth(), 1);
        (over, held)
    });
}

#[watertight::test(timeout = "3600s")]
fn a_value_whose_update_is_killed_anywhere_is_old_or_new() {
    sweep("Update", |at| {
        let stage = Stage::set(1, 1);
        let (pid, over) = kill(&stage, Operation::Update, at);
        let recover = || stage.value.lock_recover().unwrap().mark_consistent();
        let held = was_held(pid, stage.value.lock_timeout(LONG), recover);
        let value = stage.value.get().unwrap();
        let before = if matches!(at, At::Instruction(_)) { 8 } else { 7 };
        assert!(value == before || value == before + 1, "{value}");
        (over, held)
    });
}

#[watertight::test(timeout = "3600s")]
fn whoever_is_killed_anywhere_while_it_only_tries_leaves_the_lock() {
    sweep("TryLock", |at| {
        let stage = Stage::set(1, 1);
        let (pid, over) = kill(&stage, Operation::TryLock, at);
        (over, lock_was_held(&stage, pid))
    });
}

#[watertight::test(timeout = "3600s")]
fn a_hold_whose_giver_is_killed_anywhere_is_given_or_told_of() {
    sweep("HandOver", |at| {
        let stage = Stage::set(1, 1);
        let (pid, over) = kill(&stage, Operation::HandOver, at);
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
    sweep("LockWait, woken", |at| {
        let stage = Stage::set(1, 1);
        let guard = stage.lock.lock().unwrap();
        let (pid, over) = kill_woken(&stage, Operation::LockWait, at, || drop(guard));
        (over, lock_was_held(&stage, pid))
    });
}

#[watertight::test(timeout = "3600s")]
fn an_rlock_survives_a_waiter_that_is_killed_anywhere() {
    sweep("RLockTimeout", |at| {
        let stage = Stage::set(1, 1);
        let guard = stage.rlock.lock().unwrap();
        let (_, over) = kill(&stage, Operation::RLockTimeout, at);
        assert_eq!(guard.depth(), 1);
        drop(guard);
        assert_eq!(stage.rlock.lock_timeout(LONG).unwrap().unwrap().depth(), 1);
        (over, false)
    });
}

#[watertight::test(timeout = "3600s")]
fn a_circle_is_no_ones_end_although_the_one_who_finds_it_is_killed_anywhere() {
    sweep("Circle", |at| {
        let stage = Stage::set(1, 1);
        let partner = |outer: Lock, inner: RLock| {
            let _inner = inner.lock().unwrap();
            until(|| outer.try_lock().unwrap().is_none());
            match outer.lock() {
                Ok(_) => 0,
                Err(LockError::HolderDied(died)) => died.holder.pid,
                Err(error) => panic!("{error}"),
            }
        };
        let partner = Process::spawn(partner, (stage.lock.clone(), stage.rlock.clone())).unwrap();
        until(|| stage.rlock.try_lock().unwrap().is_none());
        let (pid, over) = kill(&stage, Operation::Circle, at);
        let died = partner.join().unwrap();
        assert!(died == 0 || died == pid, "{died}");
        assert!(stage.rlock.lock_timeout(LONG).unwrap().is_some());
        if died == pid {
            stage.lock.lock_recover().unwrap().mark_consistent();
        }
        assert!(stage.lock.lock_timeout(LONG).unwrap().is_some());
        (over, died == pid)
    });
}
