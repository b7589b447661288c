//! Small things about descriptors.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, SpliceFFlags, fcntl, tee};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;

/// A private copy of a descriptor, closed on exec, with a number of at least `lowest`.
pub(crate) fn duplicate_above(fd: BorrowedFd<'_>, lowest: RawFd) -> io::Result<OwnedFd> {
    let number = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(lowest))?;
    // SAFETY: fcntl has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Takes a descriptor that was handed over by number through exec, as the token in the environment says.
pub(crate) fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the number is only looked at by fcntl, which fails for one that is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: it is open, and the process that started this one put it there for this adoption, which the
    // taking of the token from the environment makes the only one.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Whether the numbers 0, 1 or 2 are open.
pub(crate) fn is_open(number: RawFd) -> bool {
    // SAFETY: the number is only looked at by fcntl, which fails for one that is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(borrowed, FcntlArg::F_GETFD).is_ok()
}

/// Takes those of the numbers 0, 1 and 2 that are closed, with /dev/null, for as long as the caller holds what
/// this returns. Else a socket of ours could get number 1, and whoever prints would write into it.
pub(crate) fn take_closed_standard_streams() -> io::Result<Vec<OwnedFd>> {
    let mut taken = Vec::new();
    while (0..=2).any(|number| !is_open(number)) {
        let null = OwnedFd::from(File::options().read(true).write(true).open("/dev/null")?);
        if null.as_raw_fd() > 2 {
            break;
        }
        taken.push(null);
    }
    Ok(taken)
}

/// A copy of this process's standard stream, or /dev/null where it is closed.
pub(crate) fn standard_stream(number: RawFd) -> io::Result<OwnedFd> {
    if !is_open(number) {
        return Ok(OwnedFd::from(File::options().read(true).write(true).open("/dev/null")?));
    }
    // SAFETY: it was open a moment ago; if it is closed meanwhile the duplication fails cleanly.
    duplicate_above(unsafe { BorrowedFd::borrow_raw(number) }, 3)
}

/// Standard stream `number` for writes that never wait, if there can be such a thing: the open file is shared with
/// others, who count on their writes to wait, so this one is opened anew. A regular file has one position, and never
/// has anybody wait. Otherwise as `standard_stream`.
pub(crate) fn standard_stream_at_once(number: RawFd) -> io::Result<OwnedFd> {
    let shared = standard_stream(number)?;
    let path = format!("/proc/self/fd/{}", shared.as_raw_fd());
    if std::fs::metadata(&path).is_ok_and(|file| file.is_file()) {
        return Ok(shared);
    }
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let anew = File::options().write(true).custom_flags(flags).open(path);
    anew.map_or(Ok(shared), |file| duplicate_above(file.as_fd(), 3))
}

/// Puts `fd` in the place of standard stream `number` (0, 1 or 2), inherited over exec.
pub(crate) fn replace_standard_stream(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    debug_assert!((0..=2).contains(&number) && fd.as_raw_fd() != number);
    // SAFETY: dup2 onto a standard stream replaces it in one step; no OwnedFd of ours owns 0, 1 or 2.
    match unsafe { libc::dup2(fd.as_raw_fd(), number) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// A pipe whose ends are closed on exec; the reading end does not block.
pub(crate) fn pipe() -> io::Result<(File, OwnedFd)> {
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    set_nonblocking(reader.as_fd())?;
    Ok((File::from(reader), writer))
}

/// What stands in a pipe, without taking it out and without waiting.
pub(crate) fn peek(pipe: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    if poll(&mut [PollFd::new(pipe, PollFlags::POLLIN)], PollTimeout::ZERO) == Ok(0) {
        return Ok(Vec::new());
    }
    let (mut copy, end) = self::pipe()?;
    let capacity = fcntl(pipe, FcntlArg::F_GETPIPE_SZ)?;
    if fcntl(&end, FcntlArg::F_GETPIPE_SZ)? < capacity {
        fcntl(&end, FcntlArg::F_SETPIPE_SZ(capacity))?;
    }
    match tee(pipe, &end, capacity as usize, SpliceFFlags::SPLICE_F_NONBLOCK) {
        Ok(count) => {
            let mut bytes = vec![0; count];
            copy.read_exact(&mut bytes)?;
            Ok(bytes)
        }
        Err(Errno::EAGAIN) => Ok(Vec::new()),
        Err(errno) => Err(errno.into()),
    }
}

/// Makes reads and writes of this open file fail with `WouldBlock` instead of waiting.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = nix::fcntl::OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | nix::fcntl::OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Sets close-on-exec on the socket of this process whose own address is `path`, which should be `expected`.
///
/// ipc-channel accepts its connection without that flag and does not show its number.
pub(crate) fn close_on_exec_by_address(path: &str, expected: RawFd) {
    for number in sockets_by_address(path, expected) {
        // SAFETY: the descriptor was open a moment ago; on a closed one the call fails, and a flag that
        // hits a reused number of ours is a flag that all of ours have.
        let _ = fcntl(unsafe { BorrowedFd::borrow_raw(number) }, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
    }
}

/// A copy of the socket of this process whose own address is `path`, which should be `expected`; ipc-channel
/// does not show its number.
pub(crate) fn copy_by_address(path: &str, expected: RawFd) -> io::Result<OwnedFd> {
    let number = sockets_by_address(path, expected).into_iter().next().ok_or(io::ErrorKind::NotFound)?;
    // SAFETY: the descriptor was open a moment ago; if it is closed meanwhile the duplication fails cleanly.
    duplicate_above(unsafe { BorrowedFd::borrow_raw(number) }, 3)
}

/// The expected number, or, where somebody else took it meanwhile, all that a search of this process finds.
fn sockets_by_address(path: &str, expected: RawFd) -> Vec<RawFd> {
    let is_there = |number: &RawFd| {
        let address = nix::sys::socket::getsockname::<nix::sys::socket::UnixAddr>(*number);
        address.is_ok_and(|address| address.path().is_some_and(|own| own.as_os_str() == path))
    };
    if is_there(&expected) {
        return vec![expected];
    }
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<RawFd>().ok());
    // Collected, so that the folder is closed before anybody uses the numbers.
    numbers.filter(|number| *number > 2).filter(is_there).collect()
}

/// The number that the next descriptor of this process will have, unless another thread takes it.
pub(crate) fn next_number() -> io::Result<RawFd> {
    Ok(File::open("/dev/null")?.as_raw_fd())
}

/// Closes a descriptor by number, for a forked child whose copy of the owner will never run.
pub(crate) fn close_inherited(number: RawFd) {
    // SAFETY: the caller has forgotten the owning object in this process, so nobody else uses or closes it.
    unsafe { libc::close(number) };
}

/// Wraps a descriptor that came from another process of ours, which made it as an eventfd.
pub(crate) fn as_eventfd(fd: OwnedFd) -> EventFd {
    // SAFETY: the descriptor is owned. Were it none of an eventfd, writes would fail or write eight bytes.
    unsafe { EventFd::from_owned_fd(fd) }
}
