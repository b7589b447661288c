//! Whoever falls asleep, and whoever is woken: by what it waits for, or by a death.

use watertight::Process;
use watertight::sync::{Barrier, Condition, Event, Lock, LockError, Semaphore};

use crate::kill::{kill_falling_asleep, kill_woken, sweep};
use crate::stage::{LONG, Operation, Stage, both_pass, end, holder, lock_was_held, permits, was_held};
use crate::waiting::until;

#[watertight::test(timeout = "3600s")]
fn whoever_is_killed_falling_asleep_over_a_lock_is_not_noticed() {
    sweep("LockWait, to sleep", |at| {
        let stage = Stage::set(1, 1);
        let guard = stage.lock.lock().unwrap();
        let (pid, over) = kill_falling_asleep(&stage, Operation::LockWait, at);
        drop(guard);
        assert!(!lock_was_held(&stage, pid));
        (over, false)
    });
    sweep("RLockWait, to sleep", |at| {
        let stage = Stage::set(1, 1);
        let guard = stage.rlock.lock().unwrap();
        let (_, over) = kill_falling_asleep(&stage, Operation::RLockWait, at);
        assert_eq!(guard.depth(), 1);
        drop(guard);
        assert_eq!(stage.rlock.lock_timeout(LONG).unwrap().unwrap().depth(), 1);
        (over, false)
    });
}

#[watertight::test(timeout = "3600s")]
fn whoever_is_killed_falling_asleep_over_a_permit_is_not_noticed() {
    sweep("PermitWait, to sleep", |at| {
        let stage = Stage::set(1, 1);
        let permit = stage.semaphore.acquire().unwrap();
        let (_, over) = kill_falling_asleep(&stage, Operation::PermitWait, at);
        drop(permit);
        assert_eq!(permits(&stage.semaphore), 1);
        (over, false)
    });
}

#[watertight::test(timeout = "3600s")]
fn whoever_is_killed_falling_asleep_over_a_condition_takes_no_notification_along() {
    sweep("ConditionWaitLong, to sleep", |at| {
        let stage = Stage::set(1, 1);
        let (pid, over) = kill_falling_asleep(&stage, Operation::ConditionWaitLong, at);
        let held = lock_was_held(&stage, pid);
        let wait = |lock: Lock, condition: Condition| {
            condition.wait_timeout(&mut lock.lock().unwrap(), LONG).unwrap()
        };
        let waiter = Process::spawn(wait, (stage.lock.clone(), stage.condition.clone())).unwrap();
        until(|| stage.condition.notify(1).unwrap() == 1);
        assert!(waiter.join().unwrap());
        (over, held)
    });
}

#[watertight::test(timeout = "3600s")]
fn whoever_is_killed_falling_asleep_over_an_event_is_not_noticed() {
    sweep("EventWaitLong, to sleep", |at| {
        let stage = Stage::set(1, 1);
        let (_, over) = kill_falling_asleep(&stage, Operation::EventWaitLong, at);
        assert!(!stage.event.is_set());
        stage.event.set();
        let wait = |event: Event| event.wait_timeout(LONG).unwrap();
        assert!(Process::spawn(wait, (stage.event.clone(),)).unwrap().join().unwrap());
        (over, false)
    });
}

#[watertight::test(timeout = "3600s")]
fn whoever_is_killed_falling_asleep_at_a_barrier_breaks_it() {
    sweep("BarrierLast, to sleep", |at| {
        let stage = Stage::set(1, 2);
        let (_, over) = kill_falling_asleep(&stage, Operation::BarrierLast, at);
        // At once: nobody's time is over.
        assert!(stage.barrier.wait().is_err());
        both_pass(&stage);
        (over, false)
    });
}

#[watertight::test(timeout = "3600s")]
fn whoever_is_killed_falling_asleep_over_an_array_or_a_part_leaves_both() {
    sweep("ArrayWait, to sleep", |at| {
        let stage = Stage::set(1, 1);
        let part = stage.parts[1].lock().unwrap();
        let (pid, over) = kill_falling_asleep(&stage, Operation::ArrayWait, at);
        drop(part);
        let held = array_was_held(&stage, pid);
        (over, held)
    });
    sweep("PartWait, to sleep", |at| {
        let stage = Stage::set(1, 1);
        let whole = stage.array.lock().unwrap();
        let (pid, over) = kill_falling_asleep(&stage, Operation::PartWait, at);
        drop(whole);
        let held = array_was_held(&stage, pid);
        (over, held)
    });
}

fn array_was_held(stage: &Stage, pid: u32) -> bool {
    let recover = || stage.array.lock_recover().unwrap().mark_consistent();
    let held = was_held(pid, stage.array.lock_timeout(LONG), recover);
    drop((stage.parts[0].lock().unwrap(), stage.parts[1].lock().unwrap()));
    held
}

#[watertight::test(timeout = "3600s")]
fn whoever_is_woken_for_an_array_or_a_part_and_killed_leaves_it_with_notice() {
    sweep("ArrayWait, woken", |at| {
        let stage = Stage::set(1, 1);
        let part = stage.parts[1].lock().unwrap();
        let (pid, over) = kill_woken(&stage, Operation::ArrayWait, at, || drop(part));
        // Who waits for the whole lets go of each part at once, and may die between.
        let held = array_or_part_was_held(&stage, pid, 1);
        (over, held)
    });
    sweep("PartWait, woken", |at| {
        let stage = Stage::set(1, 1);
        let whole = stage.array.lock().unwrap();
        let (pid, over) = kill_woken(&stage, Operation::PartWait, at, || drop(whole));
        let held = array_or_part_was_held(&stage, pid, 0);
        (over, held)
    });
}

fn array_or_part_was_held(stage: &Stage, pid: u32, part: usize) -> bool {
    let part = &stage.parts[part];
    let recover = || part.lock_recover().unwrap().mark_consistent();
    let whole = || stage.array.lock_recover().unwrap().mark_consistent();
    let whole = was_held(pid, stage.array.lock_timeout(LONG), whole);
    whole | was_held(pid, part.lock_timeout(LONG), recover) | array_was_held(stage, pid)
}

#[watertight::test(timeout = "3600s")]
fn an_rlock_that_a_woken_waiter_is_killed_with_passes_on() {
    sweep("RLockWait, woken", |at| {
        let stage = Stage::set(1, 1);
        let guard = stage.rlock.lock().unwrap();
        let (pid, over) = kill_woken(&stage, Operation::RLockWait, at, || drop(guard));
        let recover = || stage.rlock.lock_recover().unwrap().mark_consistent();
        let held = was_held(pid, stage.rlock.lock_timeout(LONG), recover);
        assert_eq!(stage.rlock.try_lock().unwrap().unwrap().depth(), 1);
        (over, held)
    });
}

#[watertight::test(timeout = "3600s")]
fn a_permit_of_a_bounded_semaphore_that_a_woken_waiter_is_killed_with_comes_back() {
    sweep("BoundedWait, woken", |at| {
        let stage = Stage::set(1, 1);
        let permit = stage.bounded.acquire().unwrap();
        let (_, over) = kill_woken(&stage, Operation::BoundedWait, at, || drop(permit));
        let before = stage.bounded.value();
        let permit = stage.bounded.try_acquire().unwrap();
        assert!(permit.is_some() && stage.bounded.try_acquire().unwrap().is_none());
        drop(permit);
        assert!(stage.bounded.release(1).unwrap().is_err());
        (over, before == 0)
    });
}

#[watertight::test(timeout = "3600s")]
fn an_event_wakes_the_others_when_one_who_was_woken_is_killed_anywhere() {
    sweep("EventWaitLong, woken", |at| {
        let stage = Stage::set(1, 1);
        let wait = |event: Event| event.wait_timeout(LONG).unwrap();
        let other = Process::spawn(wait, (stage.event.clone(),)).unwrap();
        let (_, over) = kill_woken(&stage, Operation::EventWaitLong, at, || stage.event.set());
        assert!(other.join().unwrap());
        (over, false)
    });
}

#[watertight::test(timeout = "3600s")]
fn whoever_is_killed_while_it_learns_of_a_dead_holder_passes_the_lock_on_marked() {
    sweep("LockTold, woken by a death", |at| {
        let stage = Stage::set(1, 1);
        let first = holder(&stage.lock);
        let first_pid = first.pid();
        let (pid, over) = kill_woken(&stage, Operation::LockTold, at, || end(first));
        match stage.lock.lock_timeout(LONG) {
            Err(LockError::HolderDied(died)) => {
                assert!([pid, first_pid].contains(&died.holder.pid), "{died:?}");
                stage.lock.lock_recover().unwrap().mark_consistent();
                assert!(stage.lock.try_lock().unwrap().is_some());
                (over, died.holder.pid == pid)
            }
            other => panic!("nobody has said that all is well: {:?}", other.map(|_| ())),
        }
    });
}

#[watertight::test(timeout = "3600s")]
fn a_permit_of_a_dead_owner_comes_back_although_the_one_who_collects_it_is_killed_anywhere() {
    sweep("PermitWait, woken by a death", |at| {
        let stage = Stage::set(1, 1);
        let own = |semaphore: Semaphore| {
            std::mem::forget(semaphore.acquire().unwrap());
            std::thread::park_timeout(LONG);
        };
        let owner = Process::builder().daemon(true).spawn(own, (stage.semaphore.clone(),)).unwrap();
        until(|| stage.semaphore.value() == 0);
        let (_, over) = kill_woken(&stage, Operation::PermitWait, at, || end(owner));
        assert_eq!(permits(&stage.semaphore), 1);
        (over, false)
    });
}

#[watertight::test(timeout = "3600s")]
fn a_notification_of_a_dead_waiter_reaches_somebody_although_its_heir_is_killed_anywhere() {
    let wait = |lock: Lock, condition: Condition| match lock.lock() {
        Ok(mut guard) => condition.wait_timeout(&mut guard, LONG).unwrap(),
        Err(_) => false,
    };
    let die = |lock: Lock, condition: Condition| {
        condition.wait(&mut lock.lock().unwrap()).unwrap();
    };
    sweep("ConditionWaitLong, heir of a dead waiter", |at| {
        let stage = Stage::set(1, 1);
        let shared = || (stage.lock.clone(), stage.condition.clone());
        let count = |count| until(|| stage.condition.waiting_count().unwrap() == count);
        let oldest = Process::builder().daemon(true).spawn(die, shared()).unwrap();
        count(1);
        let mut last = None;
        let (pid, over) = kill_woken(&stage, Operation::ConditionWaitLong, at, || {
            last = Some(Process::spawn(wait, shared()).unwrap());
            count(3);
            // Notified, it cannot go on before it has the lock, and dies.
            let guard = stage.lock.lock().unwrap();
            assert_eq!(stage.condition.notify(1).unwrap(), 1);
            end(oldest);
            drop(guard);
        });
        let held = lock_was_held(&stage, pid);
        // One notification was under way; this is for the other one who waited.
        stage.condition.notify_one().unwrap();
        assert!(last.unwrap().join().unwrap());
        assert_eq!(stage.condition.waiting_count().unwrap(), 0);
        (over, held)
    });
}

#[watertight::test(timeout = "3600s")]
fn a_barrier_is_broken_for_all_although_the_one_who_breaks_it_is_killed_anywhere() {
    sweep("BarrierLast, woken by a death", |at| {
        let stage = Stage::set(1, 4);
        let party = |barrier: Barrier| barrier.wait().is_ok();
        let other = Process::spawn(party, (stage.barrier.clone(),)).unwrap();
        let idle = |_: Barrier| std::thread::park_timeout(LONG);
        let dying = Process::builder().daemon(true).spawn(idle, (stage.barrier.clone(),)).unwrap();
        until(|| stage.barrier.waiting_count() == 1);
        let (_, over) = kill_woken(&stage, Operation::BarrierLast, at, || end(dying));
        assert!(!other.join().unwrap());
        assert!(stage.barrier.wait().is_err());
        stage.barrier.reset().unwrap();
        assert!(!stage.barrier.is_broken());
        (over, false)
    });
}
