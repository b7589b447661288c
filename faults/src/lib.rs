//! Ways for a process to die, hang or misbehave on request, for tests of whoever supervises it.
//!
//! Each fault is a real one: the processor's trap, the kernel's signal, the stack that really ends. They
//! strike the process that calls [`Fault::strike`], so call it in a process that you can spare.
//!
//! ```
//! use watertight_faults::Fault;
//!
//! let fault: Fault = "none".parse()?;
//! assert_eq!(fault.strike(), "unharmed");
//! # Ok::<(), watertight_faults::ParseFaultError>(())
//! ```

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
compile_error!("watertight-faults runs on Linux, on x86_64 and aarch64");

mod strike;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Names the faults, for people and for serde, in one place.
macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $variant:ident $name:literal)*) => {
        /// A way to die, to hang or to misbehave.
        ///
        /// Texts and JSON spell it in lower case with dashes: `stack-overflow`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Fault {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $variant,)*
        }

        impl Fault {
            /// Every fault, in the order of their declaration.
            pub const ALL: &'static [Fault] = &[$(Fault::$variant,)*];

            /// Its name in texts and in JSON.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Fault::$variant => $name,)*
                }
            }
        }
    };
}

faults! {
    /// Does no harm, and says so.
    None "none"
    /// Panics.
    Panic "panic"
    /// Exits with code 3.
    Exit "exit"
    /// Reads where nothing is mapped: SIGSEGV.
    Segv "segv"
    /// Reads a mapping past the end of its file: SIGBUS.
    Bus "bus"
    /// Aborts: SIGABRT.
    Abort "abort"
    /// Executes an instruction that there is not: SIGILL.
    Ill "ill"
    /// Divides by zero: SIGFPE. On aarch64, where that is no trap, the signal is raised.
    Fpe "fpe"
    /// Sends itself SIGKILL.
    Kill "kill"
    /// Stops itself by SIGSTOP; returns when somebody continues it.
    Stop "stop"
    /// Calls itself until the stack ends.
    StackOverflow "stack-overflow"
    /// Allocates, and writes to what it got, until the process has no more memory. Meant for a process with a
    /// memory limit; one without panics when it has 8 GiB.
    OutOfMemory "out-of-memory"
    /// Sleeps for ever.
    Hang "hang"
    /// Uses a processor for ever.
    Spin "spin"
    /// Ignores SIGTERM from now on, and sleeps for ever.
    IgnoreTerm "ignore-term"
    /// Returns, and leaves a child process behind that would live for 1000 seconds.
    LeakChild "leak-child"
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Fault {
    type Err = ParseFaultError;

    fn from_str(text: &str) -> Result<Fault, ParseFaultError> {
        let fault = Fault::ALL.iter().find(|fault| fault.name() == text);
        fault.copied().ok_or_else(|| ParseFaultError(text.to_owned()))
    }
}

/// The text names no fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseFaultError(String);

impl fmt::Display for ParseFaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = Fault::ALL.iter().map(|fault| fault.name()).collect();
        write!(f, "`{}` is no fault; there are {}", self.0, names.join(", "))
    }
}

impl std::error::Error for ParseFaultError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_has_one_name_everywhere() {
        for &fault in Fault::ALL {
            assert_eq!(fault.to_string().parse(), Ok(fault));
            let json = format!("\"{fault}\"");
            assert_eq!(serde_json::to_string(&fault).unwrap(), json);
            assert_eq!(serde_json::from_str::<Fault>(&json).unwrap(), fault);
        }
    }

    #[test]
    fn names_are_lower_case_words_with_dashes() {
        let plain = |name: &str| name.chars().all(|char| char.is_ascii_lowercase() || char == '-');
        assert!(Fault::ALL.iter().all(|fault| plain(fault.name())));
        assert_eq!(Fault::StackOverflow.name(), "stack-overflow");
    }

    #[test]
    fn a_text_that_names_no_fault_is_told_what_does() {
        let error = "sgev".parse::<Fault>().unwrap_err().to_string();
        assert!(error.starts_with("`sgev` is no fault; there are none, panic, exit, segv, "), "{error}");
    }
}
