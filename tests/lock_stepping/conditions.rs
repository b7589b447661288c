//! Conditions: those who wait, and those who notify.

use watertight::Process;
use watertight::sync::{Condition, Lock};

use crate::stage::{LONG, Operation, Stage, kill_after, kill_woken_after, lock_was_held, sweep};

#[watertight::test(timeout = "3600s")]
fn a_condition_survives_a_waiter_that_is_killed_anywhere() {
    sweep(Operation::ConditionWait, |count| {
        let stage = Stage::set(1, 1);
        let (pid, over) = kill_after(&stage, Operation::ConditionWait, count);
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
    sweep(Operation::Notify, |count| {
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
        let (_, over) = kill_after(&stage, Operation::Notify, count);
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
    sweep(Operation::NotifyAll, |count| {
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
        let (_, over) = kill_after(&stage, Operation::NotifyAll, count);
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
    sweep(Operation::ConditionWaitLong, |count| {
        let stage = Stage::set(1, 1);
        let wait = |lock: Lock, condition: Condition| match lock.lock() {
            Ok(mut guard) => condition.wait_timeout(&mut guard, LONG).unwrap(),
            Err(_) => false,
        };
        let mut waiter = None;
        let (pid, over) = kill_woken_after(&stage, Operation::ConditionWaitLong, count, || {
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
