//! What is left for the driver, because it takes a system call of some weight.

use crate::pool::machine::{Event, Slot};

use super::State;

/// One thing to do. They are done in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) enum Duty {
    Start {
        slot: Slot,
    },
    Kill {
        slot: Slot,
    },
    KillItself {
        slot: Slot,
    },
    BlameKeeper {
        slot: Slot,
    },
    /// Ask the task with this number to stop, and no other that has begun meanwhile.
    AskToStop {
        slot: Slot,
        number: u32,
    },
    Retire {
        slot: Slot,
    },
}

impl State {
    pub(super) fn defer(&mut self, duty: Duty) -> Option<Event> {
        self.deferred.push_back(duty);
        None
    }

    /// The machine wants the first task in flight to stop.
    pub(super) fn ask_to_stop(&mut self, slot: Slot) -> Option<Event> {
        if self.untold == Some(slot) {
            return Some(Event::TooLate { slot });
        }
        let number = self.workers.get(slot)?.as_ref()?.lane.front_number()?;
        self.defer(Duty::AskToStop { slot, number })
    }
}
