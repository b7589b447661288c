//! What a new process does between fork and exec. It may borrow the memory of its maker, who runs meanwhile: so
//! there are only system calls here, which touch nothing of his, and nothing that could panic or allocate.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::os::fd::RawFd;
use std::ptr;

use nix::unistd::Pid;

use super::exec::{Credentials, Rlimit, Trouble};
use super::raw;

/// A program with everything that its process needs, made before the fork.
pub(super) struct Prepared {
    pub(super) paths: Vec<CString>,
    pub(super) _strings: Vec<CString>,
    pub(super) arguments: Vec<*const libc::c_char>,
    pub(super) environment: Vec<*const libc::c_char>,
    pub(super) working_directory: Option<CString>,
    pub(super) credentials: Option<Credentials>,
    pub(super) limits: Vec<Rlimit>,
    /// Each with its number in the program; all of the first lie above all of the second.
    pub(super) descriptors: Vec<(RawFd, RawFd)>,
    pub(super) report: RawFd,
    pub(super) parent: Pid,
}

/// The first function of the new process.
pub(super) extern "C" fn begin(prepared: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the maker passes a `Prepared` that lives and does not change until this process has let go of it.
    let prepared = unsafe { &*prepared.cast::<Prepared>() };
    let (trouble, errno) = match prepared.try_to_become() {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    prepared.tell(trouble, errno);
    exit()
}

impl Prepared {
    fn try_to_become(&self) -> Result<Infallible, (Trouble, i32)> {
        // It leads its group already if the maker was first.
        // SAFETY: the call takes two integers.
        let _ = unsafe { raw::call(libc::SYS_setpgid, [0; 4]) };
        reset_signals();
        self.place_descriptors().map_err(|errno| (Trouble::Descriptors, errno))?;
        self.set_limits().map_err(|errno| (Trouble::Limits, errno))?;
        self.set_credentials().map_err(|errno| (Trouble::Credentials, errno))?;
        // After the change of the user, which would undo it.
        self.die_with_parent();
        self.enter_folder().map_err(|errno| (Trouble::WorkingDirectory, errno))?;
        Err((Trouble::Execute, self.execute()))
    }

    fn place_descriptors(&self) -> Result<(), i32> {
        for (descriptor, number) in &self.descriptors {
            // SAFETY: the table of descriptors is this process's own, and every source lies above every target.
            unsafe { raw::call(libc::SYS_dup3, [*descriptor as usize, *number as usize, 0, 0]) }?;
        }
        Ok(())
    }

    fn set_limits(&self) -> Result<(), i32> {
        for limit in &self.limits {
            let value = [limit.soft, limit.hard];
            let arguments = [0, limit.resource as usize, value.as_ptr() as usize, 0];
            // SAFETY: `value` is a live local of the kernel's layout, two words of 64 bits.
            unsafe { raw::call(libc::SYS_prlimit64, arguments) }?;
        }
        Ok(())
    }

    fn set_credentials(&self) -> Result<(), i32> {
        let Some(Credentials { user, group, groups }) = &self.credentials else { return Ok(()) };
        // SAFETY: the list lives as long as `self`, and its length is told.
        unsafe { raw::call(libc::SYS_setgroups, [groups.len(), groups.as_ptr() as usize, 0, 0]) }?;
        let (user, group) = (*user as usize, *group as usize);
        // SAFETY: the call takes three integers.
        unsafe { raw::call(libc::SYS_setresgid, [group, group, group, 0]) }?;
        // SAFETY: as above.
        unsafe { raw::call(libc::SYS_setresuid, [user, user, user, 0]) }?;
        Ok(())
    }

    /// The parent has one thread, so the signal's per-thread rule does not bite.
    fn die_with_parent(&self) {
        let arguments = [libc::PR_SET_PDEATHSIG as usize, libc::SIGKILL as usize, 0, 0];
        // SAFETY: the call takes two integers.
        let _ = unsafe { raw::call(libc::SYS_prctl, arguments) };
        // SAFETY: the call takes nothing.
        if unsafe { raw::call(libc::SYS_getppid, [0; 4]) } != Ok(self.parent.as_raw() as usize) {
            // It died between the fork and the call.
            exit();
        }
    }

    fn enter_folder(&self) -> Result<(), i32> {
        let Some(folder) = &self.working_directory else { return Ok(()) };
        // SAFETY: the string lives as long as `self`.
        unsafe { raw::call(libc::SYS_chdir, [folder.as_ptr() as usize, 0, 0, 0]) }?;
        Ok(())
    }

    /// Comes back only if it failed. What is there but may not be executed is the better reason.
    fn execute(&self) -> i32 {
        let mut reason = libc::ENOENT;
        for path in &self.paths {
            match self.execute_file(path) {
                libc::ENOENT | libc::ENOTDIR => {}
                libc::EACCES => reason = libc::EACCES,
                other => return other,
            }
        }
        reason
    }

    fn execute_file(&self, path: &CStr) -> i32 {
        let (arguments, environment) = (self.arguments.as_ptr(), self.environment.as_ptr());
        let arguments = [path.as_ptr() as usize, arguments as usize, environment as usize, 0];
        // SAFETY: both lists end with null, and their strings live as long as `self`.
        unsafe { raw::call(libc::SYS_execve, arguments) }.err().unwrap_or(libc::EINVAL)
    }

    fn tell(&self, trouble: Trouble, errno: i32) {
        let [a, b, c, d] = errno.to_ne_bytes();
        let report = [trouble as u8, a, b, c, d];
        let arguments = [self.report as usize, report.as_ptr() as usize, report.len(), 0];
        // SAFETY: the buffer is a live local, and the pipe holds so few bytes without waiting.
        let _ = unsafe { raw::call(libc::SYS_write, arguments) };
    }
}

/// Every disposition and the mask as a fresh program has them.
fn reset_signals() {
    // The kernel's own structures are not longer than this, and zero means the default, and no signal.
    let zero = [0_u64; 8];
    let zero = ptr::from_ref(&zero) as usize;
    /// The kernel has one bit for each of 64 signals.
    const SET: usize = 8;
    for signal in 1..=64 {
        // SAFETY: the default disposition runs no code of ours; dispositions are this process's own. What cannot be
        // set is left.
        let _ = unsafe { raw::call(libc::SYS_rt_sigaction, [signal, zero, 0, SET]) };
    }
    // SAFETY: the set is a live local; the mask is this process's own.
    let _ = unsafe { raw::call(libc::SYS_rt_sigprocmask, [libc::SIG_SETMASK as usize, zero, 0, SET]) };
}

/// Ends this process without running anything more.
fn exit() -> ! {
    loop {
        // SAFETY: the call ends the process.
        let _ = unsafe { raw::call(libc::SYS_exit_group, [127, 0, 0, 0]) };
    }
}
