//! The keeper: one small single-threaded process per worker executable, which starts the workers, reaps
//! them, and outlives the host by a moment. `README.md` beside this file tells why and how.
//!
//! `handle` and `client` are the host's side; `server`, `start`, `children`, `launch`, `programs` and `folder` run in the keeper's
//! process.
//!
//! Invariant: no user code runs in a keeper.

mod children;
pub(crate) mod client;
mod folder;
pub(crate) mod handle;
pub(crate) mod identity;
pub(crate) mod launch;
pub(crate) mod programs;
pub(crate) mod server;
mod start;
