//! What Python's tests promise of semaphores, conditions, events and barriers, and what they leave out: deaths.

#[path = "support/waiting.rs"]
mod waiting;

use std::sync::atomic::Ordering;
use std::time::Duration;

use waiting::{LONG, SHORT, own, until, until_waiting};
use watertight::sync::{Atomic, Barrier, BarrierError, BoundedSemaphore, Condition, Event, Lock, Semaphore};
use watertight::{Process, ProcessHandle, Value};

#[watertight::test]
fn a_semaphore_counts_down_and_up_and_beyond() {
    let semaphore = Semaphore::new(2).unwrap();
    let one = semaphore.acquire().unwrap();
    assert_eq!(semaphore.value(), 1);
    let two = semaphore.acquire().unwrap();
    assert_eq!(semaphore.value(), 0);
    assert!(semaphore.try_acquire().unwrap().is_none());
    assert!(semaphore.acquire_timeout(SHORT).unwrap().is_none());
    drop(one);
    assert_eq!(semaphore.value(), 1);
    two.forget().unwrap();
    assert_eq!(semaphore.value(), 1);
    semaphore.release(3).unwrap();
    assert_eq!(semaphore.value(), 4);
}

#[watertight::test]
fn a_bounded_semaphore_refuses_one_release_too_many() {
    let semaphore = BoundedSemaphore::new(2).unwrap();
    assert!(semaphore.release(1).unwrap().is_err());
    let permit = semaphore.acquire().unwrap();
    assert!(semaphore.release(1).unwrap().is_err(), "a guard has the permit");
    permit.forget().unwrap();
    let release = |semaphore: BoundedSemaphore| semaphore.release(1).unwrap().is_ok();
    assert!(Process::spawn(release, (semaphore.clone(),)).unwrap().join().unwrap());
    assert!(semaphore.release(1).unwrap().is_err());
    assert_eq!(semaphore.value(), 2);
}

fn take_and_hang(semaphore: Semaphore, forgotten: u32, owned: u32, ready: Event) {
    for _ in 0..forgotten {
        semaphore.acquire().unwrap().forget().unwrap();
    }
    let _permits: Vec<_> = (0..owned).map(|_| semaphore.acquire().unwrap()).collect();
    ready.set();
    std::thread::park_timeout(LONG);
}

#[watertight::test]
fn a_dead_owners_permits_come_back_and_forgotten_ones_do_not() {
    let (semaphore, ready) = (Semaphore::new(5).unwrap(), Event::new().unwrap());
    let arguments = (semaphore.clone(), 2, 3, ready.clone());
    let process = Process::builder().daemon(true).spawn(take_and_hang, arguments).unwrap();
    ready.wait().unwrap();
    assert!(semaphore.try_acquire().unwrap().is_none());
    process.kill().unwrap();
    assert!(process.join().is_err());
    let permits: Vec<_> = (0..3).map(|_| semaphore.try_acquire().unwrap().unwrap()).collect();
    assert!(semaphore.try_acquire().unwrap().is_none());
    drop(permits);
    assert_eq!(semaphore.value(), 3);
}

#[watertight::test]
fn whoever_waits_for_a_permit_gets_that_of_an_owner_that_is_killed() {
    let (semaphore, ready) = (Semaphore::new(2).unwrap().named(&own("seats")), Event::new().unwrap());
    let arguments = (semaphore.clone(), 0, 2, ready.clone());
    let process = Process::builder().daemon(true).spawn(take_and_hang, arguments).unwrap();
    ready.wait().unwrap();
    let take = |semaphore: Semaphore| semaphore.acquire().unwrap().forget().unwrap();
    let others = [(); 2].map(|()| Process::spawn(take, (semaphore.clone(),)).unwrap());
    until_waiting(2, "seats");
    process.kill().unwrap();
    for other in others {
        other.join().unwrap();
    }
    assert!(process.join().is_err());
    assert_eq!(semaphore.value(), 0);
}

fn wait_once(lock: Lock, condition: Condition, woken: Atomic<u32>) -> bool {
    let mut guard = lock.lock().unwrap();
    condition.wait(&mut guard).unwrap();
    woken.fetch_add(1, Ordering::AcqRel);
    true
}

#[watertight::test]
fn each_notification_wakes_exactly_one() {
    let (lock, condition) = (Lock::new().unwrap(), Condition::new().unwrap());
    let woken = Atomic::new(0_u32).unwrap();
    let arguments = || (lock.clone(), condition.clone(), woken.clone());
    let processes = [(); 3].map(|()| Process::spawn(wait_once, arguments()).unwrap());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| wait_once(lock.clone(), condition.clone(), woken.clone()));
        }
        until(|| condition.waiting_count().unwrap() == 6);
        for count in 1..=3 {
            condition.notify_one().unwrap();
            until(|| woken.load(Ordering::Acquire) == count);
            assert_eq!(condition.waiting_count().unwrap(), 6 - count as usize);
        }
        assert_eq!(condition.notify(2).unwrap(), 2);
        until(|| woken.load(Ordering::Acquire) == 5);
        condition.notify_all().unwrap();
    });
    for process in processes {
        assert!(process.join().unwrap());
    }
    assert_eq!((woken.load(Ordering::Acquire), condition.notify(9).unwrap()), (6, 0));
}

#[watertight::test]
fn a_wait_for_a_condition_ends_with_its_time_and_holds_the_lock() {
    let (lock, condition) = (Lock::new().unwrap(), Condition::new().unwrap());
    let mut guard = lock.lock().unwrap();
    assert!(!condition.wait_timeout(&mut guard, SHORT).unwrap());
    assert!(lock.try_lock().unwrap().is_none());
    assert!(!condition.wait_for_timeout(&mut guard, SHORT, |_| false).unwrap());
    assert!(condition.wait_for_timeout(&mut guard, SHORT, |_| true).unwrap());
    assert_eq!(condition.waiting_count().unwrap(), 0);
}

#[watertight::test]
fn a_state_is_waited_for_across_processes() {
    let (state, changed) = (Value::new(0_i32).unwrap(), Condition::new().unwrap());
    let step = |state: Value<i32>, changed: Condition| {
        for _ in 0..4 {
            *state.lock().unwrap() += 1;
            changed.notify_all().unwrap();
        }
    };
    let process = Process::spawn(step, (state.clone(), changed.clone())).unwrap();
    let mut guard = state.lock().unwrap();
    changed.wait_for(&mut guard, |state| **state == 4).unwrap();
    assert_eq!(*guard, 4);
    drop(guard);
    process.join().unwrap();
}

#[watertight::test]
fn a_notification_that_a_dead_waiter_took_is_given_on() {
    let (lock, condition) = (Lock::new().unwrap(), Condition::new().unwrap());
    let woken = Atomic::new(0_u32).unwrap();
    let arguments = || (lock.clone(), condition.clone(), woken.clone());
    for round in 1..=10 {
        // The victims come first, so the notifications are theirs.
        let victims =
            [(); 2].map(|()| Process::builder().daemon(true).spawn(wait_once, arguments()).unwrap());
        until(|| condition.waiting_count().unwrap() == 2);
        let others = [(); 2].map(|()| Process::spawn(wait_once, arguments()).unwrap());
        until(|| condition.waiting_count().unwrap() == 4);
        // Nobody can go on while the lock is held here.
        let guard = lock.lock().unwrap();
        assert_eq!(condition.notify(2).unwrap(), 2);
        for victim in victims {
            victim.kill().unwrap();
            assert!(victim.join().is_err());
        }
        drop(guard);
        for other in others {
            assert!(other.join().unwrap());
        }
        assert_eq!(woken.load(Ordering::Acquire), 2 * round);
    }
}

#[watertight::test]
fn an_event_is_set_cleared_and_waited_for() {
    let event = Event::new().unwrap().named(&own("go"));
    assert!(!event.is_set() && !event.wait_timeout(Duration::ZERO).unwrap());
    assert!(!event.wait_timeout(SHORT).unwrap());
    event.set();
    event.set();
    assert!(event.is_set() && event.wait_timeout(Duration::ZERO).unwrap());
    event.wait().unwrap();
    event.clear();
    assert!(!event.is_set());
    let wait = |event: Event| event.wait().unwrap();
    let processes = [(); 3].map(|()| Process::spawn(wait, (event.clone(),)).unwrap());
    until_waiting(3, "go");
    // Whoever waited goes on although it is cleared again at once.
    event.set();
    event.clear();
    for process in processes {
        process.join().unwrap();
    }
    Process::spawn(|event: Event| event.set(), (event.clone(),)).unwrap().join().unwrap();
    event.wait().unwrap();
}

#[watertight::test]
fn nobody_notices_when_somebody_who_waits_for_an_event_is_killed() {
    let event = Event::new().unwrap().named(&own("go"));
    let wait = |event: Event| event.wait().unwrap();
    let victim = Process::builder().daemon(true).spawn(wait, (event.clone(),)).unwrap();
    let other = Process::spawn(wait, (event.clone(),)).unwrap();
    until_waiting(2, "go");
    victim.kill().unwrap();
    assert!(victim.join().is_err());
    event.set();
    other.join().unwrap();
}

fn pass(barrier: Barrier, rounds: u32, count: Atomic<u32>) -> u32 {
    let mut sum = 0;
    for round in 1..=rounds {
        count.fetch_add(1, Ordering::AcqRel);
        sum += barrier.wait().unwrap();
        let seen = count.load(Ordering::Acquire);
        assert!(seen >= round * barrier.parties(), "{seen} in round {round}");
        sum += barrier.wait().unwrap();
    }
    sum
}

#[watertight::test]
fn all_parties_pass_a_barrier_in_lockstep() {
    let (barrier, count) = (Barrier::new(4).unwrap(), Atomic::new(0_u32).unwrap());
    let arguments = || (barrier.clone(), 100, count.clone());
    let processes = [(); 3].map(|()| Process::spawn(pass, arguments()).unwrap());
    let here = pass(barrier.clone(), 100, count.clone());
    let sum: u32 = processes.into_iter().map(|process| process.join().unwrap()).sum();
    // Each round gives out 0, 1, 2 and 3.
    assert_eq!(sum + here, 200 * 6);
    assert!(barrier.waiting_count() == 0 && !barrier.is_broken());
    assert_eq!(Barrier::new(1).unwrap().wait().unwrap(), 0);
    assert!(Barrier::new(0).is_err());
}

#[watertight::test]
fn the_last_party_runs_the_action_before_any_goes_on() {
    let (barrier, runs) = (Barrier::new(3).unwrap(), Atomic::new(0_u32).unwrap());
    let party = |barrier: Barrier, runs: Atomic<u32>| {
        barrier.wait_with(|| _ = runs.fetch_add(1, Ordering::AcqRel)).unwrap();
        runs.load(Ordering::Acquire)
    };
    let processes = [(); 2].map(|()| Process::spawn(party, (barrier.clone(), runs.clone())).unwrap());
    assert_eq!(party(barrier.clone(), runs.clone()), 1);
    for process in processes {
        assert_eq!(process.join().unwrap(), 1);
    }
}

fn party(barrier: Barrier) -> bool {
    matches!(barrier.wait(), Err(BarrierError::Broken))
}

#[watertight::test]
fn an_aborted_barrier_is_broken_until_it_is_reset() {
    let barrier = Barrier::new(4).unwrap().named(&own("gate"));
    let processes = [(); 3].map(|()| Process::spawn(party, (barrier.clone(),)).unwrap());
    until(|| barrier.waiting_count() == 3);
    barrier.abort().unwrap();
    for process in processes {
        assert!(process.join().unwrap());
    }
    assert!(barrier.is_broken() && barrier.wait().is_err());
    barrier.reset().unwrap();
    let processes = [(); 3].map(|()| Process::spawn(party, (barrier.clone(),)).unwrap());
    barrier.wait().unwrap();
    for process in processes {
        assert!(!process.join().unwrap());
    }
}

#[watertight::test]
fn a_reset_sends_those_who_wait_away() {
    let barrier = Barrier::new(3).unwrap();
    let processes = [(); 2].map(|()| Process::spawn(party, (barrier.clone(),)).unwrap());
    until(|| barrier.waiting_count() == 2);
    barrier.reset().unwrap();
    for process in processes {
        assert!(process.join().unwrap());
    }
    assert!(!barrier.is_broken());
}

#[watertight::test]
fn one_party_that_gives_up_breaks_the_barrier_for_all() {
    let barrier = Barrier::new(3).unwrap();
    let process = Process::spawn(party, (barrier.clone(),)).unwrap();
    until(|| barrier.waiting_count() == 1);
    assert!(barrier.wait_timeout(SHORT).is_err());
    assert!(process.join().unwrap());
    assert!(barrier.is_broken());
}

#[watertight::test]
fn an_action_runs_only_if_all_come_in_time() {
    let barrier = Barrier::new(2).unwrap();
    assert!(barrier.wait_with_timeout(SHORT, || panic!("nobody else came")).is_err());
    barrier.reset().unwrap();
    let process = Process::spawn(|barrier: Barrier| barrier.wait().is_ok(), (barrier.clone(),)).unwrap();
    until(|| barrier.waiting_count() == 1);
    let mut ran = false;
    assert_eq!(barrier.wait_with_timeout(LONG, || ran = true).unwrap(), 1);
    assert!(ran && process.join().unwrap());
}

fn killed_party(prepare: impl Fn(&Barrier) -> ProcessHandle) {
    let barrier = Barrier::new(3).unwrap().named(&own("gate"));
    let victim = prepare(&barrier);
    let other = Process::spawn(party, (barrier.clone(),)).unwrap();
    until_waiting(1, "gate");
    victim.kill().unwrap();
    assert!(other.join().unwrap());
    barrier.reset().unwrap();
    let processes = [(); 2].map(|()| Process::spawn(party, (barrier.clone(),)).unwrap());
    barrier.wait().unwrap();
    for process in processes {
        assert!(!process.join().unwrap());
    }
}

#[watertight::test]
fn a_barrier_that_waits_for_a_dead_party_is_broken_at_once() {
    let ready = Event::new().unwrap();
    let never_comes = |_barrier: Barrier, ready: Event| {
        ready.set();
        std::thread::park_timeout(LONG);
    };
    let mut processes = Vec::new();
    let processes = std::cell::RefCell::new(&mut processes);
    killed_party(|barrier| {
        let process = Process::builder().daemon(true).spawn(never_comes, (barrier.clone(), ready.clone()));
        ready.wait().unwrap();
        let process = process.unwrap();
        let handle = process.handle();
        processes.borrow_mut().push(process);
        handle
    });
    processes.borrow_mut().clear();
}

#[watertight::test]
fn a_party_that_dies_while_it_waits_breaks_the_barrier() {
    let processes = std::cell::RefCell::new(Vec::new());
    killed_party(|barrier| {
        let process = Process::builder().daemon(true).spawn(party, (barrier.clone(),)).unwrap();
        until(|| barrier.waiting_count() == 1);
        let handle = process.handle();
        processes.borrow_mut().push(process);
        handle
    });
    for process in processes.take() {
        assert!(process.join().is_err());
    }
}
