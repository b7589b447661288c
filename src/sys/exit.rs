//! How a process ended, and what it used.

use std::fmt;
use std::io;
use std::time::Duration;

use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::signal::Signal;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ExitStatus {
    /// It exited with this code.
    Code(i32),
    /// A signal killed it.
    Signal {
        /// Which one.
        signal: Signal,
        /// Whether the kernel wrote a core dump.
        core_dumped: bool,
    },
}

impl ExitStatus {
    /// Whether the process exited with code 0.
    pub fn success(self) -> bool {
        self == ExitStatus::Code(0)
    }

    /// The exit code, if it exited by itself.
    pub fn code(self) -> Option<i32> {
        match self {
            ExitStatus::Code(code) => Some(code),
            ExitStatus::Signal { .. } => None,
        }
    }

    /// The signal that killed it, if one did.
    pub fn signal(self) -> Option<Signal> {
        match self {
            ExitStatus::Code(_) => None,
            ExitStatus::Signal { signal, .. } => Some(signal),
        }
    }

    fn from_wait(status: i32) -> ExitStatus {
        if libc::WIFSIGNALED(status) {
            let signal = Signal::from_number(libc::WTERMSIG(status));
            return ExitStatus::Signal { signal, core_dumped: libc::WCOREDUMP(status) };
        }
        ExitStatus::Code(libc::WEXITSTATUS(status))
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitStatus::Code(code) => write!(f, "exited with code {code}"),
            ExitStatus::Signal { signal, core_dumped: false } => write!(f, "killed by {signal}"),
            ExitStatus::Signal { signal, core_dumped: true } => write!(f, "killed by {signal} (core dumped)"),
        }
    }
}

/// What a process used over its life, as the kernel counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceUsage {
    /// Processor time in user mode.
    pub user_time: Duration,
    /// Processor time in the kernel.
    pub system_time: Duration,
    /// Largest resident set, in bytes.
    pub max_rss: u64,
}

impl ResourceUsage {
    /// What this process has used so far.
    pub(crate) fn of_this_process() -> ResourceUsage {
        let mut usage = zeroed_usage();
        // SAFETY: `usage` is a live local of the type that the call fills.
        unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
        ResourceUsage::from_raw(&usage)
    }

    fn from_raw(usage: &libc::rusage) -> ResourceUsage {
        let time = |time: libc::timeval| {
            Duration::from_secs(time.tv_sec.max(0) as u64) + Duration::from_micros(time.tv_usec.max(0) as u64)
        };
        ResourceUsage {
            user_time: time(usage.ru_utime),
            system_time: time(usage.ru_stime),
            max_rss: usage.ru_maxrss.max(0) as u64 * 1024,
        }
    }
}

/// Reaps a child that has ended; the caller knows that it has, so this does not block.
pub(crate) fn reap(pid: Pid) -> io::Result<(ExitStatus, ResourceUsage)> {
    let mut status = 0;
    let mut usage = zeroed_usage();
    loop {
        // SAFETY: both pointers are to live locals of the types that the call fills.
        let result = unsafe { libc::wait4(pid.as_raw(), &mut status, 0, &mut usage) };
        if result == pid.as_raw() {
            return Ok((ExitStatus::from_wait(status), ResourceUsage::from_raw(&usage)));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// A child of this process that has ended and is not reaped, whatever ended it.
///
/// nix's `waitid` fails for a child that a real-time signal killed.
pub(crate) fn ended_child() -> Option<Pid> {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: a siginfo is plain data, for which zero is a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` is a live local of the type that the call fills.
    if unsafe { libc::waitid(libc::P_ALL, 0, &mut info, flags) } != 0 {
        return None;
    }
    // SAFETY: the call fills the fields of a child, or leaves the zeros where none has ended.
    let pid = unsafe { info.si_pid() };
    (pid != 0).then(|| Pid::from_raw(pid))
}

/// Waits until some child has ended, and reaps it; false if there is none.
pub(crate) fn reap_any() -> bool {
    // SAFETY: the status is not asked for.
    let result = unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) };
    result > 0 || io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
}

fn zeroed_usage() -> libc::rusage {
    // SAFETY: an rusage is plain integers, for which zero is a value.
    unsafe { std::mem::zeroed() }
}
