//! What stands at the beginning of a segment.
//!
//! Its words are checked once, when the segment is opened. Nothing after that believes them.

use crate::primitive::{AtomicU64, Ordering};
use crate::sys::named::Named;

use super::name::{self, AT_GUARD, GUARD, SegmentId};
use super::segment::OpenError;
use super::user::User;

/// Stands in the first word of a segment that is ready; its last byte is the layout's version.
const MAGIC: u64 = u64::from_le_bytes(*b"WTSHARE\x02");

/// Byte offsets in the header.
const AT_MAGIC: usize = 0;
const AT_BYTES: usize = 8;
const AT_PID: usize = 16;
const AT_NUMBER: usize = 24;
const AT_TREE_PID: usize = 32;
const AT_TREE_NUMBER: usize = 40;
pub(super) const AT_FREED: usize = 48;
const AT_USERS: usize = 4096;

/// How many processes can use a segment at a time.
pub(crate) const MAX_USERS: usize = 512;

/// A bit for each line of the data in which an object begins, so that everybody finds them all. It covers
/// the largest segment for small objects; a large object begins in the first line of its own segment.
pub(super) const AT_STARTS: usize = AT_USERS + MAX_USERS * 8;
pub(super) const STARTS: usize = 8192;

/// Where objects begin.
pub(crate) const DATA: usize = AT_STARTS + STARTS;

pub(super) fn user_at(memory: &Named, index: usize) -> &AtomicU64 {
    &memory.words()[AT_USERS / 8 + index]
}

/// Fills in a new segment's header, with this process as the first user.
pub(super) fn begin(memory: &Named, id: SegmentId, tree: SegmentId) -> usize {
    let fields = [
        (AT_BYTES, memory.len() as u64),
        (AT_PID, u64::from(id.pid)),
        (AT_NUMBER, id.number),
        (AT_TREE_PID, u64::from(tree.pid)),
        (AT_TREE_NUMBER, tree.number),
    ];
    for (offset, value) in fields {
        memory.words()[offset / 8].store(value, Ordering::Relaxed);
    }
    let mut guard = [0; GUARD];
    guard[0] = name::guard().len() as u8;
    guard[1..=name::guard().len()].copy_from_slice(name::guard().as_bytes());
    memory.write(AT_GUARD, &guard);
    user_at(memory, 0).store(User::own().to_word(), Ordering::Relaxed);
    memory.words()[AT_MAGIC / 8].store(MAGIC, Ordering::Release);
    0
}

/// Whether memory of that length, of which `word` gives the word at an offset, is a segment of that identity.
pub(super) fn is_of(id: SegmentId, bytes: u64, word: impl Fn(usize) -> Option<u64>) -> bool {
    bytes >= DATA as u64
        && word(AT_MAGIC) == Some(MAGIC)
        && word(AT_BYTES) == Some(bytes)
        && word(AT_PID) == Some(u64::from(id.pid))
        && word(AT_NUMBER) == Some(id.number)
}

/// Looks whether memory is a segment of that identity, and says whose.
pub(super) fn check(memory: &Named, id: SegmentId) -> Result<SegmentId, OpenError> {
    let word = |offset: usize| memory.words().get(offset / 8).map(|word| word.load(Ordering::Acquire));
    if !is_of(id, memory.len() as u64, word) {
        return Err(OpenError::Foreign);
    }
    let (pid, number) = (word(AT_TREE_PID).unwrap_or(0), word(AT_TREE_NUMBER).unwrap_or(0));
    Ok(SegmentId { pid: pid as u32, number })
}
