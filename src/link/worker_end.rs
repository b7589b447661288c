//! The worker's end of a lane: claims tasks, commits results. Mirrored by `host_end.rs`.
//!
//! The worker trusts its host; a breach here is a bug of ours, and ends the process.

use std::collections::VecDeque;

use bytes::Bytes as Buffer;

use crate::primitive::{AtomicBool, Doorbell, Ordering};
use crate::task::passengers;
use crate::task::shared;

use super::frame::{DOWN_HEAD, DownHead, DownKind, Measure, UpHead, UpKind};
use super::lane::{Lane, RING_WORDS};
use super::patience::Patience;
use super::ring::{Breach, Consumer, Producer, words_for};
use super::stream::{Incoming, Outgoing};

/// The worker's end.
pub(crate) struct WorkerEnd<'l> {
    lane: &'l Lane,
    doorbell: Doorbell,
    producer: Producer,
    consumer: Consumer,
    patience: Patience,
    /// Whether the host was woken since this side last waited.
    woke: bool,
    /// Objects in results that the host has not read yet, with the ring's position behind each.
    passengers: VecDeque<(u64, Buffer)>,
    frame: Frame,
}

/// The frame that tasks are taken from, and the task that was taken last.
#[derive(Default)]
struct Frame {
    head: Option<DownHead>,
    line: Line,
    parts: Vec<Buffer>,
    /// How many frames came before.
    serial: u64,
    /// The task's bytes in the line; the next one begins where they end.
    start: usize,
    end: usize,
    /// The number of the next task.
    next: u32,
}

/// The bytes of a frame: small ones in a buffer that is used again.
enum Line {
    Small(Vec<u64>),
    Large(Buffer),
}

impl Default for Line {
    fn default() -> Line {
        Line::Small(Vec::new())
    }
}

impl Line {
    fn bytes(&self) -> &[u8] {
        match self {
            Line::Small(words) => bytemuck::cast_slice(words),
            Line::Large(buffer) => buffer,
        }
    }
}

impl<'l> WorkerEnd<'l> {
    /// Takes the worker's end of a lane.
    pub(crate) fn new(lane: &'l Lane, doorbell: Doorbell) -> WorkerEnd<'l> {
        WorkerEnd {
            lane,
            doorbell,
            producer: Producer::default(),
            consumer: Consumer::default(),
            patience: Patience::new(),
            woke: false,
            passengers: VecDeque::new(),
            frame: Frame::default(),
        }
    }

    /// The number of the task that this worker owns now.
    #[inline]
    pub(crate) fn number(&self) -> u32 {
        self.frame.next.wrapping_sub(1)
    }

    /// The head of the task's frame, and a number that is another one for each frame.
    #[inline]
    pub(crate) fn frame(&self) -> Option<(&DownHead, u64)> {
        self.frame.head.as_ref().map(|head| (head, self.frame.serial))
    }

    /// The task's bytes, and the buffers beside them.
    #[inline]
    pub(crate) fn arguments(&mut self) -> (&[u8], &mut Vec<Buffer>) {
        let frame = &mut self.frame;
        (&frame.line.bytes()[frame.start..frame.end], &mut frame.parts)
    }

    /// Waits for the next task; false once `retire` is set and no task is open.
    #[inline]
    pub(crate) fn next(&mut self, retire: &AtomicBool) -> Result<bool, Breach> {
        let lane = self.lane;
        loop {
            // Looked at before the claim: what was given before the host said so is open by now.
            let retiring = retire.load(Ordering::Acquire);
            let claimed = lane.claims().claim();
            // The last commit is told now: a claim is the barrier that has to stand before a look at the bell.
            match claimed {
                Some(number) if lane.host_is_waiting(number) => self.write_doorbell(),
                Some(_) => {}
                None => self.ring_host(),
            }
            if let Some(number) = claimed {
                return self.find(number).map(|()| true);
            }
            if retiring {
                return Ok(false);
            }
            self.wait(|| lane.claims().has_open() || retire.load(Ordering::Acquire));
        }
    }

    /// Finds a claimed task in the ring. What stands before it was taken back, and is passed over.
    #[inline]
    fn find(&mut self, number: u32) -> Result<(), Breach> {
        loop {
            if let Some(head) = &self.frame.head
                && number == self.frame.next
                && number.wrapping_sub(head.first) < head.count
            {
                return self.take();
            }
            self.read_frame()?;
        }
    }

    #[inline]
    fn take(&mut self) -> Result<(), Breach> {
        let rest = self.frame.line.bytes().get(self.frame.end..).unwrap_or_default();
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(Breach("a task without its length"))?;
        let length = u32::from_le_bytes(*length) as usize;
        if length > rest.len() {
            return Err(Breach("a task that is longer than its frame"));
        }
        self.frame.start = self.frame.end + 4;
        self.frame.end = self.frame.start + length;
        self.frame.next = self.frame.next.wrapping_add(1);
        Ok(())
    }

    // Kept out of the loop over a frame's tasks, which has to stay small.
    #[inline(never)]
    fn read_frame(&mut self) -> Result<(), Breach> {
        let lane = self.lane;
        let ring = lane.down();
        while self.consumer.available() < DOWN_HEAD && self.consumer.look(ring)? < DOWN_HEAD {
            self.wait_for_more()?;
        }
        let head = DownHead::from_words(self.consumer.array(ring))?;
        let words = words_for(head.line as usize);
        if head.parts == 0 && words <= self.consumer.available() {
            let mut buffer = match std::mem::take(&mut self.frame.line) {
                Line::Small(words) => words,
                Line::Large(_) => Vec::new(),
            };
            buffer.clear();
            self.consumer.append(ring, words, &mut buffer);
            self.consumer.release(ring);
            self.frame.line = Line::Small(buffer);
            self.frame.parts.clear();
        } else {
            self.read_large(head)?;
        }
        self.ring_host();
        self.frame.serial += 1;
        self.frame.end = 0;
        self.frame.next = head.first;
        self.frame.head = Some(head);
        self.keep_value(head);
        Ok(())
    }

    fn read_large(&mut self, head: DownHead) -> Result<(), Breach> {
        let lane = self.lane;
        let ring = lane.down();
        if usize::from(head.parts) > self.consumer.available() {
            return Err(Breach("the head of a frame came in pieces"));
        }
        let parts: Vec<usize> = (0..head.parts).map(|_| self.consumer.word(ring) as usize).collect();
        let mut body = Incoming::new(std::iter::once(head.line as usize).chain(parts));
        while !body.advance(&mut self.consumer, ring)? {
            self.ring_host();
            self.wait_for_more()?;
        }
        self.consumer.release(ring);
        let (line, parts) = body.finish();
        self.frame.line = Line::Large(line);
        self.frame.parts = parts;
        Ok(())
    }

    /// Waits for the rest of a frame, which a worker that is a thread may not get any more.
    fn wait_for_more(&mut self) -> Result<(), Breach> {
        let (lane, seen) = (self.lane, self.consumer.seen());
        let has_more = || lane.down().head.load(Ordering::Relaxed) != seen;
        self.wait(|| has_more() || lane.is_shut());
        if lane.is_shut() && !has_more() { Err(Breach("the host has given up on a frame")) } else { Ok(()) }
    }

    /// A frame without tasks brings or takes a value that tasks share.
    fn keep_value(&mut self, head: DownHead) {
        match head.kind {
            DownKind::Tasks => {}
            DownKind::Put => {
                let line = match std::mem::take(&mut self.frame.line) {
                    Line::Small(words) => {
                        Buffer::copy_from_slice(&bytemuck::cast_slice(&words)[..head.line as usize])
                    }
                    Line::Large(buffer) => buffer,
                };
                shared::put(head.function, line, std::mem::take(&mut self.frame.parts));
            }
            DownKind::Drop => shared::drop_value(head.function),
        }
    }

    /// Commits the result of a task; `next` tells the host of it. `line` is left empty or as it was.
    #[inline]
    pub(crate) fn respond(
        &mut self,
        number: u32,
        kind: UpKind,
        line: &mut Vec<u8>,
        parts: &mut Vec<Buffer>,
        measure: Option<Measure>,
    ) -> Result<(), Breach> {
        let head = UpHead {
            kind,
            measured: measure.is_some(),
            parts: parts.len() as u8,
            number: number as u16,
            line: line.len() as u32,
        };
        let words = 1 + words_for(line.len());
        if measure.is_none()
            && parts.is_empty()
            && words <= RING_WORDS
            && let Some(mut reservation) = self.producer.reserve(self.lane.up(), words)?
        {
            reservation.word(head.to_word());
            reservation.bytes(line);
            reservation.commit();
            return Ok(());
        }
        self.respond_in_pieces(head, std::mem::take(line), std::mem::take(parts), measure)
    }

    #[cold]
    fn respond_in_pieces(
        &mut self,
        head: UpHead,
        line: Vec<u8>,
        parts: Vec<Buffer>,
        measure: Option<Measure>,
    ) -> Result<(), Breach> {
        let mut words = vec![head.to_word()];
        words.extend(
            measure.into_iter().flat_map(|measure| [measure.start, measure.elapsed, measure.max_rss]),
        );
        words.extend(parts.iter().map(|part| part.len() as u64));
        let list = passengers::list(&parts).cloned();
        self.stream(Outgoing::new(words, line.into(), parts))?;
        let (position, read) = (self.producer.position(), self.lane.up().tail.load(Ordering::Acquire));
        self.passengers.extend(list.map(|list| (position, list)));
        while self.passengers.front().is_some_and(|(position, _)| *position <= read) {
            self.passengers.pop_front();
        }
        Ok(())
    }

    fn stream(&mut self, mut frame: Outgoing) -> Result<(), Breach> {
        let lane = self.lane;
        let ring = lane.up();
        loop {
            let seen = ring.tail.load(Ordering::Relaxed);
            let done = frame.advance(&mut self.producer, ring)?;
            self.ring_host();
            if done {
                return Ok(());
            }
            self.wait(|| ring.tail.load(Ordering::Relaxed) != seen);
        }
    }

    /// Objects in results that the host may not have read yet.
    pub(crate) fn into_passengers(self) -> Vec<Buffer> {
        self.passengers.into_iter().map(|(_, list)| list).collect()
    }

    fn ring_host(&mut self) {
        if self.lane.host_bell().answer() {
            self.write_doorbell();
        }
    }

    #[cold]
    fn write_doorbell(&mut self) {
        self.doorbell.ring();
        self.woke = true;
    }

    /// Looks, and then sleeps on the worker's bell, until `ready` or a ring.
    fn wait(&mut self, ready: impl Fn() -> bool) {
        if self.patience.look(std::mem::take(&mut self.woke), &ready) {
            return;
        }
        let bell = self.lane.worker_bell();
        bell.arm();
        if !ready() {
            bell.sleep();
        }
        bell.disarm();
    }
}
