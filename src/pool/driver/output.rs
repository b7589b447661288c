//! Passes on what workers write to stderr.

use std::sync::Arc;

use nix::sys::epoll::{EpollEvent, EpollFlags};

use crate::pool::core::{OUTPUT, RELAY};
use crate::pool::machine::Slot;
use crate::pool::relay::Relay;
use crate::pool::state::State;

use super::Driver;

impl Driver {
    pub(super) fn pass_on_output(&mut self, id: u32) {
        let core = Arc::clone(&self.core);
        let mut state = core.lock();
        let Some(slot) = state.slot_of(id) else { return };
        if self.relay.as_ref().is_some_and(Relay::is_full) {
            self.watch_output(&state, slot, false);
            self.held_back.push(id);
            return;
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
        self.watch_relay();
    }

    pub(super) fn watch_output(&self, state: &State, slot: Slot, watch: bool) {
        let Some(worker) = state.workers[slot].as_ref() else { return };
        if let Some(pipe) = worker.stderr.pipe() {
            let flags = if watch { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
            let _ = self.core.events.modify(pipe, &mut EpollEvent::new(flags, OUTPUT + u64::from(worker.id)));
        }
    }

    pub(super) fn watch_relay(&self) {
        if let Some(relay) = &self.relay {
            let flags = if relay.is_waiting() { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
            let _ = self.core.events.modify(relay.target(), &mut EpollEvent::new(flags, RELAY));
        }
    }

    pub(super) fn flush_relay(&mut self) {
        let Some(relay) = &mut self.relay else { return };
        relay.flush();
        let full = relay.is_full();
        self.watch_relay();
        if !full {
            let core = Arc::clone(&self.core);
            let state = core.lock();
            for id in std::mem::take(&mut self.held_back) {
                if let Some(slot) = state.slot_of(id) {
                    self.watch_output(&state, slot, true);
                }
            }
        }
    }
}
