//! Starting an executable by `posix_spawn`, which costs the same from a small and from a huge process.

use std::ffi::{CStr, CString, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use nix::errno::Errno;
use nix::unistd::Pid;

use super::fd::duplicate_above;

/// What to start.
pub(crate) struct Command<'a> {
    pub(crate) executable: &'a CStr,
    pub(crate) name: &'a CStr,
    pub(crate) environment: &'a [(OsString, OsString)],
    /// Becomes 0, 1, 2 and so on in the new process; nothing else of ours is open there.
    pub(crate) descriptors: &'a [BorrowedFd<'a>],
}

impl Command<'_> {
    /// Starts it with default signal dispositions, an empty signal mask and a session of its own.
    pub(crate) fn spawn(&self) -> io::Result<Pid> {
        // Copies above every target, so that no dup2 overwrites a descriptor that a later one needs.
        let lowest = self.descriptors.len() as RawFd;
        let copies: Vec<OwnedFd> =
            self.descriptors.iter().map(|fd| duplicate_above(*fd, lowest)).collect::<io::Result<_>>()?;
        let mut actions = FileActions::new()?;
        for (target, copy) in copies.iter().enumerate() {
            actions.duplicate(copy.as_raw_fd(), target as RawFd)?;
        }
        actions.close_from(lowest)?;
        let attributes = Attributes::new()?;
        let environment: Vec<CString> =
            self.environment.iter().map(|(name, value)| variable(name, value)).collect::<io::Result<_>>()?;
        let arguments = pointers([self.name].into_iter());
        let environment = pointers(environment.iter().map(CString::as_c_str));
        let mut pid = 0;
        // SAFETY: every pointer is to a live local; both vectors end with null and their strings outlive the
        // call.
        let result = unsafe {
            libc::posix_spawn(
                &mut pid,
                self.executable.as_ptr(),
                &actions.0,
                &attributes.0,
                arguments.as_ptr(),
                environment.as_ptr(),
            )
        };
        check(result).map(|()| Pid::from_raw(pid))
    }
}

fn variable(name: &OsString, value: &OsString) -> io::Result<CString> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(b'=');
    bytes.extend_from_slice(value.as_bytes());
    Ok(CString::new(bytes)?)
}

fn pointers<'a>(strings: impl Iterator<Item = &'a CStr>) -> Vec<*mut libc::c_char> {
    strings.map(|string| string.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect()
}

/// The posix_spawn family returns the error instead of setting errno.
fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(result)) }
}

struct FileActions(libc::posix_spawn_file_actions_t);

impl FileActions {
    fn new() -> io::Result<FileActions> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: the call initialises what the pointer points to, or fails.
        check(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: initialised by the successful call above.
        Ok(FileActions(unsafe { actions.assume_init() }))
    }

    fn duplicate(&mut self, from: RawFd, to: RawFd) -> io::Result<()> {
        // SAFETY: the actions are initialised; the numbers are only recorded.
        check(unsafe { libc::posix_spawn_file_actions_adddup2(&mut self.0, from, to) })
    }

    /// Whatever the host's libraries left open without close-on-exec stays behind.
    #[cfg(target_env = "gnu")]
    fn close_from(&mut self, lowest: RawFd) -> io::Result<()> {
        // SAFETY: the actions are initialised; the number is only recorded.
        check(unsafe { libc::posix_spawn_file_actions_addclosefrom_np(&mut self.0, lowest) })
    }

    /// musl has no such action; descriptors of C libraries without close-on-exec reach the workers there.
    #[cfg(not(target_env = "gnu"))]
    fn close_from(&mut self, _: RawFd) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for FileActions {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, destroyed once.
        unsafe { libc::posix_spawn_file_actions_destroy(&mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> io::Result<Attributes> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the call initialises what the pointer points to, or fails.
        check(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: initialised by the successful call above.
        let mut attributes = Attributes(unsafe { attributes.assume_init() });
        let (none, all) = signal_sets();
        // SAFETY: attributes and sets are initialised.
        check(unsafe { libc::posix_spawnattr_setsigmask(&mut attributes.0, &none) })?;
        // SAFETY: as above.
        check(unsafe { libc::posix_spawnattr_setsigdefault(&mut attributes.0, &all) })?;
        let flags = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF | SETSID;
        // SAFETY: attributes are initialised.
        check(unsafe { libc::posix_spawnattr_setflags(&mut attributes.0, flags as libc::c_short) })?;
        Ok(attributes)
    }
}

/// `POSIX_SPAWN_SETSID`, the same value in glibc and musl; libc names it for glibc only.
const SETSID: libc::c_int = 0x80;

fn signal_sets() -> (libc::sigset_t, libc::sigset_t) {
    let mut none = MaybeUninit::uninit();
    let mut all = MaybeUninit::uninit();
    // SAFETY: each call initialises what its pointer points to, and cannot fail for a valid pointer.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigfillset(all.as_mut_ptr());
        (none.assume_init(), all.assume_init())
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, destroyed once.
        unsafe { libc::posix_spawnattr_destroy(&mut self.0) };
    }
}

/// Reaps a child of ours, if it is still there to be reaped. `None`: somebody else did, or its status was
/// thrown away because SIGCHLD is ignored.
pub(crate) fn reap_if_ours(pid: Pid) -> Option<super::exit::ExitStatus> {
    match super::exit::reap(pid) {
        Ok((status, _)) => Some(status),
        Err(error) => {
            debug_assert_eq!(error.raw_os_error(), Some(Errno::ECHILD as i32));
            None
        }
    }
}

/// Reaps a child that is about to end, in a thread of its own, for the one case that no descriptor for it
/// could be had.
pub(crate) fn reap_later(pid: Pid) {
    let _ = std::thread::Builder::new().name("watertight-reaper".to_owned()).spawn(move || reap_if_ours(pid));
}
