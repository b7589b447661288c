//! Forking, for processes that have one thread.

use std::io;

use nix::unistd::{ForkResult, Pid};

use super::procfs;

/// Shows that this process has one thread, which is what makes `fork` and changes of the environment safe.
///
/// The keeper gets one at its start and starts no thread afterwards.
pub(crate) struct SingleThreaded(());

/// Where the fork came out.
pub(crate) enum Fork {
    Parent(Pid),
    Child,
}

impl SingleThreaded {
    /// Looks; `None` if a constructor of the executable started threads.
    pub(crate) fn check() -> Option<SingleThreaded> {
        (procfs::thread_count() == 1).then_some(SingleThreaded(()))
    }

    /// Forks. The child has one thread as well.
    pub(crate) fn fork(&self) -> io::Result<Fork> {
        // SAFETY: no other thread exists, so no lock can be held by one that the child lacks.
        match unsafe { nix::unistd::fork()? } {
            ForkResult::Parent { child } => Ok(Fork::Parent(child)),
            ForkResult::Child => Ok(Fork::Child),
        }
    }
}
