//! What the commands around `watertight up` take. Described in `docs/supervisor.md`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::supervisor::config::units;

pub(super) const UP_HELP: &str = "\
Ctrl-C or SIGTERM stops everything in reverse order of dependencies, a second one at once; SIGHUP reads the file \
again. SIGUSR1 and SIGUSR2 are passed on to all programs.

Exit codes: 0 it was stopped or has done its work, 2 the file has mistakes, 3 programs cannot be started at all, \
5 another supervisor runs this file, 6 it gave up because children failed too often.";

const STATUS_HELP: &str = "\
Exit codes: 0 all is well, 1 something that should run does not, 2 usage, 4 no supervisor runs this file.";

const WAIT_HELP: &str = "\
Exit codes: 0 it has come to be, 1 it cannot be asked, or has failed for good, 4 no supervisor runs this file, 7 not in time.";

#[derive(Debug, Args)]
pub(super) struct UpArguments {
    /// The configuration
    #[arg(default_value = "watertight.toml")]
    pub(super) file: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct ValidateArguments {
    /// The configuration
    #[arg(default_value = "watertight.toml")]
    pub(super) file: PathBuf,

    /// Print one JSON object for each mistake
    #[arg(long)]
    pub(super) json: bool,
}

/// Which supervisor is meant, and how to print what it says.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// The configuration that the supervisor runs
    #[arg(long, short, value_name = "FILE", default_value = "watertight.toml")]
    pub(super) config: PathBuf,

    /// Print one JSON object a line
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Names {
    /// Programs, copies (`web.2`) or groups
    #[arg(required = true)]
    pub(super) names: Vec<String>,

    #[command(flatten)]
    pub(super) which: Which,
}

/// What a running supervisor can be asked.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Show where the programs are; with names, also how they died.
    #[command(after_help = STATUS_HELP)]
    Status {
        /// Programs, copies (`web.2`) or groups; all without any
        names: Vec<String>,
        #[command(flatten)]
        which: Which,
    },
    /// Start programs that do not run.
    Start(Names),
    /// Stop programs, and wait until they have stopped.
    Stop(Names),
    /// Stop and start programs.
    Restart {
        /// One copy after another, each ready before the next
        #[arg(long)]
        rolling: bool,
        #[command(flatten)]
        names: Names,
    },
    /// Run so many copies of a program.
    Scale {
        /// The program
        name: String,
        /// How many copies
        replicas: u32,
        #[command(flatten)]
        which: Which,
    },
    /// Send a signal to the process groups of programs.
    Signal {
        /// The signal's name or number
        signal: String,
        #[command(flatten)]
        names: Names,
    },
    /// Print the last lines that programs wrote.
    Logs {
        /// Programs, copies (`web.2`) or groups; all without any
        names: Vec<String>,
        /// Go on with what they write from now on
        #[arg(long, short)]
        follow: bool,
        #[command(flatten)]
        which: Which,
    },
    /// Print where everything is, then everything that happens.
    Events {
        #[command(flatten)]
        which: Which,
    },
    /// Wait until programs are ready or have stopped.
    #[command(after_help = WAIT_HELP)]
    Wait {
        /// Until they run and are ready (if nothing is said)
        #[arg(long, conflicts_with = "stopped")]
        ready: bool,
        /// Until they do not run
        #[arg(long)]
        stopped: bool,
        /// How long to wait at most, like `10s`
        #[arg(long, value_name = "TIME", value_parser = units::some_duration)]
        timeout: Option<Duration>,
        #[command(flatten)]
        names: Names,
    },
    /// Show a live table of all programs.
    Top {
        #[command(flatten)]
        which: Which,
    },
    /// Read the configuration again: what changed is restarted, the rest is left alone.
    Reload {
        #[command(flatten)]
        which: Which,
    },
    /// Run a task on a pool.
    Call {
        /// The pool
        pool: String,
        /// The task's name
        task: String,
        /// Its arguments: JSON, or text that counts as a JSON string
        #[arg(allow_negative_numbers = true)]
        input: Vec<String>,
        #[command(flatten)]
        which: Which,
    },
    /// Stop everything, and the supervisor too.
    Down {
        /// Kill, without grace
        #[arg(long)]
        now: bool,
        #[command(flatten)]
        which: Which,
    },
}

impl Verb {
    /// Which supervisor is meant.
    pub(super) fn which(&self) -> &Which {
        match self {
            Verb::Start(names) | Verb::Stop(names) => &names.which,
            Verb::Restart { names, .. } | Verb::Signal { names, .. } | Verb::Wait { names, .. } => {
                &names.which
            }
            Verb::Status { which, .. }
            | Verb::Scale { which, .. }
            | Verb::Logs { which, .. }
            | Verb::Events { which }
            | Verb::Top { which }
            | Verb::Reload { which }
            | Verb::Call { which, .. }
            | Verb::Down { which, .. } => which,
        }
    }
}
