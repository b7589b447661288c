//! What segments are called.

use std::hash::{BuildHasher, Hasher, RandomState};

use serde::{Deserialize, Serialize};

use crate::sys::named;

/// All names of ours begin so.
const PREFIX: &str = "watertight-";

/// A segment's identity: who made it, and a number that nobody guesses by accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct SegmentId {
    pub(crate) pid: u32,
    pub(crate) number: u64,
}

impl SegmentId {
    /// A new one.
    pub(crate) fn new() -> SegmentId {
        SegmentId { pid: std::process::id(), number: random() }
    }

    /// Its name in /dev/shm.
    pub(crate) fn name(self) -> String {
        format!("{PREFIX}{}-{:016x}", self.pid, self.number)
    }
}

/// Two processes that make a segment in the same moment must not choose one name. Nothing depends on its
/// secrecy: the file's mode keeps other users out.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Takes away every name of ours that no living process uses.
pub(crate) fn sweep() {
    let count = named::sweep(PREFIX);
    if count > 0 {
        tracing::debug!(count, "removed shared memory whose users are all dead");
    }
}

/// As `sweep`, of what one process made: for whoever has seen its end.
pub(crate) fn sweep_of(pid: u32) {
    named::sweep(&format!("{PREFIX}{pid}-"));
}
