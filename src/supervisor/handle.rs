//! The supervisor as a value of the program that embeds it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::error::{Error, Kind, Result};
use crate::keeper::handle::Executable;

use super::check::check;
use super::control::protocol::{Answer, Request, Until};
use super::control::{Listener, Place};
use super::driver::{Ask, Driver, Reload, Setup};
use super::machine::{Machine, Outcome};
use super::specification::Specification;
use super::status::{SupervisorEvent, UnitStatus};

/// Keeps a tree of programs alive by policy; described in `docs/supervisor.md`. Its children are commands, functions
/// of this executable ([`Program::process`](super::specification::Program::process)), and pools.
///
/// Dropping it kills everything that it supervises. [`stop`](Supervisor::stop) stops it gently.
///
/// ```
/// use watertight::supervisor::{Supervisor, specification::{Program, Specification}};
///
/// fn main() -> watertight::Result<()> {
///     watertight::init();
///     let programs = vec![Program::new("nap", vec!["sleep".into(), "1000".into()])];
///     let tree = Specification { programs, ..Specification::default() };
///     let supervisor = Supervisor::start(tree)?;
///     supervisor.wait_until_ready(&["nap"])?;
///     assert!(supervisor.status()?[0].pid.is_some());
///     supervisor.stop();
///     supervisor.wait();
///     Ok(())
/// }
/// ```
pub struct Supervisor {
    remote: Remote,
    thread: Option<JoinHandle<Outcome>>,
}

/// What asks the supervisor's thread.
#[derive(Clone)]
pub(crate) struct Remote {
    asks: Sender<Ask>,
    kick: Arc<EventFd>,
}

/// Options of a [`Supervisor`].
pub struct SupervisorBuilder {
    specification: Specification,
    executable: Executable,
    place: Option<Place>,
    terminal: bool,
    open_files: Option<(u64, u64)>,
    reload: Option<Reload>,
}

/// Why a supervisor has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SupervisorEnd {
    /// Somebody asked for it.
    Asked,
    /// Its significant children have ended.
    AutoShutdown,
    /// Children failed too often; the text says which.
    GaveUp(String),
}

impl SupervisorBuilder {
    /// The executable that starts the programs, built with this library: the stock worker, say. This program
    /// itself if nothing is said, which must then call [`init`](crate::init).
    pub fn worker(mut self, path: impl Into<PathBuf>) -> SupervisorBuilder {
        self.executable = Executable::Path(path.into());
        self
    }

    /// Listens for the command line's verbs.
    #[cfg(feature = "cli")]
    pub(crate) fn listen(mut self, place: Place) -> SupervisorBuilder {
        self.place = Some(place);
        self
    }

    /// Writes what programs print, and what happens, to stdout.
    #[cfg(feature = "cli")]
    pub(crate) fn on_terminal(mut self) -> SupervisorBuilder {
        self.terminal = true;
        self
    }

    /// The limits of descriptors, soft and hard, that programs get which have none of their own.
    #[cfg(feature = "cli")]
    pub(crate) fn open_files(mut self, limits: (u64, u64)) -> SupervisorBuilder {
        self.open_files = Some(limits);
        self
    }

    /// How to read the configuration again.
    #[cfg(feature = "cli")]
    pub(crate) fn reload(mut self, reload: Reload) -> SupervisorBuilder {
        self.reload = Some(reload);
        self
    }

    /// Starts the tree.
    ///
    /// # Errors
    /// If the specification breaks a rule, this executable cannot start programs, or the system refuses something.
    pub fn start(self) -> Result<Supervisor> {
        if let Some(flaw) = check(&self.specification).into_iter().next() {
            let place = if flaw.name.is_empty() { "supervisor" } else { &flaw.name };
            return Err(Kind::Option(format!("{place}: {}", flaw.text)).into());
        }
        let system = |what| move |error| Error::system(what, error);
        let random = crate::sys::random::number().map_err(system("get random numbers"))?;
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let kick = EventFd::from_flags(flags).map_err(|errno| system("make a descriptor")(errno.into()))?;
        let listener = self.place.map(|place| Listener::bind(&place.socket())).transpose();
        let (asks, received) = mpsc::channel();
        let kick = Arc::new(kick);
        let driver = Driver::new(Setup {
            machine: Machine::new(self.specification, random),
            executable: self.executable,
            asks: received,
            kick: Arc::clone(&kick),
            listener: listener.map_err(system("make the control socket"))?,
            terminal: self.terminal,
            open_files: self.open_files,
            reload: self.reload,
        })?;
        let thread = std::thread::Builder::new().name("watertight-supervisor".to_owned());
        let thread = thread.spawn(move || driver.run()).map_err(system("start a thread"))?;
        Ok(Supervisor { remote: Remote { asks, kick }, thread: Some(thread) })
    }
}

impl Supervisor {
    /// Starts a tree with no further options.
    ///
    /// # Errors
    /// As [`SupervisorBuilder::start`].
    pub fn start(specification: Specification) -> Result<Supervisor> {
        Supervisor::builder(specification).start()
    }

    /// The options of a tree that is not started yet.
    pub fn builder(specification: Specification) -> SupervisorBuilder {
        SupervisorBuilder {
            specification,
            executable: Executable::Own,
            place: None,
            terminal: false,
            open_files: None,
            reload: None,
        }
    }

    /// Where every unit is.
    ///
    /// # Errors
    /// If the supervisor has ended.
    pub fn status(&self) -> Result<Vec<UnitStatus>> {
        let answers = self.remote.ask(Request::Status { names: Vec::new() })?;
        Ok(answers
            .into_iter()
            .filter_map(|answer| if let Answer::Unit(unit) = answer { Some(*unit) } else { None })
            .collect())
    }

    /// The status of one program with its last deaths.
    ///
    /// # Errors
    /// If nothing is called so, or the supervisor has ended.
    pub fn status_of(&self, name: &str) -> Result<Vec<UnitStatus>> {
        let answers = self.remote.ask(Request::Status { names: vec![name.to_owned()] })?;
        Ok(answers
            .into_iter()
            .filter_map(|answer| if let Answer::Unit(unit) = answer { Some(*unit) } else { None })
            .collect())
    }

    /// Starts what does not run; no names mean all.
    ///
    /// # Errors
    /// If nothing is called so, or the supervisor has ended.
    pub fn start_again(&self, names: &[&str]) -> Result<()> {
        self.remote.ask(Request::Start { names: owned(names) }).map(drop)
    }

    /// Stops programs, and waits until they have; no names mean all.
    ///
    /// # Errors
    /// If nothing is called so, or the supervisor has ended.
    pub fn stop_programs(&self, names: &[&str]) -> Result<()> {
        self.remote.ask(Request::Stop { names: owned(names) }).map(drop)
    }

    /// Stops and starts programs, all without any name; `rolling`: one copy after another, each ready before the next.
    ///
    /// # Errors
    /// If nothing is called so, or the supervisor has ended.
    pub fn restart(&self, names: &[&str], rolling: bool) -> Result<()> {
        self.remote.ask(Request::Restart { names: owned(names), rolling }).map(drop)
    }

    /// Runs so many copies of a program.
    ///
    /// # Errors
    /// If nothing is called so, or the supervisor has ended.
    pub fn scale(&self, name: &str, replicas: u32) -> Result<()> {
        self.remote.ask(Request::Scale { name: name.to_owned(), replicas }).map(drop)
    }

    /// For other threads.
    #[cfg(feature = "cli")]
    pub(crate) fn remote(&self) -> Remote {
        self.remote.clone()
    }

    /// Waits until programs run and are ready, or have finished with success.
    ///
    /// # Errors
    /// If nothing is called so, one of them has failed for good, or the supervisor ends before.
    pub fn wait_until_ready(&self, names: &[&str]) -> Result<()> {
        self.remote.ask(Request::Wait { names: owned(names), until: Until::Ready }).map(drop)
    }

    /// What happens from now on, after a snapshot of all units. It ends with the supervisor.
    ///
    /// # Errors
    /// If the supervisor has ended.
    pub fn events(&self) -> Result<impl Iterator<Item = SupervisorEvent> + use<>> {
        let answers = self.remote.send(Request::Events)?;
        Ok(answers
            .into_iter()
            .filter_map(|answer| if let Answer::Event(event) = answer { Some(event) } else { None }))
    }

    /// Has everything stop, in reverse order of dependencies; does not wait for it.
    pub fn stop(&self) {
        let _ = self.remote.send(Request::Down { now: false });
    }

    /// Has everything killed; does not wait for it.
    pub fn kill(&self) {
        let _ = self.remote.send(Request::Down { now: true });
    }

    /// Waits until the supervisor has ended, and nothing that it started is left.
    pub fn wait(mut self) -> SupervisorEnd {
        self.join()
    }

    fn join(&mut self) -> SupervisorEnd {
        // A panic of the driver is a bug of ours; whoever waits is told of an end all the same.
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Outcome::GaveUp { reason })) => SupervisorEnd::GaveUp(reason),
            Some(Ok(Outcome::AutoShutdown)) => SupervisorEnd::AutoShutdown,
            Some(Ok(Outcome::Asked)) | None => SupervisorEnd::Asked,
            Some(Err(_)) => SupervisorEnd::GaveUp("the supervisor panicked".to_owned()),
        }
    }
}

impl Remote {
    pub(crate) fn send(&self, request: Request) -> Result<Receiver<Answer>> {
        let (answers, received) = mpsc::channel();
        self.asks.send(Ask { request, answers }).map_err(|_| Error::from(Kind::Ended))?;
        let _ = self.kick.write(1);
        Ok(received)
    }

    pub(crate) fn ask(&self, request: Request) -> Result<Vec<Answer>> {
        let mut answers = Vec::new();
        for answer in self.send(request)? {
            match answer {
                Answer::End { error: None } => return Ok(answers),
                Answer::End { error: Some(text) } => return Err(Kind::Option(text).into()),
                other => answers.push(other),
            }
        }
        Err(Kind::Ended.into())
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.kill();
            self.join();
        }
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Supervisor")
    }
}

impl fmt::Debug for SupervisorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisorBuilder")
            .field("specification", &self.specification)
            .finish_non_exhaustive()
    }
}
