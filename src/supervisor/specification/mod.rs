//! What is to be supervised: plain data, made by hand or from a file, and looked at by everybody else.
//!
//! Names are unique across programs, pools and groups. Whoever makes a specification by hand checks it with
//! the same rules as those of a file; the supervisor refuses one that breaks them.

mod endings;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub use super::function::Start;
pub use endings::{AutoShutdown, Backoff, Intensity, RestartPolicy, StopLadder, StopStep, Strategy};

/// A tree of programs, pools and groups.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Specification {
    /// How the children that no group names are supervised.
    pub root: Supervision,
    /// In the order of the file.
    pub programs: Vec<Program>,
    /// In the order of the file.
    pub pools: Vec<Pool>,
    /// In the order of the file.
    pub groups: Vec<Group>,
    /// All names, in the order of the file: programs, pools and groups together. It is the order of start,
    /// as far as dependencies leave it open, and what `rest_for_one` means by "after". Names that are left out come
    /// last, as the lists have them.
    pub order: Vec<String>,
}

impl Specification {
    /// With all names in the order.
    pub(super) fn in_order(mut self) -> Specification {
        let programs = self.programs.iter().map(|program| &program.name);
        let pools = self.pools.iter().map(|pool| &pool.name);
        let all = programs.chain(pools).chain(self.groups.iter().map(|group| &group.name));
        let missing: Vec<String> = all.filter(|name| !self.order.contains(name)).cloned().collect();
        self.order.extend(missing);
        self
    }
}

/// How a group treats its children.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Supervision {
    /// Who is restarted when one child ends.
    pub strategy: Strategy,
    /// How many restarts are too many.
    pub intensity: Intensity,
    /// When the group ends by itself.
    pub auto_shutdown: AutoShutdown,
}

/// Children that are supervised together, and fail together when they restart too often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Names of programs, pools and groups, in the order that `rest_for_one` means.
    pub children: Vec<String>,
    /// How they are treated.
    pub supervision: Supervision,
    /// Whether the group above restarts this one after it gave up.
    pub restart: RestartPolicy,
    /// Whether its end counts for the automatic shutdown of the group above.
    pub significant: bool,
    /// What must be there before any of its children starts.
    pub depends_on: Vec<DependsOn>,
}

/// A program, run in one or more copies.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// The executable and its arguments; never empty. It is looked for on `PATH` if it has no slash.
    pub command: Vec<String>,
    /// A function that runs in its place: see [`Program::process`].
    pub process: Option<Start>,
    /// Variables that are set for it.
    pub environment: BTreeMap<String, String>,
    /// Whether it also gets the supervisor's variables.
    pub inherit_environment: bool,
    /// The folder it runs in; the supervisor's if there is none.
    pub folder: Option<PathBuf>,
    /// The name or number of the user it runs as; the supervisor's if there is none.
    pub user: Option<String>,
    /// How many copies run.
    pub replicas: u32,
    /// Whether it is started with the supervisor; else by a person only.
    pub autostart: bool,
    /// What must be there before it starts.
    pub depends_on: Vec<DependsOn>,
    /// When it is restarted.
    pub restart: RestartPolicy,
    /// How long to wait before it is.
    pub backoff: Backoff,
    /// The exit codes that mean success.
    pub success: Vec<i32>,
    /// Whether its end counts for the automatic shutdown of its group.
    pub significant: bool,
    /// How it says that it is ready.
    pub readiness: Readiness,
    /// How long it may take to become ready; then it is stopped, as failed.
    pub ready_within: Duration,
    /// Whether it must give signs of life.
    pub watchdog: Option<Watchdog>,
    /// How it is stopped.
    pub stop: StopLadder,
    /// What it may use.
    pub limits: ProgramLimits,
    /// Where its output goes.
    pub log: LogOptions,
}

impl Program {
    /// A program with every option at its default.
    pub fn new(name: impl Into<String>, command: Vec<String>) -> Program {
        Program {
            name: name.into(),
            command,
            process: None,
            environment: BTreeMap::new(),
            inherit_environment: true,
            folder: None,
            user: None,
            replicas: 1,
            autostart: true,
            depends_on: Vec::new(),
            restart: RestartPolicy::default(),
            backoff: Backoff::default(),
            success: vec![0],
            significant: false,
            readiness: Readiness::None,
            ready_within: Duration::from_secs(60),
            watchdog: None,
            stop: StopLadder::default(),
            limits: ProgramLimits::default(),
            log: LogOptions::default(),
        }
    }
}

/// A pool of workers, which takes calls.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// The worker executable; the stock worker if there is none.
    pub worker: Option<PathBuf>,
    /// How many workers; one a processor if there is no number.
    pub size: Option<u32>,
    /// How many more processes stand ready.
    pub spares: u32,
    /// After how many tasks a worker is replaced.
    pub max_tasks_per_worker: Option<u64>,
    /// How long a task may run.
    pub timeout: Option<Duration>,
    /// How long a task that timed out may take to stop by itself.
    pub grace: Option<Duration>,
    /// How often a task is tried.
    pub attempts: u32,
    /// How many calls may wait.
    pub max_pending: Option<u64>,
    /// The most private memory that a worker may use, in bytes.
    pub memory: Option<u64>,
    /// The most processor time that a task may use.
    pub cpu_time: Option<Duration>,
    /// Variables that are set for the workers.
    pub environment: BTreeMap<String, String>,
    /// The folder the workers run in.
    pub folder: Option<PathBuf>,
    /// What must be there before it starts.
    pub depends_on: Vec<DependsOn>,
    /// When it is started anew after it broke down as a whole.
    pub restart: RestartPolicy,
    /// How long to wait before it is.
    pub backoff: Backoff,
    /// Whether its end counts for the automatic shutdown of its group.
    pub significant: bool,
    /// Where the workers' output goes.
    pub log: LogOptions,
}

impl Pool {
    /// A pool with every option at its default.
    pub fn new(name: impl Into<String>) -> Pool {
        Pool {
            name: name.into(),
            worker: None,
            size: None,
            spares: 0,
            max_tasks_per_worker: None,
            timeout: None,
            grace: None,
            attempts: 1,
            max_pending: None,
            memory: None,
            cpu_time: None,
            environment: BTreeMap::new(),
            folder: None,
            depends_on: Vec::new(),
            restart: RestartPolicy::default(),
            backoff: Backoff::default(),
            significant: false,
            log: LogOptions::default(),
        }
    }
}

/// How a program says that it is ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Readiness {
    /// It is as soon as it runs.
    #[default]
    None,
    /// It writes a line on this descriptor, which is a pipe to the supervisor.
    Fd(u16),
    /// It sends `READY=1` to the socket that `NOTIFY_SOCKET` names, as for systemd.
    Notify,
    /// This command succeeds.
    Command {
        /// The executable and its arguments.
        command: Vec<String>,
        /// When it is tried.
        probe: Probe,
    },
    /// A connection is taken here.
    Tcp {
        /// `host:port`.
        address: String,
        /// When it is tried.
        probe: Probe,
    },
    /// A GET is answered with a status from 200 to 399.
    Http {
        /// `http://host:port/path`.
        url: String,
        /// When it is tried.
        probe: Probe,
    },
    /// A line of its output has this text in it.
    LogLine(String),
}

/// When a probe is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// How long from the end of one attempt to the next.
    pub every: Duration,
    /// How long one attempt may take.
    pub timeout: Duration,
}

impl Default for Probe {
    fn default() -> Probe {
        Probe { every: Duration::from_millis(500), timeout: Duration::from_secs(2) }
    }
}

/// A program that sends no `WATCHDOG=1` for this long, once it is ready, is hung: it is killed and restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watchdog {
    /// The longest silence.
    pub within: Duration,
}

/// That one child waits for another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DependsOn {
    /// The one that is waited for.
    pub name: String,
    /// Until when.
    pub condition: Condition,
}

/// What a dependency must have reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Condition {
    /// It runs.
    Started,
    /// It said that it is ready.
    #[default]
    Ready,
    /// It has been ready for as long as its back-off calls a healthy life.
    Healthy,
    /// It ended with success.
    Finished,
}

/// What a program may use. What is `None` is not limited by the supervisor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgramLimits {
    /// Private memory of each of its processes, in bytes (`RLIMIT_DATA`).
    pub memory: Option<u64>,
    /// Processor time of each of its processes (`RLIMIT_CPU`), in whole seconds.
    pub cpu_time: Option<Duration>,
    /// Descriptors (`RLIMIT_NOFILE`).
    pub open_files: Option<u64>,
    /// The size of a core dump in bytes (`RLIMIT_CORE`); 0 is none.
    pub core: Option<u64>,
}

/// Where a program's stdout and stderr go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Into this file; else to the terminal, if `watertight up` supervises it, and nowhere from within a program.
    pub file: Option<PathBuf>,
    /// The size in bytes at which a file is put aside and a new one begun.
    pub max_size: u64,
    /// How many files that were put aside are kept.
    pub copies: u32,
    /// Whether files are put aside at all.
    pub rotate: bool,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions { file: None, max_size: 10 << 20, copies: 5, rotate: true }
    }
}
