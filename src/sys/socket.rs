//! Packets with descriptors between two related processes.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, sendmsg, socketpair,
};

/// The most descriptors that travel with one packet.
pub(crate) const MAX_DESCRIPTORS: usize = 8;

/// The largest packet; well under the default send buffer, so that several fit.
pub(crate) const MAX_PACKET: usize = 64 * 1024;

/// A connected pair of packet sockets, closed on exec.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// Sends one packet, all or nothing, without waiting: a full buffer is `WouldBlock`.
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let control = if numbers.is_empty() { &rights[..0] } else { &rights[..] };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, flags, None) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// How long the next packet is, if one is there now; 0 at the end.
pub(crate) fn next_length(socket: BorrowedFd<'_>) -> io::Result<Option<usize>> {
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC | MsgFlags::MSG_DONTWAIT;
    loop {
        match recv(socket.as_raw_fd(), &mut [], flags) {
            Ok(length) => return Ok(Some(length)),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(None),
            Err(Errno::ECONNRESET) => return Ok(Some(0)),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// One packet, or the end.
pub(crate) enum Received {
    Packet(usize, Vec<OwnedFd>),
    /// A packet of whose descriptors some found no number in this process; those that did are closed.
    Short(usize),
    End,
    /// Nothing is there now.
    Empty,
}

/// Room for the numbers of descriptors, aligned as the kernel's headers want it.
const CONTROL_WORDS: usize = {
    // SAFETY: the call is arithmetic.
    let bytes = unsafe { libc::CMSG_SPACE((MAX_DESCRIPTORS * size_of::<RawFd>()) as u32) };
    (bytes as usize).div_ceil(size_of::<u64>())
};

/// Receives one packet into `buffer` without waiting.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    let mut control = [0_u64; CONTROL_WORDS];
    let mut slice = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: a header of zeros is an empty one.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    (header.msg_iov, header.msg_iovlen) = (&raw mut slice, 1);
    (header.msg_control, header.msg_controllen) = (control.as_mut_ptr().cast(), size_of_val(&control) as _);
    let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
    let length = loop {
        // SAFETY: the header tells of a buffer and of control words that outlive the call, and of their sizes.
        let result = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
        match Errno::result(result) {
            Ok(length) => break length as usize,
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(Received::Empty),
            // Unread packets at the other end's close are reported once; it is an end all the same.
            Err(Errno::ECONNRESET) => return Ok(Received::End),
            Err(errno) => return Err(errno.into()),
        }
    };
    // nix's own `recvmsg` hands out none of them if one is missing, and nobody would close the others.
    let descriptors = adopt_all(&header);
    match length {
        _ if header.msg_flags & libc::MSG_CTRUNC != 0 => Ok(Received::Short(length)),
        0 if descriptors.is_empty() => Ok(Received::End),
        length => Ok(Received::Packet(length, descriptors)),
    }
}

/// The descriptors that came with a packet whose header the kernel has just filled in.
fn adopt_all(header: &libc::msghdr) -> Vec<OwnedFd> {
    let mut descriptors = Vec::new();
    // SAFETY: the kernel has written the header's control words and how long they are.
    let mut at = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: it is null, or a header of the kernel's inside of the control words.
    while let Some(control) = unsafe { at.as_ref() } {
        if (control.cmsg_level, control.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: the call is arithmetic.
            let head = unsafe { libc::CMSG_LEN(0) } as usize;
            let length: usize = control.cmsg_len as _;
            let count = length.saturating_sub(head) / size_of::<RawFd>();
            // SAFETY: so many numbers follow this header.
            let first = unsafe { libc::CMSG_DATA(control) }.cast::<RawFd>();
            for index in 0..count {
                // SAFETY: as above; the kernel aligns them, and this does not rely on it.
                let number = unsafe { first.add(index).read_unaligned() };
                // SAFETY: the kernel has just put this descriptor into this process for this message alone.
                descriptors.push(unsafe { OwnedFd::from_raw_fd(number) });
            }
        }
        // SAFETY: both are the kernel's, as above.
        at = unsafe { libc::CMSG_NXTHDR(header, control) };
    }
    descriptors
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod test {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn descriptors_arrive_in_their_order_and_an_end_is_none() {
        let (ours, theirs) = pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let zero = std::fs::File::open("/dev/zero").unwrap();
        send(ours.as_fd(), b"two", &[null.as_fd(), zero.as_fd()]).unwrap();
        let many = [null.as_fd(); MAX_DESCRIPTORS];
        send(ours.as_fd(), b"many", &many).unwrap();
        let mut buffer = [0; 16];
        let Received::Packet(3, both) = receive(theirs.as_fd(), &mut buffer).unwrap() else { panic!("none") };
        let name = |fd: &OwnedFd| std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
        let names: Vec<_> = both.iter().map(name).collect();
        assert_eq!(names, [std::path::Path::new("/dev/null"), std::path::Path::new("/dev/zero")]);
        let Received::Packet(4, all) = receive(theirs.as_fd(), &mut buffer).unwrap() else { panic!("none") };
        assert_eq!(all.len(), MAX_DESCRIPTORS);
        assert!(matches!(receive(theirs.as_fd(), &mut buffer).unwrap(), Received::Empty));
        drop(ours);
        assert!(matches!(receive(theirs.as_fd(), &mut buffer).unwrap(), Received::End));
    }
}
