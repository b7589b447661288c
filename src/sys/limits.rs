//! What a process may use.

use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

/// What a process may use; a field that is `None` keeps what it inherits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// Bytes of private writable memory (`RLIMIT_DATA`): the heap, but not shared arrays, reservations or
    /// stacks.
    pub(crate) memory: Option<u64>,
    /// Processor time of one task.
    pub(crate) cpu_time: Option<Duration>,
    /// Open descriptors (`RLIMIT_NOFILE`).
    pub(crate) open_files: Option<u64>,
    /// Largest core dump in bytes (`RLIMIT_CORE`).
    pub(crate) core: Option<u64>,
}

impl Limits {
    /// Sets the limits of this process; the limit on processor time is armed task by task instead.
    pub(crate) fn apply(&self) -> nix::Result<()> {
        let fields = [
            (Resource::RLIMIT_DATA, self.memory),
            (Resource::RLIMIT_NOFILE, self.open_files),
            (Resource::RLIMIT_CORE, self.core),
        ];
        for (resource, limit) in fields {
            let Some(limit) = limit else { continue };
            let (_, hard) = getrlimit(resource)?;
            // Lowering the hard limit too keeps the task from raising it again.
            setrlimit(resource, limit.min(hard), limit.min(hard))?;
        }
        Ok(())
    }
}
