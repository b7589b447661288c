//! The host's end of a lane: gives tasks and takes them back; `reading.rs` reads their results. Mirrored by
//! `worker_end.rs`.
//!
//! Nothing here waits. A frame that finds no room stays in the outbox until `publish`.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes as Buffer;

use crate::primitive::Doorbell;
use crate::sys::cpu;

use super::claim::Ledger;
use super::frame::{DOWN_HEAD, DownHead};
use super::lane::Lane;
use super::reading::Arriving;
use super::ring::{Breach, Consumer, Producer, Reservation, words_for};
use super::stream::Outgoing;

/// So many tasks in flight are worth waiting for half of them.
const PLENTY: u32 = 512;

/// The same on one processor, where whoever rings at each commit hands over the processor at each commit: the host
/// reads one result and sleeps, the worker goes on with one task, and the two stay in that step.
const PLENTY_ALONE: u32 = 16;

fn plenty() -> u32 {
    if cpu::allowed() == 1 { PLENTY_ALONE } else { PLENTY }
}

/// The host's end.
pub(crate) struct HostEnd {
    pub(super) lane: Arc<Lane>,
    doorbell: Doorbell,
    producer: Producer,
    pub(super) consumer: Consumer,
    pub(super) ledger: Ledger,
    outbox: VecDeque<Waiting>,
    pub(super) incoming: Option<Arriving>,
    pub(super) scratch: Vec<u64>,
    pub(super) largest_result: u64,
    /// Tasks that stand in the ring and are not given yet.
    unpublished: u32,
    /// Tasks in the outbox that are not given yet.
    ungiven: u32,
    /// So many tasks are much to do.
    plenty: u32,
    pub(super) woke: bool,
    /// Whatever is sent from now on goes nowhere.
    shut: bool,
}

/// A frame that waits for room.
struct Waiting {
    frame: Outgoing,
    /// Tasks in it; 0 if it holds none.
    count: u32,
    /// Given already: it is larger than the ring and streams.
    given: bool,
}

impl HostEnd {
    /// Makes a lane whose ring down has at least `down` words. Its descriptor is for the worker.
    pub(crate) fn create(name: &str, down: usize, largest_result: u64) -> io::Result<(HostEnd, OwnedFd)> {
        let (fd, lane) = Lane::create(name, down)?;
        Ok((HostEnd::over(Arc::new(lane), largest_result)?, fd))
    }

    /// Takes the host's end of a fresh lane.
    pub(super) fn over(lane: Arc<Lane>, largest_result: u64) -> io::Result<HostEnd> {
        Ok(HostEnd {
            lane,
            doorbell: Doorbell::new()?,
            producer: Producer::default(),
            consumer: Consumer::default(),
            ledger: Ledger::default(),
            outbox: VecDeque::new(),
            incoming: None,
            scratch: Vec::new(),
            largest_result,
            unpublished: 0,
            ungiven: 0,
            plenty: plenty(),
            woke: false,
            shut: false,
        })
    }

    /// The lane itself, for those who only look.
    pub(crate) fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    /// Rung by the worker.
    pub(crate) fn doorbell(&self) -> &Doorbell {
        &self.doorbell
    }

    /// How many of them it has begun, at the most; the first is the one that may be running.
    pub(crate) fn claimed(&self) -> Result<u32, Breach> {
        self.ledger.claimed(self.lane.claims())
    }

    /// Puts a frame into the ring, or behind those that wait for room; then `keep` gives it a line of its own.
    /// `publish` lets the worker see it.
    pub(crate) fn send(
        &mut self,
        mut head: DownHead,
        line: &[u8],
        parts: &[Buffer],
        keep: impl FnOnce() -> Buffer,
    ) -> Result<(), Breach> {
        if self.shut {
            return Ok(());
        }
        head.first = self.ledger.next().wrapping_add(self.unpublished).wrapping_add(self.ungiven);
        head.line = line.len() as u64;
        if self.outbox.is_empty() && parts.is_empty() {
            let words = DOWN_HEAD + words_for(line.len());
            if let Some(mut reservation) = self.reserve(words)? {
                head.to_words().iter().for_each(|word| reservation.word(*word));
                reservation.bytes(line);
                reservation.commit();
                self.unpublished = self.unpublished.wrapping_add(head.count);
                return Ok(());
            }
        }
        let mut words = head.to_words().to_vec();
        words.extend(parts.iter().map(|part| part.len() as u64));
        let frame = Outgoing::new(words, keep(), parts.to_vec());
        self.outbox.push_back(Waiting { frame, count: head.count, given: false });
        self.ungiven = self.ungiven.wrapping_add(head.count);
        Ok(())
    }

    fn reserve(&mut self, words: usize) -> Result<Option<Reservation<'_, '_>>, Breach> {
        let ring = self.lane.down();
        if words > ring.words.len() { Ok(None) } else { self.producer.reserve(ring, words) }
    }

    /// Gives the worker what was sent, writes more if there is room, and wakes it if it waits.
    pub(crate) fn publish(&mut self) -> Result<(), Breach> {
        let count = std::mem::take(&mut self.unpublished);
        if count > 0 {
            self.ledger.give(self.lane.claims(), count)?;
        }
        if !self.outbox.is_empty() {
            self.write_outbox()?;
            let waits = !self.outbox.is_empty();
            self.lane.await_room(waits.then(|| self.producer.seen()));
        }
        self.woke |= self.lane.worker_bell().ring();
        Ok(())
    }

    /// Whether the worker was woken since this was last asked.
    pub(crate) fn take_woke(&mut self) -> bool {
        std::mem::take(&mut self.woke)
    }

    fn write_outbox(&mut self) -> Result<(), Breach> {
        self.give_to_idle()?;
        while let Some(waiting) = self.outbox.front_mut() {
            let words = waiting.frame.words();
            // What is larger than the ring is written in pieces, and so is what an idle worker waits for.
            let streams = waiting.given || words > self.lane.down().words.len();
            if !streams && self.producer.free(self.lane.down(), words)? < words {
                break;
            }
            let done = waiting.frame.advance(&mut self.producer, self.lane.down())?;
            if !waiting.given {
                if waiting.count > 0 {
                    self.ledger.give(self.lane.claims(), waiting.count)?;
                    self.ungiven = self.ungiven.wrapping_sub(waiting.count);
                }
                waiting.given = true;
            }
            if !done {
                break;
            }
            self.outbox.pop_front();
        }
        Ok(())
    }

    /// A ring may be full of tasks that were taken back, which the worker passes over only on its way to a
    /// task that it has claimed. So a worker that has none is given the first one before there is room for it.
    fn give_to_idle(&mut self) -> Result<(), Breach> {
        if self.ledger.in_flight() > 0 || self.outbox.iter().any(|waiting| waiting.count > 0 && waiting.given)
        {
            return Ok(());
        }
        let first = self.outbox.iter().position(|waiting| waiting.count > 0);
        let Some(first) = first else { return Ok(()) };
        self.ledger.give(self.lane.claims(), self.outbox[first].count)?;
        self.ungiven = self.ungiven.wrapping_sub(self.outbox[first].count);
        self.outbox.iter_mut().take(first + 1).for_each(|waiting| waiting.given = true);
        Ok(())
    }

    /// Has the worker ring when it is half through with what it has, if that is much and it `moves` (then true), and
    /// else at its next commit; and from which task on.
    pub(crate) fn mark(&self, moves: bool) -> (bool, u32) {
        let (first, count) = self.ledger.run();
        let late = moves && count >= self.plenty;
        let mark = if late { first.wrapping_add(count / 2) } else { first };
        self.lane.set_mark(mark);
        (late, mark)
    }

    /// Whether the worker has anything to do.
    pub(crate) fn is_busy(&self) -> bool {
        self.ledger.front().is_some() || !self.outbox.is_empty()
    }

    /// Whether it has so much to do that it need not be looked at.
    pub(crate) fn has_plenty(&self) -> bool {
        self.ledger.run().1 >= self.plenty
    }

    /// Whether anything ever came from it.
    pub(crate) fn has_answered(&self) -> bool {
        self.consumer.position() > 0
    }

    /// The number of the task that is running, or will be next.
    pub(crate) fn front_number(&self) -> Option<u32> {
        self.ledger.front()
    }

    /// Takes back what the worker has not claimed, and returns how many tasks: the last ones sent.
    ///
    /// A task that is streaming is not taken back, nor is what stands before it.
    pub(crate) fn take_back(&mut self) -> Result<u32, Breach> {
        let streaming = self.outbox.iter().any(|waiting| waiting.given);
        let mut taken = 0;
        self.outbox.retain(|waiting| {
            let keep = waiting.given || waiting.count == 0;
            taken += if keep { 0 } else { waiting.count };
            keep
        });
        self.ungiven = 0;
        if self.outbox.is_empty() {
            self.lane.await_room(None);
        }
        if !streaming {
            taken += self.ledger.take_back(self.lane.claims())?;
        }
        Ok(taken)
    }

    /// Gives nothing more: what the worker has not claimed by now it never will, even if it is not as dead as was
    /// told. Results can be read as before.
    pub(crate) fn shut(&mut self) {
        self.shut = true;
        self.lane.shut();
        self.unpublished = 0;
        self.ungiven = 0;
        self.outbox.clear();
        // Nothing waits for room any more.
        self.lane.await_room(None);
        // Should the word be scribbled on, the next reading finds it.
        let _ = self.ledger.take_back(self.lane.claims());
    }
}
