//! From a fresh process to a worker: what it inherits, and the executed one's first steps.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::link::request::{self, Incoming, Launch};
use crate::link::token::{self, Token, WORKER_DOORBELL, WORKER_LANE, WORKER_SETUP};
use crate::sys::{child, environment, fd, signal, socket, spawn};

use super::folder::{Server, make_server};
use super::server::CommandServer;

/// What a worker gets from its keeper.
pub(crate) struct Inheritance {
    pub(crate) launch: Launch,
    /// Lane, doorbell, stdout, stderr, and stdin if the launch says so.
    pub(crate) descriptors: Vec<OwnedFd>,
    /// The command channel and its address, if the launch asks for one.
    pub(crate) server: Option<(CommandServer, String)>,
}

/// What an executed worker is told over its setup socket.
#[derive(Serialize, Deserialize)]
struct Setup {
    launch: Launch,
    folder: std::path::PathBuf,
    keeper: i32,
}

impl Inheritance {
    /// Makes the process what the launch says: streams, signals, folder, environment, limits.
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        let streams = self.descriptors.split_off(2);
        let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
        let stdin = streams.get(2).map_or(null.as_fd(), AsFd::as_fd);
        let (Some(stdout), Some(stderr)) = (streams.first(), streams.get(1)) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a worker came without its streams"));
        };
        child::replace_standard_streams([stdin, stdout.as_fd(), stderr.as_fd()])?;
        drop(streams);
        signal::reset()?;
        if let Some(folder) = &self.launch.working_directory {
            child::enter(folder)?;
        }
        if let Some(variables) = &self.launch.environment {
            environment::replace(variables);
        }
        self.launch.limits.apply()?;
        child::name_process(&self.launch.settings.name);
        Ok(())
    }

    /// Lane and doorbell.
    pub(crate) fn take_lane(&mut self) -> Option<(OwnedFd, OwnedFd)> {
        let doorbell = self.descriptors.pop()?;
        Some((self.descriptors.pop()?, doorbell))
    }
}

/// Keeper: executes this executable anew as a worker. Returns the socket on which the worker tells the name
/// of its command channel.
pub(super) fn execute(launch: &Launch, descriptors: &[OwnedFd], folder: &Path) -> io::Result<(Pid, OwnedFd)> {
    let (ours, theirs) = socket::pair()?;
    let keeper = nix::unistd::getpid().as_raw();
    let setup = Setup { launch: launch.clone(), folder: folder.to_owned(), keeper };
    request::send(ours.as_fd(), &setup, &[])?;
    let [lane, doorbell, stdout, stderr, stdin @ ..] = descriptors else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a launch came without its descriptors"));
    };
    let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    let stdin = stdin.first().map_or(null.as_fd(), AsFd::as_fd);
    let mut variables = launch.environment.clone().unwrap_or_else(|| std::env::vars_os().collect());
    variables.push((token::VARIABLE.into(), Token::Worker.to_value().into()));
    let descriptors = [stdin, stdout.as_fd(), stderr.as_fd(), lane.as_fd(), doorbell.as_fd(), theirs.as_fd()];
    let name = std::ffi::CString::new(launch.settings.name.replace('\0', ""))?;
    let command = spawn::Command {
        executable: c"/proc/self/exe",
        name: &name,
        environment: &variables,
        descriptors: &descriptors,
    };
    Ok((command.spawn()?, ours))
}

/// Executed worker: takes up what `execute` left for it, and tells the keeper that it is there.
pub(crate) fn take_up() -> io::Result<Inheritance> {
    child::lead_own_group();
    let lane = fd::adopt(WORKER_LANE)?;
    let doorbell = fd::adopt(WORKER_DOORBELL)?;
    let socket = fd::adopt(WORKER_SETUP)?;
    // The keeper sent it before it started this process.
    let Incoming::Message(setup, _) = request::receive::<Setup>(socket.as_fd())? else {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the keeper left no launch"));
    };
    child::die_with_parent(Pid::from_raw(setup.keeper));
    let server = match setup.launch.commands {
        true => Some(make_server(&setup.folder)?),
        false => None,
    };
    let listener = server.as_ref().map(Server::listener).transpose()?;
    let listener: Vec<BorrowedFd<'_>> = listener.iter().map(AsFd::as_fd).collect();
    request::send(socket.as_fd(), &server.as_ref().map(|server| server.name.clone()), &listener)?;
    let server = server.map(|server| (server.server, server.name));
    signal::reset()?;
    let Launch { working_directory, limits, settings, .. } = &setup.launch;
    if let Some(folder) = working_directory {
        child::enter(folder)?;
    }
    limits.apply()?;
    child::name_process(&settings.name);
    Ok(Inheritance { launch: setup.launch, descriptors: vec![lane, doorbell], server })
}
