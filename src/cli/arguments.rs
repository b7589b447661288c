//! What the command line takes.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::supervisor::config::units;

use super::supervision::{self, UpArguments, ValidateArguments, Verb};

/// Runs tasks in worker processes that may crash.
#[derive(Debug, Parser)]
#[command(name = "watertight", version, max_term_width = 100)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a task of a worker executable over inputs, and print the results.
    #[command(after_help = MAP_HELP)]
    Map(Box<MapArguments>),
    /// List the tasks that a worker executable offers.
    Tasks(TasksArguments),
    /// Supervise the programs of a configuration file, in the foreground.
    #[command(after_help = supervision::UP_HELP)]
    Up(UpArguments),
    /// Check a configuration file without running it.
    Validate(ValidateArguments),
    #[command(flatten)]
    Supervision(Verb),
}

const MAP_HELP: &str = "\
An input is converted by the task's parameter: a string or a path takes the text as it is; anything else is \
JSON, and what is no JSON counts as a JSON string. A task of two or more parameters takes a JSON array.

Exit codes: 0 every task gave a value, 1 some task failed, 2 usage, 3 workers could not start, 130 interrupted.

Interrupted (Ctrl-C), it takes no more input and lets running tasks end; interrupted again, it kills them.";

#[derive(Debug, Args)]
pub(super) struct MapArguments {
    /// The task: its name, or the end of it (`watertight tasks` lists them)
    pub(super) task: String,

    /// Inputs, one task each; without any, one a line from stdin
    #[arg(allow_negative_numbers = true)]
    pub(super) input: Vec<OsString>,

    #[command(flatten)]
    pub(super) worker: WorkerArguments,

    #[command(flatten)]
    pub(super) source: SourceArguments,

    #[command(flatten)]
    pub(super) pool: PoolArguments,

    /// Print results as they come, not in the order of the inputs
    #[arg(long, short = 'u')]
    pub(super) unordered: bool,

    /// Print one JSON record a line, failures too
    #[arg(long)]
    pub(super) json: bool,

    /// When to show progress on stderr
    #[arg(long, value_enum, default_value_t = When::Auto, value_name = "WHEN")]
    pub(super) progress: When,

    /// No closing summary
    #[arg(long, short)]
    pub(super) quiet: bool,

    /// Tell of workers and retries on stderr; twice for more
    #[arg(long, short, action = ArgAction::Count)]
    pub(super) verbose: u8,
}

/// Where inputs come from.
#[derive(Debug, Args)]
pub(super) struct SourceArguments {
    /// Read the inputs from a file, one a line
    #[arg(long, value_name = "FILE", conflicts_with = "input")]
    pub(super) inputs: Option<PathBuf>,

    /// Inputs end with a NUL character, not with a line
    #[arg(short = '0', long, conflicts_with = "input")]
    pub(super) null: bool,
}

/// Options of the pool.
#[derive(Debug, Args)]
pub(super) struct PoolArguments {
    /// How many workers [default: one for each processor that this program may use]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) jobs: Option<u16>,

    /// How long a task may run, like `2s` or `500ms`
    #[arg(long, value_name = "TIME", value_parser = units::some_duration)]
    pub(super) timeout: Option<Duration>,

    /// How long a task that timed out may take to stop by itself, before its worker is killed
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "200ms")]
    pub(super) grace: Duration,

    /// How often to try a task that panics, crashes or times out
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) attempts: u32,

    /// The most private memory of a worker, like `64MiB`
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub(super) memory: Option<u64>,

    /// The most processor time of a task
    #[arg(long, value_name = "TIME", value_parser = units::some_duration)]
    pub(super) cpu_time: Option<Duration>,

    /// Replace a worker after so many tasks
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) max_tasks_per_worker: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct WorkerArguments {
    /// The worker executable [default: `watertight-worker` beside this program, then on PATH]
    #[arg(long, value_name = "PATH")]
    pub(super) worker: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct TasksArguments {
    #[command(flatten)]
    pub(super) worker: WorkerArguments,

    /// Print one JSON object a line
    #[arg(long)]
    pub(super) json: bool,
}

/// When to show something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum When {
    /// On a terminal
    Auto,
    /// Even if stderr is no terminal
    Always,
    /// Not at all
    Never,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_manual_names_every_option_and_command() {
        let manual = include_str!("../../docs/cli.md");
        for command in Arguments::command().get_subcommands() {
            assert!(manual.contains(&format!("watertight {}", command.get_name())));
            for option in command.get_arguments().filter_map(|argument| argument.get_long()) {
                assert!(manual.contains(&format!("--{option}")), "--{option} of {}", command.get_name());
            }
        }
    }

    #[test]
    fn a_negative_number_is_an_input() {
        let arguments = Arguments::parse_from(["watertight", "map", "square", "-3", "4"]);
        let Command::Map(map) = arguments.command else { panic!("another command") };
        assert_eq!(map.input, ["-3", "4"]);
    }

    #[test]
    fn numbers_that_make_no_sense_are_usage_errors() {
        for wrong in [["-j", "0"], ["--attempts", "0"], ["--timeout", "0s"], ["--memory", "0"]] {
            let words = ["watertight", "map", "square", "1"].into_iter().chain(wrong);
            assert!(Arguments::try_parse_from(words).is_err(), "{wrong:?}");
        }
    }
}
