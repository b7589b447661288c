//! The circle finder: who waits for a lock whose holder waits for a lock, and so on, until it comes back.
//!
//! A thread writes down what it waits for before it looks, so the last one to do so sees the whole circle. The
//! one with the youngest ticket gives up. If another one sees the circle, it rings that one, which looks again.
//!
//! A circle counts only if a second look finds the very same tickets and holders: each of them then waited
//! from the first look to the second, and a thread that waits lets go of nothing.

use crate::primitive::{Ordering, fence};
use crate::shm::glance::Glance;
use crate::shm::name::SegmentId;

use super::Roster;
use super::layout;
use super::owner::Owner;
use super::wait::{INSISTS, TIMED, Target};

/// Longer chains are not followed.
const LONGEST: usize = 256;

/// Circles that differ from one look to the next so often are none: somebody else writes there.
const MOST_LOOKS: usize = 1000;

/// One wait in a circle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// The slot of the one who waits.
    pub(crate) slot: usize,
    pub(crate) ticket: u64,
    pub(crate) target: Target,
    /// Where the waiting thread asked for it, and when.
    pub(crate) site: u32,
    pub(crate) since: u64,
    pub(crate) holder: Owner,
    /// Where the holder took it.
    pub(crate) taken: u32,
    /// Whether the one who waits cannot be refused.
    insists: bool,
}

/// The circle through `me`, if `me` is the youngest in it.
pub(super) fn find(roster: &Roster, me: usize) -> Option<Vec<Link>> {
    let circle = seen_twice(roster, me)?;
    let youngest = circle.iter().filter(|link| !link.insists).max_by_key(|link| link.ticket)?;
    if youngest.slot == me {
        return Some(circle);
    }
    roster.bells.ring_one(youngest.slot);
    None
}

fn seen_twice(roster: &Roster, me: usize) -> Option<Vec<Link>> {
    let mut before = walk(roster, me)?;
    for _ in 0..MOST_LOOKS {
        fence();
        let again = walk(roster, me)?;
        if again == before {
            return Some(again);
        }
        before = again;
    }
    None
}

fn walk(roster: &Roster, me: usize) -> Option<Vec<Link>> {
    let mut chain: Vec<Link> = Vec::new();
    let mut slot = me;
    while chain.len() < LONGEST {
        let link = link(roster, slot)?;
        let next = link.holder.slot()?;
        chain.push(link);
        if next == me {
            return Some(chain);
        }
        // A circle without `me` is the business of those in it.
        if chain.iter().any(|link| link.slot == next) {
            return None;
        }
        slot = next;
    }
    None
}

/// What a thread waits for without a time-out, and who holds that.
fn link(roster: &Roster, slot: usize) -> Option<Link> {
    let (ticket, target, site, since) = waits_for(roster, slot)?;
    if site & TIMED != 0 || target.word == 0 {
        return None;
    }
    let (holder, taken) = holder(target)?;
    if !roster.is_alive(holder) {
        return None;
    }
    let insists = site & INSISTS != 0;
    Some(Link { slot, ticket, target, site: site as u32, since, holder, taken, insists })
}

/// What a thread waits for, as it stands in its slot: ticket, target, site, since.
pub(super) fn waits_for(roster: &Roster, slot: usize) -> Option<(u64, Target, u64, u64)> {
    let word = |at| roster.bells.word(slot, at).load(Ordering::Acquire);
    let ticket = word(layout::IN_TICKET);
    if ticket == 0 || roster.bells.state(slot).user.is_none() {
        return None;
    }
    let segment = SegmentId { pid: word(layout::IN_SEGMENT) as u32, number: word(layout::IN_SEGMENT + 8) };
    let target =
        Target { segment, object: word(layout::IN_OBJECT) as usize, word: word(layout::IN_WORD) as usize };
    let (site, since) = (word(layout::IN_SITE), word(layout::IN_SINCE));
    fence();
    // Another wait may have begun meanwhile.
    (word(layout::IN_TICKET) == ticket).then_some((ticket, target, site, since))
}

/// Who holds a lock, and where it was taken. The lock may lie in memory that this process has not mapped.
pub(super) fn holder(target: Target) -> Option<(Owner, u32)> {
    let [word, taken] = Glance::at(target.segment)?.half_words(target.word)?;
    Some((Owner::in_word(word)?, taken))
}
