//! The worker's lane and its way out, for the parts of the runtime that are not the task loop: the panic
//! hook and the control thread.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::link::lane::Lane;
use crate::task::context;

static LANE: OnceLock<&'static Lane> = OnceLock::new();
static RETIRING: AtomicBool = AtomicBool::new(false);

/// This process works for the host at the other end of `lane`, for as long as it lives.
pub(super) fn attach(lane: &'static Lane) {
    let _ = LANE.set(lane);
    context::attach_progress(lane.black_box().progress_words());
}

pub(super) fn lane() -> Option<&'static Lane> {
    LANE.get().copied()
}

/// No more tasks will come.
pub(super) fn retire() {
    RETIRING.store(true, Ordering::Release);
    if let Some(lane) = lane() {
        lane.worker_bell().ring();
    }
}

pub(super) fn retiring() -> &'static AtomicBool {
    &RETIRING
}
