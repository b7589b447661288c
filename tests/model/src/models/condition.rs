//! Waiters at a condition, and those who notify them.

use std::sync::Arc;
use std::time::Duration;

use super::process;
use crate::explore::{explore, explore_deaths};
use crate::primitive::{AtomicU64, Ordering};
use crate::roster::killed_after;
use crate::sync::LockError;
use crate::sync::condition::Condition;
use crate::sync::lock::{Lock, LockGuard};
use crate::sys::clock;

const LONG: Duration = Duration::from_secs(1 << 20);

struct Place {
    lock: Lock,
    condition: Condition,
    /// Changed under the lock.
    state: AtomicU64,
}

impl Place {
    fn new() -> Arc<Place> {
        let (lock, condition) = (Lock::new(), Condition::new());
        let (lock, condition) = (lock.expect("there is memory"), condition.expect("there is memory"));
        Arc::new(Place { lock, condition, state: AtomicU64::new(0) })
    }

    fn state(&self) -> u64 {
        self.state.load(Ordering::Relaxed)
    }

    fn lock(&self) -> LockGuard<'_> {
        match self.lock.lock() {
            Ok(guard) => guard,
            Err(LockError::HolderDied(_)) => {
                let mut guard = self.lock.lock_recover().expect("there is no circle");
                guard.mark_consistent();
                guard
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits to be notified; whether it was.
    fn wait(&self) -> bool {
        let mut guard = self.lock();
        self.condition.wait_timeout(&mut guard, LONG).expect("there is room")
    }
}

/// One waits for a state, another one brings it about.
pub fn under_the_lock() -> usize {
    explore(2, || {
        let place = Place::new();
        let other = process(2, &place, |place| {
            let _guard = place.lock();
            place.state.store(1, Ordering::Relaxed);
            place.condition.notify_one().expect("there is room");
        });
        let mut guard = place.lock();
        place.condition.wait_for(&mut guard, |_| place.state() == 1).expect("there is room");
        drop(guard);
        other.join().expect("the other one ends");
    })
}

/// Two wait, and one is notified; one of them dies after any number of steps.
pub fn a_waiter_dies_anywhere() -> usize {
    explore_deaths(1, 5, |steps| {
        let place = Place::new();
        let victim = process(2, &place, move |place| {
            let mut woken = false;
            (killed_after(steps, || woken = place.wait()), woken)
        });
        let other = process(3, &place, Place::wait);
        let notified = place.condition.notify(1).expect("there is room");
        // That may have been before anybody waited.
        clock::go_on();
        let (cut_off, victim_woken) = victim.join().expect("the victim ends");
        let woken = usize::from(victim_woken) + usize::from(other.join().expect("the other one ends"));
        assert!(woken == notified || cut_off && woken <= notified, "{woken} of {notified}");
        assert_eq!(place.condition.notify(2).expect("there is room"), 0);
        cut_off
    })
}

/// A waiter is notified and dies; then another one waits, and a third process dies.
pub fn not_to_a_later_one() -> usize {
    explore_deaths(2, 1, |steps| {
        let place = Place::new();
        let victim = process(2, &place, move |place| killed_after(steps, || _ = place.wait()));
        let notified = place.condition.notify(1).expect("there is room");
        if notified == 0 {
            clock::go_on();
            return victim.join().expect("the victim ends");
        }
        let cut_off = victim.join().expect("the victim ends");
        let other = process(3, &place, |_| {
            killed_after(0, || ());
            clock::go_on();
        });
        assert!(!place.wait(), "nobody has notified since");
        other.join().expect("the other one ends");
        cut_off
    })
}

/// Two wait; who notifies one of them dies after any number of steps.
pub fn a_notifier_dies_anywhere() -> usize {
    explore_deaths(1, 1, |steps| {
        let place = Place::new();
        let waiter = process(3, &place, Place::wait);
        let notifier = process(2, &place, move |place| killed_after(steps, || _ = place.condition.notify(1)));
        let cut_off = notifier.join().expect("the notifier ends");
        let left = place.condition.notify(1).expect("there is room");
        clock::go_on();
        let woken = waiter.join().expect("the waiter ends");
        assert!(woken || left == 0, "it was notified");
        assert_eq!(place.condition.waiting_count().expect("there is room"), 0);
        cut_off
    })
}
