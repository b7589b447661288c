//! Semaphores.

use watertight::Process;
use watertight::sync::Semaphore;

use crate::kill::{kill, kill_woken, sweep};
use crate::stage::{LONG, Operation, Stage, permits};

#[watertight::test(timeout = "3600s")]
fn a_permit_whose_owner_is_killed_anywhere_comes_back() {
    sweep("Permit", |at| {
        let stage = Stage::set(2, 1);
        let (_, over) = kill(&stage, Operation::Permit, at);
        let before = stage.semaphore.value();
        assert_eq!(permits(&stage.semaphore), 2);
        (over, before < 2)
    });
}

#[watertight::test(timeout = "3600s")]
fn whoever_is_killed_while_it_waits_for_a_permit_takes_none_along() {
    sweep("PermitTimeout", |at| {
        let stage = Stage::set(1, 1);
        let permit = stage.semaphore.acquire().unwrap();
        let (_, over) = kill(&stage, Operation::PermitTimeout, at);
        drop(permit);
        assert_eq!(permits(&stage.semaphore), 1);
        (over, false)
    });
}

#[watertight::test(timeout = "3600s")]
fn a_permit_that_was_forgotten_is_counted_once_or_not() {
    sweep("Forget", |at| {
        let stage = Stage::set(2, 1);
        let (_, over) = kill(&stage, Operation::Forget, at);
        let left = permits(&stage.semaphore);
        assert!(left == 2 || left == 1 && !over, "{left} permits");
        (over, left == 1)
    });
}

#[watertight::test(timeout = "3600s")]
fn a_permit_that_a_woken_waiter_is_killed_with_comes_back() {
    sweep("PermitWait, woken", |at| {
        let stage = Stage::set(1, 1);
        let permit = stage.semaphore.acquire().unwrap();
        let (_, over) = kill_woken(&stage, Operation::PermitWait, at, || drop(permit));
        let before = stage.semaphore.value();
        assert_eq!(permits(&stage.semaphore), 1);
        (over, before == 0)
    });
}

#[watertight::test(timeout = "3600s")]
fn a_release_that_is_killed_anywhere_is_done_or_not_and_wakes_a_waiter() {
    sweep("Release", |at| {
        let stage = Stage::set(0, 1);
        let take = |semaphore: Semaphore| semaphore.acquire_timeout(LONG).unwrap().is_some();
        let waiter = Process::spawn(take, (stage.semaphore.clone(),)).unwrap();
        let (_, over) = kill(&stage, Operation::Release, at);
        // The waiter has it, or it was never made.
        stage.semaphore.release(1).unwrap();
        assert!(waiter.join().unwrap());
        let left = permits(&stage.semaphore);
        assert!(left == 2 || left == 1 && !over, "{left} permits");
        (over, left == 1)
    });
}

#[watertight::test(timeout = "3600s")]
fn a_bounded_semaphore_never_has_more_than_at_first_whoever_is_killed() {
    sweep("Bounded", |at| {
        let stage = Stage::set(1, 1);
        let (_, over) = kill(&stage, Operation::Bounded, at);
        let missing = stage.bounded.release(1).unwrap().is_ok();
        assert!(!(missing && over));
        assert!(stage.bounded.release(1).unwrap().is_err(), "there are all that there were");
        let permit = stage.bounded.try_acquire().unwrap();
        assert!(permit.is_some() && stage.bounded.try_acquire().unwrap().is_none());
        (over, missing)
    });
}
