//! `Process`: one function in a process of its own.
//!
//! `child.rs` holds the state that waits and kills; `isolate.rs` and `dies.rs` build tests on it.
//!
//! Invariant: whatever the process does, every wait here ends when it does.

mod builder;
pub(crate) mod child;
mod current;
pub(crate) mod dies;
pub(crate) mod harness;
mod isolate;
pub(crate) mod job;
mod leftovers;
pub(crate) mod stdio;
pub(crate) mod verdict;

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::error::{Error, TimedOut};
use crate::sys::exit::ExitStatus;
use crate::sys::pidfd;
use crate::sys::signal::Signal;
use crate::task::arguments::{Task, Transfer};
use crate::task::codec;
use crate::task::error::{Encoding, TaskError, TaskErrorKind};

use child::Child;

pub use builder::ProcessBuilder;
pub use current::{CurrentProcess, ParentProcess, current_process, parent_process};
pub use dies::Dies;
pub use isolate::{Isolate, Isolated, isolate};
pub use stdio::Stdio;

/// A function that runs in a process of its own.
///
/// Like `std::thread::JoinHandle`, but whatever the function does to its process — a segfault, an exit, an
/// abort — is an `Err` that says so.
///
/// **Dropping the handle** leaves nothing behind: a process that is not a daemon is waited for, as Python
/// does at the end of a program; a daemon is killed, and so is any process whose handle is dropped by a
/// panic. If this program dies, by whatever signal, all of them are killed.
///
/// ```
/// use watertight::Process;
///
/// fn add(a: i64, b: i64) -> i64 {
///     a + b
/// }
///
/// fn main() -> watertight::Result<()> {
///     watertight::init();
///     let process = Process::spawn(add, (1, 2))?;
///     assert_eq!(process.join()?, 3);
///     Ok(())
/// }
/// ```
#[must_use = "dropping a Process waits for it; call `join` for its value"]
pub struct Process<R> {
    handle: ProcessHandle,
    result: PhantomData<fn() -> R>,
}

/// A second handle on a process: to watch and end it from another thread, without its value.
#[derive(Clone)]
pub struct ProcessHandle(Arc<Inner>);

struct Inner {
    name: String,
    daemon: bool,
    pid: u32,
    /// Readable when the process has ended.
    process: OwnedFd,
    child: Mutex<Child>,
}

/// Every process that was started and has a handle, for `active_children`.
static CHILDREN: Mutex<Vec<Weak<Inner>>> = Mutex::new(Vec::new());

impl<R: Transfer> Process<R> {
    /// Runs `function` with `arguments`, a tuple, in a new process.
    ///
    /// The arguments may hold up to 63 ends of ipc-channels (`IpcSender`, `IpcReceiver` and their kin for bytes), bare
    /// or inside structures. A sender is cloned, a receiver moves; that holds even if the process cannot be made, and
    /// a receiver is closed then. `IpcSharedMemory` does not travel, [`SharedMemory`](crate::SharedMemory) does. Such an
    /// end cannot be the function's value.
    ///
    /// # Errors
    /// If [`init`](crate::init) was not called, the arguments cannot be encoded, or the process cannot be
    /// made.
    pub fn spawn<F, A>(function: F, arguments: A) -> Result<Process<R>, Error>
    where
        F: Task<A, Output = R>,
        A: Transfer,
    {
        Process::builder().spawn(function, arguments)
    }

    /// Waits for the process to end, and returns the function's value or how it died.
    ///
    /// It is the process that is waited for, as in Python: a function that has returned still has its exit before it,
    /// destructors of thread-locals and exit handlers among it, and these may take for ever.
    /// [`join_timeout`](Process::join_timeout) gives up in time; a [`kill`](ProcessHandle::kill) during the exit costs
    /// nothing, because the value is there by then, and `join` returns it.
    ///
    /// # Errors
    /// [`TaskError`] says how the function ended, if not with a value.
    pub fn join(self) -> Result<R, TaskError> {
        let mut child = self.handle.0.lock();
        child.wait(None);
        finish(&mut child)
    }

    /// Like `join`, but gives the handle back if the process has not ended after `timeout`.
    ///
    /// # Errors
    /// The outer error holds the handle; the inner one is that of `join`.
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<R, TaskError>, TimedOut<Process<R>>> {
        let mut child = self.handle.0.lock();
        if !child.wait(Instant::now().checked_add(timeout)) {
            drop(child);
            return Err(TimedOut::new(self));
        }
        Ok(finish(&mut child))
    }
}

fn finish<R: Transfer>(child: &mut Child) -> Result<R, TaskError> {
    let (line, parts) = child.outcome()?;
    codec::decode_result(&line, parts).map_err(|error| {
        child.error(TaskErrorKind::Encoding { what: Encoding::DecodeResult, message: error.to_string() })
    })
}

impl Process<()> {
    /// A builder with all options.
    pub fn builder() -> ProcessBuilder {
        ProcessBuilder::new()
    }
}

impl<R> Process<R> {
    fn started(name: String, daemon: bool, child: Child, process: OwnedFd) -> Process<R> {
        let inner = Arc::new(Inner { name, daemon, pid: child.pid, process, child: Mutex::new(child) });
        let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
        children.retain(|child| child.strong_count() > 0);
        children.push(Arc::downgrade(&inner));
        Process { handle: ProcessHandle(inner), result: PhantomData }
    }

    /// A second handle, to end the process from another thread.
    pub fn handle(&self) -> ProcessHandle {
        self.handle.clone()
    }
}

impl<R> std::ops::Deref for Process<R> {
    type Target = ProcessHandle;

    fn deref(&self) -> &ProcessHandle {
        &self.handle
    }
}

impl<R> fmt::Debug for Process<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}

impl<R> Drop for Process<R> {
    fn drop(&mut self) {
        let mut child = self.handle.0.lock();
        if self.handle.0.daemon || std::thread::panicking() {
            child.kill(None);
            return child.wait_for_death();
        }
        child.wait(None);
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProcessHandle {
    /// Its name: what the builder was given, or `Process-1`, `Process-2` and so on.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// Whether it is killed, not waited for, when its handle is dropped.
    pub fn is_daemon(&self) -> bool {
        self.0.daemon
    }

    /// Whether it has not ended yet.
    pub fn is_alive(&self) -> bool {
        !pidfd::wait_for_end(self.0.process.as_fd(), Some(Duration::ZERO)).unwrap_or(true)
    }

    /// How it ended; `None` while it lives, or if the keeper, which would know, was killed with it.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        if self.is_alive() {
            return None;
        }
        // The keeper is about to tell.
        let mut child = self.0.lock();
        child.wait_for_notice();
        child.exit_status().flatten()
    }

    /// A descriptor that becomes readable when the process ends, for `poll` and its kin.
    ///
    /// A function whose result is larger than 256 KiB does not end before `join` takes it.
    pub fn sentinel(&self) -> BorrowedFd<'_> {
        self.0.process.as_fd()
    }

    /// What it has written to stdout so far, up to 16 MiB, if the builder had that captured. While another thread
    /// joins the process, this waits for that.
    pub fn stdout(&self) -> Option<Vec<u8>> {
        let mut child = self.0.lock();
        child.advance();
        child.stdout.as_ref().map(|captured| captured.bytes().to_vec())
    }

    /// As [`stdout`](ProcessHandle::stdout), of stderr.
    pub fn stderr(&self) -> Option<Vec<u8>> {
        let mut child = self.0.lock();
        child.advance();
        child.stderr.as_ref().map(|captured| captured.bytes().to_vec())
    }

    /// Asks it to end, by SIGTERM. Nothing happens if it has ended.
    ///
    /// # Errors
    /// If the kernel refuses, as for a process that changed its user.
    pub fn terminate(&self) -> Result<(), Error> {
        self.signal(Signal::SIGTERM)
    }

    /// Kills it, by SIGKILL. Its process group, and with it its own children, ends too.
    ///
    /// # Errors
    /// As `terminate`.
    pub fn kill(&self) -> Result<(), Error> {
        self.signal(Signal::SIGKILL)
    }

    /// Interrupts it, by SIGINT.
    ///
    /// # Errors
    /// As `terminate`.
    pub fn interrupt(&self) -> Result<(), Error> {
        self.signal(Signal::SIGINT)
    }

    /// Sends it any signal.
    ///
    /// # Errors
    /// As `terminate`.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        pidfd::send_signal(self.0.process.as_fd(), signal)
            .map_err(|error| Error::system("send a signal", error))
    }
}

impl fmt::Debug for ProcessHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Process({:?}, pid {})", self.0.name, self.0.pid)
    }
}

/// The processes that were started here, have a handle, and have not ended.
pub fn active_children() -> Vec<ProcessHandle> {
    let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
    children.retain(|child| child.strong_count() > 0);
    children.iter().filter_map(Weak::upgrade).map(ProcessHandle).filter(ProcessHandle::is_alive).collect()
}
