//! Sleeping on a word of shared memory, and waking those who do.
//!
//! Never the private kind: the words are shared between processes.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Sleeps until `word` is woken, unless it no longer holds `expected`. May wake without a reason.
pub(crate) fn wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
    let time = timeout.map(|timeout| libc::timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(timeout.subsec_nanos()),
    });
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `word` is a live, aligned word, and `time` is null or a live local. Every failure (the word
    // differs, the time is over, a signal came) means that the caller looks again.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, expected, time) };
}

/// Wakes at most `count` sleepers of `word`.
pub(crate) fn wake(word: &AtomicU32, count: u32) {
    // SAFETY: `word` is a live, aligned word; the call only uses its address.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count) };
}

/// What ended a wait on two words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slept {
    /// One of the words was woken or had changed, a signal came, or the time is over.
    Woken,
    /// The kernel knows no such wait (before Linux 5.16), or a sandbox does not allow it: some answer a call that
    /// they do not know with EPERM. The kernel itself never does.
    Unsupported,
}

/// One word of `futex_waitv`, as in linux/futex.h.
#[repr(C)]
struct WaitWord {
    value: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

/// Sleeps until one of two words is woken, unless one of them no longer holds what is expected, at most until
/// `deadline`, nanoseconds of the monotonic clock.
pub(crate) fn wait_for_either(words: [(&AtomicU32, u32); 2], deadline: Option<u64>) -> Slept {
    const SIZE_32: u32 = 2;
    let list = words.map(|(word, expected)| WaitWord {
        value: u64::from(expected),
        address: word.as_ptr() as u64,
        flags: SIZE_32,
        reserved: 0,
    });
    let time = deadline.map(|nanos| libc::timespec {
        tv_sec: (nanos / 1_000_000_000) as i64,
        tv_nsec: (nanos % 1_000_000_000) as i64,
    });
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the list and both words are live for the whole call, `time` is null or a live local. Every
    // failure but the one that is looked at means that the caller looks again.
    let result = unsafe {
        libc::syscall(libc::SYS_futex_waitv, list.as_ptr(), list.len(), 0, time, libc::CLOCK_MONOTONIC)
    };
    match nix::errno::Errno::result(result) {
        Err(nix::errno::Errno::ENOSYS | nix::errno::Errno::EPERM) => Slept::Unsupported,
        _ => Slept::Woken,
    }
}
