//! Descriptors of processes: a process that cannot be mistaken for a later one with the same id.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use super::signal::{self, Signal};

/// From linux/pidfd.h, Linux 6.9; libc does not have it for every target yet.
const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 1 << 2;

/// Opens a descriptor of a process, closed on exec.
pub(crate) fn open(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two integers.
    let number = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number as RawFd) })
}

/// Sends a signal. A process that has ended is no error: there is nothing left to tell it.
pub(crate) fn send_signal(fd: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    match send(fd, signal.number(), 0) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Kills what is left of the group that a process leads or led, as well as can be.
pub(crate) fn kill_group(leader: BorrowedFd<'_>, pid: u32) {
    let killed = send(leader, Signal::SIGKILL.number(), PIDFD_SIGNAL_PROCESS_GROUP);
    // An older kernel knows no such flag, and some filters of system calls refuse what they do not know.
    if matches!(killed, Ok(()) | Err(Errno::ESRCH)) {
        return;
    }
    let Some(pid) = i32::try_from(pid).ok().filter(|pid| *pid > 1) else { return };
    // The number is the group's as long as its leader is not reaped, or anybody else is in the group. So if the
    // leader is reaped and somebody has its number, nobody of the group is left. If nobody has it, it is still the
    // group's, or nobody's. (Or a later group's whose leader has ended too, which takes a whole round of the
    // kernel's numbers since the leader's end; that end was seen just now.)
    let is_unreaped = send(leader, 0, 0) == Ok(());
    let is_free = || signal::try_send(pid, Signal::from_number(0)).is_err_and(is_nobody);
    if is_unreaped || is_free() {
        signal::send(-pid, Signal::SIGKILL);
    }
}

fn is_nobody(error: io::Error) -> bool {
    error.raw_os_error() == Some(libc::ESRCH)
}

fn send(fd: BorrowedFd<'_>, signal: i32, flags: libc::c_uint) -> Result<(), Errno> {
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: `fd` is open for the whole call, and a null siginfo asks for the default one.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd.as_raw_fd(), signal, info, flags) };
    Errno::result(result).map(drop)
}

/// Waits until the process has ended, for at most `timeout` (`None`: for ever). True if it has.
pub(crate) fn wait_for_end(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<bool> {
    let start = std::time::Instant::now();
    loop {
        let left = timeout.map(|timeout| timeout.saturating_sub(start.elapsed()));
        let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
        match poll(&mut fds, poll_timeout(left)) {
            Ok(0) if left.is_some_and(|left| left > Duration::ZERO) => {}
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Milliseconds for poll and epoll, rounded up so that a wait never ends early and spins.
pub(crate) fn poll_timeout(timeout: Option<Duration>) -> PollTimeout {
    let Some(timeout) = timeout else { return PollTimeout::NONE };
    let milliseconds = timeout.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128);
    PollTimeout::try_from(milliseconds as i32).unwrap_or(PollTimeout::MAX)
}
