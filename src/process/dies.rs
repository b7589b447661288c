//! `assert_dies!`: code that must die in one way and no other.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use crate::sys::signal::Signal;
use crate::task::arguments::Task;
use crate::task::error::{DeathDetail, TaskError, TaskErrorKind};

use super::isolate::isolate;

/// How code is expected to die; see [`assert_dies!`](crate::assert_dies).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Dies {
    /// Killed by this signal.
    Signal(Signal),
    /// Killed by a fault at the end of its stack.
    StackOverflow,
    /// Exits with this code.
    Exit(i32),
    /// Panics with a message that contains this.
    Panic(&'static str),
    /// Runs for longer than this.
    TimeOut(Duration),
    /// Cannot allocate under this many bytes of private memory.
    MemoryLimit(u64),
    /// Uses more than this of processor time.
    CpuLimit(Duration),
}

impl From<Signal> for Dies {
    fn from(signal: Signal) -> Dies {
        Dies::Signal(signal)
    }
}

/// Code that neither returns nor dies must not hang a test for ever, and is told apart from it before the
/// test's own time is over.
const PATIENCE: Duration = Duration::from_secs(20);

impl Dies {
    fn is(&self, error: &TaskError) -> bool {
        match (self, error.kind()) {
            (Dies::Signal(signal), TaskErrorKind::Died { status, .. }) => status.signal() == Some(*signal),
            (Dies::StackOverflow, TaskErrorKind::Died { detail, .. }) => {
                *detail == Some(DeathDetail::StackOverflow)
            }
            (Dies::Exit(code), TaskErrorKind::Died { status, .. }) => status.code() == Some(*code),
            (Dies::Panic(part), TaskErrorKind::Panicked(panic)) => panic.message.contains(part),
            (Dies::TimeOut(_), TaskErrorKind::TimedOut { .. })
            | (Dies::MemoryLimit(_), TaskErrorKind::MemoryLimit { .. })
            | (Dies::CpuLimit(_), TaskErrorKind::CpuLimit { .. }) => true,
            _ => false,
        }
    }

    fn timeout(&self) -> Duration {
        match self {
            Dies::TimeOut(timeout) => *timeout,
            _ => PATIENCE,
        }
    }
}

impl fmt::Display for Dies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dies::Signal(signal) => write!(f, "be killed by {signal}"),
            Dies::StackOverflow => f.write_str("overflow its stack"),
            Dies::Exit(code) => write!(f, "exit with code {code}"),
            Dies::Panic(part) => write!(f, "panic with a message that contains {part:?}"),
            Dies::TimeOut(timeout) => write!(f, "run for longer than {timeout:?}"),
            Dies::MemoryLimit(bytes) => write!(f, "run out of {bytes} bytes of memory"),
            Dies::CpuLimit(limit) => write!(f, "use more than {limit:?} of processor time"),
        }
    }
}

/// What `assert_dies!` calls.
///
/// # Panics
/// If the code ends in another way.
#[track_caller]
pub fn assert_dies<F>(dies: Dies, function: F)
where
    F: Task<(), Output = ()>,
{
    let mut code = isolate(function).timeout(dies.timeout());
    if let Dies::MemoryLimit(bytes) = dies {
        code = code.memory_limit(bytes);
    }
    if let Dies::CpuLimit(limit) = dies {
        code = code.cpu_limit(limit);
    }
    let outcome = code.run();
    let here = Location::caller();
    match &outcome.result {
        Err(error) if dies.is(error) => {}
        Err(error) => panic!("{here}: the code should {dies}, but: {error:?}"),
        Ok(_) => panic!("{here}: the code should {dies}, but it returned"),
    }
}

/// Asserts that code dies, and how. The code is an `fn` or a closure without captures, and runs in a process
/// of its own, so the test goes on.
///
/// The first argument is a [`Signal`](crate::Signal) or a [`Dies`](crate::Dies).
///
/// # Panics
/// If the code returns, dies otherwise, or has done neither after 20 seconds.
///
/// ```
/// use watertight::{Dies, Signal, assert_dies};
///
/// fn main() {
///     watertight::init();
///     assert_dies!(Signal::SIGABRT, || std::process::abort());
///     assert_dies!(Dies::Exit(3), || std::process::exit(3));
///     assert_dies!(Dies::Panic("out of bounds"), || Vec::<u8>::new()[std::hint::black_box(7)]);
/// }
/// ```
#[macro_export]
macro_rules! assert_dies {
    ($how:expr, $code:expr $(,)?) => {{
        #[allow(clippy::redundant_closure_call, reason = "it gives every closure the same result, none")]
        $crate::__private::assert_dies(::std::convert::Into::into($how), || {
            let _ = ($code)();
        })
    }};
}
