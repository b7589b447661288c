//! What is measured: one row of the table a piece of work.
//!
//! A new row is a variant of `Work`, a `Row` here, and an arm in each file of `peers/`: the compiler asks for
//! the latter, `peer.py` answers `absent` until it knows the key.

/// A piece of work that every peer is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Apply,
    MapSingle,
    MapChunks,
    Imap,
    Bytes,
    Vector,
    SpawnJoin,
    FirstWorker,
    KilledIdle,
    KilledBusy,
    Start64,
    Increments,
    Lock,
    SquaresFirst,
    Squares,
    IdleWakes,
    IdleMemory,
}

/// How a piece of work stands in the table.
pub(crate) struct Row {
    pub(crate) work: Work,
    /// The name by which peers are asked, and by which the command line chooses.
    pub(crate) key: &'static str,
    pub(crate) name: &'static str,
    /// Pool size, types, what exactly is timed.
    pub(crate) detail: &'static str,
    pub(crate) unit: Unit,
    pub(crate) goal: Goal,
    /// The goal where one processor has to do, if it is another one.
    pub(crate) goal_pinned: Option<Goal>,
}

/// What a number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Seconds; less is better.
    Time,
    /// Tasks a second; more is better.
    Rate,
    /// Bytes a second; more is better.
    Bandwidth,
    /// A count; less is better.
    Count,
    /// Bytes; less is better.
    Memory,
}

/// What Watertight wants to reach.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    None,
    AtMost(f64),
    AtLeast(f64),
    /// So many times what the limit takes.
    TimesLimit(f64),
}

impl Work {
    /// Whether the coordinator measures the peer from outside, while it holds an idle pool.
    pub(crate) fn is_idle(self) -> bool {
        matches!(self, Work::IdleWakes | Work::IdleMemory)
    }

    pub(crate) fn from_key(key: &str) -> Option<Work> {
        ROWS.iter().find(|row| row.key == key).map(|row| row.work)
    }
}

/// Workers of the pools whose start and idling are measured.
pub(crate) const MANY: usize = 64;

/// Bytes of the large arguments.
pub(crate) const LARGE: usize = 4 << 20;

/// How often each of two processes takes a lock to count.
pub(crate) const INCREMENTS: u32 = 1_000_000;

/// Numbers in the array whose squares are summed up, and in how many parts.
pub(crate) const NUMBERS: usize = 50_000_000;
pub(crate) const PARTS: usize = 4;

/// A word on the command line that stands for several rows.
pub(crate) const GROUPS: [(&str, &[Work]); 1] =
    [("shared", &[Work::Increments, Work::Lock, Work::SquaresFirst, Work::Squares])];

/// The rows, in the order of the table.
pub(crate) const ROWS: [Row; 17] = [
    Row {
        work: Work::Apply,
        key: "apply",
        name: "`apply`, back to back, p50",
        detail: "1 worker, i64 → i64; limit: a word between two threads",
        unit: Unit::Time,
        goal: Goal::AtMost(1e-6),
        goal_pinned: Some(Goal::AtMost(6e-6)),
    },
    Row {
        work: Work::MapSingle,
        key: "map-single",
        name: "`map`, one task a chunk",
        detail: "2 workers, x·x on i64; procspawn 64 in flight; limit: rayon, pieces of one",
        unit: Unit::Rate,
        goal: Goal::AtLeast(5e6),
        goal_pinned: None,
    },
    Row {
        work: Work::MapChunks,
        key: "map-chunks",
        name: "`map`, automatic chunks",
        detail: "2 workers, x·x on i64; limit: rayon",
        unit: Unit::Rate,
        goal: Goal::AtLeast(40e6),
        goal_pinned: None,
    },
    Row {
        work: Work::Imap,
        key: "imap",
        name: "`imap`",
        detail: "2 workers, x·x on i64, outcomes one by one; Python chunksize 1",
        unit: Unit::Rate,
        goal: Goal::None,
        goal_pinned: None,
    },
    Row {
        work: Work::Bytes,
        key: "bytes",
        name: "4 MiB arguments, `Bytes`",
        detail: "`map`, 2 workers, → length; Python bytes; limit: one memcpy of 64 MiB",
        unit: Unit::Bandwidth,
        goal: Goal::AtLeast(8e9),
        goal_pinned: None,
    },
    Row {
        work: Work::Vector,
        key: "vec",
        name: "4 MiB arguments, `Vec<u8>`",
        detail: "as above",
        unit: Unit::Bandwidth,
        goal: Goal::None,
        goal_pinned: None,
    },
    Row {
        work: Work::SpawnJoin,
        key: "spawn",
        name: "spawn + join",
        detail: "keeper running; i64 → i64; Python by fork; limit: bare fork + wait",
        unit: Unit::Time,
        goal: Goal::AtMost(0.4e-3),
        goal_pinned: None,
    },
    Row {
        work: Work::FirstWorker,
        key: "first",
        name: "first worker of a program",
        detail: "keeper included, to its first answer; Python by spawn; limit: exec of the same file",
        unit: Unit::Time,
        goal: Goal::TimesLimit(2.0),
        goal_pinned: None,
    },
    Row {
        work: Work::KilledIdle,
        key: "killed-idle",
        name: "idle worker killed → next answer",
        detail: "1 worker, SIGKILL from outside; limit: kill, wait, fork",
        unit: Unit::Time,
        goal: Goal::AtMost(0.5e-3),
        goal_pinned: None,
    },
    Row {
        work: Work::KilledBusy,
        key: "killed-busy",
        name: "task kills its worker → next answer",
        detail: "1 worker, raise(SIGKILL); from the task's submission; limit: kill, wait, fork",
        unit: Unit::Time,
        goal: Goal::AtMost(0.5e-3),
        goal_pinned: None,
    },
    Row {
        work: Work::Start64,
        key: "start-64",
        name: "64 workers started and answering",
        detail: "until each has run a task of 1 ms; Python by fork; limit: 64 bare forks",
        unit: Unit::Time,
        goal: Goal::AtMost(20e-3),
        goal_pinned: None,
    },
    Row {
        work: Work::Increments,
        key: "increments",
        name: "2 × 1,000,000 locked increments",
        detail: "a `Value`, two processes, each on a processor of its own; Python Value and its lock; limit: std Mutex, two threads",
        unit: Unit::Time,
        goal: Goal::TimesLimit(1.5),
        goal_pinned: None,
    },
    Row {
        work: Work::Lock,
        key: "lock",
        name: "lock + unlock, uncontended",
        detail: "a `Lock`; Python Lock; limit: std Mutex",
        unit: Unit::Time,
        goal: Goal::AtMost(25e-9),
        goal_pinned: None,
    },
    Row {
        work: Work::SquaresFirst,
        key: "squares-first",
        name: "sum of squares in place, first pass",
        detail: "50,000,000 f64, 4 parts of an `Array`, 2 workers; Python Array; limit: rayon",
        unit: Unit::Time,
        goal: Goal::TimesLimit(2.5),
        goal_pinned: None,
    },
    Row {
        work: Work::Squares,
        key: "squares",
        name: "sum of squares in place, second pass",
        detail: "as above, by the same workers",
        unit: Unit::Time,
        goal: Goal::TimesLimit(1.2),
        goal_pinned: None,
    },
    Row {
        work: Work::IdleWakes,
        key: "idle-wakes",
        name: "idle pool of 64: wake-ups a second",
        detail: "voluntary context switches of host, keeper and workers",
        unit: Unit::Count,
        goal: Goal::AtMost(0.0),
        goal_pinned: None,
    },
    Row {
        work: Work::IdleMemory,
        key: "idle-memory",
        name: "idle pool of 64: PSS a worker",
        detail: "all processes but the host, by 64",
        unit: Unit::Memory,
        goal: Goal::AtMost(0.4 * 1048576.0),
        goal_pinned: None,
    },
];
