//! Who waits for what, for people and for the supervisor.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::primitive::Ordering;
use crate::shm::glance::Glance;
use crate::shm::text;
use crate::sys::clock::monotonic_nanos;

use super::circle::{holder, waits_for};
use super::layout::{self, MAX_THREADS};
use super::owner::Owner;
use super::wait::Target;
use super::{Link, Roster};

/// A thread of a process that uses locks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Party {
    /// The process's id; zero if the record of it is gone.
    pub pid: u32,
    /// The process's name; empty if the record of it is gone.
    pub process: String,
    /// The thread's id in the kernel.
    pub thread_id: u32,
    /// The thread's name; empty if it has none.
    pub thread: String,
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pid == 0 {
            return f.write_str("a process of which there is no record any more");
        }
        match self.process.as_str() {
            "" => write!(f, "process {}", self.pid)?,
            name => write!(f, "process {} ({name})", self.pid)?,
        }
        match self.thread.as_str() {
            "" if self.thread_id == self.pid => Ok(()),
            "" => write!(f, ", thread {}", self.thread_id),
            name => write!(f, ", thread {} ({name})", self.thread_id),
        }
    }
}

/// A thread that waits, and for what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Waiter {
    /// Who waits.
    pub party: Party,
    /// What for: its name, or a number if it has none.
    pub object: String,
    /// Since when.
    pub waiting: Duration,
    /// The source line that waits; absent if there were too many to keep.
    pub at: Option<String>,
    /// Who holds it; absent if nobody does, or it is nothing that one holds.
    pub holder: Option<Party>,
    /// The source line where the holder took it.
    pub taken_at: Option<String>,
}

impl fmt::Display for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} waits for {} since {:.1?}", self.party, self.object, self.waiting)?;
        if let Some(at) = &self.at {
            write!(f, " at {at}")?;
        }
        if let Some(holder) = &self.holder {
            write!(f, ", held by {holder}")?;
        }
        if let Some(taken) = &self.taken_at {
            write!(f, ", taken at {taken}")?;
        }
        Ok(())
    }
}

/// Everybody in this tree of processes who waits for a shared object now.
///
/// A snapshot: some may have gone on when it is read. As JSON it is `serde_json::to_string` of it.
///
/// # Errors
/// If the roster of this tree cannot be opened.
pub fn waiters() -> Result<Vec<Waiter>, Error> {
    let roster = Roster::current().map_err(|error| Error::shared(error.to_string()))?;
    let slots = (1..=MAX_THREADS).filter(|slot| roster.is_living_slot(*slot));
    let waits = slots.filter_map(|slot| Some((slot, waits_for(&roster, slot)?)));
    Ok(waits
        .map(|(slot, (_, target, site, since))| {
            let held = holder(target).filter(|_| target.word != 0);
            roster.waiter(slot, target, site as u32, since, held)
        })
        .collect())
}

impl Roster {
    /// What is known of a holder.
    pub(crate) fn describe(&self, owner: Owner) -> Party {
        let slot = owner.slot().filter(|slot| self.bells.state(*slot).generation == owner.generation());
        slot.map(|slot| self.party(slot)).unwrap_or_default()
    }

    /// A circle for people.
    pub(crate) fn describe_circle(&self, circle: &[Link]) -> Vec<Waiter> {
        let waiters = circle.iter().map(|link| {
            self.waiter(link.slot, link.target, link.site, link.since, Some((link.holder, link.taken)))
        });
        waiters.collect()
    }

    fn is_living_slot(&self, slot: usize) -> bool {
        self.is_alive(Owner::new(slot, self.bells.state(slot).generation))
    }

    fn party(&self, slot: usize) -> Party {
        let ids = self.bells.word(slot, layout::IN_IDS).load(Ordering::Relaxed);
        let at = layout::thread(slot) + layout::IN_NAME;
        let state = self.bells.state(slot);
        let process = state
            .user
            .map(|user| text::read(self.segment(), layout::process_name(user), layout::PROCESS_NAME));
        Party {
            pid: (ids >> 32) as u32,
            process: process.unwrap_or_default(),
            thread_id: ids as u32,
            thread: text::read(self.segment(), at, layout::THREAD_NAME),
        }
    }

    fn waiter(
        &self,
        slot: usize,
        target: Target,
        site: u32,
        since: u64,
        held: Option<(Owner, u32)>,
    ) -> Waiter {
        Waiter {
            party: self.party(slot),
            object: describe_object(target),
            waiting: Duration::from_nanos(monotonic_nanos().saturating_sub(since)),
            at: self.site_text(site),
            holder: held.map(|(holder, _)| self.describe(holder)),
            taken_at: held.and_then(|(_, taken)| self.site_text(taken)),
        }
    }
}

fn describe_object(target: Target) -> String {
    match Glance::at(target.segment).and_then(|segment| segment.name(target.object)) {
        Some(name) => format!("`{name}`"),
        None => {
            format!("object {}-{:x}/{:#x}", target.segment.pid, target.segment.number as u16, target.object)
        }
    }
}
