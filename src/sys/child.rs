//! What a process of ours does first: its group, its tie to its parent, its limits and its place.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid, setpgid};

use super::fd::replace_standard_stream;

/// Becomes the leader of a process group of its own.
pub(crate) fn lead_own_group() {
    // It fails only for a session leader, which leads its own group already.
    let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
}

/// Dies when its parent does. The parent has one thread, so the signal's per-thread rule does not bite.
pub(crate) fn die_with_parent(parent: Pid) {
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    if getppid() != parent {
        // It died between the fork and the call.
        exit_at_once(0);
    }
}

/// Receives the orphans among its descendants.
pub(crate) fn adopt_orphans() {
    let _ = prctl::set_child_subreaper(true);
}

/// Puts three descriptors in the place of the standard streams.
pub(crate) fn replace_standard_streams(streams: [BorrowedFd<'_>; 3]) -> io::Result<()> {
    (0..).zip(streams).try_for_each(|(number, fd)| replace_standard_stream(fd, number))
}

/// Enters a folder.
pub(crate) fn enter(folder: &Path) -> io::Result<()> {
    std::env::set_current_dir(folder)
}

/// Shows in `ps` and `top` what the process is; the kernel keeps fifteen bytes.
pub(crate) fn name_process(name: &str) {
    let kept: String = name.chars().filter(|char| *char != '\0').collect();
    if let Ok(name) = std::ffi::CString::new(kept) {
        let _ = prctl::set_name(&name);
    }
}

/// Ends without running anything more.
pub(crate) fn exit_at_once(code: i32) -> ! {
    // SAFETY: `_exit` ends the process; no code of ours runs after it.
    unsafe { libc::_exit(code) }
}
