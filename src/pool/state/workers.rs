//! Workers: what is sent to them and taken back, and who they are.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tracing::Level;

use crate::link::frame::{DownHead, DownKind};
use crate::link::host_end::HostEnd;
use crate::link::ring::Breach;
use crate::sys::clock::monotonic_nanos;

use super::State;
use crate::pool::machine::{Event, Front, Slot, Span};
use crate::pool::worker::{Armed, WorkerProcess};

impl State {
    pub(super) fn send(&mut self, slot: Slot, span: &Span) -> Result<(), Breach> {
        // A worker that is about to be started gets everything then.
        let (Some(batch), Some(worker)) =
            (self.batches.get(&span.key), self.workers.get_mut(slot).and_then(Option::as_mut))
        else {
            return Ok(());
        };
        worker.share(&batch.shared)?;
        let timeout = batch.options.timeout.map_or(0, |timeout| timeout.as_nanos().max(1) as u64);
        let chunk = batch.options.chunk.unwrap_or(u32::MAX);
        let mut head = DownHead {
            kind: DownKind::Tasks,
            coding: batch.function.coding,
            parts: batch.parts.len() as u8,
            count: 0,
            first: 0,
            line: 0,
            function: batch.function.number,
            timeout,
        };
        let mut start = span.items.start;
        while start < span.items.end {
            let end = span.items.end.min(start.saturating_add(chunk));
            head.count = end - start;
            let (line, keep) = batch.line(start..end);
            worker.lane.send(head, line, &batch.parts, keep)?;
            start = end;
        }
        worker.lane.publish()?;
        self.woke |= worker.lane.take_woke();
        if !self.poller.is_reading() {
            let late = worker.arm() == Some(Armed::HalfWay);
            // What came before the bell was armed is read before the lock is given up.
            self.must_read |= worker.may_have_missed();
            if late {
                self.expect_late();
            }
        }
        Ok(())
    }

    /// A worker was started: sends it what the machine has given it meanwhile.
    pub(in crate::pool) fn install(&mut self, slot: Slot, mut worker: WorkerProcess) {
        // Who measures wants to know of every result where it comes from.
        worker.awaits_pid = self.measured && worker.commands.thread().is_none();
        self.workers[slot] = Some(worker);
        self.renew_lanes();
        // Its initializer's result must ring too.
        if !self.poller.is_reading()
            && let Some(worker) = self.workers[slot].as_mut()
        {
            worker.arm();
            self.must_read |= worker.may_have_missed();
        }
        let spans: Vec<Span> = self.machine.spans(slot).iter().cloned().collect();
        for span in spans {
            if let Err(breach) = self.send(slot, &span) {
                let doomed = self.breached(slot, breach);
                return self.run(doomed);
            }
        }
    }

    pub(super) fn take_back(&mut self, slot: Slot) -> Event {
        let worker = self.workers.get_mut(slot).and_then(Option::as_mut);
        let Some(worker) = worker else {
            // Nothing was sent yet.
            let count = self.machine.spans(slot).iter().map(Span::len).sum();
            return Event::TookBack { slot, count, front: Front::Starting };
        };
        let taken = worker.lane.take_back().and_then(|count| Ok((count, front(&worker.lane)?)));
        match taken {
            Ok((count, front)) => Event::TookBack { slot, count, front },
            Err(breach) => self.breached(slot, breach),
        }
    }

    /// After a worker came or went, or what it says is not read any more.
    pub(in crate::pool) fn renew_lanes(&mut self) {
        let read = self.workers.iter().flatten().filter(|worker| worker.is_read());
        self.lanes = read.map(|worker| Arc::clone(worker.lane.lane())).collect();
    }

    /// The keeper has told the pid of a worker.
    pub(in crate::pool) fn name(&mut self, slot: Slot, pid: u32, process: Option<OwnedFd>) {
        let Some(worker) = self.workers[slot].as_mut() else { return };
        worker.pid = pid;
        worker.process = process;
        let (after, replaces) = (worker.started.elapsed(), self.machine.replaces(slot));
        self.events.push(Level::DEBUG, move || {
            tracing::debug!(pid, slot, ?after, "worker started");
            if replaces {
                tracing::debug!(pid, slot, "worker replaced one that ended");
            }
        });
        if std::mem::take(&mut worker.awaits_pid) {
            self.renew_lanes();
            self.drain(slot);
        }
        self.tell_ready(slot);
    }

    /// The slot of the worker with this number.
    pub(in crate::pool) fn slot_of(&self, id: u32) -> Option<Slot> {
        self.workers.iter().position(|worker| worker.as_ref().is_some_and(|worker| worker.id == id))
    }
}

/// How far a worker is with what is first in its lane.
fn front(lane: &HostEnd) -> Result<Front, Breach> {
    let notes = lane.lane().black_box();
    Ok(match lane.claimed()? {
        1.. => Front::Claimed(notes.elapsed(monotonic_nanos())),
        0 if notes.is_ready() || lane.has_answered() => Front::Unclaimed,
        0 => Front::Starting,
    })
}
