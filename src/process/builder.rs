//! Options of a process.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::error::Error;
use crate::link::request::StartMethod;
use crate::task::arguments::{Task, Transfer};

use super::Process;
use super::child::{Child, Options};
use super::job::Job;
use super::stdio::Stdio;

/// Options of a process. Made by [`Process::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `spawn`"]
pub struct ProcessBuilder {
    options: Options,
    name: Option<String>,
}

impl ProcessBuilder {
    pub(super) fn new() -> ProcessBuilder {
        ProcessBuilder { options: Options::default(), name: None }
    }

    /// Its name, shown by `ps` and in errors.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Whether it is killed, not waited for, when its handle is dropped. Off by default.
    pub fn daemon(mut self, daemon: bool) -> Self {
        self.options.daemon = daemon;
        self
    }

    /// Sets an environment variable for it.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.options.environment.push((name.into(), Some(value.into())));
        self
    }

    /// Takes a variable out of its environment.
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.options.environment.push((name.into(), None));
        self
    }

    /// Gives it no variables but those set with `env`.
    pub fn env_clear(mut self) -> Self {
        self.options.clear_environment = true;
        self.options.environment.clear();
        self
    }

    /// The folder that it runs in; this program's by default.
    pub fn current_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.options.working_directory = Some(folder.into());
        self
    }

    /// What it reads from stdin; nothing by default.
    pub fn stdin(mut self, fd: impl Into<OwnedFd>) -> Self {
        self.options.stdin = Some(fd.into());
        self
    }

    /// Where its stdout goes; where this program's goes by default. [`ProcessHandle::stdout`](super::ProcessHandle::stdout)
    /// gives what was captured.
    pub fn stdout(mut self, stdio: impl Into<Stdio>) -> Self {
        self.options.stdout = stdio.into();
        self
    }

    /// Where its stderr goes; where this program's goes by default. If it is captured, errors show its last
    /// lines, and [`ProcessHandle::stderr`](super::ProcessHandle::stderr) gives it all.
    pub fn stderr(mut self, stdio: impl Into<Stdio>) -> Self {
        self.options.stderr = stdio.into();
        self
    }

    /// The most private memory it may use, in bytes: heap, not stacks or shared arrays (`RLIMIT_DATA`).
    ///
    /// A failed allocation is told on stderr and ends in SIGABRT, so the error names the limit only if stderr is
    /// captured.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.options.limits.memory = Some(bytes);
        self
    }

    /// The most processor time it may use.
    pub fn cpu_limit(mut self, limit: Duration) -> Self {
        self.options.limits.cpu_time = Some(limit);
        self
    }

    /// Whether its process is forked by the keeper, or executed anew.
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.options.method = method;
        self
    }

    /// Runs `function` with `arguments`, a tuple, in a new process.
    ///
    /// # Errors
    /// As [`Process::spawn`].
    pub fn spawn<F, A, R>(self, function: F, arguments: A) -> Result<Process<R>, Error>
    where
        F: Task<A, Output = R>,
        A: Transfer,
        R: Transfer,
    {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let job = Job::encode(function, arguments)?;
        let default_name = || format!("Process-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let name = self.name.unwrap_or_else(default_name);
        let daemon = self.options.daemon;
        let (child, process) = Child::start(Options { name: name.clone(), ..self.options }, job)?;
        Ok(Process::started(name, daemon, child, process))
    }
}
