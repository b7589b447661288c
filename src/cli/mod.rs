//! The command line: arguments in, library calls, output. Described in `docs/cli.md`.
//!
//! Results go to stdout and nothing else does. A map runs on three threads: the feed reads inputs and submits
//! them, the main thread prints what comes, and one waits for signals.

mod arguments;
mod conversation;
mod convert;
mod events;
mod exit;
mod feed;
mod inputs;
mod interrupt;
mod map;
mod order;
mod printer;
mod progress;
mod record;
mod screen;
mod supervision;
mod table;
mod tasks;
mod top;
mod up;
mod verbs;
mod worker;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};
pub(crate) use exit::{Exit, Failure};

/// Runs the program with the arguments of this process.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version go to stdout, which may be closed; there is nobody to tell.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Success.into() };
        }
    };
    let result = match arguments.command {
        Command::Map(arguments) => map::run(*arguments),
        Command::Tasks(arguments) => tasks::run(&arguments),
        Command::Up(arguments) => up::run(&arguments),
        Command::Validate(arguments) => up::validate(&arguments),
        Command::Supervision(verb) => verbs::run(verb),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            printer::complain(&failure.to_string());
            failure.exit.into()
        }
    }
}
