//! Who lives, who holds and who waits for what, in one tree of processes.
//!
//! A tree is a program with all its workers and theirs. It has one roster, a segment that whoever needs it
//! first makes, under a name that the first program of the tree has chosen. A thread that uses a lock has a
//! slot in it. `README.md` tells the protocol.

mod bells;
mod circle;
mod known;
mod layout;
mod owner;
mod report;
mod site;
mod thread;
mod wait;
mod watch;

use std::sync::atomic::AtomicU64 as LocalCounter;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use crate::primitive::Ordering;
use crate::shm::name::SegmentId;
use crate::shm::segment::{OpenError, Segment};
use crate::shm::text;
use crate::shm::user::User;

pub(crate) use circle::Link;
pub(crate) use known::known;
pub(crate) use owner::Owner;
pub use report::{Party, Waiter, waiters};
pub(crate) use wait::{Ending, Target, Wait, deadline};

use bells::Bells;
use watch::Watch;

/// This process's part in its tree's roster. Left with the last shared object that the process knows.
pub(crate) struct Roster {
    bells: Arc<Bells>,
    watch: Watch,
    /// Tells this joining of the roster from an earlier one of the same process.
    instance: u64,
    /// Of threads of this process, in this joining.
    slots: Mutex<Vec<usize>>,
}

static CURRENT: Mutex<Weak<Roster>> = Mutex::new(Weak::new());
static TREE: OnceLock<SegmentId> = OnceLock::new();
static PROCESS_NAME: OnceLock<String> = OnceLock::new();

/// The tree of this process; its first process chooses the name.
pub(crate) fn tree() -> SegmentId {
    *TREE.get_or_init(SegmentId::new)
}

/// In a worker: its host's tree is its own, and this is its name.
pub(crate) fn become_worker(tree: SegmentId, name: &str) {
    let _ = TREE.set(tree);
    let _ = PROCESS_NAME.set(name.to_owned());
}

/// In a program that has no tree of its own and looks at the objects of another one's.
#[cfg(feature = "cli")]
pub(crate) fn become_guest(tree: SegmentId, name: &str) {
    become_worker(tree, name);
}

impl Roster {
    /// This tree's roster, joined if this process has not yet.
    pub(crate) fn current() -> Result<Arc<Roster>, OpenError> {
        static INSTANCES: LocalCounter = LocalCounter::new(1);
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(roster) = current.upgrade() {
            return Ok(roster);
        }
        let segment = Segment::join(tree(), layout::BYTES)?;
        let name = PROCESS_NAME.get().map_or("MainProcess", String::as_str);
        text::write(&segment, layout::process_name(segment.user()), layout::PROCESS_NAME, name);
        let bells = Arc::new(Bells::new(segment));
        // Whoever sleeps has not seen this process yet, and has to watch it from now on.
        bells.joins().fetch_add(1, Ordering::SeqCst);
        bells.ring(bells::Whose::Everybodys);
        let watch = Watch::new(Arc::clone(&bells));
        let instance = INSTANCES.fetch_add(1, Ordering::Relaxed);
        let roster = Arc::new(Roster { bells, watch, instance, slots: Mutex::default() });
        *current = Arc::downgrade(&roster);
        Ok(roster)
    }

    /// Tells this joining of the roster from any other one of this process.
    pub(crate) fn instance(&self) -> u64 {
        self.instance
    }

    fn segment(&self) -> &Segment {
        self.bells.segment()
    }

    /// Whether a holder still lives: its thread has not ended, and neither has its process.
    pub(crate) fn is_alive(&self, owner: Owner) -> bool {
        let Some(slot) = owner.slot() else { return owner == Owner::NOBODY_IN_PARTICULAR };
        let state = self.bells.state(slot);
        let Some(user) = state.user.filter(|_| state.generation == owner.generation()) else { return false };
        let word = self.segment().user_at(user).load(Ordering::Acquire);
        // By its word: somebody else may have come to stand in this process's place.
        let is_own = || word == User::own().to_word();
        owner::tag(word) == state.tag && (is_own() || self.watch.is_alive(user, word))
    }
}
