//! Passes on what workers write to stderr.

use std::sync::Arc;

use nix::sys::epoll::{EpollEvent, EpollFlags};

use crate::pool::core::OUTPUT;
use crate::pool::machine::Slot;
use crate::pool::relay::Relay;
use crate::pool::state::State;
use crate::sys::room;

use super::Driver;

impl Driver {
    pub(super) fn pass_on_output(&mut self, id: u32) {
        let core = Arc::clone(&self.core);
        let mut state = core.lock();
        let Some(slot) = state.slot_of(id) else { return };
        if self.relay.as_ref().is_some_and(Relay::is_full) {
            return self.hold_back(&state, slot);
        }
        self.pass_on(&mut state, slot);
    }

    pub(super) fn pass_on(&mut self, state: &mut State, slot: Slot) {
        let Some(worker) = state.workers[slot].as_mut() else { return };
        let relay = &mut self.relay;
        worker.stderr.read(|bytes| {
            if let Some(relay) = relay {
                relay.write(bytes);
            }
        });
        self.tend_relay(state);
    }

    pub(super) fn flush_relay(&mut self, events: EpollFlags) {
        let Some(relay) = &mut self.relay else { return };
        relay.flush();
        if room::is_gone(events) {
            relay.give_up();
        }
        let core = Arc::clone(&self.core);
        let state = core.lock();
        self.tend_relay(&state);
    }

    /// Waits for room while something needs it, and reads again what was held back once there is some.
    fn tend_relay(&mut self, state: &State) {
        let Some(relay) = &mut self.relay else { return };
        if !self.room.set(&self.core.events, relay.target(), relay.is_waiting()) {
            // Nobody would tell when to go on, and the workers must.
            relay.give_up();
        }
        if relay.is_full() {
            return;
        }
        for id in std::mem::take(&mut self.held_back) {
            let worker = state.slot_of(id).and_then(|slot| state.workers[slot].as_ref());
            if let Some(pipe) = worker.and_then(|worker| worker.stderr.pipe()) {
                let output = EpollEvent::new(EpollFlags::EPOLLIN, OUTPUT + u64::from(id));
                let _ = self.core.events.add(pipe, output);
            }
        }
    }

    /// A pipe that stayed in the set would tell of its end, should its worker close it, again and again.
    fn hold_back(&mut self, state: &State, slot: Slot) {
        let Some(worker) = state.workers[slot].as_ref() else { return };
        if let Some(pipe) = worker.stderr.pipe() {
            let _ = self.core.events.delete(pipe);
            self.held_back.push(worker.id);
        }
    }
}
