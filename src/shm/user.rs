//! A process as it stands in shared memory: its number and when it began, which together no other process has.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;
use std::time::Duration;

use nix::unistd::Pid;

use crate::sys::{pidfd, procfs};

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) pid: u32,
    /// The lower half of its start, in clock ticks.
    start: u32,
}

/// What is known of a process that should be there.
pub(crate) enum Life {
    /// The descriptor becomes readable when it ends.
    Alive(OwnedFd),
    Ended,
    /// It seems to be there, and cannot be watched: no descriptor is left, or it is out of sight.
    Unknown,
}

impl User {
    /// This process.
    pub(crate) fn own() -> User {
        static OWN: OnceLock<User> = OnceLock::new();
        let own = *OWN.get_or_init(User::look_at_self);
        // A process that was forked from this one by foreign code is another one.
        if own.pid == std::process::id() { own } else { User::look_at_self() }
    }

    fn look_at_self() -> User {
        let pid = std::process::id();
        User { pid, start: procfs::start_time(pid as i32).unwrap_or(0) as u32 }
    }

    pub(crate) fn to_word(self) -> u64 {
        u64::from(self.pid) << 32 | u64::from(self.start)
    }

    pub(crate) fn from_word(word: u64) -> Option<User> {
        let user = User { pid: (word >> 32) as u32, start: word as u32 };
        (user.pid != 0 && user.pid <= i32::MAX as u32).then_some(user)
    }

    /// Looks for it.
    pub(crate) fn look(self) -> Life {
        let fd = match pidfd::open(Pid::from_raw(self.pid as i32)) {
            Ok(fd) => fd,
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Life::Ended,
            Err(_) if self.has_other_start() => return Life::Ended,
            Err(_) => return Life::Unknown,
        };
        // The descriptor holds on to whoever has the number now; its start tells whether that is the one.
        let ended = pidfd::wait_for_end(fd.as_fd(), Some(Duration::ZERO)).unwrap_or(false);
        if ended || self.has_other_start() { Life::Ended } else { Life::Alive(fd) }
    }

    /// Whether its number is another process's now, as far as can be seen.
    fn has_other_start(self) -> bool {
        procfs::start_time(self.pid as i32).is_some_and(|start| start as u32 != self.start)
    }

    pub(crate) fn is_alive(self) -> bool {
        self == User::own() || !matches!(self.look(), Life::Ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_a_later_one_with_its_number() {
        let own = User::own();
        assert_eq!(User::from_word(own.to_word()), Some(own));
        assert!(own.is_alive());
        let earlier = User { start: own.start.wrapping_sub(1), ..own };
        assert!(!earlier.is_alive());
        assert_eq!(User::from_word(0), None);
    }
}
