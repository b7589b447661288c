//! A lane as small as it can be.

pub(crate) const CLAIM: usize = 3;
pub(crate) const DOWN_AHEAD: usize = 4;
pub(crate) const DOWN_BEHIND: usize = 5;
pub(crate) const UP_AHEAD: usize = 6;
pub(crate) const UP_BEHIND: usize = 7;
pub(crate) const WORKER_BELL: usize = 8;
pub(crate) const HOST_BELL: usize = 9;
pub(crate) const HOST_MARK: usize = 10;
pub(crate) const BLACK_BOX: usize = 11;
pub(crate) const BLACK_BOX_END: usize = 12;
pub(crate) const RINGS: usize = 12;

/// Words of the ring up: one result without a line.
pub(crate) const RING_WORDS: usize = 1;
