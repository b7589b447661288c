//! One object in a segment, and the handle that names it.
//!
//! An object begins with its head: generation and kind, the shape of what it holds, a mask of the users that
//! hold it, a lock's words and a name. The payload follows.
//!
//! The last holder that lets go of it ends it, whoever made it; the block is free again when its maker has seen
//! that. If the last holder has died, its handles still lead there: one may be on its way. `life.rs` tells how
//! opening and ending are kept apart, `mask.rs` how holders are counted.

use std::ptr::NonNull;
use std::sync::{Arc, Weak};

use serde::{Deserialize, Serialize};

use crate::primitive::{AtomicU32, AtomicU64, Ordering};
use crate::sys::named::Window;

use super::allocator::{Block, LINE};
use super::name::SegmentId;
use super::segment::{DATA, MAX_USERS, OpenError, Segment};
use super::shape::{AT_GENERATION, AT_MASK, AT_NAME, AT_SHAPE, AT_SIZE, NAME, payload};
use super::{life, mask};

pub(crate) use super::shape::{
    ABANDONED, ABANDONED_SITE, AT_DIVISION, AT_LOCK, DEPTH, HEAD, Kind, MOST_PARTS, SITE_BEHIND, Shape, lease,
};

/// An object's name between processes: what travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Handle {
    pub(crate) segment: SegmentId,
    pub(crate) offset: u64,
    pub(crate) generation: u32,
    pub(crate) shape: Shape,
}

impl Handle {
    fn identity(&self) -> u64 {
        life::identity(self.generation, self.shape.kind as u8)
    }
}

/// Why a handle leads to no object.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandleError {
    #[error("the shared object cannot be opened: {0}")]
    Segment(#[from] OpenError),
    #[error("the shared object is gone")]
    Stale,
    #[error("the handle is of a shared object of another type or size")]
    OtherShape,
    #[error("the handle is damaged")]
    Damaged,
    #[error("the shared object belongs to another tree of processes")]
    OtherTree,
}

/// This process's share of an object. All handles of a process on one object are one of these.
pub(crate) struct Object {
    window: Window,
    segment: Arc<Segment>,
    offset: usize,
    generation: u32,
    shape: Shape,
    /// Where the payload begins, counted from the head.
    payload_at: usize,
}

impl Object {
    /// Fills in the head of a block that its maker has just taken, and holds it.
    pub(super) fn begin(segment: Arc<Segment>, offset: usize, shape: Shape, block: Block) -> Arc<Object> {
        let word = |at: usize| segment.word(offset + at);
        let generation = life::generation(word(AT_GENERATION).load(Ordering::Relaxed)).wrapping_add(1);
        let end = offset + shape.bytes().unwrap_or(HEAD);
        if block == Block::Used {
            // It holds what was there before.
            (offset + AT_SIZE..end).step_by(8).for_each(|at| segment.word(at).store(0, Ordering::Relaxed));
        }
        word(AT_SIZE).store(shape.size, Ordering::Relaxed);
        word(AT_SHAPE).store(shape.word(), Ordering::Relaxed);
        let (index, bit) = mask::place(segment.user());
        word(AT_MASK + index * 8).store(bit, Ordering::Relaxed);
        word(AT_GENERATION).store(life::identity(generation, shape.kind as u8), Ordering::Release);
        let window = segment.window(offset, end - offset);
        let object =
            Arc::new(Object { window, offset, generation, shape, segment, payload_at: shape.payload() });
        object.segment.mark_start(offset, true);
        object.segment.objects().insert(offset, Arc::downgrade(&object));
        object
    }

    /// Opens what a handle names, if it is there and is what the handle says.
    pub(crate) fn open(handle: &Handle) -> Result<Arc<Object>, HandleError> {
        let shape = handle.shape;
        let offset = usize::try_from(handle.offset).map_err(|_| HandleError::Damaged)?;
        let bytes = shape.bytes().ok_or(HandleError::Damaged)?;
        let sound = offset.is_multiple_of(LINE) && offset >= DATA && shape.align.is_power_of_two();
        if !sound || shape.align as usize > LINE {
            return Err(HandleError::Damaged);
        }
        let segment = Segment::open(handle.segment)?;
        if offset.checked_add(bytes).is_none_or(|end| end > segment.bytes() / 8 * 8) {
            return Err(HandleError::Damaged);
        }
        let mut objects = segment.objects();
        let known = objects.get(&offset).and_then(Weak::upgrade);
        if let Some(object) = known {
            drop(objects);
            return match (object.generation == handle.generation, object.shape == shape) {
                (true, true) => Ok(object),
                (true, false) => Err(HandleError::OtherShape),
                (false, _) => Err(HandleError::Stale),
            };
        }
        hold(&segment, offset, handle)?;
        let window = segment.window(offset, bytes);
        let (generation, segment) = (handle.generation, Arc::clone(&segment));
        let object = Object { window, segment, offset, generation, shape, payload_at: shape.payload() };
        let object = Arc::new(object);
        objects.insert(offset, Arc::downgrade(&object));
        Ok(object)
    }

    pub(crate) fn handle(&self) -> Handle {
        let (segment, offset) = (self.segment.id(), self.offset as u64);
        Handle { segment, offset, generation: self.generation, shape: self.shape }
    }

    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    #[inline]
    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// A word of the head or of the payload.
    #[inline]
    pub(crate) fn word(&self, at: usize) -> &AtomicU64 {
        self.window.word(at)
    }

    /// 32 bits of the head or of the payload.
    #[inline]
    pub(crate) fn half_word(&self, at: usize) -> &AtomicU32 {
        self.window.half_word(at)
    }

    /// A lock's word, and the one behind it.
    #[inline]
    pub(crate) fn half_words(&self, at: usize) -> [&AtomicU32; 2] {
        self.window.half_words(at)
    }

    /// A word of a payload that is made of words; `None` behind its end.
    pub(crate) fn payload_word(&self, index: usize) -> Option<&AtomicU64> {
        let end = index.checked_add(1)?.checked_mul(8)?;
        let words = self.payload_at.is_multiple_of(8) && end as u64 <= self.shape.size;
        words.then(|| self.word(self.payload_at + index * 8))
    }

    /// Where the payload lies in this process.
    #[inline]
    pub(crate) fn payload(&self) -> NonNull<u8> {
        self.window.address(self.payload_at, self.shape.size as usize)
    }

    /// Where the payload lies if it is one `T`, which nobody checks here: the place follows from the type.
    #[inline]
    pub(crate) fn one<T>(&self) -> NonNull<T> {
        self.window.address(const { payload::<T>() }, size_of::<T>()).cast()
    }

    /// Copies payload bytes out.
    pub(crate) fn read(&self, at: usize, into: &mut [u8]) {
        self.segment.read(self.offset + self.payload_at + at, into);
    }

    /// Copies bytes into the payload.
    pub(crate) fn write(&self, at: usize, from: &[u8]) {
        self.segment.write(self.offset + self.payload_at + at, from);
    }

    /// Whether a user has died while it held this object, as far as anybody has found out, and that is not
    /// forgotten.
    pub(crate) fn has_death(&self) -> bool {
        let segment = &*self.segment;
        mask_words(segment, self.offset)
            .any(|(index, word)| mask::has_death(word, index, |user| segment.is_being_settled(user)))
    }

    /// The deaths that were found so far are dealt with. To be called by one process at a time.
    pub(crate) fn forget_deaths(&self) {
        let segment = &*self.segment;
        mask_words(segment, self.offset).for_each(|(index, word)| {
            mask::forget_deaths(word, index, |user| segment.is_being_settled(user))
        });
    }

    /// Its name for people, if it has one.
    pub(crate) fn name(&self) -> Option<String> {
        read_name(&self.segment, self.offset)
    }

    /// Names it, cut to what there is room for.
    pub(crate) fn set_name(&self, name: &str) {
        super::text::write(&self.segment, self.offset + AT_NAME, NAME, name);
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        let mut objects = self.segment.objects();
        // Another one may have been opened since the last handle on this one went.
        if objects.get(&self.offset).is_none_or(|object| object.strong_count() > 0) {
            return;
        }
        objects.remove(&self.offset);
        let (index, bit) = mask::place(self.segment.user());
        self.word(AT_MASK + index * 8).fetch_and(!bit, Ordering::SeqCst);
        drop(objects);
        retire(&self.segment, self.offset);
    }
}

/// The name of the object at an offset, which may be anything.
pub(crate) fn read_name(segment: &Segment, offset: usize) -> Option<String> {
    Some(super::text::read(segment, offset + AT_NAME, NAME)).filter(|name| !name.is_empty())
}

fn mask_words(segment: &Segment, offset: usize) -> impl Iterator<Item = (usize, &AtomicU64)> {
    (0..mask::words(MAX_USERS)).map(move |index| (index, segment.word(offset + AT_MASK + index * 8)))
}

/// Sets this process's bit and looks whether the object is the one that the handle means.
fn hold(segment: &Segment, offset: usize, handle: &Handle) -> Result<(), HandleError> {
    let (index, bit) = mask::place(segment.user());
    let word = |at: usize| segment.word(offset + at);
    // Nothing is written into a block that is not this object's.
    check(segment, offset, handle)?;
    word(AT_MASK + index * 8).fetch_or(bit, Ordering::SeqCst);
    if life::confirm(word(AT_GENERATION), handle.identity()) {
        return Ok(());
    }
    word(AT_MASK + index * 8).fetch_and(!bit, Ordering::SeqCst);
    Err(HandleError::Stale)
}

fn check(segment: &Segment, offset: usize, handle: &Handle) -> Result<(), HandleError> {
    let word = |at: usize| segment.word(offset + at).load(Ordering::SeqCst);
    if !life::is(word(AT_GENERATION), handle.identity()) {
        return Err(HandleError::Stale);
    }
    let same = word(AT_SIZE) == handle.shape.size && word(AT_SHAPE) == handle.shape.word();
    if same { Ok(()) } else { Err(HandleError::OtherShape) }
}

fn is_unheld(segment: &Segment, offset: usize) -> bool {
    !mask_words(segment, offset).any(|(_, word)| mask::has_holder(word.load(Ordering::SeqCst)))
}

/// Takes the share of a dead user away. False if it had none.
pub(super) fn give_back(segment: &Segment, offset: usize, user: usize) -> bool {
    let (index, bit) = mask::place(user);
    mask::give_back(segment.word(offset + AT_MASK + index * 8), bit)
}

/// Ends an object if nobody holds it, and in the maker takes its block back.
pub(super) fn retire(segment: &Segment, offset: usize) {
    if end(segment, offset) {
        segment.freed().fetch_add(1, Ordering::Release);
        reclaim(segment, offset);
    }
}

/// In the maker: takes a block back if nobody holds it.
pub(super) fn reclaim(segment: &Segment, offset: usize) {
    let Some(mut allocator) = segment.allocator() else { return };
    // Who has come too late to open it may still stand among the holders.
    if allocator.is_used(offset) && end(segment, offset) && is_unheld(segment, offset) {
        segment.mark_start(offset, false);
        allocator.give(offset);
    }
}

fn end(segment: &Segment, offset: usize) -> bool {
    let is_unheld = || is_unheld(segment, offset);
    is_unheld() && life::end(segment.word(offset + AT_GENERATION), is_unheld)
}
