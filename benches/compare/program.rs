//! Programs that measure their own beginning: each run is a fresh process.

use std::process::Command;
use std::time::Instant;

use watertight::Pool;

use crate::bare;
use crate::peers::square;

/// What a fresh process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// Starts a pool and has its first answer.
    FirstWatertight,
    FirstProcspawn,
    /// Ends at once.
    Nothing,
    /// What forks cost in a small process with one thread.
    Fork,
    KillAndFork,
    ForkMany,
}

const ALL: [(Program, &str); 6] = [
    (Program::FirstWatertight, "first-watertight"),
    (Program::FirstProcspawn, "first-procspawn"),
    (Program::Nothing, "nothing"),
    (Program::Fork, "fork"),
    (Program::KillAndFork, "kill-and-fork"),
    (Program::ForkMany, "fork-many"),
];

impl Program {
    fn name(self) -> &'static str {
        ALL.iter().find(|(program, _)| *program == self).map_or("", |(_, name)| name)
    }

    pub(crate) fn from_name(name: &str) -> Option<Program> {
        ALL.iter().find(|(_, other)| *other == name).map(|(program, _)| *program)
    }

    /// As the process itself: prints seconds.
    pub(crate) fn run(self) {
        let seconds = match self {
            Program::FirstWatertight => timed(|| {
                let pool = Pool::new(1).expect("a pool");
                pool.apply(square, (7,)).expect("an answer");
                pool
            }),
            Program::FirstProcspawn => timed(|| procspawn::spawn(7_i64, square).join().expect("an answer")),
            Program::Nothing => 0.0,
            Program::Fork => bare::fork_and_wait(),
            Program::KillAndFork => bare::kill_and_fork(),
            Program::ForkMany => bare::fork_many(),
        };
        println!("{seconds:e}");
    }

    /// Runs it as a process of its own. Returns what it measured.
    pub(crate) fn measure(self) -> Option<f64> {
        let output = self.command()?.output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    }

    /// Runs it as a process of its own. Returns how long it took, as its parent sees it.
    pub(crate) fn lifetime(self) -> Option<f64> {
        let mut command = self.command()?;
        command.stdout(std::process::Stdio::null());
        let start = Instant::now();
        command.status().ok()?;
        Some(start.elapsed().as_secs_f64())
    }

    fn command(self) -> Option<Command> {
        let mut command = Command::new(std::env::current_exe().ok()?);
        command.args(["--program", self.name()]);
        Some(command)
    }
}

/// Seconds until `work` has its result, which is dropped after that.
fn timed<T>(work: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    let result = work();
    let seconds = start.elapsed().as_secs_f64();
    drop(result);
    seconds
}
