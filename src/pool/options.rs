//! What can be chosen of a pool, and what goes together.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Kind};
use crate::keeper::handle::Executable;
use crate::link::request::StartMethod;
use crate::sys::cpu::cpu_count;
use crate::sys::limits::Limits;

/// Where a pool's workers write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// Where this program's own stream goes.
    Inherit,
    /// To this program's stderr.
    Stderr,
    /// Nowhere. The last lines of stderr are kept for errors all the same.
    Null,
}

/// The most workers of a pool, and the most spares. Each costs this program some descriptors and a lane.
pub(super) const MOST_WORKERS: usize = 4096;

/// Whether a pool may have so many of these.
pub(super) fn check_count(what: &str, count: usize) -> Result<(), Error> {
    match count {
        0..=MOST_WORKERS => Ok(()),
        _ => Err(Kind::Option(format!("a pool has at most {MOST_WORKERS} {what}")).into()),
    }
}

/// Everything that can be chosen.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) name: String,
    pub(super) workers: usize,
    pub(super) spares: usize,
    pub(super) chunk: Option<u32>,
    pub(super) max_tasks_per_worker: Option<u64>,
    pub(super) timeout: Option<Duration>,
    pub(super) initializer_timeout: Option<Duration>,
    pub(super) grace: Duration,
    pub(super) attempts: u32,
    pub(super) backoff: Duration,
    pub(super) limits: Limits,
    pub(super) largest_argument: u64,
    pub(super) largest_result: u64,
    pub(super) max_pending: u64,
    pub(super) buffer: usize,
    pub(super) working_directory: Option<PathBuf>,
    pub(super) environment: Vec<(OsString, Option<OsString>)>,
    pub(super) clear_environment: bool,
    pub(super) method: StartMethod,
    pub(super) stdout: Output,
    pub(super) stderr: Output,
    pub(super) measured: bool,
    /// Whether the workers are threads.
    pub(super) threads: bool,
    /// Where output goes in place of stderr.
    pub(super) relay: Option<Arc<OwnedFd>>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            name: "pool".to_owned(),
            workers: cpu_count(),
            spares: 0,
            chunk: None,
            max_tasks_per_worker: None,
            timeout: None,
            initializer_timeout: None,
            grace: Duration::from_millis(200),
            attempts: 1,
            backoff: Duration::from_millis(10),
            limits: Limits::default(),
            largest_argument: 1 << 30,
            largest_result: 1 << 30,
            max_pending: 1 << 16,
            buffer: 4096,
            working_directory: None,
            environment: Vec::new(),
            clear_environment: false,
            method: StartMethod::Fork,
            stdout: Output::Inherit,
            stderr: Output::Inherit,
            measured: false,
            threads: false,
            relay: None,
        }
    }
}

impl Options {
    /// Whether they make sense together.
    pub(super) fn check(&self, executable: &Executable) -> Result<(), Error> {
        check_count("workers", self.workers)?;
        check_count("spare workers", self.spares)?;
        let zero = [
            (self.workers == 0, "a pool needs at least one worker"),
            (self.chunk == Some(0), "a chunk holds at least one task"),
            (self.max_tasks_per_worker == Some(0), "a worker runs at least one task"),
            (self.attempts == 0, "a task has at least one attempt"),
            (self.buffer == 0, "the lazy iterators need room for at least one outcome"),
            (self.max_pending == 0, "at least one task must be allowed to be pending"),
        ];
        if let Some((_, text)) = zero.into_iter().find(|(wrong, _)| *wrong) {
            return Err(Kind::Option(text.to_owned()).into());
        }
        match self.processes_only(executable).into_iter().find(|(wanted, _)| self.threads && *wanted) {
            Some((_, what)) => Err(Kind::Option(format!("a pool of threads cannot have {what}")).into()),
            None => Ok(()),
        }
    }

    /// What only processes have, and whether it is wanted.
    fn processes_only(&self, executable: &Executable) -> [(bool, &'static str); 9] {
        let surroundings = self.clear_environment || !self.environment.is_empty();
        let output = self.stdout != Output::Inherit || self.stderr != Output::Inherit;
        [
            (*executable != Executable::Own, "another executable"),
            (self.timeout.is_some(), "a time-out: nobody can kill a thread"),
            (self.initializer_timeout.is_some(), "a time-out: nobody can kill a thread"),
            (self.limits.memory.is_some(), "a memory limit: its workers share this program's memory"),
            (self.limits.cpu_time.is_some(), "a limit of processor time: nobody can kill a thread"),
            (surroundings, "an environment of its own"),
            (self.working_directory.is_some(), "a folder of its own"),
            (output, "an output of its own"),
            (self.method != StartMethod::Fork, "a start method"),
        ]
    }
}
