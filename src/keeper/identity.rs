//! Who this process is: a host of its own, or somebody's worker.
//!
//! Global because it is a fact about the process, like its pid.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::link::request::{ParentIdentity, Settings};

static SETTINGS: OnceLock<Settings> = OnceLock::new();
static CAN_BE_A_WORKER: AtomicBool = AtomicBool::new(false);

/// This process is a worker from now on.
pub(crate) fn become_worker(settings: Settings) {
    let _ = SETTINGS.set(settings);
}

/// What this worker was started with; `None` in a host that is nobody's worker.
pub(crate) fn settings() -> Option<&'static Settings> {
    SETTINGS.get()
}

/// How many hosts are above this process.
pub(crate) fn depth() -> u32 {
    settings().map_or(0, |settings| settings.depth)
}

/// This executable's start passes `init`, so it can be executed as a keeper.
pub(crate) fn allow_workers() {
    CAN_BE_A_WORKER.store(true, Ordering::Relaxed);
}

pub(crate) fn can_be_a_worker() -> bool {
    CAN_BE_A_WORKER.load(Ordering::Relaxed)
}

/// What this process tells its workers of itself.
pub(crate) fn as_parent() -> ParentIdentity {
    let name = settings().map_or_else(|| "MainProcess".to_owned(), |settings| settings.name.clone());
    ParentIdentity { pid: std::process::id(), name }
}
