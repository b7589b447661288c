//! What a supervisor says of its units: plain records, which are the JSON of the command line as well.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::sync::counters::{Count, Counters};
use crate::sys::clock::monotonic_nanos;
use crate::sys::exit::{ExitStatus, ResourceUsage};
use crate::sys::procfs::{self, Usage};

/// How many deaths are kept for each unit.
const DEATHS_KEPT: usize = 100;

/// Where a unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum State {
    /// It does not run, and nobody wants it to.
    Stopped,
    /// It waits for others, or for its next start after a failure.
    Waiting,
    /// It was started and is not ready yet.
    Starting,
    /// It runs and is ready.
    Running,
    /// It was told to end.
    Stopping,
    /// It ended for good, with success.
    Finished,
    /// It ended for good, and failed.
    Failed,
    /// It is no part of the tree any more.
    Removed,
}

impl State {
    /// Whether this is what should be: neither on the way nor failed.
    pub fn is_well(self) -> bool {
        matches!(self, State::Stopped | State::Running | State::Finished | State::Removed)
    }
}

/// One copy of a program, or a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnitStatus {
    /// The program's name, with a dot and the copy's number from the second copy on.
    pub name: String,
    /// Where it is.
    pub state: State,
    /// Its process, while it runs; pools have `workers` instead.
    pub pid: Option<u32>,
    /// Milliseconds since its start, while it runs.
    pub uptime_ms: Option<u64>,
    /// How often it was started.
    pub starts: u64,
    /// How often the policy started it again.
    pub restarts: u64,
    /// What it says of itself, through the socket of its readiness.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Milliseconds until its next start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_start_ms: Option<u64>,
    /// Resident memory in bytes, while it runs; of a pool, of all its workers. Not told with events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss: Option<u64>,
    /// Processor time in milliseconds, while it runs; of a pool, of its present workers. Not told with events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u64>,
    /// Milliseconds since its last sign of life, of a program that sends them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_ms: Option<u64>,
    /// What has become of its tasks, of a pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<TaskCounts>,
    /// The processes that work for it now, of a pool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workers: Vec<u32>,
    /// How it ended the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<String>,
    /// Its last deaths, the newest first; only where they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deaths: Vec<Death>,
    /// The last lines of stderr of the newest death.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stderr: Vec<String>,
}

impl UnitStatus {
    /// Looks at what its processes use now.
    pub(crate) fn measure(&mut self) {
        let usages: Vec<Usage> =
            self.pid.iter().chain(&self.workers).filter_map(|pid| procfs::usage(*pid)).collect();
        let any = !usages.is_empty();
        self.rss = any.then(|| usages.iter().map(|usage| usage.rss).sum());
        self.cpu_ms = any.then(|| usages.iter().map(|usage| usage.cpu.as_millis() as u64).sum());
    }
}

/// The tasks of a pool since its supervisor began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCounts {
    /// Gave a value.
    pub done: u64,
    /// Ended with an error.
    pub failed: u64,
    /// Were submitted and have not ended.
    pub pending: u64,
    /// Workers that have tasks now.
    pub busy: u64,
    /// Workers that died without being told to.
    pub crashed: u64,
}

impl TaskCounts {
    pub(crate) fn of(counters: &Counters) -> TaskCounts {
        TaskCounts {
            done: counters.get(Count::Done),
            failed: counters.get(Count::Failed),
            pending: counters.get(Count::Pending),
            busy: counters.get(Count::Busy),
            crashed: counters.get(Count::Crashed),
        }
    }
}

/// Milliseconds since the last sign of life, if there was one.
pub(crate) fn since_heartbeat(counters: &Counters) -> Option<u64> {
    let last = Some(counters.get(Count::Heartbeat)).filter(|last| *last > 0)?;
    Some((monotonic_nanos() / 1_000_000).saturating_sub(last))
}

/// How a unit ended once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Death {
    /// Which start it was.
    pub generation: u64,
    /// Its process, if it had one.
    pub pid: Option<u32>,
    /// How it ended, for people.
    pub how: String,
    /// The exit code, if it exited by itself.
    pub code: Option<i32>,
    /// The signal that killed it.
    pub signal: Option<String>,
    /// Whether the kernel wrote a core dump.
    pub core_dumped: bool,
    /// Why, as far as it is known.
    pub cause: String,
    /// Milliseconds from its start to its end.
    pub uptime_ms: u64,
    /// Its largest resident set in bytes, if it is known.
    pub max_rss: Option<u64>,
    /// Processor time in milliseconds, if it is known.
    pub cpu_ms: Option<u64>,
    /// Processes that it left outside its group, which were killed.
    pub strays_killed: u32,
    /// Processes that it may have left, and that bear no mark or cannot be killed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strays_left: Vec<u32>,
    /// What followed.
    pub decision: String,
    /// Milliseconds from its end to the next start, if there is one by the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_start_ms: Option<u64>,
}

impl Death {
    pub(super) fn exited(status: ExitStatus, usage: ResourceUsage) -> Death {
        let (signal, core_dumped) = match status {
            ExitStatus::Code(_) => (None, false),
            ExitStatus::Signal { signal, core_dumped } => (Some(signal.to_string()), core_dumped),
        };
        Death {
            how: status.to_string(),
            code: status.code(),
            signal,
            core_dumped,
            max_rss: Some(usage.max_rss),
            cpu_ms: Some((usage.user_time + usage.system_time).as_millis() as u64),
            ..Death::unknown(String::new())
        }
    }

    pub(super) fn unknown(how: String) -> Death {
        Death {
            generation: 0,
            pid: None,
            how,
            code: None,
            signal: None,
            core_dumped: false,
            cause: String::new(),
            uptime_ms: 0,
            max_rss: None,
            cpu_ms: None,
            strays_killed: 0,
            strays_left: Vec::new(),
            decision: String::new(),
            next_start_ms: None,
        }
    }
}

/// The last deaths of a unit, and the last words of the newest.
#[derive(Debug, Default)]
pub(super) struct Deaths {
    list: VecDeque<Death>,
    pub(super) stderr: Vec<String>,
}

impl Deaths {
    pub(super) fn add(&mut self, death: Death, stderr: Vec<String>) {
        self.list.truncate(DEATHS_KEPT - 1);
        self.list.push_front(death);
        self.stderr = stderr;
    }

    pub(super) fn newest(&self) -> Option<&Death> {
        self.list.front()
    }

    pub(super) fn all(&self) -> Vec<Death> {
        self.list.iter().cloned().collect()
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum SupervisorEvent {
    /// A unit is somewhere else now.
    State(Box<UnitStatus>),
    /// A unit has died.
    Death {
        /// Which one.
        name: String,
        /// How.
        death: Box<Death>,
    },
    /// Something for people to read.
    Note {
        /// The text.
        text: String,
    },
}
