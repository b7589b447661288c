//! One attempt to reach a port, and to be answered there. Never waits.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, connect, getsockopt, recv, send, socket,
    sockopt,
};

use super::target::{address, url};

/// What to wait for, at the visit's descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    Read,
    Write,
}

/// How far a visit is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Goes on when its descriptor is ready. The descriptor may be another one than before.
    Wait(Interest),
    Passed,
    /// Why it failed.
    Failed(String),
}

/// The bytes of a response that hold its status.
const STATUS: usize = 12;

/// An attempt that runs.
#[derive(Debug)]
pub(crate) struct Visit {
    /// Those to try after this one.
    others: Vec<SocketAddr>,
    socket: OwnedFd,
    stage: Stage,
    request: Vec<u8>,
}

#[derive(Debug)]
enum Stage {
    Connecting,
    /// How much of the request is sent.
    Sending(usize),
    Receiving(Vec<u8>),
}

/// Where a host is. Names are not looked up: that could take as long as a name server likes.
pub(crate) fn places(host: &str, port: u16) -> Option<Vec<SocketAddr>> {
    if host == "localhost" {
        let both = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
        return Some(both.map(|ip| SocketAddr::new(ip, port)).to_vec());
    }
    host.parse().ok().map(|ip: IpAddr| vec![SocketAddr::new(ip, port)])
}

impl Visit {
    /// Knocks at `host:port`.
    pub(crate) fn tcp(target: &str) -> Result<Visit, String> {
        let (host, port) = address(target)?;
        Visit::start(&host, port, Vec::new())
    }

    /// Asks `http://host:port/path`.
    pub(crate) fn http(target: &str) -> Result<Visit, String> {
        let url = url(target)?;
        let request = format!(
            "GET {} HTTP/1.0\r\nHost: {}\r\nUser-Agent: watertight\r\nConnection: close\r\n\r\n",
            url.path, url.authority
        );
        Visit::start(&url.host, url.port, request.into_bytes())
    }

    fn start(host: &str, port: u16, request: Vec<u8>) -> Result<Visit, String> {
        let mut others = places(host, port).ok_or_else(|| format!("`{host}` is no address"))?;
        let first = others.remove(0);
        match knock(first) {
            Ok(socket) => Ok(Visit { others, socket, stage: Stage::Connecting, request }),
            Err(error) => match others.pop().map(knock) {
                Some(Ok(socket)) => Ok(Visit { others, socket, stage: Stage::Connecting, request }),
                _ => Err(error.to_string()),
            },
        }
    }

    /// What to wait at.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Goes on as far as it can without waiting.
    pub(crate) fn advance(&mut self) -> Progress {
        loop {
            match self.step() {
                Ok(Some(progress)) => return progress,
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Progress::Wait(self.interest());
                }
                Err(error) => match self.elsewhere() {
                    true => return Progress::Wait(Interest::Write),
                    false => return Progress::Failed(error.to_string()),
                },
            }
        }
    }

    fn interest(&self) -> Interest {
        match self.stage {
            Stage::Connecting | Stage::Sending(_) => Interest::Write,
            Stage::Receiving(_) => Interest::Read,
        }
    }

    /// Tries the next place, if it got nowhere at this one.
    fn elsewhere(&mut self) -> bool {
        let Stage::Connecting = self.stage else { return false };
        let Some(next) = self.others.pop() else { return false };
        let Ok(socket) = knock(next) else { return false };
        self.socket = socket;
        true
    }

    fn step(&mut self) -> io::Result<Option<Progress>> {
        match &mut self.stage {
            Stage::Connecting => {
                is_connected(&self.socket)?;
                if self.request.is_empty() {
                    return Ok(Some(Progress::Passed));
                }
                self.stage = Stage::Sending(0);
            }
            Stage::Sending(sent) => {
                let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
                *sent += send(self.socket.as_raw_fd(), &self.request[*sent..], flags)?;
                if *sent == self.request.len() {
                    self.stage = Stage::Receiving(Vec::new());
                }
            }
            Stage::Receiving(received) => {
                let mut buffer = [0; STATUS];
                let count = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)?;
                received.extend_from_slice(&buffer[..count]);
                if count == 0 || received.len() >= STATUS {
                    return Ok(Some(verdict(received)));
                }
            }
        }
        Ok(None)
    }
}

/// Begins to connect.
fn knock(place: SocketAddr) -> io::Result<OwnedFd> {
    let family = if place.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Stream, flags, None)?;
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(place)) {
        Ok(()) | Err(Errno::EINPROGRESS | Errno::EINTR) => Ok(socket),
        Err(errno) => Err(errno.into()),
    }
}

fn is_connected(socket: &OwnedFd) -> io::Result<()> {
    match getsockopt(socket, sockopt::SocketError)? {
        0 => {}
        errno => return Err(io::Error::from_raw_os_error(errno)),
    }
    match nix::sys::socket::getpeername::<SockaddrStorage>(socket.as_raw_fd()) {
        Ok(_) => Ok(()),
        Err(Errno::ENOTCONN) => Err(io::ErrorKind::WouldBlock.into()),
        Err(errno) => Err(errno.into()),
    }
}

/// What the beginning of a response means.
fn verdict(response: &[u8]) -> Progress {
    let text = String::from_utf8_lossy(response);
    let status = text.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
    match status.and_then(|status| status.parse::<u16>().ok()) {
        Some(200..=399) => Progress::Passed,
        Some(status) => Progress::Failed(format!("the answer was {status}")),
        None => Progress::Failed("the answer was not HTTP".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    /// Drives a visit to its end, as the driver does.
    fn outcome(mut visit: Visit) -> Progress {
        for _ in 0..100 {
            let interest = match visit.advance() {
                Progress::Wait(interest) => interest,
                end => return end,
            };
            let flags = if interest == Interest::Read { PollFlags::POLLIN } else { PollFlags::POLLOUT };
            let mut waits = [PollFd::new(visit.descriptor(), flags)];
            assert_eq!(poll(&mut waits, PollTimeout::from(10_000_u16)), Ok(1));
        }
        panic!("it does not end");
    }

    fn answered(answer: &'static [u8]) -> Progress {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = format!("http://localhost:{}/up?x=1", listener.local_addr().unwrap().port());
        std::thread::scope(|scope| {
            let server = scope.spawn(move || {
                let (mut peer, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    peer.read_exact(&mut byte).unwrap();
                    request.push(byte[0]);
                }
                // One byte after the other: an answer may come in pieces.
                answer.iter().for_each(|byte| drop(peer.write(&[*byte])));
                String::from_utf8(request).unwrap()
            });
            let end = outcome(Visit::http(&target).unwrap());
            assert!(server.join().unwrap().starts_with("GET /up?x=1 HTTP/1.0\r\nHost: localhost:"));
            end
        })
    }

    #[test]
    fn an_answer_decides() {
        assert_eq!(answered(b"HTTP/1.1 200 OK\r\n\r\n"), Progress::Passed);
        assert_eq!(answered(b"HTTP/1.0 302 Found\r\n\r\n"), Progress::Passed);
        assert_eq!(answered(b"HTTP/1.1 503 No\r\n"), Progress::Failed("the answer was 503".to_owned()));
        assert_eq!(answered(b"SSH-2.0-OpenSSH\r\n"), Progress::Failed("the answer was not HTTP".to_owned()));
        assert!(matches!(answered(b"HT"), Progress::Failed(_)));
        assert!(matches!(answered(b""), Progress::Failed(_)));
    }

    #[test]
    fn a_port_that_listens_is_reached_and_another_one_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = format!("localhost:{}", listener.local_addr().unwrap().port());
        assert_eq!(outcome(Visit::tcp(&target).unwrap()), Progress::Passed);
        drop(listener);
        assert!(Visit::tcp(&target).map(outcome).is_ok_and(|end| matches!(end, Progress::Failed(_))));
    }

    #[test]
    fn localhost_is_tried_with_both_families() {
        let Ok(listener) = TcpListener::bind("[::1]:0") else { return };
        let target = format!("localhost:{}", listener.local_addr().unwrap().port());
        assert_eq!(outcome(Visit::tcp(&target).unwrap()), Progress::Passed);
    }

    #[test]
    fn names_are_not_looked_up() {
        assert!(places("example.org", 80).is_none());
        assert!(Visit::tcp("example.org:80").is_err());
        assert_eq!(places("::1", 80).unwrap()[0].port(), 80);
    }
}
