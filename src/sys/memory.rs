//! Memory that two processes share and neither can resize.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// Makes `words` words of zeroed anonymous memory, sealed against resizing.
///
/// The seal is what makes a mapping safe to touch: nobody can shrink the file under it.
pub(crate) fn create(name: &str, words: usize) -> io::Result<OwnedFd> {
    let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    nix::unistd::ftruncate(&fd, (words * 8) as i64)?;
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&fd, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(fd)
}

/// A sealed file in this process's memory, seen as atomic words.
///
/// Words are atomic because the other process may write any of them at any time: a plain reference to such
/// memory would be undefined behaviour, a relaxed atomic access is not.
pub(crate) struct Mapping {
    start: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: the mapping is only reached through shared references to atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps a whole file that `create` made. A file that is not sealed, or not of whole words, is refused.
    pub(crate) fn new(fd: BorrowedFd<'_>) -> io::Result<Mapping> {
        let seals = SealFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GET_SEALS)?);
        let bytes = usize::try_from(nix::sys::stat::fstat(fd)?.st_size).unwrap_or(0);
        let length = std::num::NonZeroUsize::new(bytes).filter(|bytes| bytes.get().is_multiple_of(8));
        let (true, Some(length)) = (seals.contains(SealFlag::F_SEAL_SHRINK), length) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "shared memory is not sealed or not of words",
            ));
        };
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing of ours.
        let start = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, fd, 0)? };
        Ok(Mapping { start: start.cast(), words: bytes / 8 })
    }

    /// All words.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, `words` long, cannot shrink (sealed), lives as long as `self`,
        // and atomics may be shared with writers in other processes.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }

    /// The lower half of a word, for the futex calls, which work on 32 bits.
    pub(crate) fn half_word(&self, index: usize) -> &AtomicU32 {
        let word = &self.words()[index];
        // SAFETY: the first four bytes of a live, aligned eight-byte word; this word is used as two halves
        // by everybody (`link::lane` assigns it), so no access mixes the sizes.
        unsafe { AtomicU32::from_ptr(word.as_ptr().cast::<u32>()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new`, with this length, and is unmapped once.
        let result = unsafe { munmap(self.start.cast(), self.words * 8) };
        debug_assert!(result.is_ok());
    }
}

/// Makes and maps in one step.
pub(crate) fn create_and_map(name: &str, words: usize) -> io::Result<(OwnedFd, Mapping)> {
    let fd = create(name, words)?;
    let mapping = Mapping::new(fd.as_fd())?;
    Ok((fd, mapping))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn two_mappings_of_one_file_are_the_same_memory() {
        let (fd, one) = create_and_map("test", 1024).unwrap();
        let other = Mapping::new(fd.as_fd()).unwrap();
        one.words()[1023].store(7, Ordering::Relaxed);
        assert_eq!(other.words()[1023].load(Ordering::Relaxed), 7);
        other.half_word(3).store(9, Ordering::Relaxed);
        assert_eq!(one.half_word(3).load(Ordering::Relaxed), 9);
    }

    #[test]
    fn nobody_can_shrink_or_grow_it() {
        let fd = create("test", 1024).unwrap();
        assert!(nix::unistd::ftruncate(&fd, 8).is_err());
        assert!(nix::unistd::ftruncate(&fd, 1 << 20).is_err());
    }

    #[test]
    fn a_file_that_could_shrink_is_refused() {
        let fd = memfd_create("test", MFdFlags::MFD_CLOEXEC).unwrap();
        nix::unistd::ftruncate(&fd, 4096).unwrap();
        assert!(Mapping::new(fd.as_fd()).is_err());
    }
}
