//! What host and keeper say to each other: one enum each way, one packet a message.
//!
//! The keeper runs no user code, so both sides trust each other's packets; they are decoded with the same
//! care all the same.

use std::ffi::OsString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::shm::name::SegmentId;
use crate::sys::exec::Credentials;
use crate::sys::exit::{ExitStatus, ResourceUsage};
use crate::sys::image::BuildId;
use crate::sys::limits::Limits;
use crate::sys::signal::Signal;
use crate::sys::socket::{self, MAX_PACKET, Received};
use crate::task::codec;
use crate::task::registry::TaskDescription;

/// Changes whenever anything that host, keeper and worker say to each other changes.
pub(crate) const PROTOCOL: u32 = 2;

/// From host to keeper.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// On the first socket: the descriptor is a client's. All that a client started ends with its socket.
    Open,
    /// Starts a worker. Descriptors: lane, doorbell, stdout, stderr, and stdin if `Launch` says so.
    Spawn(Box<Launch>),
    /// Starts a program that is no worker, with a descriptor for each of its `numbers`.
    Run(Box<RunProgram>),
    /// Sends a signal to a worker or its group.
    Signal { id: u32, signal: Signal, group: bool },
    /// The host has connected to the worker's command channel, or never will.
    Connected { id: u32 },
}

/// What a worker is started with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Launch {
    /// The client's number for it.
    pub(crate) id: u32,
    pub(crate) method: StartMethod,
    /// Whether it gets a command channel.
    pub(crate) commands: bool,
    /// Whether the fifth descriptor is its stdin; /dev/null otherwise.
    pub(crate) stdin: bool,
    /// The whole environment, if it is not the keeper's.
    pub(crate) environment: Option<Vec<(OsString, OsString)>>,
    pub(crate) working_directory: Option<PathBuf>,
    pub(crate) limits: Limits,
    pub(crate) settings: Settings,
}

/// What a program that is no worker is started with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RunProgram {
    /// The client's number for it.
    pub(crate) id: u32,
    /// The program and its arguments.
    pub(crate) command: Vec<OsString>,
    /// What the descriptors are called in the program.
    pub(crate) numbers: Vec<i32>,
    /// Variables beside the keeper's own, or in their place.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Whether the keeper's own are left out.
    pub(crate) clear_environment: bool,
    /// The value of `WATERTIGHT_MARK`, by which descendants that leave the group are found.
    pub(crate) mark: String,
    pub(crate) working_directory: Option<PathBuf>,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) limits: ProgramLimits,
}

/// What a program may use; a field that is `None` keeps what the keeper has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProgramLimits {
    /// Bytes of private writable memory (`RLIMIT_DATA`).
    pub(crate) memory: Option<u64>,
    /// Seconds of processor time over the program's life (`RLIMIT_CPU`).
    pub(crate) cpu_seconds: Option<u64>,
    /// Open descriptors (`RLIMIT_NOFILE`), soft and hard.
    pub(crate) open_files: Option<(u64, u64)>,
    /// Largest core dump in bytes (`RLIMIT_CORE`).
    pub(crate) core: Option<u64>,
}

/// The variable by which a program's descendants are known.
pub(crate) const MARK: &str = "WATERTIGHT_MARK";

/// How a worker's process comes to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StartMethod {
    /// The keeper forks: a tenth of a millisecond, and the workers share its untouched memory. The keeper, not this
    /// program: unlike Python's `fork`, nothing that this program has set since its start is there.
    #[default]
    Fork,
    /// The keeper executes the file anew: slower, with an address space of its own. Chosen by itself where
    /// forking is not safe, because a constructor of the executable started threads.
    Exec,
}

/// What the worker's runtime has to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) name: String,
    /// How many hosts are above it, itself included.
    pub(crate) depth: u32,
    pub(crate) role: Role,
    /// Whether each result carries times and memory.
    pub(crate) measured: bool,
    pub(crate) largest_result: u64,
    pub(crate) daemon: bool,
    /// The host that it works for.
    pub(crate) parent: ParentIdentity,
    pub(crate) tree: Tree,
}

/// What all processes of one program share.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Tree {
    pub(crate) id: SegmentId,
    /// A folder that is locked as long as the first keeper of the tree lives.
    pub(crate) guard: PathBuf,
}

/// Who a worker's host is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ParentIdentity {
    pub(crate) pid: u32,
    pub(crate) name: String,
}

/// What a worker is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    /// Runs task after task, and takes commands.
    Pool,
    /// Runs one function and exits.
    Process,
}

/// From keeper to host.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Notice {
    /// A piece of the list of tasks, before anything else.
    Tasks { tasks: Vec<TaskDescription>, last: bool },
    /// A worker's process exists. The name is of its command channel, whose socket is the first descriptor then;
    /// the last one is the process's pidfd, if there could be one.
    Started { id: u32, pid: u32, commands: Option<String> },
    /// A worker's process could not be made.
    Failed { id: u32, step: Step, errno: i32 },
    /// A worker's process has ended and is reaped, and its group is killed.
    Exited { id: u32, status: ExitStatus, usage: ResourceUsage },
    /// Processes that an ended program left outside its group: how many bore its mark and were killed, and who
    /// bears no mark or cannot be killed.
    Strays { id: u32, killed: u32, others: Vec<u32> },
}

/// What a worker's start can fail at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    WorkingDirectory,
    CommandChannel,
    Process,
    Descriptors,
    Limits,
    Credentials,
    Execute,
}

impl Step {
    /// What is told of somebody who came, or should have come, and whose descriptors found no number.
    pub(crate) fn too_few_descriptors() -> String {
        Step::Descriptors.failed(Errno::EMFILE as i32)
    }

    /// The step, and why it failed.
    pub(crate) fn failed(self, errno: i32) -> String {
        format!("{}: {}", self.text(), io::Error::from_raw_os_error(errno))
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Step::WorkingDirectory => "cannot enter the working directory",
            Step::CommandChannel => "cannot make a socket for commands",
            Step::Process => "cannot make a process",
            Step::Descriptors => "cannot hand over descriptors",
            Step::Limits => "cannot set the limits",
            Step::Credentials => "cannot change the user",
            Step::Execute => "cannot execute it",
        }
    }
}

/// The keeper's first packet. Its first twelve bytes (`HELLO` and the protocol's number) never change, so
/// that any two versions can tell that they differ.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) version: String,
    pub(crate) build_id: BuildId,
    /// Whether forking is safe.
    pub(crate) single_threaded: bool,
    /// Where the sockets of the command channels lie; the host removes it should the keeper be killed.
    pub(crate) folder: Result<PathBuf, String>,
}

pub(crate) const HELLO: &[u8; 8] = b"WTKEEPER";

/// What a first packet was.
pub(crate) enum Greeting {
    Hello(Box<Hello>),
    /// Another protocol's.
    Foreign(u32),
    /// No keeper's at all.
    Nonsense,
}

impl Hello {
    pub(crate) fn encode(&self) -> io::Result<Vec<u8>> {
        let mut bytes = HELLO.to_vec();
        bytes.extend_from_slice(&PROTOCOL.to_le_bytes());
        bytes.extend_from_slice(&encode(self)?);
        Ok(bytes)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Greeting {
        let Some((protocol, body)) = bytes.strip_prefix(HELLO).and_then(|rest| rest.split_first_chunk::<4>())
        else {
            return Greeting::Nonsense;
        };
        match (u32::from_le_bytes(*protocol), codec::decode::<Hello>(body, Vec::new())) {
            (PROTOCOL, Ok(hello)) => Greeting::Hello(Box::new(hello)),
            (PROTOCOL, Err(_)) => Greeting::Nonsense,
            (other, _) => Greeting::Foreign(other),
        }
    }
}

/// Sends a message; `WouldBlock` if the other side does not read.
pub(crate) fn send<T: Serialize + 'static>(
    socket: BorrowedFd<'_>,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    socket::send(socket, &encode(message)?, descriptors)
}

/// Encodes a message.
pub(crate) fn encode<T: Serialize + 'static>(message: &T) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    codec::encode(message, &mut bytes, &mut Vec::new(), MAX_PACKET as u64).map_err(|error| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("message to the keeper: {error}"))
    })?;
    Ok(bytes)
}

/// A message, or what came instead.
pub(crate) enum Incoming<T> {
    Message(T, Vec<OwnedFd>),
    /// A message of whose descriptors some found no number here, so that it came without any.
    Short(T),
    /// The other side is gone.
    End,
    /// Nothing is there now.
    Empty,
}

/// Receives a message without waiting.
pub(crate) fn receive<T: for<'de> Deserialize<'de> + 'static>(
    socket: BorrowedFd<'_>,
) -> io::Result<Incoming<T>> {
    // Most messages are short, and a buffer for the largest would be many pages to touch after each fork.
    let Some(length) = socket::next_length(socket)? else { return Ok(Incoming::Empty) };
    let mut buffer = vec![0; length.min(MAX_PACKET)];
    let decode = |bytes| {
        codec::decode(bytes, Vec::new())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
    };
    match socket::receive(socket, &mut buffer)? {
        Received::Packet(length, descriptors) => {
            Ok(Incoming::Message(decode(&buffer[..length])?, descriptors))
        }
        Received::Short(length) => Ok(Incoming::Short(decode(&buffer[..length])?)),
        Received::End => Ok(Incoming::End),
        Received::Empty => Ok(Incoming::Empty),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keeper_of_another_protocol_is_told_from_no_keeper() {
        let hello =
            Hello { version: "1".into(), build_id: 7, single_threaded: true, folder: Err("none".into()) };
        let mut bytes = hello.encode().unwrap();
        assert!(matches!(Hello::decode(&bytes), Greeting::Hello(hello) if hello.build_id == 7));
        bytes[8] = 99;
        assert!(matches!(Hello::decode(&bytes), Greeting::Foreign(99)));
        assert!(matches!(Hello::decode(b"GET / HTTP/1.1"), Greeting::Nonsense));
    }
}
