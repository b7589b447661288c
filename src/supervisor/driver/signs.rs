//! Signs of readiness and of life, from programs and from probes of them.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use nix::sys::epoll::{EpollEvent, EpollFlags};

use crate::supervisor::logs::Chunk;
use crate::supervisor::machine::{Event, Phase, UnitId};
use crate::supervisor::ready::{
    Due, FdLine, Interest, Notice, NotifySocket, Progress, Said, Schedule, Sender, Visit, has_text,
};
use crate::supervisor::specification::{Program, Readiness};
use crate::sys::exit::ExitStatus;
use crate::sys::signal::Signal;

use super::{Driver, SIGNS};

/// What one generation of a unit is listened at with, and asked.
#[derive(Default)]
pub(super) struct Signs {
    line: Option<FdLine>,
    notify: Option<NotifySocket>,
    probe: Option<Schedule>,
    visit: Option<Visit>,
    /// The keeper's number for a command that runs as a probe.
    command: Option<u32>,
    /// It said that it is ready before the keeper said that it runs.
    early: bool,
    /// What it says of itself, for people.
    pub(super) status: Option<String>,
    /// Who may speak for it, besides root and this user.
    user: Option<u32>,
}

/// What a new process gets for its signs.
#[derive(Default)]
pub(super) struct Equipment {
    pub(super) descriptors: Vec<(i32, OwnedFd)>,
    pub(super) environment: Vec<(String, String)>,
}

const LINE: u64 = 0;
const NOTIFY: u64 = 1;
const VISIT: u64 = 2;

impl Driver {
    /// Before a unit starts: everything that it may send signs through.
    pub(super) fn equip(
        &mut self,
        unit: UnitId,
        program: &Program,
        user: Option<u32>,
    ) -> io::Result<Equipment> {
        let (mut signs, mut equipment) = (Signs { user, ..Signs::default() }, Equipment::default());
        if let Readiness::Fd(number) = program.readiness {
            let (line, writer) = FdLine::new()?;
            self.listen(line.descriptor(), EpollFlags::EPOLLIN, unit, LINE)?;
            equipment.descriptors.push((i32::from(number), writer));
            signs.line = Some(line);
        }
        if program.readiness == Readiness::Notify || program.watchdog.is_some() {
            let notify = NotifySocket::new()?;
            self.listen(notify.descriptor(), EpollFlags::EPOLLIN, unit, NOTIFY)?;
            equipment.environment.push(("NOTIFY_SOCKET".to_owned(), notify.address().to_owned()));
            signs.notify = Some(notify);
        }
        if let Some(watchdog) = program.watchdog {
            let micros = watchdog.within.as_micros().to_string();
            equipment.environment.push(("WATCHDOG_USEC".to_owned(), micros));
        }
        self.signs.insert(unit, signs);
        Ok(equipment)
    }

    fn listen(
        &self,
        fd: std::os::fd::BorrowedFd<'_>,
        flags: EpollFlags,
        unit: UnitId,
        which: u64,
    ) -> io::Result<()> {
        let token = SIGNS + 4 * unit as u64 + which;
        Ok(self.events.add(fd, EpollEvent::new(flags, token))?)
    }

    /// It runs: what it said before counts now, and it can be asked.
    pub(super) fn begin_probe(&mut self, unit: UnitId) {
        let probe = match self.readiness_of(unit) {
            Some(
                Readiness::Command { probe, .. }
                | Readiness::Tcp { probe, .. }
                | Readiness::Http { probe, .. },
            ) => Some(*probe),
            _ => None,
        };
        let Some(signs) = self.signs.get_mut(&unit) else { return };
        signs.probe = probe.map(|probe| Schedule::new(probe, Instant::now()));
        if std::mem::take(&mut signs.early) {
            self.is_ready(unit);
        }
        self.probe_due();
    }

    /// It ended.
    pub(super) fn forget_signs(&mut self, unit: UnitId) {
        let command = self.signs.remove(&unit).and_then(|signs| signs.command);
        command.into_iter().for_each(|number| self.end_command(number));
    }

    fn is_ready(&mut self, unit: UnitId) {
        let phase = self.machine.unit(unit).phase;
        let Some(signs) = self.signs.get_mut(&unit) else { return };
        if matches!(phase, Phase::Starting { .. }) {
            signs.early = true;
            return;
        }
        (signs.probe, signs.visit, signs.line) = (None, None, None);
        self.handle(Event::Ready { unit });
    }

    /// `number`: four times the unit's, and which of its descriptors.
    pub(super) fn hear_sign(&mut self, number: u64) {
        let (unit, which) = ((number / 4) as UnitId, number % 4);
        match which {
            LINE => self.hear_line(unit),
            NOTIFY => self.hear_notices(unit),
            _ => self.go_on_with_visit(unit),
        }
    }

    fn hear_line(&mut self, unit: UnitId) {
        let Some(signs) = self.signs.get_mut(&unit) else { return };
        match signs.line.as_mut().map(FdLine::read) {
            Some(Said::Line) => {
                signs.line = None;
                self.is_ready(unit);
            }
            // It can become ready no more; its time for that will end.
            Some(Said::End) => signs.line = None,
            Some(Said::Nothing) | None => {}
        }
    }

    fn hear_notices(&mut self, unit: UnitId) {
        // A bounded number: whoever sends without end must not keep the others waiting.
        for _ in 0..16 {
            let Some(signs) = self.signs.get(&unit) else { return };
            let Some(notify) = &signs.notify else { return };
            match notify.receive() {
                Ok(Some((sender, notices))) if may_speak(sender, signs.user) => {
                    notices.into_iter().for_each(|notice| self.take_notice(unit, notice));
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn take_notice(&mut self, unit: UnitId, notice: Notice) {
        match notice {
            Notice::Ready if self.readiness_of(unit) == Some(&Readiness::Notify) => self.is_ready(unit),
            Notice::Alive => {
                self.count_heartbeat(unit);
                self.handle(Event::Heartbeat { unit });
            }
            Notice::Hung => self.signal(unit, Signal::SIGKILL),
            Notice::Status(text) => self.says(unit, text),
            Notice::Reloading => self.says(unit, "reloading".to_owned()),
            Notice::Stopping => self.says(unit, "stopping".to_owned()),
            Notice::Ready | Notice::MainPid(_) => {}
        }
    }

    fn says(&mut self, unit: UnitId, text: String) {
        if let Some(signs) = self.signs.get_mut(&unit) {
            signs.status = Some(text);
            self.changed(unit, self.state_of(unit));
        }
    }

    /// Whether a line of output is the one by which a program says that it is ready.
    pub(super) fn look_for_line(&mut self, unit: UnitId, chunk: Chunk<'_>) {
        if matches!(self.readiness_of(unit), Some(Readiness::LogLine(text)) if has_text(chunk, text)) {
            self.is_ready(unit);
        }
    }

    /// When a probe is due.
    pub(super) fn next_probe(&self) -> Option<Instant> {
        self.signs.values().filter_map(|signs| signs.probe.as_ref()?.wake_at()).min()
    }

    /// Begins and ends the attempts whose time has come.
    pub(super) fn probe_due(&mut self) {
        let now = Instant::now();
        let due =
            self.signs.iter_mut().filter_map(|(unit, signs)| Some((*unit, signs.probe.as_mut()?.due(now)?)));
        let due: Vec<(UnitId, Due)> = due.collect();
        for (unit, due) in due {
            match due {
                Due::Try => self.probe(unit),
                Due::GiveUp => self.give_up_probe(unit),
            }
        }
    }

    fn probe(&mut self, unit: UnitId) {
        let visit = match self.readiness_of(unit).cloned() {
            Some(Readiness::Command { command, .. }) => return self.probe_by_command(unit, &command),
            Some(Readiness::Tcp { address, .. }) => Visit::tcp(&address),
            Some(Readiness::Http { url, .. }) => Visit::http(&url),
            _ => return,
        };
        let Some(signs) = self.signs.get_mut(&unit) else { return };
        signs.visit = visit.ok();
        match signs.visit {
            Some(_) => self.go_on_with_visit(unit),
            None => self.probe_ended(unit, false),
        }
    }

    fn go_on_with_visit(&mut self, unit: UnitId) {
        let Some(signs) = self.signs.get_mut(&unit) else { return };
        let Some(mut visit) = signs.visit.take() else { return };
        match visit.advance() {
            Progress::Passed => self.probe_ended(unit, true),
            Progress::Failed(_) => self.probe_ended(unit, false),
            Progress::Wait(interest) => {
                let flags = match interest {
                    Interest::Read => EpollFlags::EPOLLIN,
                    Interest::Write => EpollFlags::EPOLLOUT,
                };
                // The descriptor may be another one than before, or the same that now waits for something else.
                let token = SIGNS + 4 * unit as u64 + VISIT;
                let mut event = EpollEvent::new(flags, token);
                if self.events.modify(visit.descriptor(), &mut event).is_err() {
                    let _ = self.listen(visit.descriptor(), flags, unit, VISIT);
                }
                if let Some(signs) = self.signs.get_mut(&unit) {
                    signs.visit = Some(visit);
                }
            }
        }
    }

    fn probe_by_command(&mut self, unit: UnitId, command: &[String]) {
        let Ok(null) = File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from) else {
            return self.probe_ended(unit, false);
        };
        self.next_number = self.next_number.wrapping_add(1);
        let number = self.next_number;
        let name = self.machine.unit(unit).name.to_string();
        let programs = &self.machine.specification().programs;
        let Some(mut program) = programs.iter().find(|program| program.name == name).cloned() else { return };
        program.command = command.to_vec();
        let started = self.launch(&program, unit, number).ok().zip(self.keeping.as_mut()).and_then(
            |(launch, keeping)| {
                let copies = [null.try_clone().ok()?, null.try_clone().ok()?];
                let [stdout, stderr] = copies;
                keeping.run(launch, vec![null, stdout, stderr]).ok()
            },
        );
        match (started, self.signs.get_mut(&unit)) {
            (Some(()), Some(signs)) => {
                signs.command = Some(number);
                self.commands.insert(number, unit);
            }
            _ => self.probe_ended(unit, false),
        }
        self.watch_keeper();
    }

    /// The end of a command that ran as a probe; false if the number is none.
    pub(super) fn command_ended(&mut self, number: u32, status: Option<ExitStatus>) -> bool {
        let Some(unit) = self.commands.remove(&number) else { return false };
        let own = self.signs.get_mut(&unit).filter(|signs| signs.command == Some(number));
        if let Some(signs) = own {
            signs.command = None;
            self.probe_ended(unit, status.and_then(ExitStatus::code) == Some(0));
        }
        true
    }

    fn end_command(&mut self, number: u32) {
        if let Some(keeping) = &mut self.keeping {
            let _ = keeping.signal(number, Signal::SIGKILL, true);
        }
    }

    fn give_up_probe(&mut self, unit: UnitId) {
        let Some(signs) = self.signs.get_mut(&unit) else { return };
        signs.visit = None;
        let command = signs.command.take();
        command.into_iter().for_each(|number| self.end_command(number));
    }

    fn probe_ended(&mut self, unit: UnitId, passed: bool) {
        let Some(signs) = self.signs.get_mut(&unit) else { return };
        if let Some(probe) = &mut signs.probe {
            probe.ended(passed, Instant::now());
        }
        if passed {
            self.is_ready(unit);
        }
    }
}

fn may_speak(sender: Sender, user: Option<u32>) -> bool {
    sender.uid == 0 || sender.uid == nix::unistd::geteuid().as_raw() || Some(sender.uid) == user
}
