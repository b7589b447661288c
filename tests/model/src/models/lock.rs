//! The lock: who has it, who sleeps for it, and who is told what of a death.

use std::sync::Arc;

use super::process;
use crate::explore::{explore, explore_deaths};
use crate::primitive::{AtomicU64, Ordering};
use crate::roster::killed_after;
use crate::sync::LockError;
use crate::sync::lock::{Lock, LockGuard};
use crate::sys::clock;

/// Longer than the clock goes.
const LONG: std::time::Duration = std::time::Duration::from_secs(1 << 20);

/// A lock and what it protects.
struct Guarded {
    lock: Lock,
    count: AtomicU64,
}

impl Guarded {
    fn new() -> Arc<Guarded> {
        Arc::new(Guarded { lock: Lock::new().expect("there is memory"), count: AtomicU64::new(0) })
    }

    /// As the holder. Nobody else may come between the two steps.
    fn increment(&self, _guard: &LockGuard<'_>) {
        let count = self.count.load(Ordering::Relaxed);
        self.count.store(count + 1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Takes the lock, and if a holder has died, from that. Who that was.
    fn lock_and_increment(&self) -> Option<u32> {
        match self.lock.lock() {
            Ok(guard) => {
                self.increment(&guard);
                None
            }
            Err(LockError::HolderDied(died)) => {
                let mut guard = self.lock.lock_recover().expect("there is no circle");
                guard.mark_consistent();
                self.increment(&guard);
                Some(died.holder.pid)
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Two take it, and the second one sleeps.
pub fn one_at_a_time() -> usize {
    explore(3, || {
        let guarded = Guarded::new();
        let other = process(2, &guarded, |guarded| assert_eq!(guarded.lock_and_increment(), None));
        assert_eq!(guarded.lock_and_increment(), None);
        other.join().expect("the other one ends");
        assert_eq!(guarded.count(), 2);
    })
}

/// Three take it: who is woken may find that somebody else came before.
pub fn three() -> usize {
    explore(2, || {
        let guarded = Guarded::new();
        let others = [2, 3].map(|slot| process(slot, &guarded, |guarded| _ = guarded.lock_and_increment()));
        assert_eq!(guarded.lock_and_increment(), None);
        others.into_iter().for_each(|other| other.join().expect("the others end"));
        assert_eq!(guarded.count(), 3);
    })
}

/// One of two that wait is woken, finds that somebody else came before, and gives up.
pub fn a_wake_up_is_given_on() -> usize {
    explore(2, || {
        let guarded = Guarded::new();
        let guard = guarded.lock.lock().expect("nobody else is there");
        let hasty = process(2, &guarded, |guarded| {
            let guard = guarded.lock.lock_timeout(LONG).expect("nobody dies");
            guard.is_some()
        });
        let patient = process(3, &guarded, |guarded| _ = guarded.lock_and_increment());
        drop(guard);
        let again = guarded.lock.lock().expect("nobody dies");
        clock::go_on();
        drop(again);
        hasty.join().expect("the hasty one ends");
        patient.join().expect("the patient one ends");
        assert!(guarded.lock.try_lock().expect("nobody dies").is_some());
    })
}

/// A holder dies after any number of steps, while another one asks.
pub fn a_holder_dies_anywhere() -> usize {
    explore_deaths(2, 1, |steps| {
        let guarded = Guarded::new();
        let holder =
            process(2, &guarded, move |guarded| killed_after(steps, || _ = guarded.lock_and_increment()));
        let died = guarded.lock_and_increment();
        assert!(died.is_none_or(|died| died == 2));
        let cut_off = holder.join().expect("the holder ends");
        // What it left behind is told to the next one, once.
        let later = guarded.lock_and_increment();
        assert!(later.is_none_or(|later| later == 2 && died.is_none()));
        assert!((2..=3).contains(&guarded.count()));
        assert_eq!(guarded.lock_and_increment(), None);
        cut_off
    })
}

/// One of two waiters dies after any number of steps.
pub fn a_waiter_dies_anywhere() -> usize {
    explore_deaths(2, 3, |steps| {
        let guarded = Guarded::new();
        let guard = guarded.lock.lock().expect("nobody else is there");
        let waiter =
            process(2, &guarded, move |guarded| killed_after(steps, || _ = guarded.lock_and_increment()));
        let other = process(3, &guarded, |guarded| guarded.lock_and_increment());
        drop(guard);
        let cut_off = waiter.join().expect("the waiter ends");
        let told = other.join().expect("the other one ends");
        let later = guarded.lock_and_increment();
        assert!(told.is_none() || later.is_none());
        assert!(told.or(later).is_none_or(|died| died == 2));
        cut_off
    })
}

/// A hold that was handed over is freed by somebody else, once.
pub fn handed_over() -> usize {
    explore(3, || {
        let guarded = Guarded::new();
        guarded.lock.lock().expect("nobody else is there").hand_over();
        let other = process(2, &guarded, |guarded| guarded.lock.release());
        let waiter = process(3, &guarded, |guarded| guarded.lock_and_increment());
        let here = guarded.lock.release();
        assert!(here != other.join().expect("the other one ends"), "it is freed once");
        assert_eq!(waiter.join().expect("the waiter ends"), None);
    })
}

/// Two locks in opposite order: one of two is refused, unless they did not meet.
pub fn a_circle_of_two() -> usize {
    explore(2, || {
        let (one, two) = (Guarded::new(), Guarded::new());
        let ones = Arc::clone(&one);
        let other = process(2, &two, move |two| opposite(&two.lock, &ones.lock));
        let here = opposite(&one.lock, &two.lock);
        let there = other.join().expect("the other one ends");
        assert!(!(here && there), "one may go on");
    })
}

/// Whether the second lock was refused.
fn opposite(first: &Lock, second: &Lock) -> bool {
    let _first = first.lock().expect("who holds it goes on");
    second.lock().is_err_and(|error| error.is_deadlock())
}
