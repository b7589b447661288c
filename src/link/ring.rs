//! A ring of words with one writer and one reader, in memory that two processes share.
//!
//! The writer fills words behind `head` and then moves `head`; the reader copies words out and then moves
//! `tail`. What lies between them is committed, and nothing else exists: a writer that dies at any
//! instruction leaves a ring that can be read.
//!
//! Each side keeps its own position privately and believes the other side's word only after checking it, so
//! a peer that scribbles is a `Breach`, never a read or write outside the ring. All access is by relaxed
//! atomics, which the release of `head` and `tail` orders; copying is as fast as a plain loop.

use crate::primitive::{AtomicU64, Ordering};

/// The peer wrote something that no peer of ours writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Breach(pub(crate) &'static str);

/// Where a ring lies. The number of words is a power of two.
#[derive(Clone, Copy)]
pub(crate) struct RingView<'a> {
    pub(crate) words: &'a [AtomicU64],
    pub(crate) head: &'a AtomicU64,
    pub(crate) tail: &'a AtomicU64,
}

impl<'a> RingView<'a> {
    fn capacity(self) -> u64 {
        self.words.len() as u64
    }

    /// The words from `position` on, as the two pieces that the end of the ring cuts them into.
    #[inline]
    fn pieces(self, position: u64, count: usize) -> (&'a [AtomicU64], &'a [AtomicU64]) {
        let start = (position & (self.capacity() - 1)) as usize;
        let first = count.min(self.words.len() - start);
        (&self.words[start..start + first], &self.words[..count - first])
    }
}

/// How many words hold this many bytes.
#[inline]
pub(crate) fn words_for(bytes: usize) -> usize {
    bytes.div_ceil(8)
}

/// The writing side's own view.
#[derive(Debug, Default)]
pub(crate) struct Producer {
    head: u64,
    /// The reader's position when it was last looked at.
    tail: u64,
}

impl Producer {
    /// How many words could be written now, if that was at least `wanted` when last looked, or else by a
    /// fresh look.
    pub(crate) fn free(&mut self, ring: RingView<'_>, wanted: usize) -> Result<usize, Breach> {
        let free = ring.capacity() - (self.head - self.tail);
        if free >= wanted as u64 {
            return Ok(free as usize);
        }
        let tail = ring.tail.load(Ordering::Acquire);
        if tail < self.tail || tail > self.head {
            return Err(Breach("the reader's position is impossible"));
        }
        self.tail = tail;
        Ok((ring.capacity() - (self.head - tail)) as usize)
    }

    /// The reader's position when it was last looked at.
    pub(crate) fn seen(&self) -> u64 {
        self.tail
    }

    /// The position behind all that was committed.
    pub(crate) fn position(&self) -> u64 {
        self.head
    }

    /// Room for exactly `words` words, or `None` if the reader has not made it yet. The only way to write.
    #[inline]
    pub(crate) fn reserve<'p, 'r>(
        &'p mut self,
        ring: RingView<'r>,
        words: usize,
    ) -> Result<Option<Reservation<'p, 'r>>, Breach> {
        if self.free(ring, words)? < words {
            return Ok(None);
        }
        let (at, end) = (self.head, self.head + words as u64);
        Ok(Some(Reservation { producer: self, ring, at, end }))
    }
}

/// Room that is being filled. Dropped without `commit`, nothing was written.
pub(crate) struct Reservation<'p, 'r> {
    producer: &'p mut Producer,
    ring: RingView<'r>,
    at: u64,
    end: u64,
}

impl Reservation<'_, '_> {
    /// Writes one word.
    ///
    /// # Panics
    /// If the reserved room is full; so does `bytes`.
    #[inline]
    pub(crate) fn word(&mut self, word: u64) {
        assert!(self.at < self.end, "a reservation was overrun");
        self.ring.pieces(self.at, 1).0[0].store(word, Ordering::Relaxed);
        self.at += 1;
    }

    /// Writes bytes, filled up with zeros to whole words.
    #[inline]
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let count = words_for(bytes.len());
        assert!(count as u64 <= self.end - self.at, "a reservation was overrun");
        let (first, second) = self.ring.pieces(self.at, count);
        match bytes.split_at_checked(first.len() * 8) {
            Some((here, rest)) => {
                store(first, here);
                store(second, rest);
            }
            None => store(first, bytes),
        }
        self.at += count as u64;
    }

    /// Makes what was written exist.
    #[inline]
    pub(crate) fn commit(self) {
        self.producer.head = self.at;
        self.ring.head.store(self.at, Ordering::Release);
    }
}

#[inline]
fn store(words: &[AtomicU64], bytes: &[u8]) {
    let (whole, rest) = bytes.as_chunks::<8>();
    for (word, chunk) in words.iter().zip(whole) {
        word.store(u64::from_le_bytes(*chunk), Ordering::Relaxed);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        words[whole.len()].store(u64::from_le_bytes(last), Ordering::Relaxed);
    }
}

/// The reading side's own view.
#[derive(Debug, Default)]
pub(crate) struct Consumer {
    tail: u64,
    /// The writer's position when it was last looked at.
    head: u64,
}

impl Consumer {
    /// How many words can be read now, by a fresh look.
    pub(crate) fn look(&mut self, ring: RingView<'_>) -> Result<usize, Breach> {
        let head = ring.head.load(Ordering::Acquire);
        if head < self.head || head - self.tail > ring.capacity() {
            return Err(Breach("the writer's position is impossible"));
        }
        self.head = head;
        Ok(self.available())
    }

    /// How many words can be read, as of the last look.
    #[inline]
    pub(crate) fn available(&self) -> usize {
        (self.head - self.tail) as usize
    }

    /// The writer's position as of the last look.
    pub(crate) fn seen(&self) -> u64 {
        self.head
    }

    /// How far it has read.
    #[inline]
    pub(crate) fn position(&self) -> u64 {
        self.tail
    }

    /// Reads one word.
    ///
    /// # Panics
    /// If no word is available; so does `append` for fewer than they are asked for.
    #[inline]
    pub(crate) fn word(&mut self, ring: RingView<'_>) -> u64 {
        assert!(self.available() > 0, "a read past the committed words");
        let word = ring.pieces(self.tail, 1).0[0].load(Ordering::Relaxed);
        self.tail += 1;
        word
    }

    /// Reads so many words.
    ///
    /// # Panics
    /// If fewer are available.
    #[inline]
    pub(crate) fn array<const N: usize>(&mut self, ring: RingView<'_>) -> [u64; N] {
        assert!(N <= self.available(), "a read past the committed words");
        let (first, second) = ring.pieces(self.tail, N);
        let mut words = [0; N];
        for (word, cell) in words.iter_mut().zip(first.iter().chain(second)) {
            *word = cell.load(Ordering::Relaxed);
        }
        self.tail += N as u64;
        words
    }

    /// Copies `count` words to the end of `out`.
    #[inline]
    pub(crate) fn append(&mut self, ring: RingView<'_>, count: usize, out: &mut Vec<u64>) {
        self.peek(ring, count, out);
        self.tail += count as u64;
    }

    /// Copies the next `count` words to the end of `out`, and leaves them unread.
    #[inline]
    pub(crate) fn peek(&self, ring: RingView<'_>, count: usize, out: &mut Vec<u64>) {
        assert!(count <= self.available(), "a look past the committed words");
        let (first, second) = ring.pieces(self.tail, count);
        out.extend(first.iter().map(|word| word.load(Ordering::Relaxed)));
        out.extend(second.iter().map(|word| word.load(Ordering::Relaxed)));
    }

    /// Passes over `count` words.
    ///
    /// # Panics
    /// If fewer are available.
    #[inline]
    pub(crate) fn skip(&mut self, count: usize) {
        assert!(count <= self.available(), "a skip past the committed words");
        self.tail += count as u64;
    }

    /// Gives the room of what was read back to the writer.
    pub(crate) fn release(&self, ring: RingView<'_>) {
        ring.tail.store(self.tail, Ordering::Release);
    }
}
