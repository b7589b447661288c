//! What segments are called.

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::sys::named;

/// All names of ours begin so.
const PREFIX: &str = "watertight-";

/// A segment's identity: who made it, and a number that nobody guesses by accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct SegmentId {
    pub(crate) pid: u32,
    pub(crate) number: u64,
}

impl SegmentId {
    /// A new one.
    pub(crate) fn new() -> SegmentId {
        SegmentId { pid: std::process::id(), number: random() }
    }

    /// Its name in /dev/shm.
    pub(crate) fn name(self) -> String {
        format!("{PREFIX}{}-{:016x}", self.pid, self.number)
    }
}

/// Where the guard's path stands in every segment of ours, and what room it has.
pub(super) const AT_GUARD: usize = 64;
pub(super) const GUARD: usize = 256;

static GUARD_FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// In a worker: the folder that is locked as long as the first keeper of its tree lives. While it is, names
/// that nobody uses are left alone by strangers: their objects may be on the way to somebody.
pub(crate) fn set_guard(folder: &Path) {
    let _ = GUARD_FOLDER.set(folder.to_owned());
}

pub(super) fn guard() -> &'static str {
    GUARD_FOLDER.get().and_then(|folder| folder.to_str()).filter(|path| path.len() < GUARD).unwrap_or("")
}

/// The file's name for a name that a user has chosen; it is swept like all others once nobody uses it.
pub(super) fn of_user(name: &str) -> String {
    format!("{PREFIX}named-{name}")
}

/// Two processes that make a segment in the same moment must not choose one name. Nothing depends on its
/// secrecy: the file's mode keeps other users out.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Takes away every name of ours that no living process uses, and whose tree is gone.
///
/// For a keeper at its end, `own` is its folder, which it still holds locked itself.
pub(crate) fn sweep(own: Option<&Path>) {
    let count = named::sweep(PREFIX, |file| is_guarded(file, own));
    if count > 0 {
        tracing::debug!(count, "removed shared memory whose users are all dead");
    }
}

/// As `sweep`, of what one process made: for whoever has seen its end.
pub(crate) fn sweep_of(pid: u32) {
    if pid == 0 {
        return;
    }
    named::sweep(&format!("{PREFIX}{pid}-"), |_| false);
}

/// Whether the tree of a segment still has its first keeper.
fn is_guarded(file: &File, own: Option<&Path>) -> bool {
    let mut text = [0; GUARD];
    if file.read_exact_at(&mut text, AT_GUARD as u64).is_err() {
        return false;
    }
    let path = text.get(1..1 + usize::from(text[0])).map(String::from_utf8_lossy).unwrap_or_default();
    let path = Path::new(&*path);
    !path.as_os_str().is_empty() && Some(path) != own && named::is_locked(path)
}
