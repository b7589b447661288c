//! What a host says to a worker while it works: one enum over ipc-channel.
//!
//! Only the host sends and only the worker receives, because a receiver of ipc-channel trusts its sender's
//! bytes. Every command fits in one packet, and there are never more than a few on the way, so a send does
//! not block.

use std::io;
use std::sync::OnceLock;

use ipc_channel::ipc;
use serde::{Deserialize, Serialize};

use crate::sys::socket;

/// From host to worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    /// The first one: the host has connected.
    Attach,
    /// The task with this number should stop: `task::cancelled()` becomes true.
    Cancel { number: u32 },
    /// No more tasks will come: exit when those in the lane are done.
    Retire,
}

/// Has ipc-channel find out how much a socket holds. It does that with its first message, and panics if it gets
/// no descriptors for it: so it does it where that can still be an error.
pub(crate) fn prepare_to_send() -> io::Result<()> {
    static PREPARED: OnceLock<()> = OnceLock::new();
    if PREPARED.get().is_some() {
        return Ok(());
    }
    let room = socket::pair()?;
    let (sender, _receiver) = ipc::channel::<()>()?;
    // What this gives up is what the message needs.
    drop(room);
    sender.send(()).map_err(io::Error::other)?;
    let _ = PREPARED.set(());
    Ok(())
}
