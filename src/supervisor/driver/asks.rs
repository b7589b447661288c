//! Answers what clients of the control socket and the handle ask.

use std::os::unix::net::UnixStream;
use std::time::Instant;

use nix::sys::epoll::{EpollEvent, EpollFlags};

use crate::supervisor::check::no_such;
use crate::supervisor::control::protocol::{Answer, Request, Until};
use crate::supervisor::control::{Client, Heard, Listener};
use crate::supervisor::logs::Stream;
use crate::supervisor::machine::{Event, Phase, UnitId, names_below};
use crate::supervisor::status::{State, SupervisorEvent};
use crate::sys::signal::Signal;

use super::{Asker, CLIENTS, Driver, Waiting, Watcher};

/// How many clients may be there at once.
const MOST_CLIENTS: usize = 256;

impl Driver {
    pub(super) fn take_clients(&mut self) {
        while let Some(stream) = self.listener.as_ref().and_then(Listener::accept) {
            self.take_client(stream);
        }
    }

    fn take_client(&mut self, stream: UnixStream) {
        if self.clients.len() >= MOST_CLIENTS {
            return;
        }
        let token = CLIENTS + self.next_client;
        self.next_client += 1;
        if self.events.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, token)).is_ok() {
            self.clients.insert(token, Client::new(stream));
        }
    }

    pub(super) fn hear_client(&mut self, token: u64) {
        while let Some(client) = self.clients.get_mut(&token) {
            client.flush();
            match client.hear() {
                Heard::Request(request) => self.answer(request, &Asker::Client(token)),
                Heard::Nothing => break,
                Heard::Nonsense(text) => {
                    client.end(&Answer::error(format!("not understood: {text}")));
                    break;
                }
                Heard::Gone => return self.drop_client(token),
            }
        }
        self.look_at_client(token);
    }

    /// Watches a client for room, or closes it if it is over.
    fn look_at_client(&mut self, token: u64) {
        let Some(client) = self.clients.get(&token) else { return };
        if client.is_over() {
            return self.drop_client(token);
        }
        let mut flags = EpollFlags::EPOLLIN;
        flags.set(EpollFlags::EPOLLOUT, client.is_waiting());
        let _ = self.events.modify(client, &mut EpollEvent::new(flags, token));
    }

    fn drop_client(&mut self, token: u64) {
        if let Some(client) = self.clients.remove(&token) {
            let _ = self.events.delete(&client);
        }
        let is_other = |asker: &Asker| !matches!(asker, Asker::Client(other) if *other == token);
        self.watchers.retain(|watcher| is_other(&watcher.asker));
        self.followers.retain(|(asker, _)| is_other(asker));
        self.waiting.retain(|waiting| is_other(&waiting.asker));
        self.downs.retain(is_other);
    }

    /// False if nobody listens any more.
    pub(super) fn say(&mut self, asker: &Asker, answer: &Answer) -> bool {
        match asker {
            Asker::Handle(answers) => answers.send(answer.clone()).is_ok(),
            Asker::Client(token) => {
                let Some(client) = self.clients.get_mut(token) else { return false };
                client.say(answer);
                self.look_at_client(*token);
                self.clients.contains_key(token)
            }
        }
    }

    pub(super) fn end(&mut self, asker: &Asker, answer: &Answer) {
        self.say(asker, answer);
    }

    pub(super) fn answer(&mut self, request: Request, asker: &Asker) {
        if let Err(text) = self.try_answer(request, asker) {
            self.end(asker, &Answer::error(text));
        }
    }

    fn try_answer(&mut self, request: Request, asker: &Asker) -> Result<(), String> {
        match request {
            Request::Status { names } => self.tell_status(&names, asker)?,
            Request::Start { names } => {
                let units = self.units_of(&names)?;
                self.handle(Event::Start { units });
            }
            Request::Stop { names } => {
                let units = self.units_of(&names)?;
                self.handle(Event::Stop { units: units.clone() });
                self.wait_for(asker, units, Until::Stopped);
                return Ok(());
            }
            Request::Restart { names, rolling } => {
                let units = self.units_of(&names)?;
                self.handle(Event::Restart { units, rolling });
            }
            Request::Scale { name, replicas } => self.scale(&name, replicas)?,
            Request::Signal { signal, names } => {
                let signal: Signal =
                    signal.parse().map_err(|error: crate::ParseSignalError| error.to_string())?;
                for unit in self.units_of(&names)? {
                    self.send_signal(unit, signal);
                }
            }
            Request::Logs { names, follow } => {
                let units = self.units_of(&names)?;
                self.tell_recent(&units, asker);
                if follow {
                    self.followers.push((asker.clone(), units));
                    return Ok(());
                }
            }
            Request::Events => {
                self.follow(Watcher { asker: asker.clone(), counters: false });
                return Ok(());
            }
            Request::Top => {
                let watcher = Watcher { asker: asker.clone(), counters: true };
                self.tell_counters(&watcher);
                self.follow(watcher);
                return Ok(());
            }
            Request::Wait { names, until } => {
                let units = self.units_of(&names)?;
                self.wait_for(asker, units, until);
                return Ok(());
            }
            Request::Reload => self.reload()?,
            Request::Down { now } => {
                self.downs.push(asker.clone());
                self.handle(Event::ShutDown { at_once: now });
                return Ok(());
            }
            Request::Call { pool, task, input } => return self.call(&pool, task, input, asker),
        }
        self.end(asker, &Answer::done());
        Ok(())
    }

    /// The units that names mean: of programs, of one copy (`web.2`), of groups; all without any name.
    fn units_of(&self, names: &[String]) -> Result<Vec<UnitId>, String> {
        if names.is_empty() {
            return Ok(self.machine.units().map(|(id, _)| id).collect());
        }
        let mut units = Vec::new();
        for name in names {
            let below = names_below(self.machine.specification(), name);
            let found = self
                .machine
                .units()
                .filter(|(_, unit)| below.iter().any(|below| **below == *unit.name) || unit.label() == *name);
            let found: Vec<UnitId> = found.map(|(id, _)| id).collect();
            if found.is_empty() {
                return Err(self.unknown(name));
            }
            units.extend(found);
        }
        Ok(units)
    }

    fn unknown(&self, name: &str) -> String {
        let known: Vec<String> = self.machine.units().map(|(_, unit)| unit.name.to_string()).collect();
        no_such(name, known.iter().map(String::as_str))
    }

    fn tell_status(&mut self, names: &[String], asker: &Asker) -> Result<(), String> {
        for unit in self.units_of(names)? {
            let mut status = Box::new(self.status_of(unit, !names.is_empty()));
            status.measure();
            self.say(asker, &Answer::Unit(status));
        }
        Ok(())
    }

    /// A snapshot of all, and then every transition.
    fn follow(&mut self, watcher: Watcher) {
        let units: Vec<UnitId> = self.machine.units().map(|(unit, _)| unit).collect();
        for unit in units {
            let status = Box::new(self.status_of(unit, false));
            self.say(&watcher.asker, &Answer::Event(SupervisorEvent::State(status)));
        }
        self.watchers.push(watcher);
    }

    fn tell_recent(&mut self, units: &[UnitId], asker: &Asker) {
        for unit in units {
            let name = self.machine.unit(*unit).label();
            let recent: Vec<(Stream, String)> =
                self.pipes.get(unit).map(|pipes| pipes.recent.lines().collect()).unwrap_or_default();
            for (stream, text) in recent {
                let stderr = stream == Stream::Stderr;
                self.say(asker, &Answer::Line { name: name.clone(), stderr, text });
            }
        }
    }

    fn send_signal(&mut self, unit: UnitId, signal: Signal) {
        if let (Some(number), Some(keeping)) = (self.number_of(unit), &mut self.keeping) {
            let _ = keeping.signal(number, signal, true);
        }
        self.watch_keeper();
    }

    fn scale(&mut self, name: &str, replicas: u32) -> Result<(), String> {
        if !self.machine.specification().programs.iter().any(|program| program.name == name) {
            self.units_of(&[name.to_owned()])?;
            return Err(format!("`{name}` cannot be scaled: only programs have copies"));
        }
        let actions = self.machine.scale(name, replicas, Instant::now());
        self.act(actions);
        Ok(())
    }

    fn reload(&mut self) -> Result<(), String> {
        let reload = self.reload.as_mut().ok_or("there is no configuration to read again")?;
        let specification = reload()?;
        let actions = self.machine.reload(specification, Instant::now());
        // Opened anew: they may be others, or moved away.
        self.files.clear();
        self.act(actions);
        self.note("the configuration was read again".to_owned());
        Ok(())
    }

    fn wait_for(&mut self, asker: &Asker, units: Vec<UnitId>, until: Until) {
        self.waiting.push(Waiting { asker: asker.clone(), units, until });
        self.answer_waiting();
    }

    /// Answers those whose units are so far, or will not come so far by themselves.
    pub(super) fn answer_waiting(&mut self) {
        let all = std::mem::take(&mut self.waiting);
        for waiting in all {
            match self.verdict_on(&waiting) {
                None => self.waiting.push(waiting),
                Some(Ok(())) => self.end(&waiting.asker, &Answer::done()),
                Some(Err(text)) => self.end(&waiting.asker, &Answer::error(text)),
            }
        }
    }

    fn verdict_on(&self, waiting: &Waiting) -> Option<Result<(), String>> {
        let failed = |unit: &&UnitId| self.state_of(**unit) == State::Failed;
        if waiting.until == Until::Ready
            && let Some(unit) = waiting.units.iter().find(failed)
        {
            return Some(Err(format!("`{}` has failed for good", self.machine.unit(*unit).label())));
        }
        self.is_over(waiting).then_some(Ok(()))
    }

    fn is_over(&self, waiting: &Waiting) -> bool {
        waiting.units.iter().all(|unit| match waiting.until {
            Until::Ready => {
                let removed = self.machine.unit(*unit).phase == Phase::Removed;
                removed || matches!(self.state_of(*unit), State::Running | State::Finished)
            }
            Until::Stopped => {
                matches!(
                    self.state_of(*unit),
                    State::Stopped | State::Finished | State::Failed | State::Removed
                )
            }
        })
    }
}
