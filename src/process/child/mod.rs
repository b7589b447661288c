//! One worker process with one task: the state behind `Process`, `isolate` and tests.

mod course;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use bytes::Bytes as Buffer;
use ipc_channel::IpcError;
use ipc_channel::ipc::IpcSender;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use crate::error::{Error, Kind};
use crate::keeper::client::Client;
use crate::keeper::handle::{Executable, Keeper};
use crate::keeper::identity;
use crate::link::command::Command;
use crate::link::frame::{DownHead, UpKind};
use crate::link::host_end::HostEnd;
use crate::link::request::{Incoming, Launch, Notice, Role, Settings, StartMethod, Step};
use crate::link::ring::Breach;
use crate::sys::clock::monotonic_nanos;
use crate::sys::exit::{ExitStatus, ResourceUsage};
use crate::sys::limits::Limits;
use crate::sys::pidfd;
use crate::task::error::TaskErrorKind;
use crate::task::luggage::Luggage;

use super::job::Job;
use super::stdio::{Capture, Stdio, Stream};

/// What a process is started with.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) name: String,
    pub(crate) daemon: bool,
    pub(crate) environment: Vec<(std::ffi::OsString, Option<std::ffi::OsString>)>,
    pub(crate) clear_environment: bool,
    pub(crate) working_directory: Option<std::path::PathBuf>,
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: Stdio,
    pub(crate) stderr: Stdio,
    pub(crate) limits: Limits,
    pub(crate) method: StartMethod,
}

/// The running process.
pub(crate) struct Child {
    pub(crate) pid: u32,
    task: String,
    client: Client,
    end: HostEnd,
    epoll: Epoll,
    limits: Limits,
    started: u64,
    pub(crate) stdout: Option<Capture>,
    pub(crate) stderr: Option<Capture>,
    answer: Option<Answer>,
    /// Its value may hold handles of shared objects.
    boards: bool,
    exit: Option<Exit>,
    /// What went down beside the arguments; shared objects among it live until the process has ended.
    _sent: (Vec<Buffer>, Vec<std::sync::Arc<crate::task::shared::Encoded>>),
    process: Option<OwnedFd>,
    /// What ended it first, if the host did.
    verdict: Option<TaskErrorKind>,
    /// It wrote what no worker writes, and what else it writes is not read.
    breached: bool,
}

/// What came up the lane.
pub(crate) struct Answer {
    kind: UpKind,
    line: Vec<u8>,
    parts: Vec<Buffer>,
}

#[derive(Clone, Copy)]
enum Exit {
    Known(ExitStatus, ResourceUsage),
    /// The keeper died with it.
    Lost,
}

/// The largest result of a process; there is one, so it may be large.
const LARGEST_RESULT: u64 = 4 << 30;

/// A process is numbered by its client, which has one.
const ID: u32 = 0;

impl Child {
    /// Starts a worker with one task and the ends of ipc-channels among its arguments, and returns once it
    /// exists. The descriptor is its pidfd.
    pub(crate) fn start(
        options: Options,
        (job, luggage): (Job, Option<Luggage>),
    ) -> Result<(Child, OwnedFd), Error> {
        let keeper = Keeper::of(&Executable::Own)?;
        let system = |what| move |error| Error::system(what, error);
        // All that goes down fits at once: nobody has to feed the lane while the process runs.
        let (mut end, lane) = HostEnd::create(&options.name, job.words(), LARGEST_RESULT)
            .map_err(system("make shared memory for a worker"))?;
        let (stdout_end, stdout) =
            options.stdout.open(Stream::Stdout).map_err(system("open stdout for a worker"))?;
        let (stderr_end, stderr) =
            options.stderr.open(Stream::Stderr).map_err(system("open stderr for a worker"))?;
        let doorbell = end.doorbell().as_fd().try_clone_to_owned().map_err(system("copy a descriptor"))?;
        let mut descriptors = vec![lane, doorbell, stdout_end, stderr_end];
        let has_stdin = options.stdin.is_some();
        descriptors.extend(options.stdin);
        let (environment, working_directory) =
            surroundings(&keeper, &options.environment, options.clear_environment, options.working_directory);
        let launch = Launch {
            id: ID,
            method: if keeper.can_fork() { options.method } else { StartMethod::Exec },
            commands: luggage.is_some(),
            stdin: has_stdin,
            environment,
            working_directory,
            limits: options.limits,
            settings: Settings {
                name: options.name,
                depth: identity::depth() + 1,
                role: Role::Process,
                measured: false,
                largest_result: LARGEST_RESULT,
                daemon: options.daemon,
                parent: identity::as_parent(),
                tree: keeper.tree(),
            },
        };
        for value in &job.shared {
            let head = DownHead::put(value.number, &value.line, value.parts.len());
            end.send(head, &value.line, &value.parts, || value.line.clone()).map_err(fresh_lane)?;
        }
        let line = Buffer::from(job.line);
        end.send(job.head, &line, &job.parts, || line.clone()).map_err(fresh_lane)?;
        end.publish().map_err(fresh_lane)?;
        let mut client = keeper.client().map_err(system("reach the keeper"))?;
        client.spawn(launch, descriptors).map_err(system("reach the keeper"))?;
        let epoll = watch(&client, &end, [&stdout, &stderr]).map_err(system("watch a worker"))?;
        let mut child = Child {
            pid: 0,
            epoll,
            task: job.name,
            client,
            end,
            limits: options.limits,
            started: monotonic_nanos(),
            stdout,
            stderr,
            answer: None,
            boards: job.boards,
            exit: None,
            _sent: (job.parts, job.shared),
            process: None,
            verdict: None,
            breached: false,
        };
        let process = child.wait_for_start(luggage)?;
        let copy = process.try_clone().map_err(system("copy a descriptor"))?;
        child.process = Some(process);
        Ok((child, copy))
    }

    fn wait_for_start(&mut self, mut luggage: Option<Luggage>) -> Result<OwnedFd, Error> {
        loop {
            match self.client.receive().map_err(|error| Error::system("hear from the keeper", error))? {
                Incoming::Message(Notice::Started { pid, commands, .. }, descriptors) => {
                    self.pid = pid;
                    let mut descriptors = descriptors.into_iter();
                    if let Some(name) = commands {
                        let _listener = descriptors.next();
                        self.send_luggage(name, luggage.take())?;
                    }
                    let none = || Error::system("watch a process", Errno::EMFILE.into());
                    return descriptors.next().ok_or_else(none);
                }
                Incoming::Short(Notice::Started { .. }) => {
                    return Err(Error::system(Step::Descriptors.text(), Errno::EMFILE.into()));
                }
                Incoming::Message(Notice::Failed { step, errno, .. }, _) => {
                    return Err(Error::system(step.text(), io::Error::from_raw_os_error(errno)));
                }
                Incoming::Message(Notice::Exited { status, .. }, _) => {
                    return Err(Kind::Broken(format!("the worker {status} while it started")).into());
                }
                Incoming::Message(Notice::Tasks { .. } | Notice::Strays { .. }, _) | Incoming::Short(_) => {}
                Incoming::End => return Err(Kind::Broken("the keeper died".to_owned()).into()),
                Incoming::Empty => {
                    let mut fds = [PollFd::new(self.client.socket(), PollFlags::POLLIN)];
                    let _ = poll(&mut fds, pidfd::poll_timeout(None));
                }
            }
        }
    }

    /// Sends the ends among the arguments; there is nothing else to say. Nobody has to read meanwhile, and what is
    /// not read is closed with the worker's end.
    fn send_luggage(&mut self, name: String, luggage: Option<Luggage>) -> Result<(), Error> {
        let failed = |error| Error::system("send an end of an ipc-channel", error);
        // A connect to nowhere leaks a descriptor, and a worker can remove what it can reach.
        let sender = match Path::new(&name).exists() {
            true => IpcSender::<Command>::connect(name),
            false => Err(Errno::ENOENT.into()),
        };
        let told = self.client.connected(ID);
        let sender = sender.map_err(failed)?;
        let commands = luggage.into_iter().map(Command::Luggage).chain([Command::Retire]);
        for command in std::iter::once(Command::Attach).chain(commands) {
            match sender.send(command) {
                Err(IpcError::Io(error)) if !is_gone(&error) => return Err(failed(error)),
                // Its end is told by the keeper.
                Err(_) => break,
                Ok(()) => {}
            }
        }
        told.map_err(|error| Error::system("reach the keeper", error))
    }
}

/// Nobody else has touched a lane whose worker does not exist yet.
fn fresh_lane(breach: Breach) -> Error {
    Error::system("write to shared memory", io::Error::other(breach))
}

/// Whether a message failed because nobody is there to receive it.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// All that can bring news of a process.
fn watch(client: &Client, end: &HostEnd, captures: [&Option<Capture>; 2]) -> io::Result<Epoll> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let level = || EpollEvent::new(EpollFlags::EPOLLIN, 0);
    epoll.add(client.socket(), level())?;
    epoll.add(client.keeper().process(), level())?;
    epoll.add(end.doorbell(), EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0))?;
    // A pipe that has ended is closed, and so leaves the set.
    captures.into_iter().flatten().filter_map(Capture::pipe).try_for_each(|pipe| epoll.add(pipe, level()))?;
    Ok(epoll)
}

/// Environment and folder of a worker: what this process has, changed as the options say.
pub(crate) fn surroundings(
    keeper: &Keeper,
    changes: &[(std::ffi::OsString, Option<std::ffi::OsString>)],
    clear: bool,
    folder: Option<std::path::PathBuf>,
) -> (Option<Vec<(std::ffi::OsString, std::ffi::OsString)>>, Option<std::path::PathBuf>) {
    let (environment, here) = keeper.changes();
    let working_directory = folder.map(|folder| std::path::absolute(&folder).unwrap_or(folder)).or(here);
    if changes.is_empty() && !clear {
        return (environment, working_directory);
    }
    let mut variables: Vec<_> = if clear { Vec::new() } else { std::env::vars_os().collect() };
    for (name, value) in changes {
        variables.retain(|(other, _)| other != name);
        variables.extend(value.clone().map(|value| (name.clone(), value)));
    }
    (Some(variables), working_directory)
}
