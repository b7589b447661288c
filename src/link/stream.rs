//! The bytes of one frame, written and read in as many pieces as the ring has room for.
//!
//! Both sides of a lane use these two halves. A reader's buffer grows with the bytes that arrived, never with
//! those that were announced.

use bytes::Bytes as Buffer;

use super::ring::{Breach, Consumer, Producer, RingView, words_for};

/// A frame's body on its way out: a line, then parts, each filled up to whole words.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    head: Vec<u64>,
    line: Buffer,
    parts: Vec<Buffer>,
    head_written: bool,
    /// Which buffer is being written, and how far.
    buffer: usize,
    at: usize,
}

impl Outgoing {
    pub(crate) fn new(head: Vec<u64>, line: Buffer, parts: Vec<Buffer>) -> Outgoing {
        Outgoing { head, line, parts, head_written: false, buffer: 0, at: 0 }
    }

    /// How many words the whole frame is long.
    pub(crate) fn words(&self) -> usize {
        let parts: usize = self.parts.iter().map(|part| words_for(part.len())).sum();
        self.head.len() + words_for(self.line.len()) + parts
    }

    /// Writes what the ring has room for, and commits it. True when all is written.
    pub(crate) fn advance(&mut self, producer: &mut Producer, ring: RingView<'_>) -> Result<bool, Breach> {
        while !self.is_done() {
            let wanted = self.words_of_piece();
            let room = producer.free(ring, wanted)?.min(wanted);
            // A head exists as a whole or not at all, so that a reader never has to wait inside it.
            if room == 0 || (!self.head_written && room < wanted) {
                return Ok(false);
            }
            let Some(mut reservation) = producer.reserve(ring, room)? else { return Ok(false) };
            if self.head_written {
                let bytes = self.piece(room);
                reservation.bytes(bytes);
                self.at += bytes.len();
            } else {
                self.head.iter().for_each(|word| reservation.word(*word));
                self.head_written = true;
            }
            reservation.commit();
        }
        Ok(true)
    }

    /// How many words to write next: the head, or a piece of a buffer.
    fn words_of_piece(&self) -> usize {
        if !self.head_written {
            return self.head.len();
        }
        // Pieces of a moderate size let the reader copy while the next one is written.
        const PIECE: usize = 4096;
        words_for(self.current().len() - self.at).min(PIECE)
    }

    fn piece(&self, words: usize) -> &[u8] {
        let rest = &self.current()[self.at..];
        &rest[..rest.len().min(words * 8)]
    }

    fn current(&self) -> &Buffer {
        if self.buffer == 0 { &self.line } else { &self.parts[self.buffer - 1] }
    }

    /// Passes on to the next buffer that is not empty.
    fn next_buffer(&mut self) {
        while self.buffer <= self.parts.len() && self.at == self.current().len() {
            self.buffer += 1;
            self.at = 0;
        }
    }

    fn is_done(&mut self) -> bool {
        self.next_buffer();
        self.head_written && self.buffer > self.parts.len()
    }
}

/// A frame's body on its way in.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    segments: Vec<Segment>,
    current: usize,
}

#[derive(Debug)]
struct Segment {
    bytes: usize,
    words: Vec<u64>,
}

impl Incoming {
    /// Expects a line and parts of these sizes, in bytes; the caller has checked them against its maximum.
    pub(crate) fn new(sizes: impl Iterator<Item = usize>) -> Incoming {
        let segments = sizes.map(|bytes| Segment { bytes, words: Vec::new() }).collect();
        Incoming { segments, current: 0 }
    }

    /// Copies what is there. True when all has come.
    pub(crate) fn advance(&mut self, consumer: &mut Consumer, ring: RingView<'_>) -> Result<bool, Breach> {
        while let Some(segment) = self.segments.get_mut(self.current) {
            let missing = words_for(segment.bytes) - segment.words.len();
            if missing == 0 {
                self.current += 1;
                continue;
            }
            let here = match consumer.available() {
                0 => {
                    // Not behind the last piece: who sees that released may let go of what the frame speaks of.
                    consumer.release(ring);
                    consumer.look(ring)?
                }
                available => available,
            };
            if here == 0 {
                return Ok(false);
            }
            consumer.append(ring, here.min(missing), &mut segment.words);
        }
        Ok(true)
    }

    /// The line and the parts of a frame that has come.
    pub(crate) fn finish(self) -> (Buffer, Vec<Buffer>) {
        let mut buffers = self.segments.into_iter().map(Segment::into_buffer);
        (buffers.next().unwrap_or_default(), buffers.collect())
    }
}

impl Segment {
    fn into_buffer(self) -> Buffer {
        let bytes = self.bytes;
        Buffer::from_owner(Words(self.words)).slice(..bytes)
    }
}

/// Words that are bytes to whoever holds them.
struct Words(Vec<u64>);

impl AsRef<[u8]> for Words {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitive::AtomicU64;

    #[test]
    fn a_frame_larger_than_the_ring_passes_through_it_in_pieces() {
        let words: Vec<AtomicU64> = (0..16).map(|_| AtomicU64::new(0)).collect();
        let (head, tail) = (AtomicU64::new(0), AtomicU64::new(0));
        let ring = RingView { words: &words, head: &head, tail: &tail };
        let (mut producer, mut consumer) = (Producer::default(), Consumer::default());

        let line: Vec<u8> = (0..1003).map(|i| i as u8).collect();
        let parts: Vec<Vec<u8>> = vec![vec![], (0..77).collect(), vec![], vec![9; 200], vec![]];
        let buffers = parts.iter().cloned().map(Buffer::from).collect();
        let mut outgoing = Outgoing::new(vec![1, 2, 3], line.clone().into(), buffers);
        let mut incoming = Incoming::new([line.len()].into_iter().chain(parts.iter().map(Vec::len)));
        let mut head_words = Vec::new();
        loop {
            let written = outgoing.advance(&mut producer, ring).unwrap();
            if head_words.is_empty() {
                consumer.look(ring).unwrap();
                consumer.append(ring, 3, &mut head_words);
            }
            if incoming.advance(&mut consumer, ring).unwrap() {
                assert!(written || outgoing.advance(&mut producer, ring).unwrap());
                break;
            }
        }
        let (line_back, parts_back) = incoming.finish();
        assert_eq!((head_words, line_back.to_vec()), (vec![1, 2, 3], line));
        assert_eq!(parts_back.iter().map(|part| part.to_vec()).collect::<Vec<_>>(), parts);
    }
}
