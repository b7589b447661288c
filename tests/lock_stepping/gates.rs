//! Events and barriers.

use watertight::Process;
use watertight::sync::{Barrier, Event};

use crate::kill::{kill, kill_woken, sweep};
use crate::stage::{LONG, Operation, Stage, both_pass, was_held};
use crate::waiting::until;

#[watertight::test(timeout = "3600s")]
fn an_event_that_is_set_by_somebody_who_is_killed_anywhere_wakes_all_or_none() {
    sweep("EventSet", |at| {
        let stage = Stage::set(1, 1);
        let wait = |event: Event| event.wait_timeout(LONG).unwrap();
        let waiter = Process::spawn(wait, (stage.event.clone(),)).unwrap();
        let (_, over) = kill(&stage, Operation::EventSet, at);
        let set = stage.event.is_set();
        assert!(set || !over);
        if !set {
            stage.event.set();
        }
        assert!(waiter.join().unwrap());
        (over, set)
    });
}

#[watertight::test(timeout = "3600s")]
fn an_event_survives_a_waiter_that_is_killed_anywhere() {
    sweep("EventWait", |at| {
        let stage = Stage::set(1, 1);
        let (_, over) = kill(&stage, Operation::EventWait, at);
        assert!(!stage.event.is_set());
        stage.event.set();
        assert!(stage.event.wait_timeout(LONG).unwrap());
        (over, false)
    });
}

#[watertight::test(timeout = "3600s")]
fn a_barrier_survives_a_party_that_is_killed_anywhere() {
    sweep("BarrierWait", |at| {
        let stage = Stage::set(1, 2);
        let (_, over) = kill(&stage, Operation::BarrierWait, at);
        // At once, and not because somebody's time was over.
        assert!(stage.barrier.wait().is_err(), "a party is dead");
        both_pass(&stage);
        (over, false)
    });
}

#[watertight::test(timeout = "3600s")]
fn a_barrier_survives_its_last_party_killed_anywhere() {
    sweep("BarrierAlone", |at| {
        let stage = Stage::set(1, 1);
        let (_, over) = kill(&stage, Operation::BarrierAlone, at);
        stage.barrier.reset().unwrap();
        assert_eq!(stage.barrier.wait_timeout(LONG).unwrap(), 0);
        (over, false)
    });
}

#[watertight::test(timeout = "3600s")]
fn a_barrier_survives_the_one_whom_all_waited_for_killed_anywhere() {
    sweep("BarrierLast", |at| {
        let stage = Stage::set(1, 2);
        let pass = |barrier: Barrier| barrier.wait_timeout(LONG).is_ok();
        let other = Process::spawn(pass, (stage.barrier.clone(),)).unwrap();
        while stage.barrier.waiting_count() == 0 {
            std::thread::yield_now();
        }
        let (_, over) = kill(&stage, Operation::BarrierLast, at);
        let passed = other.join().unwrap();
        assert!(passed || !over);
        both_pass(&stage);
        (over, passed)
    });
}

#[watertight::test(timeout = "3600s")]
fn a_barrier_survives_a_party_that_is_killed_when_it_may_go_on() {
    sweep("BarrierLast, woken", |at| {
        let stage = Stage::set(1, 2);
        let mut passed = false;
        let (_, over) = kill_woken(&stage, Operation::BarrierLast, at, || {
            passed = stage.barrier.wait_timeout(LONG).is_ok();
        });
        assert!(passed, "both had come");
        both_pass(&stage);
        (over, false)
    });
}

#[watertight::test(timeout = "3600s")]
fn a_barrier_is_reset_after_a_reset_that_was_killed_anywhere() {
    sweep("BarrierReset", |at| {
        let stage = Stage::set(1, 2);
        let (_, over) = kill(&stage, Operation::BarrierReset, at);
        both_pass(&stage);
        (over, false)
    });
}

#[watertight::test(timeout = "3600s")]
fn an_abort_that_is_killed_anywhere_sends_the_waiter_away() {
    sweep("BarrierAbort", |at| {
        let stage = Stage::set(1, 2);
        let pass = |barrier: Barrier| barrier.wait_timeout(LONG).is_ok();
        let waiter = Process::spawn(pass, (stage.barrier.clone(),)).unwrap();
        let (_, over) = kill(&stage, Operation::BarrierAbort, at);
        // Broken by the abort or by the death.
        assert!(!waiter.join().unwrap());
        both_pass(&stage);
        (over, false)
    });
}

#[watertight::test(timeout = "3600s")]
fn an_event_that_is_cleared_by_somebody_who_is_killed_anywhere_is_set_or_not() {
    sweep("EventClear", |at| {
        let stage = Stage::set(1, 1);
        stage.event.set();
        let (_, over) = kill(&stage, Operation::EventClear, at);
        let set = stage.event.is_set();
        assert!(!(set && over));
        stage.event.set();
        assert!(stage.event.wait_timeout(LONG).unwrap());
        (over, !set)
    });
}

#[watertight::test(timeout = "3600s")]
fn a_barriers_action_runs_before_anybody_goes_on_or_nobody_does() {
    sweep("BarrierAction", |at| {
        let stage = Stage::set(1, 2);
        let pass = |barrier: Barrier| barrier.wait_timeout(LONG).is_ok();
        let other = Process::spawn(pass, (stage.barrier.clone(),)).unwrap();
        until(|| stage.barrier.waiting_count() == 1);
        let (pid, over) = kill(&stage, Operation::BarrierAction, at);
        let passed = other.join().unwrap();
        assert!(passed || !over);
        let recover = || stage.value.lock_recover().unwrap().mark_consistent();
        let held = was_held(pid, stage.value.lock_timeout(LONG), recover);
        let value = stage.value.get().unwrap();
        assert!(value == 8 || value == 7 && !passed, "{value}, {passed}");
        both_pass(&stage);
        (over, held)
    });
}
