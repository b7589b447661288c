//! The segment that holds everything: the roster, and the objects behind it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::mask;
use super::name::{ONLY, SegmentId};
use super::object::AT_MASK;
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
    /// Where objects begin, and the end of the last one. No part of what processes share.
    objects: Mutex<Vec<usize>>,
    /// A bit for each process that has died and was not settled yet; in the upper half, that is being settled.
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
        let objects = Mutex::new(vec![BYTES]);
        Segment(Arc::new(Memory { words, halves, lower, objects, dead: AtomicU64::new(0) }))
    }

    pub(crate) fn only() -> Segment {
        ONLY_SEGMENT.clone()
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
        let mut objects = self.objects();
        let offset = objects.last().copied().unwrap_or(BYTES);
        objects.push(offset + bytes);
        assert!(offset + bytes <= TOTAL, "a model needs more memory");
        offset
    }

    fn objects(&self) -> MutexGuard<'_, Vec<usize>> {
        self.0.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A process has died.
    pub(crate) fn count_death(&self, process: usize) {
        self.0.dead.fetch_or(1 << process, Ordering::AcqRel);
    }

    pub(super) fn is_being_settled(&self, process: usize) -> bool {
        self.0.dead.load(Ordering::Acquire) >> (BEING_SETTLED + process) & 1 == 1
    }

    /// Takes the shares of those who have died out of every object. One process settles one dead user.
    pub(crate) fn settle(&self) {
        let seen = self.0.dead.load(Ordering::Acquire);
        let dead = seen & ((1 << BEING_SETTLED) - 1);
        let claimed = seen & !dead | dead << BEING_SETTLED;
        let exchange = || self.0.dead.compare_exchange(seen, claimed, Ordering::AcqRel, Ordering::Relaxed);
        if dead == 0 || exchange().is_err() {
            return;
        }
        let mut objects = self.objects().clone();
        objects.pop();
        for process in (0..BEING_SETTLED).filter(|process| dead >> process & 1 == 1) {
            objects.iter().for_each(|at| _ = mask::give_back(self.word(at + AT_MASK), 1 << process));
        }
        self.0.dead.fetch_and(!(dead << BEING_SETTLED), Ordering::AcqRel);
    }
}

const BEING_SETTLED: usize = 32;

#[derive(Debug, thiserror::Error)]
#[error("there is only one segment")]
pub(crate) struct OpenError;
