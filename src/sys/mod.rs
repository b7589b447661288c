//! The kernel, as far as the layers below need it and `nix` does not give it a safe face.
//!
//! Invariant: nothing here knows a task, a lane or a pool. Descriptors are owned (`OwnedFd`) or borrowed
//! (`BorrowedFd`), times are monotonic, and every `unsafe` block holds one system call.

pub(crate) mod barrier;
mod become_program;
pub(crate) mod child;
pub(crate) mod clock;
pub(crate) mod cpu;
pub(crate) mod cpu_timer;
pub(crate) mod crash;
pub(crate) mod environment;
pub(crate) mod exec;
pub(crate) mod exit;
pub(crate) mod fd;
pub(crate) mod fork;
pub(crate) mod futex;
pub(crate) mod image;
pub(crate) mod limits;
pub(crate) mod memory;
pub(crate) mod named;
pub(crate) mod pidfd;
pub(crate) mod procfs;
pub(crate) mod random;
mod raw;
pub(crate) mod room;
pub(crate) mod signal;
pub(crate) mod socket;
pub(crate) mod spawn;
#[cfg(feature = "cli")]
pub(crate) mod terminal;
