//! Programs that are no workers: their start, and the end of all that they leave behind.
//!
//! Invariant: the end of a program is told only when nobody who bears its mark is left, so whoever starts it anew
//! never has two generations of it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollFlags};
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{Pid, getpid};
use rustc_hash::FxHashMap;

use crate::link::request::{MARK, Notice, ProgramLimits, RunProgram, Step};
use crate::sys::exec::{Program, Rlimit, Start, Trouble};
use crate::sys::exit::{ExitStatus, ResourceUsage};
use crate::sys::signal::Signal;
use crate::sys::{pidfd, procfs};

use super::children::{Child, Children};
use super::server::Keeper;

/// How long a start may take, in milliseconds, before the keeper goes on without having seen how it went.
const PATIENCE: u8 = 10;

/// A program between its fork and its end.
pub(super) struct Started {
    token: u64,
    /// Until the program runs; kept beyond its failure, which its process may outlive by a moment.
    start: Option<Start>,
    /// It never ran, which has been told.
    failed: bool,
    mark: String,
}

impl Started {
    /// In a forked worker: the pipe is the keeper's to read.
    pub(super) fn forget_in_child(self) {
        self.start.into_iter().for_each(Start::forget_in_child);
    }
}

/// A program that has ended, while somebody of it may be left.
struct Ending {
    client: u64,
    id: u32,
    mark: String,
    /// Its group, which was killed when it was reaped.
    group: Pid,
    status: ExitStatus,
    usage: ResourceUsage,
    killed: Vec<i32>,
    /// Who bears no mark, or cannot be killed.
    others: Vec<u32>,
}

/// What the keeper knows of programs beside its children.
#[derive(Default)]
pub(super) struct Programs {
    starting: FxHashMap<u64, Pid>,
    ending: Vec<Ending>,
    /// Strays that were told of once.
    told: Vec<i32>,
}

/// Whose an orphan is.
enum Struck {
    /// Of the ended program at this place, and killed.
    Dying(usize),
    /// It bears no mark, or cannot be killed.
    Nobodys,
    /// Of a program that runs.
    Others,
}

impl Programs {
    pub(super) fn starting(&self, token: u64) -> Option<Pid> {
        self.starting.get(&token).copied()
    }

    pub(super) fn ended(&mut self, group: Pid, child: Child, status: ExitStatus, usage: ResourceUsage) {
        let Child { client, id, program: Some(program), .. } = child else { return };
        self.starting.remove(&program.token);
        if !program.failed {
            let (mark, killed) = (program.mark, Vec::new());
            self.ending.push(Ending { client, id, mark, group, status, usage, killed, others: Vec::new() });
        }
    }

    /// Kills orphans of programs that have ended, and says which of those have nobody left.
    fn sweep(&mut self, children: &Children) -> Vec<Ending> {
        if self.ending.is_empty() {
            return Vec::new();
        }
        let mut waited_for = vec![false; self.ending.len()];
        let orphans = own_children();
        self.told.retain(|pid| orphans.contains(pid));
        for pid in orphans.into_iter().filter(|pid| children.get(Pid::from_raw(*pid)).is_none()) {
            // One that has just ended has handed its own children to us already.
            let Some(orphan) = procfs::read(pid).filter(|entry| entry.state != 'Z') else { continue };
            match self.strike(orphan) {
                Struck::Dying(at) => waited_for[at] = true,
                Struck::Nobodys => self.note_other(pid),
                Struck::Others => {}
            }
        }
        let mut waited_for = waited_for.into_iter();
        let (left, done) =
            std::mem::take(&mut self.ending).into_iter().partition(|_| waited_for.next().unwrap_or(false));
        self.ending = left;
        done
    }

    /// Kills an orphan, if it belongs to a program that has ended.
    fn strike(&mut self, orphan: procfs::Entry) -> Struck {
        let pid = orphan.pid.as_raw();
        // What was killed needs a moment to die, in which its environment cannot be read any more.
        let dying = |ending: &Ending| ending.group == orphan.group || ending.killed.contains(&pid);
        if let Some(at) = self.ending.iter().position(dying) {
            return Struck::Dying(at);
        }
        let marks = marks_of(pid);
        match self.ending.iter().position(|ending| marks.contains(&ending.mark)) {
            Some(at) if kill(pid) => {
                self.ending[at].killed.push(pid);
                Struck::Dying(at)
            }
            None if !marks.is_empty() => Struck::Others,
            Some(_) | None => Struck::Nobodys,
        }
    }

    fn note_other(&mut self, pid: i32) {
        if !self.told.contains(&pid) {
            self.told.push(pid);
            self.ending[0].others.push(pid as u32);
        }
    }
}

impl Keeper {
    pub(super) fn run_program(&mut self, client: u64, program: RunProgram, descriptors: Vec<OwnedFd>) {
        let token = self.take_token();
        match start(&program, &descriptors) {
            Ok(start) => {
                let pid = start.pid();
                let started = Started { token, start: Some(start), failed: false, mark: program.mark };
                let child = Child {
                    client,
                    id: program.id,
                    setup: None,
                    folder: None,
                    connected: true,
                    program: Some(started),
                };
                self.children.insert(pid, child);
                self.give_way(pid);
                self.finish_program(pid);
                self.watch_start(pid);
            }
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(Errno::EINVAL as i32);
                self.notify(
                    client,
                    Notice::Failed { id: program.id, step: Step::Process, errno },
                    Vec::new(),
                );
            }
        }
    }

    /// Beside busy strangers a new process may wait for a whole slice of the processor unless its maker sleeps. But
    /// not for long, and not when another start takes its time already: it may hang.
    fn give_way(&mut self, pid: Pid) {
        if !self.programs.starting.is_empty() {
            return;
        }
        if let Some(Started { start: Some(start), .. }) = self.children.program(pid) {
            start.wait(PATIENCE.into());
        }
    }

    /// A program that has not yet said whether it runs.
    fn watch_start(&mut self, pid: Pid) {
        let Some(Started { token, start: Some(start), failed: false, .. }) = self.children.program(pid)
        else {
            return;
        };
        let _ = self.epoll.add(&*start, EpollEvent::new(EpollFlags::EPOLLIN, *token));
        self.programs.starting.insert(*token, pid);
    }

    /// A program runs now, or has said why it does not.
    pub(super) fn finish_program(&mut self, pid: Pid) {
        let Some(started) = self.children.program(pid) else { return };
        let Some(start) = started.start.as_mut().filter(|_| !started.failed) else { return };
        let verdict = match start.verdict() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => Ok(()),
            Ok(verdict) => verdict,
        };
        if self.programs.starting.remove(&started.token).is_some() {
            let _ = self.epoll.delete(&*start);
        }
        started.failed = verdict.is_err();
        let Some(&Child { client, id, .. }) = self.children.get(pid) else { return };
        if let Err((trouble, errno)) = verdict {
            self.notify(client, Notice::Failed { id, step: step(trouble), errno }, Vec::new());
            return;
        }
        self.children.program(pid).and_then(|started| started.start.take());
        if procfs::never_executed(pid.as_raw()) == Some(true) {
            // It was killed before it ran; its end is told soon.
            return;
        }
        let process = pidfd::open(pid).ok();
        let notice = Notice::Started { id, pid: pid.as_raw() as u32, commands: None };
        self.notify(client, notice, process.into_iter().collect());
    }

    /// Ends what ended programs left behind, and tells of those that left nothing.
    pub(super) fn tell_ended_programs(&mut self) {
        for ending in self.programs.sweep(&self.children) {
            let Ending { client, id, killed, others, status, usage, .. } = ending;
            if !killed.is_empty() || !others.is_empty() {
                let killed = killed.len() as u32;
                self.notify(client, Notice::Strays { id, killed, others }, Vec::new());
            }
            self.notify(client, Notice::Exited { id, status, usage }, Vec::new());
        }
    }
}

fn step(trouble: Trouble) -> Step {
    match trouble {
        Trouble::Descriptors => Step::Descriptors,
        Trouble::Limits => Step::Limits,
        Trouble::Credentials => Step::Credentials,
        Trouble::WorkingDirectory => Step::WorkingDirectory,
        Trouble::Execute => Step::Execute,
    }
}

fn start(program: &RunProgram, descriptors: &[OwnedFd]) -> io::Result<Start> {
    let mut environment: Vec<(OsString, OsString)> = match program.clear_environment {
        true => Vec::new(),
        false => std::env::vars_os().collect(),
    };
    // A supervisor may run under another one, whose mark stays.
    let outer = std::env::var(MARK).map_or_else(|_| String::new(), |outer| format!("{outer}:"));
    let mark = (OsString::from(MARK), OsString::from(format!("{outer}{}", program.mark)));
    for (name, value) in program.environment.iter().chain([&mark]) {
        environment.retain(|(other, _)| other != name);
        environment.push((name.clone(), value.clone()));
    }
    let descriptors: Vec<_> =
        descriptors.iter().map(AsFd::as_fd).zip(program.numbers.iter().copied()).collect();
    Program {
        command: &program.command,
        environment: &environment,
        working_directory: program.working_directory.as_deref(),
        credentials: program.credentials.as_ref(),
        limits: &rlimits(&program.limits)?,
        descriptors: &descriptors,
    }
    .start()
}

fn rlimits(limits: &ProgramLimits) -> io::Result<Vec<Rlimit>> {
    let both = |limit: Option<u64>| limit.map(|limit| (limit, limit));
    // The soft limit on processor time ends a program by SIGXCPU, the hard one a second later by SIGKILL.
    let cpu = limits.cpu_seconds.map(|seconds| (seconds, seconds.saturating_add(1)));
    let wanted = [
        (Resource::RLIMIT_DATA, both(limits.memory)),
        (Resource::RLIMIT_CPU, cpu),
        (Resource::RLIMIT_NOFILE, limits.open_files),
        (Resource::RLIMIT_CORE, both(limits.core)),
    ];
    let mut list = Vec::new();
    for (resource, limit) in wanted {
        let Some((soft, hard)) = limit else { continue };
        let (_, most) = getrlimit(resource)?;
        list.push(Rlimit { resource: resource as _, soft: soft.min(most), hard: hard.min(most) });
    }
    Ok(list)
}

/// The children of this process, orphans that came to it included.
fn own_children() -> Vec<i32> {
    let own = getpid();
    match fs::read_to_string(format!("/proc/self/task/{own}/children")) {
        Ok(list) => list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect(),
        // A kernel without that list.
        Err(_) => procfs::children(own).into_iter().map(|entry| entry.pid.as_raw()).collect(),
    }
}

/// The marks in a process's environment; of a supervisor under a supervisor there are two.
pub(crate) fn marks_of(pid: i32) -> Vec<String> {
    let variables = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let name = format!("{MARK}=");
    let value =
        variables.split(|byte| *byte == 0).find_map(|variable| variable.strip_prefix(name.as_bytes()));
    let value = String::from_utf8_lossy(value.unwrap_or_default());
    value.split(':').filter(|mark| !mark.is_empty()).map(str::to_owned).collect()
}

/// Kills a child of ours that leads its own group with the group, else alone; false if the kernel forbids it.
fn kill(pid: i32) -> bool {
    crate::sys::signal::send(-pid, Signal::SIGKILL);
    crate::sys::signal::try_send(pid, Signal::SIGKILL).is_ok()
}
