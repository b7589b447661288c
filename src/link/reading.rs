//! The host's end of a lane, up: reads results. `host_end.rs` gives the tasks.
//!
//! What the worker wrote is copied before it is looked at, and checked before it is believed. A result that has
//! not come whole stays in `incoming` until the next reading.

use std::sync::Arc;

use bytes::Bytes as Buffer;

use super::frame::{MAX_REPORT, Measure, UpHead, UpKind};
use super::host_end::HostEnd;
use super::lane::Lane;
use super::ring::{Breach, words_for};
use super::stream::Incoming;

/// How many words of small values are copied at once.
const PIECE: usize = 2048;

/// A reading of results under way.
pub(crate) struct Reading {
    /// Tasks that the worker had claimed when it began. What it has committed is read even if that is a lie.
    claimed: Result<u32, Breach>,
    /// Results read since.
    count: u32,
}

/// A result of which a part has come.
pub(super) struct Arriving {
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
        let (line, parts) = arriving.body.finish();
        // Before the worker sees that its result was read, and lets go of the objects that it speaks of.
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
pub(crate) fn lines(words: &[u64]) -> Lines<'_> {
    Lines { rest: words }
}

/// The lines of small values that follow each other.
pub(crate) struct Lines<'a> {
    rest: &'a [u64],
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (head, after) = self.rest.split_first()?;
        let length = *head as u32 as usize;
        let (line, after) = after.split_at_checked(words_for(length))?;
        self.rest = after;
        bytemuck::cast_slice::<u64, u8>(line).get(..length)
    }
}
