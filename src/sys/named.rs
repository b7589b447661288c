//! Named memory in /dev/shm, on the crate `shared_memory`.
//!
//! What is added to it: the memory is reserved when it is made, so that a full /dev/shm is an error there and
//! not a SIGBUS later; every user holds a shared `flock`, which the kernel drops at its death; and the name is
//! removed by whoever finds that nobody else holds one.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, posix_fallocate};
use nix::sys::resource::{Resource, getrlimit};
use shared_memory::{Shmem, ShmemConf, ShmemError};

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
    lock: Flock<File>,
    name: String,
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
            match lock(name) {
                Ok(lock) => {
                    let named = Named { memory, lock, name: name.to_owned() };
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

    /// Maps what has that name.
    pub(crate) fn open(name: &str) -> io::Result<Named> {
        let lock = lock(name)?;
        let memory = ShmemConf::new().os_id(name).open().map_err(error_of)?;
        let named = Named { memory, lock, name: name.to_owned() };
        match named.is_linked() {
            true => Ok(named),
            false => Err(io::Error::from(Errno::ENOENT)),
        }
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
        let own = self.lock.metadata().map(|file| (file.dev(), file.ino()));
        let named = fs::symlink_metadata(path(&self.name)).map(|file| (file.dev(), file.ino()));
        matches!((own, named), (Ok(own), Ok(named)) if own == named)
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

    pub(crate) fn len(&self) -> usize {
        self.memory.len()
    }

    /// All whole words.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        let start = self.memory.as_ptr().cast::<AtomicU64>();
        // SAFETY: the mapping is page-aligned, `len` long and lives as long as `self`, and atomics may be
        // shared with writers in other processes.
        unsafe { std::slice::from_raw_parts(start, self.len() / 8) }
    }

    /// The 32 bits at a byte offset, which everybody uses as 32 bits.
    ///
    /// # Panics
    /// If they do not lie in the memory.
    #[inline]
    pub(crate) fn half_word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset < self.len() / 8 * 8, "outside of a segment");
        // SAFETY: checked to lie, aligned, in the mapping, which lives as long as `self`.
        unsafe { AtomicU32::from_ptr(self.memory.as_ptr().add(offset).cast()) }
    }

    /// The address of `length` bytes.
    ///
    /// # Panics
    /// If they do not lie in the memory.
    #[inline]
    pub(crate) fn address(&self, offset: usize, length: usize) -> NonNull<u8> {
        let inside = offset.checked_add(length).is_some_and(|end| end <= self.len());
        assert!(inside, "outside of a segment");
        let start = NonNull::new(self.memory.as_ptr()).expect("a mapping is not null");
        // SAFETY: the offset lies in the mapping or at its end.
        unsafe { start.add(offset) }
    }
}

impl Named {
    /// Copies bytes out, by atomic accesses: another process may write them at the same time, which makes the
    /// copy wrong but not undefined.
    ///
    /// # Panics
    /// If they do not lie in the memory.
    pub(crate) fn read(&self, offset: usize, into: &mut [u8]) {
        let words = self.walk(offset, into.len());
        let (head, rest) = into.split_at_mut(words.start - offset);
        let (body, tail) = rest.split_at_mut(words.len());
        (offset..).zip(head).for_each(|(at, byte)| *byte = self.byte(at).load(Ordering::Relaxed));
        for (index, bytes) in (words.start / 8..).zip(body.as_chunks_mut::<8>().0) {
            *bytes = self.words()[index].load(Ordering::Relaxed).to_ne_bytes();
        }
        (words.end..).zip(tail).for_each(|(at, byte)| *byte = self.byte(at).load(Ordering::Relaxed));
    }

    /// Copies bytes in, by atomic accesses.
    ///
    /// # Panics
    /// If they do not lie in the memory.
    pub(crate) fn write(&self, offset: usize, from: &[u8]) {
        let words = self.walk(offset, from.len());
        let (head, rest) = from.split_at(words.start - offset);
        let (body, tail) = rest.split_at(words.len());
        (offset..).zip(head).for_each(|(at, byte)| self.byte(at).store(*byte, Ordering::Relaxed));
        for (index, bytes) in (words.start / 8..).zip(body.as_chunks::<8>().0) {
            self.words()[index].store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
        }
        (words.end..).zip(tail).for_each(|(at, byte)| self.byte(at).store(*byte, Ordering::Relaxed));
    }

    /// The whole words among some bytes.
    fn walk(&self, offset: usize, length: usize) -> std::ops::Range<usize> {
        let end = offset.checked_add(length).filter(|end| *end <= self.len() / 8 * 8);
        let end = end.expect("inside of a segment");
        let start = offset.next_multiple_of(8).min(end);
        start..(end / 8 * 8).max(start)
    }

    fn byte(&self, offset: usize) -> &AtomicU8 {
        assert!(offset < self.len(), "outside of a segment");
        // SAFETY: checked to lie in the mapping, which lives as long as `self`.
        unsafe { AtomicU8::from_ptr(self.memory.as_ptr().add(offset)) }
    }
}

/// Some bytes of a segment, found without a detour.
pub(crate) struct Window {
    start: NonNull<u8>,
    length: usize,
    _memory: Arc<Named>,
}

// SAFETY: as for `Named`.
unsafe impl Send for Window {}
// SAFETY: as for `Named`.
unsafe impl Sync for Window {}

impl Window {
    /// `length` bytes of `memory`, both multiples of eight.
    ///
    /// # Panics
    /// If they do not lie in the memory.
    pub(crate) fn new(memory: Arc<Named>, offset: usize, length: usize) -> Window {
        assert!(offset.is_multiple_of(8) && length.is_multiple_of(8), "no whole words");
        Window { start: memory.address(offset, length), length, _memory: memory }
    }

    /// The word at a byte offset.
    ///
    /// # Panics
    /// If it does not lie in the window.
    #[inline]
    pub(crate) fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && at < self.length, "outside of a window");
        // SAFETY: it lies, aligned, in the window, whose memory stays mapped as long as `self` holds it.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(at).cast()) }
    }

    /// The 32 bits at a byte offset, which everybody uses as 32 bits.
    ///
    /// # Panics
    /// If they do not lie in the window.
    #[inline]
    pub(crate) fn half_word(&self, at: usize) -> &AtomicU32 {
        assert!(at.is_multiple_of(4) && at < self.length, "outside of a window");
        // SAFETY: as for `word`.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(at).cast()) }
    }

    /// The address of `length` bytes.
    ///
    /// # Panics
    /// If they do not lie in the window.
    #[inline]
    pub(crate) fn address(&self, at: usize, length: usize) -> NonNull<u8> {
        let inside = at.checked_add(length).is_some_and(|end| end <= self.length);
        assert!(inside, "outside of a window");
        // SAFETY: it lies in the window or at its end.
        unsafe { self.start.add(at) }
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        if self.is_last_user() {
            self.remove();
        }
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

/// Takes the shared lock on a file that its name still leads to.
fn lock(name: &str) -> io::Result<Flock<File>> {
    let file = File::options().read(true).write(true).open(path(name))?;
    let lock = loop {
        // Held exclusively only for a moment, by somebody who looks whether it is the last user.
        match Flock::lock(file.try_clone()?, FlockArg::LockShared) {
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
    lock.is_ok_and(|lock| !keep(&lock) && fs::remove_file(path).is_ok())
}

/// Whether somebody holds a lock on a file or folder.
pub(crate) fn is_locked(path: &Path) -> bool {
    let lock = File::open(path).map(|file| Flock::lock(file, FlockArg::LockSharedNonblock));
    matches!(lock, Ok(Err((_, Errno::EWOULDBLOCK))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(test: &str) -> String {
        format!("watertight-{}-test-{test}", std::process::id())
    }

    fn exists(name: &str) -> bool {
        path(name).exists()
    }

    #[test]
    fn a_name_goes_with_its_last_user() {
        let name = name("last");
        let one = Named::create(&name, 8192).unwrap();
        let other = Named::open(&name).unwrap();
        one.words()[7].store(9, Ordering::Relaxed);
        assert_eq!(other.half_word(56).load(Ordering::Relaxed), 9);
        drop(one);
        assert!(exists(&name));
        drop(other);
        assert!(!exists(&name));
    }

    #[test]
    fn a_name_is_made_once() {
        let name = name("once");
        let first = Named::create(&name, 4096).unwrap();
        let again = Named::create(&name, 4096).map(drop).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        drop(first);
        assert_eq!(Named::open(&name).map(drop).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn more_than_there_is_is_an_error_and_leaves_no_name() {
        let name = name("full");
        assert!(Named::create(&name, 1 << 46).is_err());
        assert!(!exists(&name));
    }

    #[test]
    fn bytes_are_copied_from_and_to_any_place() {
        let named = Named::create(&name("bytes"), 4096).unwrap();
        for (offset, length) in [(0, 64), (1, 3), (5, 20), (7, 1), (8, 16), (15, 2), (3, 0)] {
            let bytes: Vec<u8> = (1..=length).collect();
            named.write(offset, &bytes);
            let mut back = vec![0; bytes.len() + 2];
            named.read(offset, &mut back[1..=bytes.len()]);
            assert_eq!(back[1..=bytes.len()], bytes);
        }
    }

    #[test]
    fn a_stranger_who_looks_at_a_name_keeps_nobody_from_taking_it_away() {
        let left = name("looked-at");
        fs::write(path(&left), b"left").unwrap();
        let stranger = |_: &File| {
            sweep(&left, |_| false);
            true
        };
        assert_eq!(sweep(&left, stranger), 0);
        assert!(!exists(&left));
    }

    #[test]
    fn the_sweep_takes_what_nobody_uses() {
        let (used, left) = (name("sweep-used"), name("sweep-left"));
        let _used = Named::create(&used, 4096).unwrap();
        fs::write(path(&left), b"left").unwrap();
        sweep(&name("sweep-"), |_| true);
        assert!(exists(&left));
        sweep(&name("sweep-"), |_| false);
        assert!(exists(&used) && !exists(&left));
    }
}
