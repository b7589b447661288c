//! Starting a program that is not ours: everything is made before the fork, and between fork and exec stand only
//! calls that are safe there, so it does not matter how many threads the caller has.
//!
//! The new process borrows the memory of the caller, who stands still until it has executed its program or failed:
//! copying the page tables for so short a life would cost more than all the rest. One that becomes another user gets
//! a copy all the same, because the kernel marks the memory of whoever does that as not to be looked at.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::fd::{self, duplicate_above};

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

/// How a start went, once its pipe has come to an end.
pub(crate) fn verdict(pipe: &mut impl Read) -> io::Result<Result<(), (Trouble, i32)>> {
    let mut report = [0; 5];
    let mut length = 0;
    while length < report.len() {
        match pipe.read(&mut report[length..]) {
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

/// A program with everything that its process needs, made before the fork.
struct Prepared {
    paths: Vec<CString>,
    _strings: Vec<CString>,
    arguments: Vec<*const libc::c_char>,
    environment: Vec<*const libc::c_char>,
    working_directory: Option<CString>,
    credentials: Option<Credentials>,
    limits: Vec<Rlimit>,
    descriptors: Vec<(OwnedFd, RawFd)>,
    report: OwnedFd,
    parent: libc::pid_t,
}

impl Program<'_> {
    /// Starts it as the leader of a group of its own that dies with this process. The pipe ends when the program
    /// runs, or says why it does not: see `verdict`.
    pub(crate) fn start(&self) -> io::Result<(Pid, std::fs::File)> {
        let (reader, writer) = fd::pipe()?;
        let prepared = self.prepare(writer)?;
        // No handler of ours may run in the child; it has none when it takes signals again.
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let pid = prepared.fork();
        before.thread_set_mask()?;
        let pid = pid?;
        // Both sides set it, so that it is set whoever runs first.
        let _ = nix::unistd::setpgid(pid, pid);
        Ok((pid, reader))
    }

    fn prepare(&self, report: OwnedFd) -> io::Result<Prepared> {
        let program = self.command.first().ok_or(io::ErrorKind::InvalidInput)?;
        // Copies above every target, so that no dup2 overwrites a descriptor that a later one needs.
        let lowest = self.descriptors.iter().map(|(_, number)| number + 1).max().unwrap_or(3).max(3);
        let mut descriptors = Vec::new();
        for (descriptor, number) in self.descriptors {
            descriptors.push((duplicate_above(*descriptor, lowest)?, *number));
        }
        let report = duplicate_above(std::os::fd::AsFd::as_fd(&report), lowest)?;
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
        Ok(Prepared {
            paths: self.paths(program)?,
            arguments: pointers(&strings[..arguments]),
            environment: pointers(&strings[arguments..]),
            _strings: strings,
            working_directory: folder.transpose()?,
            credentials: self.credentials.cloned(),
            limits: self.limits.to_vec(),
            descriptors,
            report,
            parent: nix::unistd::getpid().as_raw(),
        })
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

/// What the new process does until it is another program needs less than this.
const STACK: usize = 64 * 1024;

/// The first function of the new process.
extern "C" fn begin(prepared: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `fork` passes a live `Prepared`, which nobody changes meanwhile.
    let prepared = unsafe { &*prepared.cast::<Prepared>() };
    prepared.become_program()
}

impl Prepared {
    fn fork(&self) -> io::Result<Pid> {
        let shared = if self.credentials.is_none() { libc::CLONE_VM | libc::CLONE_VFORK } else { 0 };
        let mut stack = vec![0_u128; STACK / size_of::<u128>()];
        let (top, own) = (stack.as_mut_ptr_range().end, ptr::from_ref(self));
        // SAFETY: the child has a stack of its own, whose end is aligned; it calls nothing but what is safe after a
        // fork of a process with threads, and ends by exec or `_exit`; where it shares memory, this thread stands
        // still meanwhile.
        let pid = unsafe { libc::clone(begin, top.cast(), shared | libc::SIGCHLD, own.cast_mut().cast()) };
        nix::errno::Errno::result(pid).map(Pid::from_raw).map_err(io::Error::from)
    }

    fn become_program(&self) -> ! {
        let (trouble, errno) = match self.try_to_become() {
            Ok(never) => match never {},
            Err(failure) => failure,
        };
        let mut report = [trouble as u8, 0, 0, 0, 0];
        report[1..].copy_from_slice(&errno.to_ne_bytes());
        // SAFETY: the buffer is a live local, and the pipe holds so few bytes without waiting.
        unsafe { libc::write(self.report.as_raw_fd(), report.as_ptr().cast(), report.len()) };
        super::child::exit_at_once(127)
    }

    fn try_to_become(&self) -> Result<std::convert::Infallible, (Trouble, i32)> {
        super::child::lead_own_group();
        reset_signals();
        self.place_descriptors().map_err(|errno| (Trouble::Descriptors, errno))?;
        self.set_limits().map_err(|errno| (Trouble::Limits, errno))?;
        self.set_credentials().map_err(|errno| (Trouble::Credentials, errno))?;
        // After the change of the user, which would undo it.
        super::child::die_with_parent(Pid::from_raw(self.parent));
        if let Some(folder) = &self.working_directory {
            // SAFETY: the string lives as long as `self`.
            check(unsafe { libc::chdir(folder.as_ptr()) })
                .map_err(|errno| (Trouble::WorkingDirectory, errno))?;
        }
        Err((Trouble::Execute, self.execute()))
    }

    fn place_descriptors(&self) -> Result<(), i32> {
        for (descriptor, number) in &self.descriptors {
            // SAFETY: both numbers are plain; every source lies above every target.
            check(unsafe { libc::dup2(descriptor.as_raw_fd(), *number) })?;
        }
        Ok(())
    }

    fn set_limits(&self) -> Result<(), i32> {
        for limit in &self.limits {
            let value = libc::rlimit { rlim_cur: limit.soft, rlim_max: limit.hard };
            // SAFETY: `value` is a live local.
            check(unsafe { libc::setrlimit(limit.resource, &value) })?;
        }
        Ok(())
    }

    /// By the system calls themselves: the C library's wrappers tell other threads, which a fork does not have.
    fn set_credentials(&self) -> Result<(), i32> {
        let Some(Credentials { user, group, groups }) = &self.credentials else { return Ok(()) };
        // SAFETY: the list lives as long as `self`, and its length is told.
        check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) } as i32)?;
        // SAFETY: the call takes three integers.
        check(unsafe { libc::syscall(libc::SYS_setresgid, *group, *group, *group) } as i32)?;
        // SAFETY: as above.
        check(unsafe { libc::syscall(libc::SYS_setresuid, *user, *user, *user) } as i32)
    }

    /// Comes back only if it failed. What is there but may not be executed is the better reason.
    fn execute(&self) -> i32 {
        let mut reason = libc::ENOENT;
        for path in &self.paths {
            let errno = self.execute_file(path);
            match errno {
                libc::ENOENT | libc::ENOTDIR => {}
                libc::EACCES => reason = errno,
                other => return other,
            }
        }
        reason
    }

    fn execute_file(&self, path: &CStr) -> i32 {
        // SAFETY: both lists end with null, and their strings live as long as `self`.
        unsafe { libc::execve(path.as_ptr(), self.arguments.as_ptr(), self.environment.as_ptr()) };
        last_errno()
    }
}

/// Every disposition and the mask as a fresh program has them.
fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: the default disposition runs no code of ours; what cannot be set is left.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: a set of signals is plain integers, for which zero is the empty set.
    let none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `none` is a live local.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &none, ptr::null_mut()) };
}

fn check(result: libc::c_int) -> Result<(), i32> {
    if result == -1 { Err(last_errno()) } else { Ok(()) }
}

fn last_errno() -> i32 {
    nix::errno::Errno::last_raw()
}
