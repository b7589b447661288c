//! How the bytes of a segment are reached: as atomic words, as copies, and as addresses.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use super::Named;

impl Named {
    pub(crate) fn len(&self) -> usize {
        self.memory.len()
    }

    /// All whole words.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        let start = self.memory.as_ptr().cast::<AtomicU64>();
        // SAFETY: the mapping is page-aligned, `len` long and lives as long as `self`, and atomics may be
        // shared with writers in other processes.
        unsafe { std::slice::from_raw_parts(start, self.len() / 8) }
    }

    /// The 32 bits at a byte offset, which everybody uses as 32 bits.
    ///
    /// # Panics
    /// If they do not lie in the memory.
    #[inline]
    pub(crate) fn half_word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset < self.len() / 8 * 8, "outside of a segment");
        // SAFETY: checked to lie, aligned, in the mapping, which lives as long as `self`.
        unsafe { AtomicU32::from_ptr(self.memory.as_ptr().add(offset).cast()) }
    }

    /// The address of `length` bytes.
    ///
    /// # Panics
    /// If they do not lie in the memory.
    #[inline]
    pub(crate) fn address(&self, offset: usize, length: usize) -> NonNull<u8> {
        let inside = offset.checked_add(length).is_some_and(|end| end <= self.len());
        assert!(inside, "outside of a segment");
        let start = NonNull::new(self.memory.as_ptr()).expect("a mapping is not null");
        // SAFETY: the offset lies in the mapping or at its end.
        unsafe { start.add(offset) }
    }

    /// Copies bytes out, by atomic accesses: another process may write them at the same time, which makes the
    /// copy wrong but not undefined.
    ///
    /// # Panics
    /// If they do not lie in the memory.
    pub(crate) fn read(&self, offset: usize, into: &mut [u8]) {
        let words = self.walk(offset, into.len());
        let (head, rest) = into.split_at_mut(words.start - offset);
        let (body, tail) = rest.split_at_mut(words.len());
        (offset..).zip(head).for_each(|(at, byte)| *byte = self.byte(at).load(Ordering::Relaxed));
        for (index, bytes) in (words.start / 8..).zip(body.as_chunks_mut::<8>().0) {
            *bytes = self.words()[index].load(Ordering::Relaxed).to_ne_bytes();
        }
        (words.end..).zip(tail).for_each(|(at, byte)| *byte = self.byte(at).load(Ordering::Relaxed));
    }

    /// Copies bytes in, by atomic accesses.
    ///
    /// # Panics
    /// If they do not lie in the memory.
    pub(crate) fn write(&self, offset: usize, from: &[u8]) {
        let words = self.walk(offset, from.len());
        let (head, rest) = from.split_at(words.start - offset);
        let (body, tail) = rest.split_at(words.len());
        (offset..).zip(head).for_each(|(at, byte)| self.byte(at).store(*byte, Ordering::Relaxed));
        for (index, bytes) in (words.start / 8..).zip(body.as_chunks::<8>().0) {
            self.words()[index].store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
        }
        (words.end..).zip(tail).for_each(|(at, byte)| self.byte(at).store(*byte, Ordering::Relaxed));
    }

    /// The whole words among some bytes.
    fn walk(&self, offset: usize, length: usize) -> std::ops::Range<usize> {
        let end = offset.checked_add(length).filter(|end| *end <= self.len() / 8 * 8);
        let end = end.expect("inside of a segment");
        let start = offset.next_multiple_of(8).min(end);
        start..(end / 8 * 8).max(start)
    }

    fn byte(&self, offset: usize) -> &AtomicU8 {
        assert!(offset < self.len(), "outside of a segment");
        // SAFETY: checked to lie in the mapping, which lives as long as `self`.
        unsafe { AtomicU8::from_ptr(self.memory.as_ptr().add(offset)) }
    }
}

/// Some bytes of a segment, found without a detour.
pub(crate) struct Window {
    start: NonNull<u8>,
    length: usize,
    _memory: Arc<Named>,
}

// SAFETY: as for `Named`.
unsafe impl Send for Window {}
// SAFETY: as for `Named`.
unsafe impl Sync for Window {}

impl Window {
    /// Bytes that each window has, so that what lies there is found without another look.
    pub(crate) const LEAST: usize = 192;

    /// `length` bytes of `memory`, both multiples of eight, and at least `LEAST`.
    ///
    /// # Panics
    /// If they do not lie in the memory.
    pub(crate) fn new(memory: Arc<Named>, offset: usize, length: usize) -> Window {
        assert!(length >= Window::LEAST, "a window that is too small");
        assert!(offset.is_multiple_of(8) && length.is_multiple_of(8), "no whole words");
        Window { start: memory.address(offset, length), length, _memory: memory }
    }

    /// The word at a byte offset.
    ///
    /// # Panics
    /// If it does not lie in the window.
    #[inline]
    pub(crate) fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && (at < Window::LEAST || at < self.length), "outside of a window");
        // SAFETY: it lies, aligned, in the window, whose memory stays mapped as long as `self` holds it.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(at).cast()) }
    }

    /// The 32 bits at a byte offset, which everybody uses as 32 bits.
    ///
    /// # Panics
    /// If they do not lie in the window.
    #[inline]
    pub(crate) fn half_word(&self, at: usize) -> &AtomicU32 {
        assert!(at.is_multiple_of(4) && (at < Window::LEAST || at < self.length), "outside of a window");
        // SAFETY: as for `word`.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(at).cast()) }
    }

    /// Two of them that lie side by side.
    ///
    /// # Panics
    /// If they do not lie in the window.
    #[inline]
    pub(crate) fn half_words(&self, at: usize) -> [&AtomicU32; 2] {
        let word = self.word(at).as_ptr().cast::<u32>();
        // SAFETY: both are halves of a word of the window, which `word` has checked.
        unsafe { [AtomicU32::from_ptr(word), AtomicU32::from_ptr(word.add(1))] }
    }

    /// The address of `length` bytes.
    ///
    /// # Panics
    /// If they do not lie in the window.
    #[inline]
    pub(crate) fn address(&self, at: usize, length: usize) -> NonNull<u8> {
        let end = at.checked_add(length);
        let inside = end.is_some_and(|end| end <= Window::LEAST || end <= self.length);
        assert!(inside, "outside of a window");
        // SAFETY: it lies in the window or at its end.
        unsafe { self.start.add(at) }
    }
}
