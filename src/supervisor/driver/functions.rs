//! Functions in processes of their own among the children. Starting one and hearing of its end takes a moment, so a
//! thread does both.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::ProcessHandle;
use crate::supervisor::machine::{Event, UnitId};
use crate::supervisor::policy::End;
use crate::supervisor::specification::Start;
use crate::supervisor::status::Death;
use crate::sys::exit::ResourceUsage;
use crate::sys::signal::Signal;
use crate::task::error::TaskError;

use super::Driver;
use super::pools::News;

/// Where such a process is.
enum Life {
    /// It was asked for, and is to get this signal as soon as it is there.
    Starting(Option<Signal>),
    Running(ProcessHandle),
}

/// The functions that are alive, and what the dead wrote last.
#[derive(Default)]
pub(super) struct Functions {
    alive: BTreeMap<UnitId, Life>,
    last_words: BTreeMap<UnitId, Vec<String>>,
}

/// How a function ended.
pub(super) struct Ended {
    death: Death,
    end: End,
    stderr: Vec<String>,
}

impl Functions {
    /// Whether a process of this function may be there.
    pub(super) fn is_alive(&self, unit: UnitId) -> bool {
        self.alive.contains_key(&unit)
    }

    pub(super) fn take_last_words(&mut self, unit: UnitId) -> Vec<String> {
        self.last_words.remove(&unit).unwrap_or_default()
    }

    /// Whether the unit is a function; its process gets the signal.
    pub(super) fn signal(&mut self, unit: UnitId, signal: Signal) -> bool {
        match self.alive.get_mut(&unit) {
            None => return false,
            Some(Life::Starting(wanted)) => {
                *wanted = wanted.filter(|it| *it == Signal::SIGKILL).or(Some(signal))
            }
            Some(Life::Running(process)) => send(process, signal),
        }
        true
    }
}

/// One that has ended, or became another user, gets nothing.
fn send(process: &ProcessHandle, signal: Signal) {
    let _ = process.signal(signal);
    // Who is stopped hears nothing else.
    if signal != Signal::SIGKILL && signal != Signal::SIGSTOP {
        let _ = process.signal(Signal::SIGCONT);
    }
}

impl Driver {
    pub(super) fn start_function(&mut self, unit: UnitId, start: Start) -> Result<(), String> {
        let telling = self.pools.telling();
        self.pools.spawn(move || {
            let tell = |process| telling.tell(News::FunctionStarted(unit, process));
            News::FunctionEnded(unit, Box::new(run(&start, tell)))
        })?;
        self.functions.alive.insert(unit, Life::Starting(None));
        Ok(())
    }

    pub(super) fn function_started(&mut self, unit: UnitId, process: ProcessHandle) {
        let pid = process.pid();
        let before = self.functions.alive.insert(unit, Life::Running(process));
        if let Some(known) = self.processes.get_mut(&unit) {
            known.pid = Some(pid);
        }
        self.handle(Event::Started { unit });
        if let Some(Life::Starting(Some(signal))) = before {
            self.functions.signal(unit, signal);
        }
    }

    pub(super) fn function_ended(&mut self, unit: UnitId, ended: Ended) {
        self.functions.alive.remove(&unit);
        self.functions.last_words.insert(unit, ended.stderr);
        self.gone(unit, ended.death, ended.end);
    }
}

/// From the start to the end.
fn run(start: &Start, started: impl FnMut(ProcessHandle)) -> Ended {
    let never = |text: String| Ended { death: Death::unknown(text), end: End::Failure, stderr: Vec::new() };
    match catch_unwind(AssertUnwindSafe(|| start.run(started))) {
        Ok(Ok(Ok(()))) => {
            let death = Death {
                cause: "its function returned".to_owned(),
                code: Some(0),
                ..Death::unknown("returned".to_owned())
            };
            Ended { death, end: End::Success, stderr: Vec::new() }
        }
        Ok(Ok(Err(error))) => {
            let stderr = error.stderr().unwrap_or_default().lines().map(str::to_owned).collect();
            Ended { death: death_of(&error), end: End::Failure, stderr }
        }
        Ok(Err(error)) => never(error.to_string()),
        Err(_) => never("what should start it panicked".to_owned()),
    }
}

fn death_of(error: &TaskError) -> Death {
    let (status, usage) = (error.exit_status(), error.usage());
    let mut death = match status {
        Some(status) => Death::exited(status, usage.unwrap_or_default()),
        None => Death::unknown(String::new()),
    };
    (death.max_rss, death.cpu_ms) = match usage {
        Ok(ResourceUsage { max_rss, user_time, system_time }) => {
            (Some(max_rss), Some((user_time + system_time).as_millis() as u64))
        }
        Err(_) => (None, None),
    };
    death.how = error.cause().to_string();
    // What is left empty is looked at later: a signal may have been the supervisor's.
    death.cause = match error {
        _ if error.is_panic() => "its function panicked".to_owned(),
        _ if error.is_memory_limit() => "it needed more memory than its limit".to_owned(),
        _ if error.is_cpu_limit() => "it used up its processor time".to_owned(),
        _ if status.is_some() => String::new(),
        _ => "unknown".to_owned(),
    };
    death
}
