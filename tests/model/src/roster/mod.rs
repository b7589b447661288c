//! The library's own sources of waits, bells and circles, in a roster whose processes are loom's threads.

#[path = "../../../../src/roster/bells.rs"]
mod bells;
#[path = "../../../../src/roster/circle.rs"]
mod circle;
pub(crate) mod layout;
#[path = "../../../../src/roster/owner.rs"]
mod owner;
#[path = "../../../../src/roster/wait.rs"]
mod wait;
mod watch;

use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use crate::primitive::{AtomicU64, Ordering};
use crate::shm::name::{ONLY, SegmentId};
use crate::shm::segment::{OpenError, Segment};
use crate::words::die_after;

pub(crate) use circle::Link;
pub(crate) use owner::Owner;
pub(crate) use wait::{Ending, Target, Wait, deadline};

use bells::{Bells, Whose};
use layout::MAX_THREADS;
use owner::State;
use watch::Watch;

/// The generation of every thread.
const GENERATION: u32 = 5;

pub(crate) struct Roster {
    bells: Bells,
    watch: Watch,
    dead: [AtomicU64; MAX_THREADS + 1],
}

loom::lazy_static! {
    static ref ROSTER: Arc<Roster> = Roster::new();
}

loom::thread_local! {
    static SLOT: Cell<usize> = Cell::new(1);
}

pub(crate) fn tree() -> SegmentId {
    ONLY
}

/// The calling thread is the process with that number from now on; the first one is number 1.
pub(crate) fn become_process(slot: usize) {
    SLOT.with(|own| own.set(slot));
}

/// Runs `body` as the calling process, which is killed after so many steps, or at its end; whoever sleeps is
/// woken by that. True if it did not come to the end.
pub(crate) fn killed_after(steps: u32, body: impl FnOnce()) -> bool {
    let died = die_after(steps, body);
    let roster = Arc::clone(&ROSTER);
    let slot = SLOT.with(Cell::get);
    roster.dead[slot].store(1, Ordering::Release);
    roster.segment().count_death(slot);
    // All processes of a model look through the same bells.
    roster.bells.ring(Whose::Own);
    died
}

/// The calling thread is always known.
pub(crate) fn known(_: u64, _: &'static Location<'static>) -> Option<(Owner, u32)> {
    Some((Owner::new(SLOT.with(Cell::get), GENERATION), 0))
}

impl Roster {
    fn new() -> Arc<Roster> {
        let dead = [(); MAX_THREADS + 1].map(|()| AtomicU64::new(0));
        let roster = Roster { bells: Bells::new(Segment::only()), watch: Watch, dead };
        for slot in 1..=MAX_THREADS {
            let state = State { generation: GENERATION, user: Some(slot), tag: 0 };
            roster.bells.word(slot, layout::IN_STATE).store(state.to_word(), Ordering::Relaxed);
        }
        Arc::new(roster)
    }

    pub(crate) fn current() -> Result<Arc<Roster>, OpenError> {
        Ok(Arc::clone(&ROSTER))
    }

    fn segment(&self) -> &Segment {
        self.bells.segment()
    }

    pub(crate) fn is_alive(&self, owner: Owner) -> bool {
        let Some(slot) = owner.slot() else { return owner == Owner::NOBODY_IN_PARTICULAR };
        self.dead[slot].load(Ordering::Acquire) == 0
    }

    pub(crate) fn me(&self) -> Option<Owner> {
        Some(Owner::new(SLOT.with(Cell::get), GENERATION))
    }

    pub(crate) fn instance(&self) -> u64 {
        1
    }

    pub(crate) fn site(&self, _: &'static Location<'static>) -> u32 {
        0
    }

    pub(crate) fn site_text(&self, _: u32) -> Option<String> {
        None
    }

    pub(crate) fn describe(&self, owner: Owner) -> Party {
        Party { pid: owner.slot().unwrap_or(0) as u32 }
    }

    pub(crate) fn describe_circle(&self, circle: &[Link]) -> Vec<Waiter> {
        circle.iter().map(|link| Waiter(link.slot)).collect()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Party {
    pub pid: u32,
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.pid)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiter(usize);

impl fmt::Display for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} waits", self.0)
    }
}
