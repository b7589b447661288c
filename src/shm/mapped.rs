//! What this process has mapped: the segments that it uses, and in a pool's worker the mappings that it keeps
//! from one task to the next, so that a large array is not mapped anew, page by page, by each.
//!
//! To keep a mapping is not to use it: it takes no lock on the file and no place among the users. So the last
//! user ends the memory as if nobody had it mapped, which frees its pages at once, and marks it as ended.
//! What is left, one page and two descriptors, goes before the next task.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustc_hash::FxHashMap;

use crate::primitive::Ordering;
use crate::sys::named::Named;

use super::name::{self, SegmentId};
use super::segment::Segment;

/// How many mappings a worker keeps.
const MOST: usize = 8;

/// How many mappings are kept now. So that a task with none does not look any further.
static KEPT: AtomicUsize = AtomicUsize::new(0);

static MAPPED: Mutex<Mapped> = Mutex::new(Mapped { used: None, kept: Vec::new(), most: 0 });

pub(super) struct Mapped {
    used: Option<FxHashMap<SegmentId, Weak<Segment>>>,
    /// The one that was used last at the end.
    kept: Vec<(SegmentId, Arc<Named>)>,
    most: usize,
}

pub(super) fn mapped() -> MutexGuard<'static, Mapped> {
    MAPPED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on this process runs tasks, and says before each that it begins.
pub(crate) fn keep_between_tasks() {
    mapped().most = MOST;
}

/// A task begins: what has ended since the last one goes.
#[inline]
pub(crate) fn let_go_of_ended() {
    if KEPT.load(Ordering::Relaxed) > 0 {
        mapped().change_kept(|kept| kept.retain(|(_, memory)| !memory.has_ended()));
    }
}

/// A process of this tree has ended, and what was on its way from there is opened: takes its shares out of what
/// this process has mapped, and the names that nobody uses any more.
pub(crate) fn process_ended(pid: u32) {
    let used: Vec<_> = mapped().used.iter().flat_map(FxHashMap::values).filter_map(Weak::upgrade).collect();
    used.iter().for_each(|segment| segment.settle_for_good(pid));
    drop(used);
    name::sweep_of(pid);
}

impl Mapped {
    pub(super) fn find(&self, id: SegmentId) -> Option<Arc<Segment>> {
        self.used.as_ref()?.get(&id).and_then(Weak::upgrade)
    }

    pub(super) fn enter(&mut self, id: SegmentId, segment: &Arc<Segment>) {
        self.used.get_or_insert_default().insert(id, Arc::downgrade(segment));
    }

    /// The mapping of that segment, if it was kept and the segment has not ended.
    pub(super) fn wake(&mut self, id: SegmentId) -> Option<Arc<Named>> {
        let index = self.kept.iter().position(|(kept, _)| *kept == id)?;
        let (_, memory) = self.change_kept(|kept| kept.remove(index));
        memory.wake().is_ok().then_some(memory)
    }

    /// A segment is dropped.
    pub(super) fn leave(&mut self, id: SegmentId, memory: &Arc<Named>) {
        // Somebody may have mapped it anew meanwhile.
        let Some(used) = &mut self.used else { return };
        if used.get(&id).is_none_or(|segment| segment.strong_count() > 0) {
            return;
        }
        used.remove(&id);
        if self.most > 0 && memory.rest() {
            let most = self.most;
            self.change_kept(|kept| {
                kept.drain(..(kept.len() + 1).saturating_sub(most));
                kept.push((id, Arc::clone(memory)));
            });
        }
    }

    #[cfg(test)]
    pub(super) fn forget(&mut self, id: SegmentId) {
        self.used.as_mut().and_then(|used| used.remove(&id));
    }

    fn change_kept<T>(&mut self, change: impl FnOnce(&mut Vec<(SegmentId, Arc<Named>)>) -> T) -> T {
        let result = change(&mut self.kept);
        KEPT.store(self.kept.len(), Ordering::Relaxed);
        result
    }
}
