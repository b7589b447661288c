//! What programs print: read from their pipes, and handed to files, terminal, followers and records.

use std::io;
use std::os::fd::OwnedFd;

use nix::sys::epoll::{EpollEvent, EpollFlags};

use crate::supervisor::control::protocol::Answer;
use crate::supervisor::logs::{Chunk, LogFile, Recent, Source, Stream, Trouble};
use crate::supervisor::machine::UnitId;
use crate::supervisor::specification::LogOptions;

use super::{Driver, PIPES};

/// How much is read at a time.
const BUFFER: usize = 128 * 1024;

/// A page.
const ALIGNED: usize = 4096;

/// What all pipes are read through. It begins with a page: the kernel copies pages from a pipe several times slower
/// to an address that lies a few bytes behind the beginning of one, on some processors.
#[derive(Default)]
pub(super) struct Buffer(Vec<u8>);

impl Buffer {
    fn bytes(&mut self) -> &mut [u8] {
        self.0.resize(BUFFER + ALIGNED, 0);
        let begin = self.0.as_ptr().align_offset(ALIGNED).min(ALIGNED);
        &mut self.0[begin..begin + BUFFER]
    }
}

/// Both pipes of a unit.
pub(super) struct Pipes {
    sources: [Source; 2],
    held_back: [bool; 2],
    /// The last output of both.
    pub(super) recent: Recent,
}

impl Pipes {
    /// The last lines of stderr of the generation that has ended; the next one begins with none.
    pub(super) fn take_tail(&mut self) -> Vec<String> {
        let stderr = &mut self.sources[1];
        let lines = stderr.tail().lines().map(str::to_owned).collect();
        stderr.begin();
        lines
    }
}

impl Driver {
    /// Copies of the writing ends for a new process.
    pub(super) fn ends_of_pipes(&mut self, unit: UnitId) -> io::Result<(OwnedFd, OwnedFd)> {
        if !self.pipes.contains_key(&unit) {
            let sources = [Source::new(Stream::Stdout)?, Source::new(Stream::Stderr)?];
            for (token, source) in (PIPES + 2 * unit as u64..).zip(&sources) {
                self.events.add(source.pipe(), EpollEvent::new(EpollFlags::EPOLLIN, token))?;
            }
            let recent = Recent::default();
            self.pipes.insert(unit, Pipes { sources, held_back: [false; 2], recent });
        }
        let [stdout, stderr] = &self.pipes[&unit].sources;
        Ok((stdout.writer().try_clone_to_owned()?, stderr.writer().try_clone_to_owned()?))
    }

    /// `number`: twice the unit's, and one more for stderr.
    pub(super) fn read_pipe(&mut self, number: u64) {
        let (unit, which) = ((number / 2) as UnitId, (number % 2) as usize);
        let has_file = self.file_of(unit).is_some();
        if !has_file && self.terminal.as_ref().is_some_and(super::Terminal::is_full) {
            return self.hold_back(unit, which);
        }
        self.with_source(unit, which, |source, buffer, emit| {
            source.read(buffer, emit);
        });
    }

    fn hold_back(&mut self, unit: UnitId, which: usize) {
        let Some(pipes) = self.pipes.get_mut(&unit) else { return };
        pipes.held_back[which] = true;
        let token = PIPES + 2 * unit as u64 + which as u64;
        let mut nothing = EpollEvent::new(EpollFlags::empty(), token);
        let _ = self.events.modify(pipes.sources[which].pipe(), &mut nothing);
        self.any_held_back = true;
    }

    /// Reads again what was held back.
    pub(super) fn resume_pipes(&mut self) {
        if !std::mem::take(&mut self.any_held_back) {
            return;
        }
        for (unit, pipes) in &mut self.pipes {
            for which in 0..2 {
                if std::mem::take(&mut pipes.held_back[which]) {
                    let token = PIPES + 2 * *unit as u64 + which as u64;
                    let mut reading = EpollEvent::new(EpollFlags::EPOLLIN, token);
                    let _ = self.events.modify(pipes.sources[which].pipe(), &mut reading);
                }
            }
        }
    }

    /// Everything that a process wrote before its end; its last line need not have an end.
    pub(super) fn drain(&mut self, unit: UnitId) {
        for which in 0..2 {
            self.with_source(unit, which, |source, buffer, emit| {
                source.finish(buffer, emit);
            });
        }
    }

    pub(super) fn drain_all(&mut self) {
        let units: Vec<UnitId> = self.pipes.keys().copied().collect();
        units.into_iter().for_each(|unit| self.drain(unit));
    }

    /// Reads a source, which is out of the driver's hands meanwhile.
    fn with_source(
        &mut self,
        unit: UnitId,
        which: usize,
        read: impl FnOnce(&mut Source, &mut [u8], &mut dyn FnMut(Chunk<'_>)),
    ) {
        let Some(mut pipes) = self.pipes.remove(&unit) else { return };
        let mut buffer = std::mem::take(&mut self.buffer);
        let Pipes { sources, recent, .. } = &mut pipes;
        let source = &mut sources[which];
        let stream = source.stream;
        read(source, buffer.bytes(), &mut |chunk| {
            recent.push(stream, chunk);
            self.pass_on(unit, stream, chunk);
        });
        self.buffer = buffer;
        self.pipes.insert(unit, pipes);
    }

    fn pass_on(&mut self, unit: UnitId, stream: Stream, chunk: Chunk<'_>) {
        self.look_for_line(unit, chunk);
        if !self.write_to_file(unit, stream, chunk) {
            self.write_to_terminal(unit, chunk);
        }
        self.tell_followers(unit, stream, chunk);
    }

    /// How a unit's output is to be kept.
    fn log_of(&self, unit: UnitId) -> LogOptions {
        let name = &self.machine.unit(unit).name;
        let specification = self.machine.specification();
        let programs = specification.programs.iter().map(|program| (&program.name, &program.log));
        let mut all = programs.chain(specification.pools.iter().map(|pool| (&pool.name, &pool.log)));
        all.find(|(other, _)| ***other == **name).map(|(_, log)| log.clone()).unwrap_or_default()
    }

    /// The file that a unit's output goes to, if there is one.
    fn file_of(&mut self, unit: UnitId) -> Option<&mut LogFile> {
        let name = self.machine.unit(unit).name.clone();
        if !self.files.contains_key(&name) {
            let log = self.log_of(unit);
            let file = log.file.as_ref().map(|path| LogFile::new(path, &log));
            self.files.insert(name.clone(), file);
        }
        self.files.get_mut(&name)?.as_mut()
    }

    /// False if it has no file.
    fn write_to_file(&mut self, unit: UnitId, stream: Stream, chunk: Chunk<'_>) -> bool {
        let Some(file) = self.file_of(unit) else { return false };
        let writer = 2 * unit as u64 + u64::from(stream == Stream::Stderr);
        let Some(trouble) = file.write(writer, chunk) else { return true };
        let path = file.path().display().to_string();
        let name = self.machine.unit(unit).name.clone();
        match trouble {
            Trouble::Broken(error) => {
                self.note(format!(
                    "the log of {name} cannot be written, and its output is lost: {path}: {error}"
                ));
            }
            Trouble::Mended(lost) => {
                self.note(format!("the log of {name} can be written again; {lost} bytes were lost: {path}"));
            }
        }
        true
    }

    fn write_to_terminal(&mut self, unit: UnitId, chunk: Chunk<'_>) {
        let Some(terminal) = &mut self.terminal else { return };
        let label = self.machine.unit(unit).label();
        chunk.lines().for_each(|line| terminal.line(&label, &line));
        terminal.flush();
    }

    fn tell_followers(&mut self, unit: UnitId, stream: Stream, chunk: Chunk<'_>) {
        if !self.followers.iter().any(|(_, units)| units.contains(&unit)) {
            return;
        }
        let name = self.machine.unit(unit).label();
        for line in chunk.lines() {
            let text = String::from_utf8_lossy(&line).into_owned();
            let answer = Answer::Line { name: name.clone(), stderr: stream == Stream::Stderr, text };
            for (asker, units) in std::mem::take(&mut self.followers) {
                if !units.contains(&unit) || self.say(&asker, &answer) {
                    self.followers.push((asker, units));
                }
            }
        }
    }
}
