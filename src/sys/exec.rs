//! Starting a program that is not ours: everything is made before the fork, and between fork and exec stand only
//! system calls, so it does not matter how many threads the caller has.
//!
//! The new process borrows the memory of the caller: copying the page tables for so short a life would cost more than
//! all the rest. The caller goes on meanwhile, because an executable may lie on a file system that hangs; so it keeps
//! what the new process reads, its stack too, until that has let go of its memory. One that becomes another user gets
//! a copy all the same, because the kernel marks the memory of whoever does that as not to be looked at.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::become_program::{Prepared, begin};
use super::fd::{self, duplicate_above};
use super::raw;

/// Who a program runs as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Credentials {
    pub(crate) user: u32,
    pub(crate) group: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
}

/// The kernel's number of a limit.
#[cfg(target_env = "gnu")]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
type Resource = libc::c_int;

/// A limit as `setrlimit` takes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rlimit {
    pub(crate) resource: Resource,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// What to start.
pub(crate) struct Program<'a> {
    pub(crate) command: &'a [OsString],
    pub(crate) environment: &'a [(OsString, OsString)],
    pub(crate) working_directory: Option<&'a Path>,
    pub(crate) credentials: Option<&'a Credentials>,
    pub(crate) limits: &'a [Rlimit],
    /// Each with its number in the new process.
    pub(crate) descriptors: &'a [(BorrowedFd<'a>, RawFd)],
}

/// What the new process could not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Trouble {
    Descriptors = 1,
    Limits,
    Credentials,
    WorkingDirectory,
    Execute,
}

/// A program on its way: the pipe by which its process says how it goes, and the memory that it may still read.
pub(crate) struct Start {
    pid: Pid,
    /// Ends when the process has let go of the memory, because it runs its program or has ended.
    pipe: File,
    memory: ManuallyDrop<Memory>,
}

/// What a new process borrows.
struct Memory {
    _prepared: Box<Prepared>,
    _stack: Vec<u128>,
}

impl Start {
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Gives the new process the processor, for so long at most.
    pub(crate) fn wait(&self, longest: PollTimeout) {
        // Whether there is something to read, a look at it shows.
        let _ = poll(&mut [PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN)], longest);
    }

    /// How it went; `WouldBlock` as long as that is not known.
    pub(crate) fn verdict(&mut self) -> io::Result<Result<(), (Trouble, i32)>> {
        let mut report = [0; 5];
        let mut length = 0;
        while length < report.len() {
            match self.pipe.read(&mut report[length..]) {
                Ok(0) => return Ok(Ok(())),
                Ok(more) => length += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let trouble = match report[0] {
            1 => Trouble::Descriptors,
            2 => Trouble::Limits,
            3 => Trouble::Credentials,
            4 => Trouble::WorkingDirectory,
            _ => Trouble::Execute,
        };
        Ok(Err((trouble, i32::from_ne_bytes([report[1], report[2], report[3], report[4]]))))
    }

    /// In a forked copy of the maker, which has a copy of the memory and must not read what it waits for.
    pub(crate) fn forget_in_child(self) {
        fd::close_inherited(self.pipe.as_raw_fd());
        std::mem::forget(self);
    }

    fn has_let_go(&mut self) -> bool {
        let mut rest = [0; 8];
        loop {
            match self.pipe.read(&mut rest) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }
}

impl AsFd for Start {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        // Rather lost than taken away from under a process that reads it.
        if self.has_let_go() {
            // SAFETY: it is dropped here alone, once, and the process that borrowed it uses it no more.
            unsafe { ManuallyDrop::drop(&mut self.memory) };
        }
    }
}

/// What the new process does until it is another program needs less than this.
const STACK: usize = 32 * 1024;

impl Program<'_> {
    /// Starts it as the leader of a group of its own that dies with this process.
    pub(crate) fn start(&self) -> io::Result<Start> {
        let (pipe, writer) = fd::pipe()?;
        // Our copies of its descriptors go with the end of this function: the pipe is to end with its process.
        let (prepared, _descriptors) = self.prepare(writer)?;
        let prepared = Box::new(prepared);
        let mut stack = vec![0_u128; STACK / size_of::<u128>()];
        // No handler of ours may run in the child; it has none when it takes signals again.
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let pid = fork(&prepared, &mut stack);
        let restored = before.thread_set_mask();
        let memory = Memory { _prepared: prepared, _stack: stack };
        let start = pid.map(|pid| Start { pid, pipe, memory: ManuallyDrop::new(memory) })?;
        restored?;
        // Both sides set it, so that it is set whoever runs first.
        let _ = nix::unistd::setpgid(start.pid, start.pid);
        Ok(start)
    }

    /// What the new process needs, and the descriptors that it names by number.
    fn prepare(&self, report: OwnedFd) -> io::Result<(Prepared, Vec<OwnedFd>)> {
        let program = self.command.first().ok_or(io::ErrorKind::InvalidInput)?;
        // Copies above every target, so that no dup3 overwrites a descriptor that a later one needs.
        let lowest = self.descriptors.iter().map(|(_, number)| number + 1).max().unwrap_or(3).max(3);
        let (mut copies, mut descriptors) = (Vec::new(), Vec::new());
        for (descriptor, number) in self.descriptors {
            let copy = duplicate_above(*descriptor, lowest)?;
            descriptors.push((copy.as_raw_fd(), *number));
            copies.push(copy);
        }
        copies.push(duplicate_above(report.as_fd(), lowest)?);
        let report = copies.last().map_or(-1, AsRawFd::as_raw_fd);
        let mut strings = Vec::new();
        for word in self.command {
            strings.push(CString::new(word.as_bytes())?);
        }
        let arguments = strings.len();
        for (name, value) in self.environment {
            strings.push(CString::new([name.as_bytes(), b"=", value.as_bytes()].concat())?);
        }
        let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
            strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
        };
        let folder = self.working_directory.map(|path| CString::new(path.as_os_str().as_bytes()));
        let prepared = Prepared {
            paths: self.paths(program)?,
            arguments: pointers(&strings[..arguments]),
            environment: pointers(&strings[arguments..]),
            _strings: strings,
            working_directory: folder.transpose()?,
            credentials: self.credentials.cloned(),
            limits: self.limits.to_vec(),
            descriptors,
            report,
            parent: nix::unistd::getpid(),
        };
        Ok((prepared, copies))
    }

    /// Where the program may lie: a name without a slash is looked for on the program's own PATH.
    fn paths(&self, program: &OsStr) -> io::Result<Vec<CString>> {
        if program.as_bytes().contains(&b'/') {
            return Ok(vec![CString::new(program.as_bytes())?]);
        }
        let path = self.environment.iter().rev().find(|(name, _)| name == "PATH");
        let path = path.map_or(OsStr::new("/usr/local/bin:/usr/bin:/bin"), |(_, value)| value);
        let candidates = std::env::split_paths(path).map(|folder| folder.join(program));
        candidates.map(|path| Ok(CString::new(path.into_os_string().as_bytes())?)).collect()
    }
}

fn fork(prepared: &Prepared, stack: &mut [u128]) -> io::Result<Pid> {
    let borrows = raw::TOUCHES_NOTHING && prepared.credentials.is_none();
    let flags = if borrows { libc::CLONE_VM } else { 0 };
    let (top, own) = (stack.as_mut_ptr_range().end, ptr::from_ref(prepared).cast_mut());
    // SAFETY: the child has a stack of its own, whose end is aligned; it makes system calls only, reads only what
    // `Start` keeps for it, writes to that stack only, and ends by exec or exit.
    let pid = unsafe { libc::clone(begin, top.cast(), flags | libc::SIGCHLD, own.cast()) };
    nix::errno::Errno::result(pid).map(Pid::from_raw).map_err(io::Error::from)
}
