//! Signals by name, and the signal state of a process of ours.

use std::fmt;
use std::io;

use nix::sys::signal::{self, SaFlags, SigAction, SigHandler, SigSet};
use serde::{Deserialize, Serialize};

/// A signal of the kernel; prints as its name.
///
/// ```
/// use watertight::Signal;
/// assert_eq!(Signal::SIGSEGV.to_string(), "SIGSEGV");
/// assert_eq!("segv".parse(), Ok(Signal::SIGSEGV));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Signal(i32);

/// Names the constants and their texts in one place.
macro_rules! signals {
    ($($name:ident)*) => {
        impl Signal {
            $(#[doc = concat!("`", stringify!($name), "` of the kernel.")] pub const $name: Signal = Signal(libc::$name);)*

            const NAMES: &[(i32, &str)] = &[$((libc::$name, stringify!($name)),)*];
        }
    };
}

signals! {
    SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV SIGUSR2 SIGPIPE SIGALRM
    SIGTERM SIGSTKFLT SIGCHLD SIGCONT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGXCPU SIGXFSZ SIGVTALRM SIGPROF
    SIGWINCH SIGIO SIGPWR SIGSYS
}

impl Signal {
    /// The signal of this number, real-time signals included.
    pub const fn from_number(number: i32) -> Signal {
        Signal(number)
    }

    /// Its number on this machine.
    pub const fn number(self) -> i32 {
        self.0
    }

    /// Its name, if it has one; real-time signals have none.
    pub fn name(self) -> Option<&'static str> {
        Signal::NAMES.iter().find(|(number, _)| *number == self.0).map(|(_, name)| *name)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text names no signal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no signal")]
pub struct ParseSignalError(String);

impl std::str::FromStr for Signal {
    type Err = ParseSignalError;

    /// Reads `SIGTERM`, `TERM`, `term` or a number.
    fn from_str(text: &str) -> Result<Signal, ParseSignalError> {
        if let Some(number) = text.parse().ok().filter(|number| (1..=libc::SIGRTMAX()).contains(number)) {
            return Ok(Signal(number));
        }
        let upper = text.to_ascii_uppercase();
        let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
        let known = Signal::NAMES.iter().find(|(_, name)| &name[3..] == bare);
        known.map(|(number, _)| Signal(*number)).ok_or_else(|| ParseSignalError(text.to_owned()))
    }
}

/// Blocks every signal in the calling thread, so that the host's own threads keep handling them.
pub(crate) fn block_all_in_this_thread() {
    let _ = SigSet::all().thread_block();
}

/// Gives a forked child the signal state of a fresh program: nothing blocked, and every disposition default
/// but SIGPIPE's, which std ignores in every Rust program.
pub(crate) fn reset() -> io::Result<()> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    let settable = signal::Signal::iterator().filter(|signal| {
        !matches!(signal, signal::Signal::SIGKILL | signal::Signal::SIGSTOP | signal::Signal::SIGPIPE)
    });
    for signal in settable {
        // SAFETY: the default disposition runs no code of ours.
        unsafe { signal::sigaction(signal, &default)? };
    }
    ignore_broken_pipes()?;
    SigSet::empty().thread_set_mask()?;
    Ok(())
}

/// As std's start-up does; a worker that was entered before `main` has not run that.
pub(crate) fn ignore_broken_pipes() -> io::Result<()> {
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: ignoring runs no code of ours.
    unsafe { signal::sigaction(signal::Signal::SIGPIPE, &ignore)? };
    Ok(())
}

/// Sends a signal to a process, or to a group if the number is negative. Nobody there is no error.
pub(crate) fn send(target: i32, signal: Signal) {
    // SAFETY: the call takes two integers.
    unsafe { libc::kill(target, signal.0) };
}

/// Sends a signal to a process, or says why it cannot.
pub(crate) fn try_send(target: i32, signal: Signal) -> io::Result<()> {
    // SAFETY: the call takes two integers.
    match unsafe { libc::kill(target, signal.0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_every_spelling() {
        for text in ["SIGTERM", "TERM", "term", "sigterm", "15"] {
            assert_eq!(text.parse(), Ok(Signal::SIGTERM));
        }
        assert!("SIGNONSENSE".parse::<Signal>().is_err());
        assert!("0".parse::<Signal>().is_err());
        assert_eq!(Signal::from_number(40).to_string(), "signal 40");
    }
}
