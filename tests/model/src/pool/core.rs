//! The pool's lock, and the kernel's sets of descriptors as the threads see them.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use loom::sync::{Condvar, Mutex};

use crate::primitive::{MutexGuard, lock};

use super::state::State;

pub(crate) struct Core {
    state: Mutex<State>,
    sets: Arc<Sets>,
}

/// What the set of doorbells, and the driver's set around it, know.
pub(crate) struct Sets {
    known: Mutex<Known>,
    changed: Condvar,
}

#[derive(Default)]
struct Known {
    /// Doorbells that were rung: each is told once, to one who waits.
    rung: bool,
    /// Told until it is answered; so is `kicked`.
    nudged: bool,
    kicked: bool,
    /// Whether doorbells and nudges wake the driver.
    watched: bool,
    over: bool,
}

/// What woke the driver.
pub(crate) enum Woken {
    Kicked,
    Rung,
    Over,
}

impl Sets {
    pub(crate) fn new() -> Arc<Sets> {
        let known = Known { watched: true, ..Known::default() };
        Arc::new(Sets { known: Mutex::new(known), changed: Condvar::new() })
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        change(&mut lock(&self.known));
        self.changed.notify_all();
    }

    fn wait<T>(&self, mut ready: impl FnMut(&mut Known) -> Option<T>) -> T {
        let mut known = lock(&self.known);
        loop {
            if let Some(value) = ready(&mut known) {
                return value;
            }
            known = self.changed.wait(known).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// As a worker.
    pub(crate) fn ring(&self) {
        self.change(|known| known.rung = true);
    }

    /// There will be nothing more for the driver to do.
    pub(crate) fn end(&self) {
        self.change(|known| known.over = true);
    }

    /// As the driver.
    pub(crate) fn await_events(&self) -> Woken {
        self.wait(|known| match known {
            Known { kicked: true, .. } => Some(Woken::Kicked),
            Known { watched: true, rung: true, .. } | Known { watched: true, nudged: true, .. } => {
                Some(Woken::Rung)
            }
            Known { over: true, .. } => Some(Woken::Over),
            _ => None,
        })
    }
}

impl Core {
    pub(crate) fn new(state: State, sets: Arc<Sets>) -> Core {
        Core { state: Mutex::new(state), sets }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(crate) fn kick(&self) {
        self.sets.change(|known| known.kicked = true);
    }

    pub(crate) fn answer_kick(&self) {
        self.sets.change(|known| known.kicked = false);
    }

    pub(crate) fn nudge(&self) {
        self.sets.change(|known| known.nudged = true);
    }

    pub(crate) fn answer_nudge(&self) {
        self.sets.change(|known| known.nudged = false);
    }

    pub(crate) fn watch_bells(&self, watch: bool) {
        self.sets.change(|known| known.watched = watch);
    }

    pub(crate) fn await_ring(&self, _: Option<Duration>) {
        self.sets.wait(|known| {
            let woken = std::mem::take(&mut known.rung) || known.nudged;
            woken.then_some(())
        });
    }

    pub(crate) fn take_rings(&self) {
        self.sets.change(|known| known.rung = false);
    }
}
