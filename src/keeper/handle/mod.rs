//! The host's handle on a keeper: finds it, or has it started, and ends it.

mod starting;

use std::ffi::OsString;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, Weak};
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::error::{Error, KeeperFailure, Kind};
use crate::link::request::{self, Hello, Request, Tree};
use crate::link::token::{MAX_DEPTH, Token};
use crate::roster;
use crate::sys::image::Image;
use crate::sys::socket;
use crate::sys::{fd, pidfd, spawn};
use crate::task::registry::TaskDescription;

use super::client::Client;
use super::{folder, identity};

/// How long a keeper may take to end before it is killed.
const FAREWELL: Duration = Duration::from_secs(5);

/// What workers run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Executable {
    /// The same file as this process, even if it has been replaced or deleted meanwhile.
    Own,
    Path(PathBuf),
}

impl Executable {
    fn path(&self) -> &Path {
        match self {
            Executable::Own => Path::new("/proc/self/exe"),
            Executable::Path(path) => path,
        }
    }
}

/// Whoever starts a keeper and may lose the interest in it.
#[derive(Clone, Copy)]
pub(crate) struct Interest<'a> {
    /// Readable when that may have happened.
    pub(crate) word: BorrowedFd<'a>,
    /// Whether it has not, as of the last word, which is taken note of.
    pub(crate) lasts: &'a dyn Fn() -> bool,
}

/// A running keeper. Ends when its last client and this are dropped.
pub(crate) struct Keeper {
    executable: Executable,
    control: Option<OwnedFd>,
    pid: Pid,
    process: OwnedFd,
    hello: Hello,
    tasks: Vec<TaskDescription>,
    stderr: Mutex<File>,
    /// What its workers inherit if they are not told otherwise.
    environment: u64,
    working_directory: Option<PathBuf>,
    /// Held where this process has closed its own.
    _standard_streams: Vec<OwnedFd>,
    buried: Once,
}

/// One keeper per executable per host.
static KEEPERS: Mutex<Keepers> = Mutex::new(Keepers { known: Vec::new(), starts: Vec::new() });

struct Keepers {
    known: Vec<Weak<Keeper>>,
    /// Held by who starts a keeper of this executable.
    starts: Vec<(Executable, Arc<Mutex<()>>)>,
}

impl Keepers {
    fn lock() -> MutexGuard<'static, Keepers> {
        KEEPERS.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keeper of an executable that runs.
    fn find(executable: &Executable) -> Option<Arc<Keeper>> {
        let mut keepers = Keepers::lock();
        keepers.known.retain(|keeper| keeper.strong_count() > 0);
        let known: Vec<Arc<Keeper>> = keepers.known.iter().filter_map(Weak::upgrade).collect();
        drop(keepers);
        // Whoever still has a handle on a dead one keeps no zombie by it.
        known.iter().for_each(|keeper| keeper.bury());
        known.into_iter().find(|keeper| keeper.executable == *executable && keeper.is_alive())
    }

    /// What those who would start the same executable wait for.
    fn start_of(executable: &Executable) -> Arc<Mutex<()>> {
        let starts = &mut Keepers::lock().starts;
        starts.retain(|(_, start)| Arc::strong_count(start) > 1);
        if let Some((_, start)) = starts.iter().find(|(other, _)| other == executable) {
            return Arc::clone(start);
        }
        let start = Arc::default();
        starts.push((executable.clone(), Arc::clone(&start)));
        start
    }
}

impl Keeper {
    /// The keeper of an executable, started if none runs.
    pub(crate) fn of(executable: &Executable) -> Result<Arc<Keeper>, Error> {
        Keeper::while_wanted(executable, None)
    }

    /// As `of`, and given up if nobody wants it any more before it has greeted.
    pub(crate) fn while_wanted(
        executable: &Executable,
        interest: Option<Interest<'_>>,
    ) -> Result<Arc<Keeper>, Error> {
        check_this_process(executable)?;
        if let Some(keeper) = Keepers::find(executable) {
            return Ok(keeper);
        }
        // One may be silent for long, and nobody else waits for that.
        let start = Keepers::start_of(executable);
        let _turn = start.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keeper) = Keepers::find(executable) {
            return Ok(keeper);
        }
        let keeper = Arc::new(starting::start(executable, interest)?);
        Keepers::lock().known.push(Arc::downgrade(&keeper));
        Ok(keeper)
    }

    /// Opens a client: what it starts ends with it.
    pub(crate) fn client(self: &Arc<Keeper>) -> io::Result<Client> {
        let standard_streams = fd::take_closed_standard_streams()?;
        let (ours, theirs) = socket::pair()?;
        let control = self.control.as_ref().ok_or_else(|| io::Error::from(Errno::EPIPE))?;
        request::send(control.as_fd(), &Request::Open, &[theirs.as_fd()])?;
        Ok(Client::new(Arc::clone(self), ours, standard_streams))
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&self) -> bool {
        !pidfd::wait_for_end(self.process.as_fd(), Some(Duration::ZERO)).unwrap_or(true)
    }

    /// Readable when it has ended.
    pub(crate) fn process(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw() as u32
    }

    /// The tasks that its executable offers by name.
    pub(crate) fn tasks(&self) -> &[TaskDescription] {
        &self.tasks
    }

    /// Whether its executable is the very build that this process runs.
    pub(crate) fn is_same_build(&self) -> bool {
        self.hello.build_id == Image::own().build_id
    }

    /// An error unless functions have the same numbers here as at `other`, an earlier keeper of this executable.
    pub(crate) fn check_same_as(&self, other: &Keeper) -> Result<(), Error> {
        if self.hello.build_id == other.hello.build_id && self.tasks == other.tasks {
            return Ok(());
        }
        let path = self.executable.path().to_owned();
        Err(Kind::Keeper { path, failure: KeeperFailure::Replaced }.into())
    }

    /// Whether it forks its workers, or has to execute them.
    pub(crate) fn can_fork(&self) -> bool {
        self.hello.single_threaded
    }

    /// Environment and folder that a worker has to be told, because this process's have changed since the
    /// keeper started.
    pub(crate) fn changes(&self) -> (Option<Vec<(OsString, OsString)>>, Option<PathBuf>) {
        let environment = (hash_of_environment() != self.environment).then(|| std::env::vars_os().collect());
        let here = std::env::current_dir().ok();
        (environment, here.filter(|here| Some(here) != self.working_directory.as_ref()))
    }

    /// The tree that its workers belong to.
    pub(crate) fn tree(&self) -> Tree {
        let guard = identity::settings().map(|settings| settings.tree.guard.clone());
        let own = || self.hello.folder.clone().unwrap_or_default();
        Tree { id: roster::tree(), guard: guard.unwrap_or_else(own) }
    }

    /// Reaps it and removes its folder, if it has ended.
    pub(crate) fn bury(&self) {
        if self.is_alive() {
            return;
        }
        let mut told = None;
        self.buried.call_once(|| {
            let status = spawn::reap_if_ours(self.pid);
            if let Ok(path) = &self.hello.folder {
                folder::remove_if_dead(path);
            }
            told = Some((status, self.stderr()));
        });
        // Whoever listens may come back here.
        if let Some((status, stderr)) = told {
            tracing::debug!(pid = self.pid.as_raw(), ?status, stderr, "keeper ended");
        }
    }

    /// What the keeper has written to stderr: the dynamic loader's complaints, or a constructor's.
    fn stderr(&self) -> String {
        read_available(&mut self.stderr.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Its end of the socket tells the keeper that nothing more will come.
        self.control = None;
        if !pidfd::wait_for_end(self.process.as_fd(), Some(FAREWELL)).unwrap_or(true) {
            let _ = pidfd::send_signal(self.process.as_fd(), crate::Signal::SIGKILL);
            let _ = pidfd::wait_for_end(self.process.as_fd(), None);
        }
        self.bury();
    }
}

/// Whether this process may have workers at all.
fn check_this_process(executable: &Executable) -> Result<(), Error> {
    if Token::is_pending() {
        return Err(Kind::WorkerWithoutInit.into());
    }
    if *executable == Executable::Own && !identity::can_be_a_worker() {
        return Err(Kind::NotInitialized.into());
    }
    if identity::depth() >= MAX_DEPTH {
        return Err(Kind::TooDeep(MAX_DEPTH).into());
    }
    Ok(())
}

fn hash_of_environment() -> u64 {
    let mut hasher = DefaultHasher::new();
    std::env::vars_os().for_each(|variable| variable.hash(&mut hasher));
    hasher.finish()
}

/// What a pipe that does not block holds now.
fn read_available(pipe: &mut File) -> String {
    let mut bytes = Vec::new();
    // It ends in `WouldBlock` or at the end; what came before stands in the buffer either way.
    let _ = pipe.take(64 * 1024).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}
