//! What a host says to a worker while it works: one enum over ipc-channel.
//!
//! Only the host sends and only the worker receives, because a receiver of ipc-channel trusts its sender's
//! bytes. Every command fits in one packet, and there are never more than a few on the way, so a send does
//! not block.

use std::io;
use std::sync::Mutex;

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

/// Has ipc-channel find out what it finds out once per process, at its first message: it panics if that
/// takes more descriptors than there are, and never works again.
///
/// # Errors
/// If there are too few descriptors.
pub(crate) fn prepare() -> io::Result<()> {
    static PREPARED: Mutex<bool> = Mutex::new(false);
    let mut prepared = PREPARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !*prepared {
        // As many as the first message takes.
        drop((socket::pair()?, socket::pair()?));
        let (sender, _receiver) = ipc::channel().map_err(io::Error::other)?;
        sender.send(Command::Attach).map_err(io::Error::other)?;
        *prepared = true;
    }
    Ok(())
}
