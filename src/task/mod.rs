//! What a task is: a function that both sides can name, arguments and results as bytes, and an outcome that
//! is a value or an error that tells the truth.
//!
//! Invariant: nothing here starts, waits for or talks to a process, but for the luggage of a process that is
//! being started, which `runtime` brings.

pub(crate) mod arguments;
pub(crate) mod buffer;
pub(crate) mod call;
pub(crate) mod codec;
pub(crate) mod context;
mod decode;
pub(crate) mod error;
pub(crate) mod identity;
pub(crate) mod luggage;
pub(crate) mod passengers;
pub(crate) mod payload;
pub(crate) mod registry;
pub(crate) mod remote_error;
pub(crate) mod shared;
pub(crate) mod state;

pub use context::{Progress, cancelled, deadline, progress, sleep};
