//! Where things stand in an object, and the shape of what it holds.

use serde::{Deserialize, Serialize};

use crate::sys::named::Window;

use super::allocator::LINE;
use super::mask;
use super::segment::MAX_USERS;

/// Byte offsets in the head.
pub(super) const AT_GENERATION: usize = 0;
pub(super) const AT_SIZE: usize = 8;
pub(super) const AT_SHAPE: usize = 16;
pub(super) const AT_MASK: usize = 24;
pub(super) const AT_NAME: usize = AT_MASK + mask::words(MAX_USERS) * 8;
/// The object's own lock; the rest of its record stands around the word.
pub(crate) const AT_LOCK: usize = AT_NAME + NAME + BEFORE_LOCK + 8;
/// The word and a small payload share a cache line.
pub(crate) const HEAD: usize = AT_LOCK + 16;

/// A lock's record, counted from its word: the holder that died last, where that had taken it, how often it
/// is held, and behind the word where it was taken.
pub(crate) const BEFORE_LOCK: usize = 16;
pub(crate) const ABANDONED: usize = 16;
pub(crate) const ABANDONED_SITE: usize = 8;
pub(crate) const DEPTH: usize = 4;
pub(crate) const SITE_BEHIND: usize = 4;

/// Between an array's head and its elements: how it is divided, and a lock for each part.
pub(crate) const AT_DIVISION: usize = HEAD;
pub(crate) const MOST_PARTS: usize = 64;
const LEASE: usize = 32;
const LEASES: usize = 16 + MOST_PARTS * LEASE;

/// Where the lock's word of a part lies.
pub(crate) fn lease(part: usize) -> usize {
    AT_DIVISION + 16 + part * LEASE + BEFORE_LOCK
}

pub(super) const NAME: usize = 40;

const _: () = assert!(AT_LOCK.is_multiple_of(8) && HEAD.is_multiple_of(16) && AT_LOCK / LINE == HEAD / LINE);
// The head lies in each window, and a small payload: they are found there at once.
const _: () = assert!(HEAD.next_multiple_of(LINE) == Window::LEAST);

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub(crate) enum Kind {
    Lock = 1,
    RLock,
    Semaphore,
    BoundedSemaphore,
    Condition,
    Event,
    Barrier,
    Value,
    Atomic,
    Array,
    List,
}

/// Type and size of what an object holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape {
    pub(crate) kind: Kind,
    /// Bytes and alignment of one element.
    pub(crate) element: u32,
    pub(crate) align: u32,
    /// All bytes of the payload.
    pub(crate) size: u64,
}

impl Shape {
    /// `count` elements of `T`; `None` if they are too large, or want to be aligned to more than a line.
    pub(crate) fn of<T>(kind: Kind, count: usize) -> Option<Shape> {
        if align_of::<T>() > LINE {
            return None;
        }
        let size = size_of::<T>().checked_mul(count)? as u64;
        Some(Shape {
            kind,
            element: u32::try_from(size_of::<T>()).ok()?,
            align: align_of::<T>() as u32,
            size,
        })
    }

    pub(super) fn word(self) -> u64 {
        u64::from(self.element) << 32 | u64::from(self.align)
    }

    /// Where the payload begins, counted from the head.
    pub(crate) fn payload(self) -> usize {
        let table = if self.kind == Kind::Array { LEASES } else { 0 };
        (HEAD + table).next_multiple_of(self.align.max(1) as usize)
    }

    /// Bytes of the whole object, in lines.
    pub(crate) fn bytes(self) -> Option<usize> {
        self.payload().checked_add(usize::try_from(self.size).ok()?)?.checked_next_multiple_of(LINE)
    }
}

/// Where the payload of an object begins that holds a `T`, and is no array.
pub(super) const fn payload<T>() -> usize {
    HEAD.next_multiple_of(align_of::<T>())
}
