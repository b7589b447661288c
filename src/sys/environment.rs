//! Changes of this process's environment, made while it becomes a keeper or a worker.
//!
//! At that time, before any user code, the process has one thread, unless a constructor of the executable
//! started others. Those that read the environment through std are kept apart by std's lock; a C library that
//! reads it in the background at that moment is the remaining risk, which `docs/gotchas.md` names.

use std::ffi::{OsStr, OsString};

/// Takes a variable out of the environment.
pub(crate) fn remove(name: impl AsRef<OsStr>) {
    // SAFETY: no thread of user code exists yet; see above.
    unsafe { std::env::remove_var(name) };
}

/// Sets a variable.
pub(crate) fn set(name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) {
    // SAFETY: no thread of user code exists yet; see above.
    unsafe { std::env::set_var(name, value) };
}

/// Replaces the whole environment.
pub(crate) fn replace(variables: &[(OsString, OsString)]) {
    std::env::vars_os().for_each(|(name, _)| remove(name));
    variables.iter().for_each(|(name, value)| set(name, value));
}
