//! Conditions: those who wait, and those who notify.

use watertight::Process;
use watertight::sync::{Condition, Lock};

use crate::kill::{kill, kill_woken, sweep};
use crate::stage::{LONG, Operation, Stage, lock_was_held};

#[watertight::test(timeout = "3600s")]
fn a_condition_survives_a_waiter_that_is_killed_anywhere() {
    sweep("ConditionWait", |at| {
        let stage = Stage::set(1, 1);
        let (pid, over) = kill(&stage, Operation::ConditionWait, at);
        let held = lock_was_held(&stage, pid);
        let wait = |lock: Lock, condition: Condition| {
            let mut guard = lock.lock().unwrap();
            condition.wait_timeout(&mut guard, LONG).unwrap()
        };
        let waiter = Process::spawn(wait, (stage.lock.clone(), stage.condition.clone())).unwrap();
        // The dead one's entry is not taken for a waiter.
        while stage.condition.notify_one().map(|()| waiter.is_alive()).unwrap() {
            std::thread::yield_now();
        }
        assert!(waiter.join().unwrap());
        (over, held)
    });
}

#[watertight::test(timeout = "3600s")]
fn a_notification_that_is_killed_anywhere_wakes_one_or_none() {
    sweep("Notify", |at| {
        let stage = Stage::set(1, 1);
        let wait = |lock: Lock, condition: Condition| {
            let mut guard = lock.lock().unwrap();
            condition.wait_timeout(&mut guard, LONG).unwrap()
        };
        let waiters =
            [(); 2].map(|()| Process::spawn(wait, (stage.lock.clone(), stage.condition.clone())).unwrap());
        while stage.condition.waiting_count().unwrap() < 2 {
            std::thread::yield_now();
        }
        let (_, over) = kill(&stage, Operation::Notify, at);
        let left = stage.condition.notify(2).unwrap();
        assert!(left == 1 || left == 2 && !over, "{left} were not woken");
        for waiter in waiters {
            assert!(waiter.join().unwrap());
        }
        assert_eq!(stage.condition.waiting_count().unwrap(), 0);
        (over, left == 1)
    });
}

#[watertight::test(timeout = "3600s")]
fn everybody_is_notified_even_if_the_one_who_does_it_is_killed_anywhere_and_another_one_repeats_it() {
    sweep("NotifyAll", |at| {
        let stage = Stage::set(1, 1);
        let wait = |lock: Lock, condition: Condition| {
            let mut guard = lock.lock().unwrap();
            condition.wait_timeout(&mut guard, LONG).unwrap()
        };
        let waiters =
            [(); 2].map(|()| Process::spawn(wait, (stage.lock.clone(), stage.condition.clone())).unwrap());
        while stage.condition.waiting_count().unwrap() < 2 {
            std::thread::yield_now();
        }
        let (_, over) = kill(&stage, Operation::NotifyAll, at);
        let left = stage.condition.notify(2).unwrap();
        assert!(left == 0 || !over, "{left} were not woken");
        for waiter in waiters {
            assert!(waiter.join().unwrap());
        }
        (over, left == 0)
    });
}

#[watertight::test(timeout = "3600s")]
fn a_notification_whose_receiver_is_killed_anywhere_is_given_on_or_was_received() {
    sweep("ConditionWaitLong, woken", |at| {
        let stage = Stage::set(1, 1);
        let wait = |lock: Lock, condition: Condition| match lock.lock() {
            Ok(mut guard) => condition.wait_timeout(&mut guard, LONG).unwrap(),
            Err(_) => false,
        };
        let mut waiter = None;
        let (pid, over) = kill_woken(&stage, Operation::ConditionWaitLong, at, || {
            // Another one waits, and the victim is notified.
            let arguments = (stage.lock.clone(), stage.condition.clone());
            waiter = Some(Process::spawn(wait, arguments).unwrap());
            while stage.condition.waiting_count().unwrap() < 2 {
                std::thread::yield_now();
            }
            assert_eq!(stage.condition.notify(1).unwrap(), 1);
        });
        // Woken by the victim's notification, or by this one.
        stage.condition.notify_one().unwrap();
        assert!(waiter.unwrap().join().unwrap());
        let held = lock_was_held(&stage, pid);
        assert_eq!(stage.condition.waiting_count().unwrap(), 0);
        (over, held)
    });
}
