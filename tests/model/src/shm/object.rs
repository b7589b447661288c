//! Objects with the parts that the locks use: the lock's record and the payload.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::mask;
use super::segment::{OpenError, Segment};
use crate::primitive::{AtomicU32, AtomicU64, Ordering};
use crate::roster::layout::MAX_THREADS;

/// Every process of a model holds every object.
pub(super) const AT_MASK: usize = 0;
const EVERYBODY: u64 = (1 << (MAX_THREADS + 1)) - 2;

pub(crate) const ABANDONED: usize = 16;
pub(crate) const ABANDONED_SITE: usize = 8;
pub(crate) const DEPTH: usize = 4;
pub(crate) const SITE_BEHIND: usize = 4;
pub(crate) const AT_LOCK: usize = 8 + ABANDONED;
pub(crate) const HEAD: usize = AT_LOCK + 8;

pub(crate) const AT_DIVISION: usize = HEAD;
pub(crate) const MOST_PARTS: usize = 2;

pub(crate) fn lease(part: usize) -> usize {
    AT_DIVISION + 8 + part * 24 + ABANDONED
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Lock,
    RLock,
    Semaphore,
    BoundedSemaphore,
    Condition,
    Event,
    Barrier,
    Array,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape {
    pub(crate) kind: Kind,
    pub(crate) size: u64,
}

impl Shape {
    pub(crate) fn of<T>(kind: Kind, count: usize) -> Option<Shape> {
        Some(Shape { kind, size: (size_of::<T>() * count) as u64 })
    }

    fn is_monitor(self) -> bool {
        matches!(self.kind, Kind::Semaphore | Kind::BoundedSemaphore | Kind::Condition | Kind::Barrier)
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Handle {
    pub(crate) shape: Shape,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum HandleError {
    #[error(transparent)]
    Segment(#[from] OpenError),
    #[error("another shape")]
    OtherShape,
    #[error("another tree")]
    OtherTree,
}

pub(crate) struct Object {
    segment: Segment,
    offset: usize,
    shape: Shape,
}

impl Object {
    pub(super) fn make(shape: Shape) -> Arc<Object> {
        let table = if shape.kind == Kind::Array { 8 + 24 * MOST_PARTS } else { 0 };
        let segment = Segment::only();
        let offset = segment.take((HEAD + table + shape.size as usize).next_multiple_of(8));
        segment.word(offset + AT_MASK).store(EVERYBODY, Ordering::Relaxed);
        Arc::new(Object { segment, offset, shape })
    }

    pub(crate) fn open(_: &Handle) -> Result<Arc<Object>, HandleError> {
        unreachable!("no handle travels here")
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle { shape: self.shape }
    }

    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    pub(crate) fn word(&self, at: usize) -> &AtomicU64 {
        self.segment.word(self.offset + at)
    }

    pub(crate) fn half_words(&self, at: usize) -> [&AtomicU32; 2] {
        [self.half_word(at), self.half_word(at + SITE_BEHIND)]
    }

    pub(crate) fn half_word(&self, at: usize) -> &AtomicU32 {
        match at >= HEAD && self.shape.is_monitor() {
            true => self.segment.lower_half(self.offset + at),
            false => self.segment.half_word(self.offset + at),
        }
    }

    pub(crate) fn has_death(&self) -> bool {
        mask::has_death(self.word(AT_MASK), 0, |user| self.segment.is_being_settled(user))
    }

    pub(crate) fn forget_deaths(&self) {
        mask::forget_deaths(self.word(AT_MASK), 0, |user| self.segment.is_being_settled(user));
    }

    pub(crate) fn name(&self) -> Option<String> {
        None
    }

    pub(crate) fn set_name(&self, _: &str) {}
}
