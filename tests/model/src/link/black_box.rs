//! Hints that no protocol rests on.

use crate::primitive::AtomicU64;

#[derive(Clone, Copy)]
pub(crate) struct BlackBox<'a> {
    words: &'a [AtomicU64],
}

impl<'a> BlackBox<'a> {
    pub(crate) fn new(words: &'a [AtomicU64]) -> BlackBox<'a> {
        BlackBox { words }
    }

    pub(crate) fn crash_note(self) -> &'a AtomicU64 {
        &self.words[0]
    }
}
