//! How the keeper starts a worker: by forking itself, or by executing the file anew.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollFlags};
use nix::unistd::{Pid, getpid};

use crate::link::request::{self, Incoming, Launch, Notice, StartMethod, Step};
use crate::sys::fork::Fork;
use crate::sys::signal::Signal;
use crate::sys::{child, pidfd};

use super::children::Child;
use super::folder::Server;
use super::launch::{self, Inheritance};
use super::server::Keeper;

impl Keeper {
    /// Starts a worker. Comes back in the worker itself with what it inherits.
    pub(super) fn spawn(
        &mut self,
        client: u64,
        launch: Launch,
        descriptors: Vec<OwnedFd>,
    ) -> Option<Box<Inheritance>> {
        let id = launch.id;
        match self.try_spawn(client, launch, descriptors) {
            Ok(inheritance) => {
                if inheritance.is_none() {
                    self.prepare_spare();
                }
                inheritance
            }
            Err((step, error)) => {
                let errno = error.raw_os_error().unwrap_or(Errno::EIO as i32);
                self.notify(client, Notice::Failed { id, step, errno }, Vec::new());
                None
            }
        }
    }

    fn try_spawn(
        &mut self,
        client: u64,
        launch: Launch,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Option<Box<Inheritance>>, (Step, io::Error)> {
        let Ok(folder) = &mut self.folder else {
            return Err((Step::CommandChannel, io::Error::from(Errno::ENOENT)));
        };
        if let Some(path) = &launch.working_directory {
            let folder = std::fs::read_dir(path).map(drop);
            folder.map_err(|error| (Step::WorkingDirectory, error))?;
        }
        let forks = launch.method == StartMethod::Fork;
        let Some(single_threaded) = self.single_threaded.as_ref().filter(|_| forks) else {
            return self.execute(client, &launch, &descriptors).map(|()| None);
        };
        let server = match launch.commands {
            true => Some(match self.spare.take() {
                Some(server) => server,
                None => folder.server().map_err(|error| (Step::CommandChannel, error))?,
            }),
            false => None,
        };
        let listener = server.as_ref().map(Server::listener).transpose();
        let listener = listener.map_err(|error| (Step::CommandChannel, error))?;
        let keeper = getpid();
        match single_threaded.fork().map_err(|error| (Step::Process, error))? {
            Fork::Child => {
                child::lead_own_group();
                child::die_with_parent(keeper);
                seed_random_numbers();
                let server = server.map(|server| (server.server, server.name));
                Ok(Some(Box::new(Inheritance { launch, descriptors, server })))
            }
            Fork::Parent(pid) => {
                // Should the worker wait for this processor, it goes first: nothing that follows is urgent.
                std::thread::yield_now();
                // Both sides set it, so that it is set whoever runs first.
                let _ = nix::unistd::setpgid(pid, pid);
                let (setup, folder) = (None, None);
                self.children.insert(
                    pid,
                    Child { client, id: launch.id, setup, folder, connected: false, program: None },
                );
                let channel = server.as_ref().map(|server| server.name.clone()).zip(listener);
                if let Some(server) = server {
                    self.children.keep_server(client, launch.id, server);
                }
                self.tell_started(pid, channel);
                Ok(None)
            }
        }
    }

    /// Starts a worker by executing the file anew.
    fn execute(
        &mut self,
        client: u64,
        launch: &Launch,
        descriptors: &[OwnedFd],
    ) -> Result<(), (Step, io::Error)> {
        let token = self.take_token();
        let no_folder = |_: &mut io::Error| (Step::CommandChannel, io::Error::from(Errno::ENOENT));
        let folder = self.folder.as_mut().map_err(no_folder)?;
        let folder = folder.for_server(token).map_err(|error| (Step::CommandChannel, error))?;
        let (pid, setup) =
            launch::execute(launch, descriptors, folder.path()).map_err(|error| (Step::Process, error))?;
        let _ = self.epoll.add(&setup, EpollEvent::new(EpollFlags::EPOLLIN, token));
        let (setup, folder) = (Some(setup), Some(folder));
        self.children.insert(
            pid,
            Child { client, id: launch.id, setup, folder, connected: !launch.commands, program: None },
        );
        Ok(())
    }

    /// The host gets the name of the command channel, and the socket itself: with that in its hand a connect
    /// cannot fail, whoever dies meanwhile.
    fn tell_started(&mut self, pid: Pid, channel: Option<(String, OwnedFd)>) {
        let Some(child) = self.children.get(pid) else { return };
        let (commands, listener) = channel.unzip();
        let notice = Notice::Started { id: child.id, pid: pid.as_raw() as u32, commands };
        // Without a descriptor for it the host cannot wait for the worker alone; the keeper tells it all the
        // same when the worker ends.
        let process = pidfd::open(pid).ok();
        self.notify(child.client, notice, listener.into_iter().chain(process).collect());
    }

    /// Some executed worker has made its command channel, or has ended before.
    pub(super) fn finish_setups(&mut self) {
        self.children.setting_up().into_iter().for_each(|pid| self.finish_setup_of(pid));
    }

    pub(super) fn finish_setup_of(&mut self, pid: Pid) {
        let Some(setup) = self.children.get(pid).and_then(|child| child.setup.as_ref()) else { return };
        match request::receive::<Option<String>>(setup.as_fd()) {
            Ok(Incoming::Empty) => {}
            Ok(Incoming::Message(name, mut descriptors)) => {
                self.drop_setup(pid);
                self.tell_started(pid, name.zip(descriptors.pop()));
            }
            Ok(Incoming::Short(_)) => {
                self.drop_setup(pid);
                let Some(&Child { client, id, .. }) = self.children.get(pid) else { return };
                self.children.signal(client, id, Signal::SIGKILL, true);
                self.lacks_descriptors(client, id);
            }
            // Its end is told when it is reaped.
            Ok(Incoming::End) | Err(_) => self.drop_setup(pid),
        }
    }

    /// Some of what belongs to a worker or program found no number in the keeper.
    pub(super) fn lacks_descriptors(&mut self, client: u64, id: u32) {
        let (step, errno) = (Step::Descriptors, Errno::EMFILE as i32);
        self.notify(client, Notice::Failed { id, step, errno }, Vec::new());
    }

    fn drop_setup(&mut self, pid: Pid) {
        if let Some(setup) = self.children.take_setup(pid) {
            let _ = self.epoll.delete(&setup);
        }
    }

    /// Off the critical path of the worker that was just started.
    fn prepare_spare(&mut self) {
        if let (None, Some(_), Ok(folder)) = (&self.spare, &self.single_threaded, &mut self.folder) {
            self.spare = folder.server().ok();
        }
    }
}

/// The names of temporary folders have drawn on a thread's random numbers, which a fork copies: without this, all
/// workers would go on with the same ones. For the same reason there is no `RandomState` in a keeper.
fn seed_random_numbers() {
    if let Ok(seed) = crate::sys::random::number() {
        fastrand::seed(seed);
    }
}
