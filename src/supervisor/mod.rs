//! Supervision: trees of programs that are kept alive by policy. Described in `docs/supervisor.md`.

pub mod check;
pub mod specification;

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod config;
#[allow(dead_code, reason = "parts of the driver, which does not use all of them yet")]
pub(crate) mod logs;
#[allow(dead_code, reason = "the driver does not use all of it yet")]
pub(crate) mod machine;
pub(crate) mod policy;
#[allow(dead_code, reason = "parts of the driver, which does not use all of them yet")]
pub(crate) mod ready;

pub(crate) use specification::RestartPolicy;
