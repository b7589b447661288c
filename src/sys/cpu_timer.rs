//! A timer on the processor time of this process, for the CPU-time limit of one task.
//!
//! `RLIMIT_CPU` counts whole seconds over the life of a process; a worker runs many tasks, so it arms this
//! timer anew for each.

use std::io;
use std::time::Duration;

/// Ends this process with SIGXCPU when it has used the armed amount of processor time.
pub(crate) struct CpuTimer {
    id: libc::timer_t,
}

impl CpuTimer {
    /// Makes a timer, disarmed.
    pub(crate) fn new() -> io::Result<CpuTimer> {
        let mut event = zeroed_event();
        event.sigev_signo = libc::SIGXCPU;
        event.sigev_notify = libc::SIGEV_SIGNAL;
        let mut id: libc::timer_t = std::ptr::null_mut();
        // SAFETY: both pointers are to live locals, and the call writes no more than a timer_t.
        let result = unsafe { libc::timer_create(libc::CLOCK_PROCESS_CPUTIME_ID, &mut event, &mut id) };
        if result == 0 { Ok(CpuTimer { id }) } else { Err(io::Error::last_os_error()) }
    }

    /// Lets the process use `limit` more of processor time.
    pub(crate) fn arm(&self, limit: Duration) {
        // A value of zero would disarm.
        self.set(limit.max(Duration::from_nanos(1)));
    }

    /// Forgets the limit.
    pub(crate) fn disarm(&self) {
        self.set(Duration::ZERO);
    }

    fn set(&self, value: Duration) {
        let time = libc::itimerspec {
            it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: libc::timespec {
                tv_sec: i64::try_from(value.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(value.subsec_nanos()),
            },
        };
        // SAFETY: the timer lives as long as `self`, and `time` is a live local. It cannot fail for a valid
        // timer and a normalised time.
        unsafe { libc::timer_settime(self.id, 0, &time, std::ptr::null_mut()) };
    }
}

impl Drop for CpuTimer {
    fn drop(&mut self) {
        // SAFETY: the timer was made by `new` and is deleted once.
        unsafe { libc::timer_delete(self.id) };
    }
}

fn zeroed_event() -> libc::sigevent {
    // SAFETY: a sigevent is plain integers and a pointer, for which zero is a value.
    unsafe { std::mem::zeroed() }
}
