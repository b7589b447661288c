//! Where everything lies in the memory that one worker shares with its host.
//!
//! | words | what | written by |
//! |---|---|---|
//! | 0–2 | magic and version, words of the ring down, words of the ring up | host, once |
//! | 16 | the claim word | both |
//! | 17, 48 | head and tail of the ring down | host, worker |
//! | 64, 80 | head and tail of the ring up | worker, host |
//! | 96, 112 | bell of the worker, bell of the host (their lower halves) | both |
//! | 113 | from which task on the host wants to be rung | host |
//! | 128–639 | the black box (`black_box.rs`) | worker |
//! | from 1024 | ring down, then ring up | host, worker |
//!
//! What two sides write often lies 128 bytes apart, so that they do not fight for a cache line. The claim word and
//! the head of the ring down lie together, because the host writes them together and the worker wants both.

pub(super) const CLAIM: usize = 16;
pub(super) const DOWN_AHEAD: usize = 17;
pub(super) const DOWN_BEHIND: usize = 48;
pub(super) const UP_AHEAD: usize = 64;
pub(super) const UP_BEHIND: usize = 80;
pub(super) const WORKER_BELL: usize = 96;
pub(super) const HOST_BELL: usize = 112;
pub(super) const HOST_MARK: usize = 113;
pub(super) const BLACK_BOX: usize = 128;
pub(super) const BLACK_BOX_END: usize = 640;
pub(super) const RINGS: usize = 1024;

/// Words of a ring: 256 KiB.
pub(crate) const RING_WORDS: usize = 32 * 1024;
