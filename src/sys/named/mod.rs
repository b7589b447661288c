//! Named memory in /dev/shm, on the crate `shared_memory`.
//!
//! What is added to it: the memory is reserved when it is made, so that a full /dev/shm is an error there and
//! not a SIGBUS later; every user holds a shared `flock`, which the kernel drops at its death; and name and
//! memory are taken away by whoever finds that nobody else holds one, whoever has it still mapped.

mod memory;
#[cfg(test)]
mod test;

use std::fs::{self, File};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, Flock, FlockArg, fallocate, posix_fallocate};
use nix::sys::resource::{Resource, getrlimit};
use shared_memory::{Shmem, ShmemConf, ShmemError};

pub(crate) use memory::Window;

/// Where the kernel shows the names.
const FOLDER: &str = "/dev/shm";

/// How often a new name may be swept away between its making and its locking.
const TRIES: usize = 16;

/// A mapped segment.
///
/// Any process of the same user can truncate the file, and whoever touches the memory then dies of SIGBUS;
/// only memory without a name can be sealed against that.
pub(crate) struct Named {
    memory: Shmem,
    lock: ManuallyDrop<Flock<File>>,
    name: String,
    /// The process that holds the lock. A process that was forked from it has the same lock, and must not give
    /// it up.
    pid: u32,
}

// SAFETY: the mapping belongs to the process and not to a thread, and is only reached through shared
// references to atomics, or through pointers whose users answer for them.
unsafe impl Send for Named {}
// SAFETY: as above.
unsafe impl Sync for Named {}

impl Named {
    /// Makes `bytes` bytes of zeroed memory under a name that must be free.
    pub(crate) fn create(name: &str, bytes: usize) -> io::Result<Named> {
        check_size_limit(bytes)?;
        for _ in 0..TRIES {
            let mut memory = ShmemConf::new().os_id(name).size(bytes).create().map_err(error_of)?;
            // From here on the name is ours to remove, under the rule of locks.
            memory.set_owner(false);
            // Held exclusively only for a moment, by a sweep that takes it for left behind.
            match lock(name, FlockArg::LockShared) {
                Ok(lock) => {
                    let named = Named::new(memory, lock, name);
                    named.reserve(bytes)?;
                    return Ok(named);
                }
                // Somebody's sweep came between; the name is free again.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::from(Errno::EAGAIN))
    }

    /// Maps what has that name; waits for whoever looks whether it is used any more.
    pub(crate) fn open(name: &str) -> io::Result<Named> {
        Named::map(name, lock(name, FlockArg::LockShared)?)
    }

    /// Maps what has that name, and waits for nobody: what somebody has for itself alone is as good as gone,
    /// since no user can have it any more.
    pub(crate) fn open_at_once(name: &str) -> io::Result<Named> {
        let lock = lock(name, FlockArg::LockSharedNonblock).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::Error::from(Errno::ENOENT),
            _ => error,
        });
        Named::map(name, lock?)
    }

    fn map(name: &str, lock: Flock<File>) -> io::Result<Named> {
        let memory = ShmemConf::new().os_id(name).open().map_err(error_of)?;
        let named = Named::new(memory, lock, name);
        match named.is_linked() {
            true => Ok(named),
            false => Err(io::Error::from(Errno::ENOENT)),
        }
    }

    fn new(memory: Shmem, lock: Flock<File>, name: &str) -> Named {
        let lock = ManuallyDrop::new(lock);
        Named { memory, lock, name: name.to_owned(), pid: std::process::id() }
    }

    fn reserve(&self, bytes: usize) -> io::Result<()> {
        let length = i64::try_from(bytes).map_err(|_| io::Error::from(Errno::EFBIG))?;
        let reserved = loop {
            match posix_fallocate(self.lock.as_fd(), 0, length) {
                Err(Errno::EINTR) => {}
                other => break other,
            }
        };
        reserved.map_err(|errno| {
            self.remove();
            io::Error::from(errno)
        })
    }

    /// The name of the file that is mapped still leads to it.
    fn is_linked(&self) -> bool {
        leads_to(&path(&self.name), &self.lock)
    }

    /// Gives the memory a second, final name, which must be free, and takes the first one away.
    pub(crate) fn rename(&mut self, name: &str) -> io::Result<()> {
        let linked = fs::hard_link(path(&self.name), path(name));
        self.remove();
        linked.map(|()| self.name = name.to_owned())
    }

    /// Takes the name away; the memory stays for whoever has it.
    pub(crate) fn remove(&self) {
        if self.is_linked() {
            let _ = fs::remove_file(path(&self.name));
        }
    }

    /// Whether no other process uses it. The own hold on it is void afterwards: to be asked when leaving.
    fn is_last_user(&self) -> bool {
        self.lock.relock(FlockArg::LockExclusiveNonblock).is_ok()
    }

    /// Ceases to use it, and leaves it mapped. False if nobody else uses it: then there is no point in that.
    pub(crate) fn rest(&self) -> bool {
        !self.is_last_user()
    }

    /// Uses it again; waits for nobody, as `open_at_once`.
    ///
    /// # Errors
    /// If it has ended meanwhile.
    pub(crate) fn wake(&self) -> io::Result<()> {
        self.lock.relock(FlockArg::LockSharedNonblock)?;
        if self.is_linked() && !self.has_ended() { Ok(()) } else { Err(io::Error::from(Errno::ENOENT)) }
    }

    /// Whether its last user has left; for memory whose first word is never zero while it is used.
    pub(crate) fn has_ended(&self) -> bool {
        self.words().first().is_some_and(|word| word.load(Ordering::Acquire) == 0)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        if self.pid != std::process::id() {
            return;
        }
        if self.is_last_user() {
            end(&self.lock);
            self.remove();
        }
        // SAFETY: nobody uses it after this, and it is dropped nowhere else.
        unsafe { ManuallyDrop::drop(&mut self.lock) };
    }
}

/// What stays of a file that has ended, for whoever has it mapped and looks at its first word.
const REMAINS: i64 = 4096;

/// Frees the memory of a file that nobody uses, and marks it so. It is not cut off: whoever has it mapped would
/// die of looking at it.
fn end(file: &File) {
    let _ = file.write_all_at(&[0; 8], 0);
    let length = file.metadata().map_or(0, |file| file.len() as i64);
    if length > REMAINS {
        let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let _ = fallocate(file, hole, REMAINS, length - REMAINS);
    }
}

/// Under a limit on file sizes the kernel would kill the process instead of telling it.
fn check_size_limit(bytes: usize) -> io::Result<()> {
    let (soft, _) = getrlimit(Resource::RLIMIT_FSIZE)?;
    if bytes as u64 > soft { Err(io::Error::from(Errno::EFBIG)) } else { Ok(()) }
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(FOLDER).join(name)
}

/// Opens what has that name, to look at it and not to use it: this keeps neither name nor memory from anybody.
pub(crate) fn look(name: &str) -> io::Result<File> {
    // Of a named pipe in its place, nobody waits for the other end.
    File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path(name))
}

fn leads_to(path: &Path, file: &File) -> bool {
    let own = file.metadata().map(|file| (file.dev(), file.ino()));
    let named = fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()));
    matches!((own, named), (Ok(own), Ok(named)) if own == named)
}

/// Takes the shared lock on a file that its name still leads to.
fn lock(name: &str, shared: FlockArg) -> io::Result<Flock<File>> {
    let file = File::options().read(true).write(true).open(path(name))?;
    let lock = loop {
        match Flock::lock(file.try_clone()?, shared) {
            Ok(lock) => break lock,
            Err((_, Errno::EINTR)) => {}
            Err((_, errno)) => return Err(errno.into()),
        }
    };
    match lock.metadata()?.nlink() {
        0 => Err(io::Error::from(Errno::ENOENT)),
        _ => Ok(lock),
    }
}

fn error_of(error: ShmemError) -> io::Error {
    match error {
        ShmemError::MapCreateFailed(number)
        | ShmemError::MapOpenFailed(number)
        | ShmemError::UnknownOsError(number) => io::Error::from_raw_os_error(number as i32),
        ShmemError::MappingIdExists => io::Error::from(Errno::EEXIST),
        ShmemError::MapSizeZero => io::Error::from(Errno::EINVAL),
        other => io::Error::other(other.to_string()),
    }
}

/// Takes away every name of this user that begins with `prefix`, that nobody uses, and that `keep` does not
/// want kept. Returns how many.
pub(crate) fn sweep(prefix: &str, keep: impl Fn(&File) -> bool) -> usize {
    let own = nix::unistd::geteuid().as_raw();
    let entries = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    ours.filter(|entry| remove_if_unused(&entry.path(), own, &keep)).count()
}

fn remove_if_unused(path: &Path, user: u32, keep: impl Fn(&File) -> bool) -> bool {
    let ours = fs::symlink_metadata(path).is_ok_and(|file| file.is_file() && file.uid() == user);
    let file = ours.then(|| File::options().read(true).write(true).open(path));
    let Some(Ok(file)) = file else { return false };
    // Asked first without the lock, which would keep those away whose business the name is.
    if keep(&file) {
        return false;
    }
    // Locked until the name is gone: whoever opens it now waits, and then finds that it has no name.
    let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock);
    lock.is_ok_and(|lock| {
        // Its last user may have left since it was opened, and somebody else have come to the same name.
        let unused = leads_to(path, &lock) && !keep(&lock);
        if unused {
            end(&lock);
        }
        unused && fs::remove_file(path).is_ok()
    })
}

/// Whether somebody holds a lock on a file or folder.
pub(crate) fn is_locked(path: &Path) -> bool {
    // The path may come from somebody who went wrong: nobody waits for the other end of a named pipe.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let lock = file.map(|file| Flock::lock(file, FlockArg::LockSharedNonblock));
    matches!(lock, Ok(Err((_, Errno::EWOULDBLOCK))))
}
