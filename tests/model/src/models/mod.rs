//! The models, by what they explore.

pub mod barrier;
pub mod bell;
pub mod claim;
pub mod condition;
pub mod event;
pub mod lane;
pub mod lock;
pub mod object;
pub mod ring;
pub mod semaphore;

use std::sync::Arc;

use loom::thread::{self, JoinHandle};

use crate::roster::become_process;

/// Another process, with its own handle on what all share.
pub(crate) fn process<S: 'static, T: 'static>(
    slot: usize,
    shared: &Arc<S>,
    body: impl FnOnce(&S) -> T + 'static,
) -> JoinHandle<T> {
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        become_process(slot);
        body(&shared)
    })
}
