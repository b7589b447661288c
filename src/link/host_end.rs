//! The host's end of a lane: gives tasks, takes them back, reads results. Mirrored by `worker_end.rs`.
//!
//! Nothing here waits. A frame that finds no room stays in the outbox until `publish`; a result that has not
//! come whole stays in `incoming` until the next `read`.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes as Buffer;

use crate::primitive::Doorbell;
use crate::task::passengers;

use super::frame::{DOWN_HEAD, DownHead, MAX_REPORT, Measure, UpHead, UpKind};
use super::lane::Lane;
use super::ring::{Breach, Consumer, Producer, Reservation, words_for};
use super::stream::{Incoming, Outgoing};

/// So many tasks in flight are worth waiting for half of them.
const PLENTY: u32 = 512;

/// How many words of small values are copied at once.
const PIECE: usize = 2048;

/// A reading of results under way.
pub(crate) struct Reading {
    /// Tasks that the worker had claimed when it began. What it has committed is read even if that is a lie.
    claimed: Result<u32, Breach>,
    /// Results read since.
    count: u32,
}

/// The host's end.
pub(crate) struct HostEnd {
    lane: Arc<Lane>,
    doorbell: Doorbell,
    producer: Producer,
    consumer: Consumer,
    ledger: super::claim::Ledger,
    outbox: VecDeque<Waiting>,
    incoming: Option<Arriving>,
    scratch: Vec<u64>,
    largest_result: u64,
    /// Tasks that stand in the ring and are not given yet.
    unpublished: u32,
    woke: bool,
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

/// A result of which a part has come.
struct Arriving {
    head: UpHead,
    measure: Option<Measure>,
    body: Incoming,
}

/// A result that has come whole.
pub(crate) struct Arrival<'a> {
    pub(crate) kind: UpKind,
    pub(crate) measure: Option<Measure>,
    pub(crate) line: ArrivedLine<'a>,
    pub(crate) parts: Vec<Buffer>,
}

/// A result's line: a small one has to be copied, a large one has a buffer of its own.
pub(crate) enum ArrivedLine<'a> {
    Small(&'a [u8]),
    Large(Buffer),
}

impl ArrivedLine<'_> {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            ArrivedLine::Small(bytes) => bytes,
            ArrivedLine::Large(buffer) => buffer,
        }
    }
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
            ledger: super::claim::Ledger::default(),
            outbox: VecDeque::new(),
            incoming: None,
            scratch: Vec::new(),
            largest_result,
            unpublished: 0,
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
        head.first = self.ledger.next().wrapping_add(self.unpublished).wrapping_add(self.ungiven());
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
        Ok(())
    }

    fn reserve(&mut self, words: usize) -> Result<Option<Reservation<'_, '_>>, Breach> {
        let ring = self.lane.down();
        if words > ring.words.len() { Ok(None) } else { self.producer.reserve(ring, words) }
    }

    /// Tasks in the outbox that were not given.
    fn ungiven(&self) -> u32 {
        self.outbox.iter().filter(|waiting| !waiting.given).map(|waiting| waiting.count).sum()
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
        self.outbox.iter_mut().take(first + 1).for_each(|waiting| waiting.given = true);
        Ok(())
    }

    /// Has the worker ring when it is half through with what it has, if that is much (then true), and else at
    /// its next commit; and from which task on.
    pub(crate) fn mark(&self) -> (bool, u32) {
        let (first, count) = self.ledger.run();
        let late = count >= PLENTY;
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
        self.ledger.run().1 >= PLENTY
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
        self.unpublished = 0;
        self.outbox.clear();
        // Should the word be scribbled on, the next reading finds it.
        let _ = self.ledger.take_back(self.lane.claims());
    }

    /// Begins to read results. What the worker has claimed by now bounds what it may have claimed at the end.
    pub(crate) fn begin_reading(&mut self) -> Result<Reading, Breach> {
        // A worker commits a result before it claims the next task, so of what it has claimed by now all
        // results but one are there for the look that follows.
        // With one task in flight there is nothing to compare, and the word would have to come from the worker.
        let claimed = if self.ledger.is_single() { Ok(0) } else { self.claimed() };
        self.consumer.look(self.lane.up())?;
        Ok(Reading { claimed, count: 0 })
    }

    /// Copies small values to the end of `words`, as they stand in the ring, and returns how many: at most
    /// `most`, as many as have come without anything else between them.
    #[inline]
    pub(crate) fn read_run(
        &mut self,
        reading: &mut Reading,
        most: u32,
        words: &mut Vec<u64>,
    ) -> Result<u32, Breach> {
        let lane = Arc::clone(&self.lane);
        let ring = lane.up();
        if self.incoming.is_some() {
            return Ok(0);
        }
        let (first, given) = self.ledger.run();
        let most = most.min(given);
        let (start, mut count) = (words.len(), 0);
        let mut at = start;
        while count < most && self.consumer.available() > 0 {
            let piece = words.len();
            self.consumer.peek(ring, self.consumer.available().min(PIECE), words);
            let before = at;
            while count < most
                && let Some(end) =
                    small_value(words, at, first.wrapping_add(count) as u16, self.largest_result)
            {
                at = end;
                count += 1;
            }
            words.truncate(at);
            self.consumer.skip(at - before);
            self.consumer.release(ring);
            if at == before || at < piece {
                break;
            }
        }
        self.lane.set_read(self.consumer.position());
        self.ledger.settle_run(count);
        reading.count += count;
        Ok(count)
    }

    /// Hands the next result to `take`, whatever it is; false if it has not come whole.
    pub(crate) fn read_any(
        &mut self,
        reading: &mut Reading,
        mut take: impl FnMut(Arrival<'_>),
    ) -> Result<bool, Breach> {
        let lane = Arc::clone(&self.lane);
        if self.incoming.is_none() && self.consumer.available() == 0 {
            return Ok(false);
        }
        let whole = self.read_one(&lane, &mut take)?;
        self.consumer.release(lane.up());
        self.lane.set_read(self.consumer.position());
        reading.count += u32::from(whole);
        Ok(whole)
    }

    /// Ends a reading: wakes the worker if it waits for room, and checks that it ran one task at a time.
    pub(crate) fn end_reading(&mut self, reading: Reading) -> Result<(), Breach> {
        self.woke |= self.lane.worker_bell().ring();
        match reading.claimed? > reading.count + 1 {
            true => Err(Breach("the worker claimed tasks out of turn")),
            false => Ok(()),
        }
    }

    /// Hands every result that has come to `take`, in the order of the tasks, and returns how many.
    pub(crate) fn read(&mut self, mut take: impl FnMut(Arrival<'_>)) -> Result<u32, Breach> {
        let mut reading = self.begin_reading()?;
        while self.read_any(&mut reading, &mut take)? {}
        let count = reading.count;
        self.end_reading(reading)?;
        Ok(count)
    }

    /// Reads one result; false if it has not come whole.
    #[inline]
    fn read_one(&mut self, lane: &Lane, take: &mut impl FnMut(Arrival<'_>)) -> Result<bool, Breach> {
        let ring = lane.up();
        if self.incoming.is_none() {
            let head = UpHead::from_word(self.consumer.word(ring))?;
            // Before its bytes are collected: nobody may wait for them.
            self.ledger.expect(head.number)?;
            let words = words_for(head.line as usize);
            if u64::from(head.line) > self.largest(head.kind) {
                return Err(Breach("a result is larger than the pool allows"));
            }
            if !head.measured && head.parts == 0 && words <= self.consumer.available() {
                self.scratch.clear();
                self.consumer.append(ring, words, &mut self.scratch);
                self.ledger.settle(head.number)?;
                let bytes: &[u8] = bytemuck::cast_slice(&self.scratch);
                take(Arrival {
                    kind: head.kind,
                    measure: None,
                    line: ArrivedLine::Small(&bytes[..head.line as usize]),
                    parts: Vec::new(),
                });
                return Ok(true);
            }
            self.incoming = Some(self.arriving(lane, head)?);
        }
        let Some(arriving) = &mut self.incoming else { return Ok(false) };
        if !arriving.body.advance(&mut self.consumer, ring)? {
            return Ok(false);
        }
        let Some(arriving) = self.incoming.take() else { return Ok(false) };
        self.ledger.settle(arriving.head.number)?;
        let (line, mut parts) = arriving.body.finish();
        // Before the worker sees that its result was read, and lets go of them.
        passengers::take_on(&mut parts);
        take(Arrival {
            kind: arriving.head.kind,
            measure: arriving.measure,
            line: ArrivedLine::Large(line),
            parts,
        });
        Ok(true)
    }

    fn largest(&self, kind: UpKind) -> u64 {
        if kind == UpKind::Value { self.largest_result } else { MAX_REPORT }
    }

    fn arriving(&mut self, lane: &Lane, head: UpHead) -> Result<Arriving, Breach> {
        let ring = lane.up();
        if head.more() > self.consumer.available() {
            return Err(Breach("the head of a result came in pieces"));
        }
        let mut word = || self.consumer.word(ring);
        let measure = head.measured.then(|| Measure { start: word(), elapsed: word(), max_rss: word() });
        let sizes: Vec<u64> =
            std::iter::once(u64::from(head.line)).chain((0..head.parts).map(|_| word())).collect();
        let total = sizes.iter().try_fold(0_u64, |sum, size| sum.checked_add(*size));
        if total.is_none_or(|total| total > self.largest(head.kind)) {
            return Err(Breach("a result is larger than the pool allows"));
        }
        let body = Incoming::new(sizes.into_iter().map(|size| size as usize));
        Ok(Arriving { head, measure, body })
    }
}

/// Where the small value of task `number` ends that begins at `at`; `None` for anything else, which is looked
/// at on its own then.
#[inline]
fn small_value(words: &[u64], at: usize, number: u16, largest: u64) -> Option<usize> {
    let head = UpHead::from_word(*words.get(at)?).ok()?;
    let end = at + 1 + words_for(head.line as usize);
    let small = head.kind == UpKind::Value && head.more() == 0 && u64::from(head.line) <= largest;
    (small && head.number == number && end <= words.len()).then_some(end)
}

/// The lines of the small values that `read_run` copied.
pub(crate) fn lines(words: &[u64]) -> impl Iterator<Item = &[u8]> {
    let mut rest = words;
    std::iter::from_fn(move || {
        let (head, after) = rest.split_first()?;
        let length = *head as u32 as usize;
        let (line, after) = after.split_at_checked(words_for(length))?;
        rest = after;
        bytemuck::cast_slice::<u64, u8>(line).get(..length)
    })
}
