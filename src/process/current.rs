//! What a process knows of itself and of the one that started it.

use std::time::Duration;

use crate::keeper::identity;
use crate::sys::pidfd;

/// What a process knows of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentProcess {
    /// `MainProcess`, or the name it was started with.
    pub name: String,
    /// Its process id.
    pub pid: u32,
    /// Whether it was started as a daemon.
    pub daemon: bool,
    /// How many hosts are above it; 0 for the main process.
    pub depth: u32,
}

/// This process: the main one, or a worker.
///
/// ```
/// assert_eq!(watertight::current_process().name, "MainProcess");
/// ```
pub fn current_process() -> CurrentProcess {
    let pid = std::process::id();
    match identity::settings() {
        None => CurrentProcess { name: "MainProcess".to_owned(), pid, daemon: false, depth: 0 },
        Some(settings) => CurrentProcess {
            name: settings.name.clone(),
            pid,
            daemon: settings.daemon,
            depth: settings.depth,
        },
    }
}

/// The process that started this one.
#[derive(Debug)]
pub struct ParentProcess {
    /// `MainProcess`, or the name that it was started with.
    pub name: String,
    /// Its process id.
    pub pid: u32,
}

/// The process that this one works for; `None` in the main process.
///
/// It is the host, not the keeper, which `getppid` would name.
pub fn parent_process() -> Option<ParentProcess> {
    let parent = &identity::settings()?.parent;
    Some(ParentProcess { name: parent.name.clone(), pid: parent.pid })
}

impl ParentProcess {
    /// Whether it lives. A worker ends moments after its parent, so this is seldom false for long.
    pub fn is_alive(&self) -> bool {
        let pid = nix::unistd::Pid::from_raw(self.pid as i32);
        let Ok(process) = pidfd::open(pid) else { return false };
        !pidfd::wait_for_end(std::os::fd::AsFd::as_fd(&process), Some(Duration::ZERO)).unwrap_or(true)
    }
}
