//! The segment that holds everything: the roster, and the objects behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering as Plain};

use super::name::{ONLY, SegmentId};
use super::object::AT_DEATHS;
use crate::primitive::{AtomicU32, AtomicU64, Ordering};
use crate::roster::layout::BYTES;

pub(crate) const MAX_USERS: usize = 8;

/// Bytes of everything.
const TOTAL: usize = BYTES + 1024;

#[derive(Clone, Debug)]
pub(crate) struct Segment(Arc<Memory>);

#[derive(Debug)]
struct Memory {
    words: Vec<AtomicU64>,
    /// What is used in halves lies apart, but for the lower halves of what a monitor keeps.
    halves: Vec<AtomicU32>,
    lower: Vec<AtomicU32>,
    /// Where the next object goes.
    next: AtomicUsize,
    /// Who has died and was not settled yet.
    dead: AtomicU64,
}

loom::lazy_static! {
    static ref ONLY_SEGMENT: Segment = Segment::zeroed();
}

impl Segment {
    fn zeroed() -> Segment {
        let words: Vec<_> = (0..TOTAL / 8).map(|_| AtomicU64::new(0)).collect();
        let lower = words.iter().map(AtomicU64::lower_half).collect();
        let halves = (0..TOTAL / 4).map(|_| AtomicU32::new(0)).collect();
        let next = AtomicUsize::new(BYTES);
        Segment(Arc::new(Memory { words, halves, lower, next, dead: AtomicU64::new(0) }))
    }

    pub(crate) fn only() -> Segment {
        ONLY_SEGMENT.clone()
    }

    pub(crate) fn open(_: SegmentId) -> Result<Segment, OpenError> {
        Ok(Segment::only())
    }

    pub(crate) fn id(&self) -> SegmentId {
        ONLY
    }

    pub(crate) fn tree(&self) -> SegmentId {
        ONLY
    }

    pub(crate) fn bytes(&self) -> usize {
        TOTAL
    }

    /// Each thread of a model is a process.
    pub(crate) fn user(&self) -> usize {
        0
    }

    pub(crate) fn word(&self, offset: usize) -> &AtomicU64 {
        &self.0.words[offset / 8]
    }

    pub(crate) fn half_word(&self, offset: usize) -> &AtomicU32 {
        &self.0.halves[offset / 4]
    }

    pub(super) fn lower_half(&self, offset: usize) -> &AtomicU32 {
        &self.0.lower[offset / 8]
    }

    pub(super) fn take(&self, bytes: usize) -> usize {
        let offset = self.0.next.fetch_add(bytes, Plain::Relaxed);
        assert!(offset + bytes <= TOTAL, "a model needs more memory");
        offset
    }

    /// A process has died.
    pub(crate) fn count_death(&self) {
        self.0.dead.fetch_add(1, Ordering::AcqRel);
    }

    /// Counts those who have died in every object.
    pub(crate) fn settle(&self) {
        let dead = self.0.dead.swap(0, Ordering::AcqRel);
        if dead > 0 {
            let end = self.0.next.load(Plain::Relaxed);
            let words = (BYTES..end).step_by(8);
            let heads = words.filter(|at| self.word(*at).load(Ordering::Relaxed) == super::object::MAGIC);
            heads.for_each(|at| _ = self.word(at + AT_DEATHS).fetch_add(dead, Ordering::AcqRel));
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("there is only one segment")]
pub(crate) struct OpenError;
