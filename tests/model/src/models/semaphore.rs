//! Permits.

use std::sync::Arc;
use std::time::Duration;

use super::process;
use crate::explore::{explore, explore_deaths};
use crate::primitive::{AtomicU64, Ordering};
use crate::roster::killed_after;
use crate::sync::semaphore::Semaphore;
use crate::sys::clock;

const LONG: Duration = Duration::from_secs(1 << 20);

struct Seats {
    semaphore: Semaphore,
    out: AtomicU64,
}

impl Seats {
    fn new(permits: u32) -> Arc<Seats> {
        let semaphore = Semaphore::new(permits).expect("there is memory");
        Arc::new(Seats { semaphore, out: AtomicU64::new(0) })
    }

    fn sit(&self) {
        let permit = self.semaphore.acquire().expect("there is room");
        assert_eq!(self.out.fetch_add(1, Ordering::Relaxed), 0);
        self.out.fetch_sub(1, Ordering::Relaxed);
        drop(permit);
    }

    /// Takes all permits there are.
    fn count(&self) -> usize {
        let take = || self.semaphore.try_acquire().expect("there is room");
        let permits: Vec<_> = std::iter::from_fn(take).collect();
        permits.len()
    }
}

/// Two share a permit.
pub fn one_permit() -> usize {
    explore(2, || {
        let seats = Seats::new(1);
        let other = process(2, &seats, Seats::sit);
        seats.sit();
        other.join().expect("the other one ends");
        assert_eq!(seats.count(), 1);
    })
}

/// One of two that share a permit dies after any number of steps.
pub fn an_owner_dies_anywhere() -> usize {
    explore_deaths(1, 1, |steps| {
        let seats = Seats::new(1);
        let owner = process(2, &seats, move |seats| {
            killed_after(steps, || drop(seats.semaphore.acquire().expect("there is room")))
        });
        drop(seats.semaphore.acquire().expect("there is room"));
        let cut_off = owner.join().expect("the owner ends");
        assert_eq!(seats.count(), 1);
        cut_off
    })
}

/// Of two that wait for a permit one gives up in the moment in which it comes.
pub fn too_late_for_one() -> usize {
    explore(1, || {
        let seats = Seats::new(1);
        let permit = seats.semaphore.acquire().expect("there is room");
        let hasty = process(2, &seats, |seats| drop(seats.semaphore.acquire_timeout(LONG)));
        let patient = process(3, &seats, |seats| drop(seats.semaphore.acquire()));
        drop(permit);
        let again = seats.semaphore.try_acquire();
        clock::go_on();
        drop(again);
        hasty.join().expect("the hasty one ends");
        patient.join().expect("the patient one ends");
        assert_eq!(seats.count(), 1);
    })
}

/// Who releases a permit dies after any number of steps.
pub fn a_releaser_dies_anywhere() -> usize {
    explore_deaths(1, 1, |steps| {
        let seats = Seats::new(0);
        let releaser = process(2, &seats, move |seats| {
            killed_after(steps, || seats.semaphore.release(1).expect("there is room"))
        });
        let waiter = process(3, &seats, |seats| {
            let permit = seats.semaphore.acquire_timeout(LONG).expect("there is room");
            permit.is_some_and(|permit| permit.forget().is_ok())
        });
        let cut_off = releaser.join().expect("the releaser ends");
        clock::go_on();
        let taken = waiter.join().expect("the waiter ends");
        let left = seats.count();
        assert!(cut_off || taken || left == 1, "a permit is lost");
        assert!(usize::from(taken) + left <= 1, "a permit too many");
        cut_off
    })
}
