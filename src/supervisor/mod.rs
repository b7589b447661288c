//! Supervision: trees of programs that are kept alive by policy. Described in `docs/supervisor.md`.
//!
//! `policy` has the rules, `machine` decides, `driver` acts; `control` is the socket for the command line's verbs.

pub mod check;
pub mod specification;

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod config;
#[allow(dead_code, unused_imports, unreachable_pub, reason = "nobody starts a driver yet")]
pub(crate) mod control;
#[allow(dead_code, unused_imports, reason = "nobody starts a driver yet")]
mod driver;
#[allow(dead_code, unused_imports, reason = "parts of the driver, which does not use all of them yet")]
pub(crate) mod logs;
#[allow(dead_code, unused_imports, reason = "nobody starts a driver yet")]
pub(crate) mod machine;
#[allow(dead_code, unused_imports, reason = "nobody starts a driver yet")]
pub(crate) mod policy;
#[allow(dead_code, unused_imports, reason = "parts of the driver, which does not use all of them yet")]
pub(crate) mod ready;
mod status;

pub(crate) use specification::RestartPolicy;
pub use status::{Death, State, SupervisorEvent, UnitStatus};
