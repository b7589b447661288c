//! Locks, from the outside: their death, their circles, Python's promises.

#[path = "support/waiting.rs"]
mod waiting;

use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use waiting::{LONG, own, until, until_waiting};
use watertight::sync::{Atomic, Condition, Lock, LockError, RLock, waiters};
use watertight::{Process, Signal, Value};

#[watertight::test]
fn a_lock_is_taken_once_and_given_up_with_its_guard() {
    let lock = Lock::new().unwrap();
    let guard = lock.lock().unwrap();
    assert!(lock.is_locked());
    assert!(lock.try_lock().unwrap().is_none());
    assert!(lock.lock_timeout(Duration::from_millis(1)).unwrap().is_none());
    assert!(!lock.release(), "a guard has it");
    drop(guard);
    assert!(!lock.is_locked());
    assert!(lock.try_lock().unwrap().is_some());
}

#[watertight::test]
fn a_lock_is_released_by_another_process() {
    let lock = Lock::new().unwrap();
    lock.lock().unwrap().hand_over();
    assert!(lock.try_lock().unwrap().is_none());
    assert!(Process::spawn(|lock: Lock| lock.release(), (lock.clone(),)).unwrap().join().unwrap());
    assert!(!lock.release());
    assert!(lock.try_lock().unwrap().is_some());
}

#[watertight::test]
fn a_hold_that_was_handed_over_does_not_come_back_at_death() {
    let lock = Lock::new().unwrap();
    let process = Process::spawn(|lock: Lock| lock.lock().unwrap().hand_over(), (lock.clone(),));
    process.unwrap().join().unwrap();
    assert!(lock.try_lock().unwrap().is_none());
    assert!(lock.release());
    assert!(lock.lock().unwrap().holder_died().is_none());
}

#[watertight::test]
fn an_rlock_is_taken_again_by_its_holder_alone() {
    let lock = RLock::new().unwrap();
    let one = lock.lock().unwrap();
    let two = lock.lock().unwrap();
    let three = lock.try_lock().unwrap().unwrap();
    assert_eq!(three.depth(), 3);
    drop(one);
    let other = |lock: RLock| lock.try_lock().unwrap().is_none();
    assert!(Process::spawn(other, (lock.clone(),)).unwrap().join().unwrap());
    std::thread::scope(|scope| {
        assert!(scope.spawn(|| lock.try_lock().unwrap().is_none()).join().unwrap());
    });
    drop((two, three));
    assert!(!lock.is_locked());
    assert!(
        Process::spawn(|lock: RLock| lock.try_lock().unwrap().is_some(), (lock,)).unwrap().join().unwrap()
    );
}

fn die_holding(value: Value<i64>, held: Atomic<u32>) {
    let mut guard = value.lock().unwrap();
    *guard = 13;
    held.store(1, Ordering::Release);
    std::process::abort();
}

#[watertight::test]
fn the_next_holder_is_told_who_died() {
    let value = Value::new(1_i64).unwrap().named("the account");
    let held = Atomic::new(0_u32).unwrap();
    let process = Process::builder().name("careless").spawn(die_holding, (value.clone(), held)).unwrap();
    let pid = process.pid();
    assert!(process.join().is_err());
    for _ in 0..2 {
        let Err(LockError::HolderDied(died)) = value.lock() else { panic!("it was not told") };
        assert_eq!(died.holder.pid, pid);
        assert_eq!(died.holder.process, "careless");
        assert!(died.to_string().contains("the account"), "{died}");
        assert!(died.to_string().contains("locks.rs"), "{died}");
        assert!(value.get().is_err() && value.try_lock().is_err());
    }
    let mut guard = value.lock_recover().unwrap();
    assert_eq!((*guard, guard.holder_died().unwrap().holder.pid), (13, pid));
    drop(guard);
    assert!(value.lock().is_err(), "the mark stays until somebody takes it away");
    guard = value.lock_recover().unwrap();
    *guard = 2;
    guard.mark_consistent();
    assert!(guard.holder_died().is_none());
    drop(guard);
    assert_eq!(value.get().unwrap(), 2);
}

#[watertight::test]
fn recovering_can_be_given_up_and_still_takes_what_the_dead_had() {
    let value = Value::new(1_i64).unwrap();
    let guard = value.lock().unwrap();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| value.lock_recover_timeout(Duration::from_millis(1)).unwrap().is_none());
        assert!(other.join().unwrap());
    });
    drop(guard);
    let arguments = (value.clone(), Atomic::new(0_u32).unwrap());
    assert!(Process::spawn(die_holding, arguments).unwrap().join().is_err());
    assert!(value.lock_timeout(LONG).unwrap_err().is_holder_died());
    let mut guard = value.lock_recover_timeout(LONG).unwrap().unwrap();
    assert_eq!(*guard, 13);
    guard.mark_consistent();
    drop(guard);
    assert_eq!(value.get().unwrap(), 13);
}

#[watertight::test]
fn whoever_sleeps_for_a_lock_wakes_when_its_holder_is_killed() {
    for _ in 0..20 {
        let lock = Lock::new().unwrap().named(&own("held"));
        let held = Atomic::new(0_u32).unwrap();
        let hold = |lock: Lock, held: Atomic<u32>| {
            let _guard = lock.lock().unwrap();
            held.store(1, Ordering::Release);
            std::thread::park_timeout(LONG);
        };
        let holder = Process::builder().daemon(true).spawn(hold, (lock.clone(), held.clone())).unwrap();
        until(|| held.load(Ordering::Acquire) == 1);
        let wait = |lock: Lock| lock.lock().map(drop).unwrap_err().is_holder_died();
        let waiter = Process::spawn(wait, (lock.clone(),)).unwrap();
        std::thread::scope(|scope| {
            let here = scope.spawn(|| lock.lock().map(drop).unwrap_err().is_holder_died());
            until_waiting(2, "held");
            holder.kill().unwrap();
            assert!(here.join().unwrap());
        });
        assert!(waiter.join().unwrap());
        assert_eq!(holder.join().unwrap_err().signal(), Some(Signal::SIGKILL));
    }
}

/// A host whose child holds the lock.
fn host_of_a_holder(lock: Lock, held: Atomic<u32>) {
    let hold = |lock: Lock, held: Atomic<u32>| {
        let _guard = lock.lock().unwrap();
        held.store(std::process::id(), Ordering::Release);
        std::thread::park_timeout(LONG);
    };
    let _ = Process::spawn(hold, (lock, held)).unwrap().join();
}

#[watertight::test]
fn the_death_of_holder_host_and_keeper_at_one_stroke_is_noticed() {
    let (lock, held) = (Lock::new().unwrap().named(&own("held")), Atomic::new(0_u32).unwrap());
    let host = Process::builder().daemon(true).spawn(host_of_a_holder, (lock.clone(), held.clone())).unwrap();
    until(|| held.load(Ordering::Acquire) != 0);
    let holder = held.load(Ordering::Acquire);
    let parent = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat[stat.rfind(')').unwrap() + 1..].split_whitespace().nth(1).unwrap().parse::<u32>().unwrap()
    };
    let keeper = parent(holder);
    assert_eq!(parent(keeper), host.pid());
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| lock.lock().map(drop).unwrap_err());
        until_waiting(1, "held");
        let numbers = [host.pid(), keeper, holder].map(|pid| pid.to_string());
        // Stopped before any of them is dead, so that none can act on another's death.
        let signal =
            |signal: &str| std::process::Command::new("kill").arg(signal).args(&numbers).output().unwrap();
        assert!(signal("-STOP").status.success());
        // Of the dead, the last may have gone with the one before it.
        signal("-KILL");
        let LockError::HolderDied(died) = waiter.join().unwrap() else { panic!("it was not told") };
        assert_eq!(died.holder.pid, holder);
    });
    assert!(host.join().is_err());
}

#[watertight::test]
fn nobody_notices_when_a_waiter_is_killed() {
    let lock = Lock::new().unwrap().named(&own("wanted"));
    for _ in 0..20 {
        let guard = lock.lock().unwrap();
        let wait = |lock: Lock| match lock.lock() {
            Ok(guard) => drop(guard),
            // The victim had come to hold it.
            Err(LockError::HolderDied(_)) => lock.lock_recover().unwrap().mark_consistent(),
            Err(error) => panic!("{error}"),
        };
        let victim = Process::builder().daemon(true).spawn(wait, (lock.clone(),)).unwrap();
        let other = Process::spawn(wait, (lock.clone(),)).unwrap();
        until_waiting(2, "wanted");
        // The lock becomes free while one that may have been woken for it dies.
        let killer = victim.handle();
        std::thread::scope(|scope| {
            scope.spawn(move || killer.kill().unwrap());
            drop(guard);
        });
        other.join().unwrap();
        let _ = victim.join();
        wait(lock.clone());
    }
}

#[watertight::test]
fn a_guard_that_a_thread_leaked_passes_on_when_the_thread_ends() {
    let lock = Lock::new().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| std::mem::forget(lock.lock().unwrap()));
    });
    assert!(lock.lock().unwrap_err().is_holder_died());
    lock.lock_recover().unwrap().mark_consistent();
    assert!(lock.lock().is_ok());
}

#[watertight::test]
fn taking_a_lock_twice_in_one_thread_is_a_deadlock_error() {
    let lock = Lock::new().unwrap().named("mine");
    let _guard = lock.lock().unwrap();
    let Err(LockError::Deadlock(deadlock)) = lock.lock() else { panic!("it was given twice") };
    assert_eq!(deadlock.circle.len(), 1);
    let text = deadlock.to_string();
    assert!(text.contains("`mine`") && text.contains("locks.rs"), "{text}");
}

#[watertight::test]
fn two_threads_that_take_two_locks_in_opposite_order_get_one_error() {
    let (one, two) = (Lock::new().unwrap().named("one"), Lock::new().unwrap().named("two"));
    for _ in 0..200 {
        let (to_second, from_first) = mpsc::channel();
        let (to_first, from_second) = mpsc::channel();
        let (one, two) = (&one, &two);
        let errors = std::thread::scope(|scope| {
            let first = scope.spawn(move || {
                let _one = one.lock().unwrap();
                to_second.send(()).unwrap();
                from_second.recv().unwrap();
                two.lock().map(drop).is_err_and(|error| error.is_deadlock())
            });
            let second = scope.spawn(move || {
                let _two = two.lock().unwrap();
                to_first.send(()).unwrap();
                from_first.recv().unwrap();
                one.lock().map(drop).is_err_and(|error| error.is_deadlock())
            });
            [first.join().unwrap(), second.join().unwrap()]
        });
        assert_eq!(errors.iter().filter(|error| **error).count(), 1);
    }
}

fn opposite(first: Lock, second: Lock, ready: Atomic<u32>, parties: u32) -> Option<String> {
    let _first = first.lock().unwrap();
    ready.fetch_add(1, Ordering::AcqRel);
    until(|| ready.load(Ordering::Acquire) >= parties);
    match second.lock() {
        Ok(_) => None,
        Err(LockError::Deadlock(deadlock)) => Some(format!("{} {deadlock}", deadlock.circle.len())),
        Err(error) => panic!("{error}"),
    }
}

fn ring_of(parties: u32) {
    let locks: Vec<_> = (0..parties).map(|n| Lock::new().unwrap().named(&format!("lock {n}"))).collect();
    let ready = Atomic::new(0_u32).unwrap();
    let next = |n: u32| locks[(n as usize + 1) % locks.len()].clone();
    let processes: Vec<_> = (1..parties)
        .map(|n| {
            let arguments = (locks[n as usize].clone(), next(n), ready.clone(), parties);
            Process::spawn(opposite, arguments).unwrap()
        })
        .collect();
    // One party is a thread of this process.
    let here = opposite(locks[0].clone(), next(0), ready.clone(), parties);
    let others = processes.into_iter().map(|process| process.join().unwrap());
    let errors: Vec<_> = others.chain([here]).flatten().collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with(&format!("{parties} deadlock: ")), "{}", errors[0]);
    for n in 0..parties {
        assert!(errors[0].contains(&format!("`lock {n}`")), "{}", errors[0]);
    }
}

#[watertight::test]
fn a_circle_of_two_is_an_error_for_one() {
    (0..10).for_each(|_| ring_of(2));
}

#[watertight::test]
fn a_circle_of_three_is_an_error_for_one() {
    (0..10).for_each(|_| ring_of(3));
}

#[watertight::test]
fn a_circle_of_five_is_an_error_for_one() {
    (0..10).for_each(|_| ring_of(5));
}

fn nested(locks: Vec<Lock>, total: Value<u64>, rounds: u32) {
    for round in 0..rounds {
        let first = round as usize % (locks.len() - 1);
        let _outer = locks[first].lock().unwrap();
        let _inner = locks[first + 1].lock().unwrap();
        *total.lock().unwrap() += 1;
    }
}

#[watertight::test]
fn nested_locks_in_the_right_order_are_never_called_a_deadlock() {
    let locks: Vec<_> = (0..4).map(|_| Lock::new().unwrap()).collect();
    let total = Value::new(0_u64).unwrap();
    let processes: Vec<_> =
        (0..3).map(|_| Process::spawn(nested, (locks.clone(), total.clone(), 20_000)).unwrap()).collect();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| nested(locks.clone(), total.clone(), 20_000));
        }
    });
    for process in processes {
        process.join().unwrap();
    }
    assert_eq!(total.get().unwrap(), 100_000);
}

fn list_for_ever() {
    loop {
        waiters().unwrap();
    }
}

/// Names in /dev/shm of what this process made.
fn own_names() -> Vec<String> {
    let mark = format!("watertight-{}-", std::process::id());
    let entries = std::fs::read_dir("/dev/shm").unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(&mark)).collect()
}

#[watertight::test(timeout = "300s")]
fn a_lock_that_somebody_looks_at_goes_with_its_last_holder() {
    let looking = Process::spawn(list_for_ever, ()).unwrap();
    for _ in 0..200 {
        let lock = Lock::new().unwrap().named(&own("looked at"));
        let guard = lock.lock().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| drop(lock.lock().unwrap()));
            until_waiting(1, "looked at");
            drop(guard);
        });
        drop(lock);
        assert_eq!(own_names(), [""; 0]);
    }
    looking.kill().unwrap();
    assert_eq!(looking.join().unwrap_err().signal(), Some(Signal::SIGKILL));
}

#[watertight::test]
fn waiters_are_listed_with_the_holder_they_wait_for() {
    let lock = Lock::new().unwrap().named(&own("the door"));
    let guard = lock.lock().unwrap();
    let wait = |lock: Lock| drop(lock.lock().unwrap());
    let process = Process::builder().name("guest").spawn(wait, (lock.clone(),)).unwrap();
    until_waiting(1, "the door");
    let list = waiters().unwrap();
    let waiter = list.iter().find(|waiter| waiter.object == format!("`{}`", own("the door"))).unwrap();
    assert_eq!((waiter.party.pid, waiter.party.process.as_str()), (process.pid(), "guest"));
    assert_eq!(waiter.holder.as_ref().unwrap().pid, std::process::id());
    assert!(waiter.at.as_ref().unwrap().contains("locks.rs"));
    assert!(waiter.taken_at.as_ref().unwrap().contains("locks.rs"));
    assert!(serde_json::to_string(&list).unwrap().contains("the door"));
    drop(guard);
    process.join().unwrap();
}

#[watertight::test]
fn a_dead_waiter_of_a_condition_is_not_counted() {
    let (lock, condition) = (Lock::new().unwrap(), Condition::new().unwrap());
    let wait = |lock: Lock, condition: Condition| condition.wait(&mut lock.lock().unwrap()).is_ok();
    let waiter = Process::spawn(wait, (lock.clone(), condition.clone())).unwrap();
    until(|| condition.waiting_count().unwrap() == 1);
    waiter.kill().unwrap();
    assert!(waiter.join().is_err());
    assert_eq!(condition.waiting_count().unwrap(), 0);
    assert_eq!(condition.notify(1).unwrap(), 0);
}
