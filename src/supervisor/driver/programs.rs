//! Starts programs through the keeper, and hears of their ends.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::epoll::EpollFlags;
use nix::unistd::{Group, User};

use crate::link::request::{Incoming, Notice, ProgramLimits, RunProgram};
use crate::supervisor::machine::{Event, UnitId};
use crate::supervisor::policy::End;
use crate::supervisor::specification::{Program, Readiness};
use crate::supervisor::status::Death;
use crate::sys::exec::Credentials;
use crate::sys::exit::{ExitStatus, ResourceUsage};
use crate::sys::pidfd;
use crate::sys::procfs;
use crate::sys::signal::Signal;

use super::Driver;

/// A process of a unit, from the request for it to the news of its end.
pub(super) struct Process {
    number: u32,
    /// What its environment bears, and that of all its descendants.
    pub(super) mark: String,
    pub(super) pid: Option<u32>,
    process: Option<OwnedFd>,
    pub(super) since: Instant,
    /// The last signal that this supervisor sent.
    sent: Option<Signal>,
    /// How many it left outside of its group that were killed, and whom besides.
    pub(super) strays: (u32, Vec<u32>),
}

impl Driver {
    pub(super) fn start(&mut self, unit: UnitId) {
        self.next_number = self.next_number.wrapping_add(1);
        let number = self.next_number;
        let process = Process {
            number,
            mark: String::new(),
            pid: None,
            process: None,
            since: Instant::now(),
            sent: None,
            strays: (0, vec![]),
        };
        self.processes.insert(unit, process);
        self.numbers.insert(number, unit);
        if let Err(text) = self.try_start(unit, number) {
            self.gone(unit, Death::unknown(text), End::Failure);
        }
    }

    fn try_start(&mut self, unit: UnitId, number: u32) -> Result<(), String> {
        let name = self.machine.unit(unit).name.to_string();
        let programs = &self.machine.specification().programs;
        let Some(program) = programs.iter().find(|program| program.name == name).cloned() else {
            let pool = self.machine.specification().pools.iter().find(|pool| pool.name == name).cloned();
            return self.start_pool(unit, pool.ok_or("it is not in the configuration any more")?);
        };
        if let Some(start) = program.process {
            return self.start_function(unit, start);
        }
        self.ensure_keeper().map_err(|error| error.to_string())?;
        let (stdout, stderr) =
            self.ends_of_pipes(unit).map_err(|error| format!("cannot make pipes: {error}"))?;
        let null = File::open("/dev/null").map_err(|error| format!("cannot open /dev/null: {error}"))?;
        let mut launch = self.launch(&program, unit, number)?;
        if let Some(process) = self.processes.get_mut(&unit) {
            process.mark.clone_from(&launch.mark);
        }
        let user = launch.credentials.as_ref().map(|credentials| credentials.user);
        let equipment = self.equip(unit, &program, user);
        let equipment = equipment.map_err(|error| format!("cannot make a pipe or socket: {error}"))?;
        let mut descriptors = vec![null.into(), stdout, stderr];
        for (number, descriptor) in equipment.descriptors {
            launch.numbers.push(number);
            descriptors.push(descriptor);
        }
        let added = equipment.environment.into_iter();
        launch.environment.extend(added.map(|(name, value)| (name.into(), value.into())));
        let Some(keeping) = &mut self.keeping else { return Err("the keeper died".to_owned()) };
        keeping.run(launch, descriptors).map_err(|error| format!("cannot reach the keeper: {error}"))
    }

    pub(super) fn launch(&self, program: &Program, unit: UnitId, number: u32) -> Result<RunProgram, String> {
        let random = crate::sys::random::number().map_err(|error| error.to_string())?;
        let mut environment = program.environment.clone();
        environment.insert("WATERTIGHT_NAME".into(), program.name.clone());
        environment.insert("WATERTIGHT_REPLICA".into(), self.machine.unit(unit).replica.to_string());
        let limits = &program.limits;
        let open_files = limits.open_files.map(|limit| (limit, limit)).or(self.open_files);
        Ok(RunProgram {
            id: number,
            command: program.command.iter().map(OsString::from).collect(),
            numbers: vec![0, 1, 2],
            environment: variables(environment),
            clear_environment: !program.inherit_environment,
            mark: format!("{random:016x}"),
            working_directory: program.folder.clone(),
            credentials: program.user.as_deref().map(credentials).transpose()?,
            limits: ProgramLimits {
                memory: limits.memory,
                cpu_seconds: limits.cpu_time.map(|time| time.as_secs().max(1)),
                open_files,
                core: limits.core,
            },
        })
    }

    /// How a unit that is not ready yet says that it is.
    pub(super) fn readiness_of(&self, unit: UnitId) -> Option<&Readiness> {
        let unit = self.machine.unit(unit);
        let programs = &self.machine.specification().programs;
        let program = programs.iter().find(|program| *program.name == *unit.name)?;
        (unit.phase.is_alive() && !unit.is_ready()).then_some(&program.readiness)
    }

    pub(super) fn number_of(&self, unit: UnitId) -> Option<u32> {
        self.processes.get(&unit).map(|process| process.number)
    }

    /// To the unit's whole group.
    pub(super) fn signal(&mut self, unit: UnitId, signal: Signal) {
        if self.end_pool(unit) {
            return;
        }
        let Some(process) = self.processes.get_mut(&unit) else { return };
        process.sent = Some(signal);
        if self.functions.signal(unit, signal) {
            return;
        }
        if let Some(keeping) = &mut self.keeping {
            // A keeper that is gone has taken the program along, and that is told soon.
            let _ = keeping.signal(process.number, signal, true);
            // Who is stopped hears nothing else.
            if signal != Signal::SIGKILL && signal != Signal::SIGSTOP {
                let _ = keeping.signal(process.number, Signal::SIGCONT, true);
            }
        }
    }

    pub(super) fn hear_keeper(&mut self, events: EpollFlags) {
        if events.contains(EpollFlags::EPOLLOUT) {
            if let Some(keeping) = &mut self.keeping {
                let _ = keeping.flush();
            }
            self.watch_keeper();
        }
        while let Some(keeping) = &self.keeping {
            match keeping.receive() {
                Ok(Incoming::Message(notice, descriptors)) => self.heard(notice, descriptors),
                // It runs all the same; what is missing would tell this supervisor alone of its end.
                Ok(Incoming::Short(notice)) => self.heard(notice, Vec::new()),
                Ok(Incoming::Empty) => return,
                Ok(Incoming::End) | Err(_) => self.lose_keeper(),
            }
        }
    }

    fn heard(&mut self, notice: Notice, mut descriptors: Vec<OwnedFd>) {
        match notice {
            Notice::Started { id, pid, .. } => {
                let Some(&unit) = self.numbers.get(&id) else { return };
                if let Some(process) = self.processes.get_mut(&unit) {
                    process.pid = Some(pid);
                    process.process = descriptors.pop();
                    process.since = Instant::now();
                }
                self.handle(Event::Started { unit });
                self.begin_probe(unit);
            }
            Notice::Failed { id, .. } if self.command_ended(id, None) => {}
            Notice::Exited { id, status, .. } if self.command_ended(id, Some(status)) => {}
            Notice::Failed { id, step, errno } => {
                let Some(&unit) = self.numbers.get(&id) else { return };
                let text = format!("{}: {}", step.text(), io::Error::from_raw_os_error(errno));
                self.gone(unit, Death::unknown(text), End::Failure);
            }
            Notice::Strays { id, killed, others } => {
                let unit = self.numbers.get(&id);
                if let Some(process) = unit.and_then(|unit| self.processes.get_mut(unit)) {
                    process.strays = (killed, others);
                }
            }
            Notice::Exited { id, status, usage } => self.exited(id, status, usage),
            Notice::Tasks { .. } => {}
        }
    }

    fn exited(&mut self, number: u32, status: ExitStatus, usage: ResourceUsage) {
        let Some(&unit) = self.numbers.get(&number) else { return };
        let name = &self.machine.unit(unit).name;
        let program = self.machine.specification().programs.iter().find(|program| *program.name == **name);
        let success = match (status.code(), program) {
            (Some(code), Some(program)) => program.success.contains(&code),
            (code, _) => code == Some(0),
        };
        let end = if success { End::Success } else { End::Failure };
        self.gone(unit, Death::exited(status, usage), end);
    }

    /// A unit's process is gone, or never came: writes it down, and tells the machine.
    pub(super) fn gone(&mut self, unit: UnitId, mut death: Death, end: End) {
        self.drain(unit);
        self.forget_signs(unit);
        let Some(process) = self.processes.remove(&unit) else { return };
        self.numbers.remove(&process.number);
        let stopping = self.machine.unit(unit).is_stopping();
        death.generation = self.machine.unit(unit).generation;
        death.pid = process.pid;
        death.uptime_ms = super::milliseconds(process.since.elapsed());
        if death.cause.is_empty() {
            death.cause = self.cause(&death, process.sent, stopping);
        }
        (death.strays_killed, death.strays_left) = process.strays;
        let now = Instant::now();
        let actions = self.machine.handle(Event::Ended { unit, end }, now);
        self.record(unit, death, stopping, now);
        self.act(actions);
    }

    /// Why it ended, as far as this supervisor can know.
    fn cause(&mut self, death: &Death, sent: Option<Signal>, stopping: bool) -> String {
        let text = match (&death.signal, death.code) {
            (Some(signal), _) if sent.is_some_and(|sent| sent.to_string() == *signal) => {
                "this supervisor sent the signal"
            }
            (Some(signal), _) if signal == "SIGKILL" => {
                let before = std::mem::replace(&mut self.killed_for_memory, procfs::killed_for_memory());
                return cause_of_kill(before, self.killed_for_memory);
            }
            (Some(signal), _) if signal == "SIGXCPU" => "it used up its processor time",
            (Some(_), _) => "a fault of its own, or somebody's signal: unknown which",
            (None, Some(_)) if stopping => "it was told to stop",
            (None, Some(_)) => "it exited by itself",
            (None, None) => "it did not run",
        };
        text.to_owned()
    }

    /// What it told before its end counts.
    pub(super) fn keeper_ended(&mut self) {
        self.hear_keeper(EpollFlags::empty());
        self.lose_keeper();
    }

    /// The keeper is dead, and its programs with it; another one is started with the next program.
    fn lose_keeper(&mut self) {
        let Some(keeping) = self.keeping.take() else { return };
        let _ = self.events.delete(keeping.socket());
        let _ = self.events.delete(keeping.keeper().process());
        self.note(format!("the keeper (process {}) died, and its programs with it", keeping.keeper().pid()));
        self.commands.clear();
        // A pool or a function has a client of its own, and sees to itself.
        let others = |unit: &UnitId| self.pools.is_alive(*unit) || self.functions.is_alive(*unit);
        let units: Vec<UnitId> = self.processes.keys().copied().filter(|unit| !others(unit)).collect();
        for unit in &units {
            let Some(process) = self.processes.get_mut(unit) else { continue };
            if let Some((pid, process)) = process.pid.zip(process.process.take()) {
                // Its leader died with the keeper; this is for the rest of its group.
                pidfd::kill_group(process.as_fd(), pid);
                let _ = pidfd::wait_for_end(process.as_fd(), Some(Duration::from_secs(1)));
            }
        }
        self.end_strays(&units);
        for unit in units {
            self.gone(unit, Death::unknown("lost: the keeper died".to_owned()), End::Failure);
        }
    }
}

fn variables(all: BTreeMap<String, String>) -> Vec<(OsString, OsString)> {
    all.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

/// What is known of a SIGKILL that this supervisor did not send, from the kernel's count of those whom it killed for
/// want of memory: at some moment before the program's start or during its life, and after its end.
fn cause_of_kill(before: Option<u64>, after: Option<u64>) -> String {
    match before.zip(after) {
        Some((before, after)) if before == after => {
            "unknown who sent SIGKILL; the kernel killed nobody for want of memory meanwhile".to_owned()
        }
        Some((before, after)) => {
            let count = after.saturating_sub(before);
            format!(
                "unknown: somebody sent SIGKILL, or the kernel for want of memory, for which it killed {count} lately"
            )
        }
        None => "unknown: somebody sent SIGKILL, or the kernel for want of memory".to_owned(),
    }
}

/// Who a user is, with all groups.
fn credentials(name: &str) -> Result<Credentials, String> {
    let by_name = User::from_name(name).map_err(|error| error.to_string())?;
    let number = name.parse().ok().map(nix::unistd::Uid::from_raw);
    let user = match (by_name, number) {
        (Some(user), _) => Some(user),
        (None, Some(number)) => User::from_uid(number).map_err(|error| error.to_string())?,
        (None, None) => None,
    };
    let user = user.ok_or_else(|| format!("there is no user `{name}`"))?;
    Ok(Credentials { user: user.uid.as_raw(), group: user.gid.as_raw(), groups: groups_of(&user) })
}

fn groups_of(user: &User) -> Vec<u32> {
    let text = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let member =
        |line: &&str| line.rsplit(':').next().is_some_and(|list| list.split(',').any(|m| m == user.name));
    let names = text.lines().filter(member).filter_map(|line| line.split(':').next());
    let others =
        names.filter_map(|name| Group::from_name(name).ok().flatten()).map(|group| group.gid.as_raw());
    [user.gid.as_raw()].into_iter().chain(others.filter(|group| *group != user.gid.as_raw())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_is_blamed_on_nobody_without_proof() {
        let unknown = |before, after| cause_of_kill(before, after).starts_with("unknown");
        assert!(unknown(Some(3), Some(3)) && unknown(Some(3), Some(5)) && unknown(None, Some(5)));
        assert!(cause_of_kill(Some(3), Some(3)).contains("nobody for want of memory"));
        assert!(cause_of_kill(Some(3), Some(5)).contains("killed 2 lately"));
    }
}
