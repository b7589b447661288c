//! Where new objects are put: small ones together in few segments, large ones in one of their own.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::primitive::Ordering;

use super::name::SegmentId;
use super::object::{self, Object, Shape};
use super::segment::Segment;

/// Objects up to this size share segments.
const LARGEST_SMALL: usize = 64 * 1024;

/// Segments for small objects: each larger than the one before.
const FIRST: usize = 64 * 1024;
const LARGEST: usize = 4 << 20;

/// The segments that this process made for small objects and that still hold some.
static SEGMENTS: Mutex<Vec<Weak<Segment>>> = Mutex::new(Vec::new());

/// Makes a zeroed object of that shape, for the locks of `tree`.
pub(crate) fn make(tree: SegmentId, shape: Shape) -> io::Result<Arc<Object>> {
    let too_large = || io::Error::from(nix::errno::Errno::ENOMEM);
    let bytes = shape.bytes().ok_or_else(too_large)?;
    if bytes > LARGEST_SMALL {
        let segment = Segment::create(tree, bytes.checked_add(128).ok_or_else(too_large)?)?;
        return make_in(&segment, bytes, shape).ok_or_else(too_large);
    }
    let mut segments = SEGMENTS.lock().unwrap_or_else(PoisonError::into_inner);
    // The newest has most room.
    let newest = segments.last().and_then(Weak::upgrade).filter(|segment| segment.tree() == tree);
    if let Some(object) = newest.and_then(|segment| make_in(&segment, bytes, shape)) {
        return Ok(object);
    }
    let living: Vec<Arc<Segment>> = segments.iter().rev().filter_map(Weak::upgrade).collect();
    let ours = || living.iter().filter(|segment| segment.tree() == tree);
    let found = ours().find_map(|segment| make_in(segment, bytes, shape));
    if let Some(object) = found.or_else(|| ours().find_map(|segment| search(segment, bytes, shape))) {
        return Ok(object);
    }
    let largest = living.iter().map(|segment| segment.bytes()).max().unwrap_or(0);
    let segment = Segment::create(tree, (largest * 4).clamp(FIRST, LARGEST))?;
    segments.retain(|segment| segment.strong_count() > 0);
    segments.push(Arc::downgrade(&segment));
    make_in(&segment, bytes, shape).ok_or_else(too_large)
}

fn make_in(segment: &Arc<Segment>, bytes: usize, shape: Shape) -> Option<Arc<Object>> {
    let (offset, block) = segment.allocator()?.take(bytes)?;
    Some(Object::begin(Arc::clone(segment), offset, shape, block))
}

/// Looks for blocks that other processes have let go of, or died with.
fn search(segment: &Arc<Segment>, bytes: usize, shape: Shape) -> Option<Arc<Object>> {
    let freed = segment.freed().load(Ordering::Acquire);
    let blocks = {
        let mut allocator = segment.allocator()?;
        allocator.searched = Some(freed);
        allocator.blocks()
    };
    segment.settle();
    blocks.into_iter().for_each(|offset| object::reclaim(segment, offset));
    make_in(segment, bytes, shape)
}
