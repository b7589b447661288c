//! How a keeper is started and greeted.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::unistd::Pid;

use crate::error::{Error, KeeperFailure, Kind};
use crate::keeper::identity;
use crate::link::request::{self, Greeting, Hello, Incoming, Notice};
use crate::link::token::{self, Token};
use crate::sys::socket::{self, MAX_PACKET, Received};
use crate::sys::{fd, pidfd, spawn};
use crate::task::luggage::prepare_to_send;
use crate::task::registry::TaskDescription;

use super::{Executable, Interest, Keeper, hash_of_environment, read_available};

/// How long an executable may take to greet. One that is not built with this library never does.
const GREETING: Duration = Duration::from_secs(10);

/// So many packets hold a list of tasks, 64 MiB in all.
const MOST_PIECES: u32 = 1024;

/// How often and how far apart to try again, when a keeper could not be started or was killed while starting.
const RETRIES: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(200)];

/// Starts a keeper, and tries again if what failed may pass.
pub(super) fn start(executable: &Executable, interest: Option<Interest<'_>>) -> Result<Keeper, Error> {
    let mut delays = RETRIES.into_iter();
    loop {
        let error = match Starting::begin(executable).and_then(|starting| starting.greet(interest)) {
            Ok(keeper) => return Ok(keeper),
            Err(error) => error,
        };
        let Some(delay) = delays.next().filter(|_| error.may_pass()) else {
            let path = match executable {
                Executable::Own => std::env::current_exe().unwrap_or_else(|_| executable.path().to_owned()),
                Executable::Path(path) => path.clone(),
            };
            return Err(Kind::Keeper { path, failure: error }.into());
        };
        tracing::debug!(%error, "keeper did not start, trying again");
        // On the caller's own thread, which has nothing to do without a keeper.
        std::thread::park_timeout(delay);
    }
}

/// A keeper that has not greeted yet.
struct Starting {
    executable: Executable,
    control: OwnedFd,
    pid: Pid,
    process: OwnedFd,
    stderr: File,
    environment: u64,
    working_directory: Option<PathBuf>,
    standard_streams: Vec<OwnedFd>,
}

impl Starting {
    fn begin(executable: &Executable) -> Result<Starting, KeeperFailure> {
        let standard_streams = fd::take_closed_standard_streams().map_err(KeeperFailure::System)?;
        prepare_to_send().map_err(KeeperFailure::System)?;
        let (control, theirs) = socket::pair().map_err(KeeperFailure::System)?;
        let own = pidfd::open(nix::unistd::getpid()).map_err(KeeperFailure::System)?;
        let (stderr, stderr_end) = fd::pipe().map_err(KeeperFailure::System)?;
        let null = File::options().read(true).write(true).open("/dev/null").map_err(KeeperFailure::System)?;
        let environment = hash_of_environment();
        let working_directory = std::env::current_dir().ok();
        let pid = execute(
            executable,
            [null.as_fd(), null.as_fd(), stderr_end.as_fd(), theirs.as_fd(), own.as_fd()],
        )
        .map_err(KeeperFailure::Execute)?;
        let process = pidfd::open(pid).map_err(|error| {
            // Its end of the socket closes with `theirs`, so it ends by itself; only its status is left.
            spawn::reap_later(pid);
            KeeperFailure::System(error)
        })?;
        let executable = executable.clone();
        Ok(Starting {
            executable,
            control,
            pid,
            process,
            stderr,
            environment,
            working_directory,
            standard_streams,
        })
    }

    fn greet(mut self, interest: Option<Interest<'_>>) -> Result<Keeper, KeeperFailure> {
        match self.listen(interest) {
            Ok((hello, tasks)) => Ok(Keeper {
                executable: self.executable,
                control: Some(self.control),
                pid: self.pid,
                process: self.process,
                hello: *hello,
                tasks,
                stderr: Mutex::new(self.stderr),
                environment: self.environment,
                working_directory: self.working_directory,
                _standard_streams: self.standard_streams,
                buried: Once::new(),
            }),
            Err(failure) => {
                let _ = pidfd::send_signal(self.process.as_fd(), crate::Signal::SIGKILL);
                let _ = pidfd::wait_for_end(self.process.as_fd(), None);
                let status = spawn::reap_if_ours(self.pid);
                let stderr = read_available(&mut self.stderr);
                Err(failure.with_end(status, stderr))
            }
        }
    }

    fn listen(
        &self,
        interest: Option<Interest<'_>>,
    ) -> Result<(Box<Hello>, Vec<TaskDescription>), KeeperFailure> {
        let deadline = Instant::now() + GREETING;
        let mut buffer = vec![0; MAX_PACKET];
        let hello = loop {
            match socket::receive(self.control.as_fd(), &mut buffer).map_err(KeeperFailure::System)? {
                Received::Packet(length, _) | Received::Short(length) => {
                    match Hello::decode(&buffer[..length]) {
                        Greeting::Hello(hello) => break hello,
                        Greeting::Foreign(protocol) => return Err(KeeperFailure::OtherVersion(protocol)),
                        Greeting::Nonsense => return Err(KeeperFailure::NoGreeting),
                    }
                }
                Received::End => return Err(KeeperFailure::ended()),
                Received::Empty => self.wait(deadline, interest)?,
            }
        };
        let tasks = receive_tasks(self.control.as_fd(), || self.wait(deadline, interest))?;
        Ok((hello, tasks))
    }

    /// Waits for a packet, the process's end, or that of the interest in it.
    fn wait(&self, deadline: Instant, interest: Option<Interest<'_>>) -> Result<(), KeeperFailure> {
        let word = interest.map(|interest| interest.word);
        let fds = [self.control.as_fd(), self.process.as_fd()].into_iter().chain(word);
        let mut fds: Vec<PollFd<'_>> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let left = deadline.saturating_duration_since(Instant::now());
        match poll(&mut fds, pidfd::poll_timeout(Some(left))) {
            Ok(0) => Err(KeeperFailure::NoGreeting),
            Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(KeeperFailure::System(errno.into())),
            Ok(_) => {
                let has_packet = fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLIN));
                let ended = fds[1].revents().is_some_and(|events| !events.is_empty());
                let told = fds.get(2).and_then(PollFd::revents).is_some_and(|events| !events.is_empty());
                if told && interest.is_some_and(|interest| !(interest.lasts)()) {
                    return Err(KeeperFailure::Unwanted);
                }
                // Some other process may hold a copy of the socket, so its end is not waited for.
                if ended && !has_packet { Err(KeeperFailure::ended()) } else { Ok(()) }
            }
        }
    }
}

/// Receives the list of tasks, piece by piece. What answers with a list that does not end is no keeper.
fn receive_tasks(
    control: BorrowedFd<'_>,
    mut wait: impl FnMut() -> Result<(), KeeperFailure>,
) -> Result<Vec<TaskDescription>, KeeperFailure> {
    let (mut tasks, mut pieces) = (Vec::new(), 0);
    while pieces < MOST_PIECES {
        match request::receive::<Notice>(control).map_err(KeeperFailure::System)? {
            Incoming::Message(Notice::Tasks { tasks: more, last }, _) => {
                pieces += 1;
                tasks.extend(more);
                if last {
                    return Ok(tasks);
                }
            }
            Incoming::Message(..) | Incoming::Short(_) => return Err(KeeperFailure::NoGreeting),
            Incoming::End => return Err(KeeperFailure::ended()),
            Incoming::Empty => wait()?,
        }
    }
    Err(KeeperFailure::NoGreeting)
}

fn execute(executable: &Executable, descriptors: [BorrowedFd<'_>; 5]) -> io::Result<Pid> {
    let path = CString::new(executable.path().as_os_str().as_bytes())?;
    let name = match executable {
        Executable::Own => std::env::args_os().next().unwrap_or_else(|| "watertight".into()),
        Executable::Path(path) => path.clone().into_os_string(),
    };
    let mut environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let token = Token::Keeper { depth: identity::depth() + 1 };
    environment.push((token::VARIABLE.into(), token.to_value().into()));
    let name = CString::new(name.as_bytes())?;
    let command = spawn::Command {
        executable: &path,
        name: &name,
        environment: &environment,
        descriptors: &descriptors,
    };
    command.spawn()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    use nix::sys::eventfd::{EfdFlags, EventFd};

    #[test]
    fn a_list_of_tasks_that_does_not_end_is_no_greeting() {
        let (ours, theirs) = socket::pair().unwrap();
        let flood = std::thread::spawn(move || {
            let piece = || Notice::Tasks { tasks: Vec::new(), last: false };
            // A full socket is tried again until its other end is gone.
            loop {
                match request::send(theirs.as_fd(), &piece(), &[]) {
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
                    _ => {}
                }
            }
        });
        let received = receive_tasks(ours.as_fd(), || Ok(()));
        assert!(matches!(received, Err(KeeperFailure::NoGreeting)));
        drop(ours);
        flood.join().unwrap();
    }

    /// An executable that starts and never says a word.
    fn mute(folder: &Path) -> Executable {
        let path = folder.join("mute");
        std::fs::write(&path, "#!/bin/sh\nexec sleep 1000\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Executable::Path(path)
    }

    #[test]
    fn who_loses_interest_waits_no_longer_for_a_keeper_that_says_nothing() {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let mute = mute(folder.path());
        let word = EventFd::from_value_and_flags(1, EfdFlags::EFD_CLOEXEC).unwrap();
        let asked = Cell::new(0);
        let lasts = || asked.replace(asked.get() + 1) < 3;
        let interest = Interest { word: word.as_fd(), lasts: &lasts };
        let error = start(&mute, Some(interest)).err().unwrap();
        assert!(matches!(error.kind(), Kind::Keeper { failure: KeeperFailure::Unwanted, .. }), "{error}");
        assert_eq!(asked.get(), 4, "a word that changes nothing ends nothing");
    }

    #[test]
    fn a_keeper_that_says_nothing_keeps_nobody_from_another_one() {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let mute = mute(folder.path());
        let (asked, over) = (AtomicBool::new(false), AtomicBool::new(false));
        let word = EventFd::from_value_and_flags(1, EfdFlags::EFD_CLOEXEC).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let lasts = || {
                    asked.store(true, Ordering::Relaxed);
                    std::thread::yield_now();
                    !over.load(Ordering::Relaxed)
                };
                let interest = Interest { word: word.as_fd(), lasts: &lasts };
                Keeper::while_wanted(&mute, Some(interest)).err().unwrap()
            });
            while !asked.load(Ordering::Relaxed) && !waiting.is_finished() {
                std::thread::yield_now();
            }
            assert!(Keeper::of(&Executable::Path("/bin/false".into())).is_err());
            assert!(!waiting.is_finished());
            over.store(true, Ordering::Relaxed);
            let error = waiting.join().unwrap();
            assert!(matches!(error.kind(), Kind::Keeper { failure: KeeperFailure::Unwanted, .. }), "{error}");
        });
    }
}
