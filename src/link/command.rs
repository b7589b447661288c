//! What a host says to a worker while it works: one enum over ipc-channel.
//!
//! Only the host sends and only the worker receives, because a receiver of ipc-channel trusts its sender's
//! bytes. Every command fits in one packet, and a worker gets fewer in its life than the channel holds, so a send
//! does not block, whether or not anybody reads.

use serde::{Deserialize, Serialize};

use crate::task::luggage::Luggage;

/// From host to worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    /// The first one: the host has connected.
    Attach,
    /// The ends of ipc-channels among a process's arguments.
    Luggage(Luggage),
    /// The task with this number should stop: `task::cancelled()` becomes true.
    Cancel { number: u32 },
    /// No more tasks will come: exit when those in the lane are done.
    Retire,
}
