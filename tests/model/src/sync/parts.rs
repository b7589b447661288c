//! An array and its parts.

use std::panic::Location;
use std::sync::Arc;

use crate::explore::{explore, explore_deaths};
use crate::models::process;
use crate::primitive::{AtomicU64, Ordering};
use crate::roster::killed_after;
use crate::shm::object::{Kind, Shape};

use super::LockError;
use super::division::{self, Division, Manner};
use super::hold::{Abandoned, Hold};
use super::raw::Patience;
use super::shared::Shared;

struct Parted {
    shared: Shared,
    division: Division,
    /// What stands in each part.
    counts: [AtomicU64; 2],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Whole,
    Part(usize),
}

use Which::{Part, Whole};

fn manner(abandoned: Abandoned) -> Manner {
    Manner { patience: Patience::Forever, abandoned, location: Location::caller() }
}

impl Parted {
    fn new() -> Arc<Parted> {
        let shared = Shared::make(Shape::of::<u8>(Kind::Array, 2)).expect("there is memory");
        let whole = division::take_whole(&shared, manner(Abandoned::Refuse)).expect("nobody died");
        let division = division::divide(&shared, 2);
        drop(whole);
        Arc::new(Parted { shared, division, counts: [(); 2].map(|()| AtomicU64::new(0)) })
    }

    fn take(&self, which: Which, abandoned: Abandoned) -> Result<Hold<'_>, LockError> {
        let taken = match which {
            Whole => division::take_whole(&self.shared, manner(abandoned)),
            Part(part) => division::take_part(&self.shared, part, self.division, manner(abandoned)),
        };
        taken.map(|hold| hold.expect("its patience is endless"))
    }

    /// With the hold. Nobody else may come between the two steps.
    fn increment(&self, which: Which) {
        let parts = match which {
            Whole => 0..2,
            Part(part) => part..part + 1,
        };
        for count in &self.counts[parts] {
            count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    /// Takes it and increments; if a holder has died, as if nothing were. Whether one had.
    fn use_it(&self, which: Which) -> bool {
        match self.take(which, Abandoned::Refuse) {
            Ok(_hold) => {
                self.increment(which);
                false
            }
            Err(LockError::HolderDied(_)) => {
                self.recover(which);
                self.increment(which);
                true
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn recover(&self, which: Which) {
        let mut hold = self.take(which, Abandoned::Take).expect("there is no circle");
        hold.mark_consistent();
        if which == Whole {
            division::mark_parts_consistent(&self.shared);
        }
    }

    fn counts(&self) -> [u64; 2] {
        [0, 1].map(|part| self.counts[part].load(Ordering::Relaxed))
    }
}

/// One takes the whole, another one the first part.
pub fn whole_and_part() -> usize {
    explore(2, || {
        let parted = Parted::new();
        let other = process(2, &parted, |parted| parted.use_it(Part(0)));
        assert!(!parted.use_it(Whole));
        assert!(!other.join().expect("the other one ends"));
        assert_eq!(parted.counts(), [2, 1]);
    })
}

fn one_dies_anywhere(victims: Which, here: Which) -> usize {
    explore_deaths(1, 1, move |steps| {
        let parted = Parted::new();
        let victim = process(2, &parted, move |parted| killed_after(steps, || _ = parted.use_it(victims)));
        parted.use_it(here);
        let cut_off = victim.join().expect("the victim ends");
        // The whole tells of a dead holder of whatever.
        parted.use_it(Whole);
        for which in [Whole, Part(0), Part(1)] {
            assert!(!parted.use_it(which), "it is told once");
        }
        cut_off
    })
}

/// Whoever holds a part dies after any number of steps.
pub fn a_part_dies_anywhere() -> usize {
    one_dies_anywhere(Part(0), Whole) + one_dies_anywhere(Part(0), Part(0))
}

/// Whoever holds the whole dies after any number of steps.
pub fn a_whole_dies_anywhere() -> usize {
    one_dies_anywhere(Whole, Part(1)) + one_dies_anywhere(Whole, Whole)
}

/// A holder of a part is dead. One recovers the whole, while another one asks for the part.
pub fn a_mark_stays_away() -> usize {
    explore(2, || {
        let parted = Parted::new();
        let dead = process(2, &parted, |parted| {
            killed_after(u32::MAX, || std::mem::forget(parted.take(Part(0), Abandoned::Refuse)))
        });
        dead.join().expect("it ends");
        let other = process(3, &parted, |parted| _ = parted.take(Part(0), Abandoned::Refuse).map(drop));
        parted.recover(Whole);
        other.join().expect("the other one ends");
        assert!(!parted.use_it(Part(0)), "all is well again");
    })
}
