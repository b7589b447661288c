//! One wait of one thread: what it waits for stands in its slot, and it sleeps on that and on its own bell.

use std::time::Duration;

use crate::primitive::{AtomicU32, Ordering, fence};
use crate::shm::name::SegmentId;
use crate::shm::object::Object;
use crate::sys::clock::monotonic_nanos;
use crate::sys::futex::{self, Slept};

use super::layout;
use super::owner::Owner;
use super::watch::Coverage;
use super::{Link, Roster, circle};

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) segment: SegmentId,
    /// Where the object begins.
    pub(crate) object: usize,
    /// Where the lock's word lies; zero for what has no holder.
    pub(crate) word: usize,
}

impl Target {
    /// A lock's word in an object.
    pub(crate) fn lock(object: &Object, at: usize) -> Target {
        let (segment, offset) = (object.segment().id(), object.offset());
        Target { segment, object: offset, word: offset + at }
    }

    /// Something without a holder.
    pub(crate) fn ownerless(object: &Object) -> Target {
        Target { segment: object.segment().id(), object: object.offset(), word: 0 }
    }
}

/// Set beside the site of a wait that ends by itself, and so closes no circle.
pub(super) const TIMED: u64 = 1 << 32;

/// Set beside the site of a wait that cannot be refused.
pub(super) const INSISTS: u64 = 1 << 33;

/// How long to sleep where a death could go unnoticed otherwise.
const SLICE: u64 = 50_000_000;

/// A wait under way. Nothing of it is left when it is dropped.
pub(crate) struct Wait<'a> {
    roster: &'a Roster,
    slot: usize,
    /// Nanoseconds of the monotonic clock.
    deadline: Option<u64>,
    coverage: Coverage,
    /// What stood there before: a wait that this one is a part of, or nothing.
    before: Written,
    /// Whether the one that this is a part of sleeps.
    was_asleep: bool,
}

/// The moment of the monotonic clock that is `timeout` from now.
pub(crate) fn deadline(timeout: Option<Duration>) -> Option<u64> {
    let nanos = u64::try_from(timeout?.as_nanos()).ok()?;
    monotonic_nanos().checked_add(nanos)
}

/// How a wait may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// At a moment of the monotonic clock, in nanoseconds: such a wait closes no circle.
    AtLast(u64),
    /// By an error, if it closes a circle.
    ByCircle,
    /// Not before it has what it waits for: another one in the circle has to give up.
    Never,
}

impl Roster {
    /// Writes down that `me` waits for `target`. A wait inside another one covers that until it is over.
    pub(crate) fn begin_wait(&self, me: Owner, target: Target, site: u32, ending: Ending) -> Wait<'_> {
        let slot = me.slot().unwrap_or(1);
        let before = self.segment().word(layout::AT_TICKETS).fetch_add(1, Ordering::SeqCst);
        // Zero is no ticket.
        let ticket = before.wrapping_add(1).max(1);
        let (deadline, flag) = match ending {
            Ending::AtLast(deadline) => (Some(deadline), TIMED),
            Ending::ByCircle => (None, 0),
            Ending::Never => (None, INSISTS),
        };
        let before = Written { fields: FIELDS.map(|at| self.bells.word(slot, at).load(Ordering::Relaxed)) };
        let was_asleep = self.bells.is_asleep(slot);
        let fields = [
            u64::from(target.segment.pid),
            target.segment.number,
            target.object as u64,
            target.word as u64,
            monotonic_nanos(),
            u64::from(site) | flag,
            ticket,
        ];
        Written { fields }.write(self, slot);
        Wait { roster: self, slot, deadline, coverage: Coverage::Complete, before, was_asleep }
    }
}

/// The fields that tell of a wait; the ticket comes last.
const FIELDS: [usize; 7] = [
    layout::IN_SEGMENT,
    layout::IN_SEGMENT + 8,
    layout::IN_OBJECT,
    layout::IN_WORD,
    layout::IN_SINCE,
    layout::IN_SITE,
    layout::IN_TICKET,
];

/// What stands in a slot.
struct Written {
    fields: [u64; FIELDS.len()],
}

impl Written {
    /// Under no ticket while the rest changes, so that nobody takes a mixture for a wait.
    fn write(&self, roster: &Roster, slot: usize) {
        roster.bells.word(slot, layout::IN_TICKET).store(0, Ordering::SeqCst);
        fence();
        for (at, value) in FIELDS.into_iter().zip(self.fields) {
            roster.bells.word(slot, at).store(value, Ordering::SeqCst);
        }
        fence();
    }
}

impl Wait<'_> {
    /// Gets ready to sleep. What is waited for must be looked at after this, and before `sleep`.
    pub(crate) fn arm(&mut self) -> u32 {
        self.roster.bells.note_sleep(self.slot, true);
        fence();
        let bell = self.roster.bells.half_word(self.slot, layout::IN_BELL).load(Ordering::SeqCst);
        self.coverage = self.roster.watch.cover();
        bell
    }

    /// Whether the time is over.
    pub(crate) fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| monotonic_nanos() >= deadline)
    }

    /// The circle of waits that this one has closed, if it is the one to give up: the youngest of them all.
    pub(crate) fn circle(&self) -> Option<Vec<Link>> {
        circle::find(self.roster, self.slot)
    }

    /// Sleeps while `word` holds `expected` and the bell was not rung since `arm`.
    pub(crate) fn sleep(&self, word: &AtomicU32, expected: u32, bell: u32) {
        let own = self.roster.bells.half_word(self.slot, layout::IN_BELL);
        let slice = || monotonic_nanos() + SLICE;
        let until = match self.coverage {
            Coverage::Complete => self.deadline,
            Coverage::Partial => Some(self.deadline.unwrap_or(u64::MAX).min(slice())),
        };
        if futex::wait_for_either([(word, expected), (own, bell)], until) == Slept::Unsupported {
            let until = until.unwrap_or(u64::MAX).min(slice());
            let time = Duration::from_nanos(until.saturating_sub(monotonic_nanos()));
            futex::wait(word, expected, Some(time));
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.roster.bells.note_sleep(self.slot, self.was_asleep);
        self.before.write(self.roster, self.slot);
    }
}
