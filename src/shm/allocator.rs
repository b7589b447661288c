//! What is free in a segment. Lives in the process that made the segment and in nobody else, so nothing that
//! dies elsewhere can leave it half changed; when its process dies, nothing more is made in that segment.

use rustc_hash::FxHashMap;

/// Objects begin and end at multiples of this: a cache line, so that two of them never share one.
pub(crate) const LINE: usize = 64;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// Zeros, as the kernel gave it.
    Fresh,
    /// Whatever was there before.
    Used,
}

/// The free and the used blocks of one segment.
#[derive(Debug)]
pub(super) struct Allocator {
    /// From here on nothing was ever used.
    fresh: usize,
    end: usize,
    /// Used blocks by offset, with their sizes.
    used: FxHashMap<usize, usize>,
    /// Free blocks by size.
    free: FxHashMap<usize, Vec<usize>>,
    /// How many frees had been counted in the segment when it was last searched.
    pub(super) searched: Option<u64>,
}

impl Allocator {
    pub(super) fn new(start: usize, end: usize) -> Allocator {
        let start = start.next_multiple_of(LINE);
        Allocator {
            fresh: start,
            end,
            used: FxHashMap::default(),
            free: FxHashMap::default(),
            searched: None,
        }
    }

    /// Takes a block of whole lines. Never splits one: programs make many objects of few sizes.
    pub(super) fn take(&mut self, bytes: usize) -> Option<(usize, Block)> {
        let size = bytes.checked_next_multiple_of(LINE)?;
        let reused = self.free.get_mut(&size).and_then(Vec::pop);
        let (offset, block) = match reused {
            Some(offset) => (offset, Block::Used),
            None => {
                let next = self.fresh.checked_add(size).filter(|next| *next <= self.end)?;
                (std::mem::replace(&mut self.fresh, next), Block::Fresh)
            }
        };
        self.used.insert(offset, size);
        Some((offset, block))
    }

    /// Gives a block back.
    pub(super) fn give(&mut self, offset: usize) {
        if let Some(size) = self.used.remove(&offset) {
            self.free.entry(size).or_default().push(offset);
        }
    }

    /// Whether a block is in use.
    pub(super) fn is_used(&self, offset: usize) -> bool {
        self.used.contains_key(&offset)
    }

    /// The blocks in use.
    pub(super) fn blocks(&self) -> Vec<usize> {
        self.used.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_whole_lines_and_are_used_again() {
        let mut allocator = Allocator::new(100, 128 + 3 * LINE);
        let ((one, _), (two, _)) = (allocator.take(1).unwrap(), allocator.take(65).unwrap());
        assert_eq!((one, two), (128, 192));
        assert_eq!(allocator.take(1), None);
        allocator.give(one);
        allocator.give(one);
        assert_eq!((allocator.take(64), allocator.take(64)), (Some((128, Block::Used)), None));
        assert_eq!(allocator.take(usize::MAX), None);
    }
}
