//! Supervision: trees of programs that are kept alive by policy. Described in `docs/supervisor.md`.
//!
//! `policy` has the rules, `machine` decides, `driver` acts; `control` is the socket for the command line's verbs.

pub mod check;
pub mod specification;

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod config;
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "the command line's side"))]
pub(crate) mod control;
mod driver;
mod function;
mod handle;
pub(crate) mod logs;
pub(crate) mod machine;
pub(crate) mod policy;
#[cfg_attr(not(feature = "cli"), allow(unused_imports, reason = "what a file is checked with"))]
pub(crate) mod ready;
mod status;

#[cfg(feature = "cli")]
pub(crate) use handle::Remote;
pub use handle::{Supervisor, SupervisorBuilder, SupervisorEnd};
pub(crate) use specification::RestartPolicy;
#[cfg(feature = "cli")]
pub(crate) use status::since_heartbeat;
pub use status::{Death, State, SupervisorEvent, TaskCounts, UnitStatus};
