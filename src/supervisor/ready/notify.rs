//! The socket of systemd's `sd_notify`: datagrams of lines such as `READY=1`.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, bind, getsockname, recvmsg,
    setsockopt, socket, sockopt,
};

/// The largest datagram that is looked at; of a larger one only its beginning is.
const MOST: usize = 4 * 1024;

/// What is kept of a program's status, in characters.
const MOST_STATUS: usize = 200;

/// Something that a program says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// `READY=1`
    Ready,
    /// `RELOADING=1`
    Reloading,
    /// `STOPPING=1`
    Stopping,
    /// `WATCHDOG=1`: it is alive.
    Alive,
    /// `WATCHDOG=trigger`: it asks to be treated as hung.
    Hung,
    /// `STATUS=…`, for people; made safe to print.
    Status(String),
    /// `MAINPID=…`
    MainPid(i32),
}

/// Reads the lines of a datagram; what is not known is passed over, as the protocol wants it.
pub(crate) fn parse(datagram: &[u8]) -> Vec<Notice> {
    let text = String::from_utf8_lossy(datagram);
    text.lines().filter_map(|line| line.split_once('=')).filter_map(notice).collect()
}

fn notice((name, value): (&str, &str)) -> Option<Notice> {
    match (name, value) {
        ("READY", "1") => Some(Notice::Ready),
        ("RELOADING", "1") => Some(Notice::Reloading),
        ("STOPPING", "1") => Some(Notice::Stopping),
        ("WATCHDOG", "1") => Some(Notice::Alive),
        ("WATCHDOG", "trigger") => Some(Notice::Hung),
        ("STATUS", text) => {
            let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
            Some(Notice::Status(clean.take(MOST_STATUS).collect()))
        }
        ("MAINPID", number) => number.parse().ok().filter(|pid| *pid > 1).map(Notice::MainPid),
        _ => None,
    }
}

/// Who sent a datagram, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sender {
    pub(crate) pid: i32,
    pub(crate) uid: u32,
}

/// The socket of one replica. Its name is none of the file system, so that nothing can be left behind; who
/// may send is told by the sender's credentials.
#[derive(Debug)]
pub(crate) struct NotifySocket {
    socket: OwnedFd,
    address: String,
}

impl NotifySocket {
    pub(crate) fn new() -> io::Result<NotifySocket> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
        setsockopt(&socket, sockopt::PassCred, &true)?;
        // Without a name of ours the kernel picks one that is free.
        bind(socket.as_raw_fd(), &UnixAddr::new_unnamed())?;
        let own: UnixAddr = getsockname(socket.as_raw_fd())?;
        let name = own.as_abstract().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let address = format!("@{}", String::from_utf8_lossy(name));
        Ok(NotifySocket { socket, address })
    }

    /// What `NOTIFY_SOCKET` is to say.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What to wait at, for reading.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// One datagram, if one is there. Descriptors that came with it are closed.
    pub(crate) fn receive(&self) -> io::Result<Option<(Sender, Vec<Notice>)>> {
        let mut buffer = [0; MOST];
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let mut space = nix::cmsg_space!(nix::libc::ucred, [i32; 8]);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
        let message = loop {
            match recvmsg::<()>(self.socket.as_raw_fd(), &mut slices, Some(&mut space), flags) {
                Ok(message) => break message,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        };
        let mut sender = None;
        for control in message.cmsgs()? {
            match control {
                ControlMessageOwned::ScmCredentials(own) => {
                    sender = Some(Sender { pid: own.pid(), uid: own.uid() });
                }
                ControlMessageOwned::ScmRights(numbers) => numbers.into_iter().for_each(close),
                _ => {}
            }
        }
        let bytes = message.bytes;
        let sender = sender.ok_or(io::ErrorKind::InvalidData)?;
        Ok(Some((sender, parse(&buffer[..bytes]))))
    }
}

/// Closes a descriptor that came uninvited.
fn close(number: i32) {
    let _ = nix::unistd::close(number);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    fn send(socket: &NotifySocket, bytes: &[u8]) {
        let address = SocketAddr::from_abstract_name(&socket.address()[1..]).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        sender.connect_addr(&address).unwrap();
        sender.send(bytes).unwrap();
    }

    #[test]
    fn what_a_program_says_is_understood_and_the_rest_passed_over() {
        let text = b"READY=1\nSTATUS=up \x1b[31m\nMAINPID=42\nWATCHDOG=1\nX_OWN=1\nnonsense\nSTOPPING=1";
        let status = Notice::Status("up  [31m".to_owned());
        let expected = [Notice::Ready, status, Notice::MainPid(42), Notice::Alive, Notice::Stopping];
        assert_eq!(parse(text), expected);
        assert_eq!(parse(b"WATCHDOG=trigger\nRELOADING=1"), [Notice::Hung, Notice::Reloading]);
        for text in
            [&b""[..], b"READY=0", b"READY", b"MAINPID=-1", b"MAINPID=1", b"\xff\xfe=\xff", b"=", b"\n\n"]
        {
            assert!(parse(text).is_empty(), "{text:?}");
        }
        let long = format!("STATUS={}", "ü".repeat(5000));
        assert_eq!(parse(long.as_bytes()), [Notice::Status("ü".repeat(MOST_STATUS))]);
    }

    #[test]
    fn the_socket_says_who_sent() {
        let socket = NotifySocket::new().unwrap();
        assert!(socket.receive().unwrap().is_none());
        send(&socket, b"READY=1\n");
        let (sender, notices) = socket.receive().unwrap().unwrap();
        assert_eq!(sender.pid, std::process::id() as i32);
        assert_eq!(sender.uid, nix::unistd::geteuid().as_raw());
        assert_eq!(notices, [Notice::Ready]);
        send(&socket, &[b'x'; 60_000]);
        assert_eq!(socket.receive().unwrap().unwrap().1, []);
        assert!(socket.receive().unwrap().is_none());
    }

    #[test]
    fn each_socket_has_a_name_of_its_own() {
        let (one, two) = (NotifySocket::new().unwrap(), NotifySocket::new().unwrap());
        assert_ne!(one.address(), two.address());
        assert!(one.address().starts_with('@') && one.address().len() > 1);
    }
}
