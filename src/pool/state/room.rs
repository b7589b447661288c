//! Who waits for room to submit more.

use std::thread::Thread;

use crate::pool::machine::JobKey;

use super::State;

/// What a thread that submits waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) enum Room {
    /// That the workers have use for more.
    Appetite,
    /// That fewer tasks than this are pending.
    Pending(u64),
}

impl State {
    /// How much more of a submission the workers have use for. However busy they are with others', it may
    /// have one task in the queue.
    pub(in crate::pool) fn appetite(&self, job: JobKey) -> u64 {
        let waits = || self.jobs.get(&job).is_some_and(|job| job.outstanding == 0);
        match self.machine.appetite() {
            0 => u64::from(waits()),
            appetite => appetite,
        }
    }

    /// As `appetite`. If there is none, the calling thread is woken when there is.
    pub(in crate::pool) fn has_appetite(&mut self, job: JobKey) -> bool {
        let has = self.appetite(job) > 0;
        self.lacking = (!has).then_some(Room::Appetite);
        has
    }

    /// How many more tasks may be pending. If none, the calling thread is woken when one may.
    pub(in crate::pool) fn room(&mut self, max_pending: u64) -> u64 {
        let room = max_pending.saturating_sub(self.pending);
        self.lacking = (room == 0).then_some(Room::Pending(max_pending));
        room
    }

    /// The calling thread goes to sleep until there is what it lacks.
    pub(in crate::pool) fn starve(&mut self, thread: &Thread) {
        if let Some(room) = self.lacking.take() {
            self.hungry.push((thread.clone(), room));
        }
    }

    /// Wakes the threads for which there is room now.
    pub(super) fn tell_hungry(&mut self) {
        if self.hungry.is_empty() {
            return;
        }
        let (has_appetite, pending) = (self.machine.appetite() > 0, self.pending);
        self.hungry.retain(|(thread, room)| {
            let enough = match room {
                Room::Appetite => has_appetite,
                Room::Pending(most) => pending < *most,
            };
            if enough {
                thread.unpark();
            }
            !enough
        });
    }

    /// Something has happened that a thread which waits may want to know.
    pub(super) fn pass_epoch(&mut self) {
        self.epoch.pass();
        self.has_told = true;
    }
}
