//! Exit codes, which are an interface.

use std::fmt;
use std::process::ExitCode;

use crate::error::Error;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Every task gave a value.
    Success = 0,
    /// Some task failed, or the output could not be written.
    Failed = 1,
    /// The command line makes no sense, or names what is not there.
    Usage = 2,
    /// Workers could not start.
    NoWorkers = 3,
    /// No supervisor runs this configuration.
    NotRunning = 4,
    /// Another supervisor runs this configuration already.
    Occupied = 5,
    /// The supervisor gave up, because children failed too often.
    GaveUp = 6,
    /// It did not come to be in time.
    TimedOut = 7,
    /// Somebody interrupted it.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command could not be done at all.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let exit = match error.is_unknown_task() || error.is_option() {
            true => Exit::Usage,
            false => Exit::NoWorkers,
        };
        Failure::new(exit, error.to_string())
    }
}
