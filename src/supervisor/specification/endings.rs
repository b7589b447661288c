//! What follows the end of a child, and how it is brought about.

use std::time::Duration;

use crate::sys::signal::Signal;

/// When a child that has ended is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RestartPolicy {
    /// Always.
    #[default]
    Permanent,
    /// When it failed: by a signal, or with an exit code that is no success.
    Transient,
    /// Never.
    Temporary,
}

/// Who is restarted when one child has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// That child alone.
    #[default]
    OneForOne,
    /// All children of the group.
    OneForAll,
    /// That child and those after it.
    RestForOne,
}

/// More than `restarts` restarts within `period`, and the group gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intensity {
    /// How many restarts are still right.
    pub restarts: u32,
    /// In how long a time.
    pub period: Duration,
}

impl Default for Intensity {
    fn default() -> Intensity {
        Intensity { restarts: 10, period: Duration::from_secs(60) }
    }
}

/// When a group ends by itself because of the end of its significant children.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AutoShutdown {
    /// It does not.
    #[default]
    Never,
    /// When one of them has ended for good.
    AnySignificant,
    /// When all of them have.
    AllSignificant,
}

/// How long to wait before a restart: `first`, times `factor` for each further one, at most `cap`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// Before the first restart.
    pub first: Duration,
    /// By how much each wait is longer than the one before; at least 1.
    pub factor: f64,
    /// The longest wait.
    pub cap: Duration,
    /// The share of a wait, 0 to 1, by which it is made longer at random, so that many do not start at once.
    pub jitter: f64,
    /// After how long a healthy life the next wait is the first again.
    pub reset_after: Duration,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff {
            first: Duration::from_millis(100),
            factor: 2.0,
            cap: Duration::from_secs(30),
            jitter: 0.1,
            reset_after: Duration::from_secs(10),
        }
    }
}

/// What is done to stop a program, step by step, until its group is empty. After the last step comes SIGKILL
/// at once, whether the ladder names it or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopLadder {
    /// In order.
    pub steps: Vec<StopStep>,
}

/// One step of a [`StopLadder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopStep {
    /// Sends this signal to the whole group.
    Signal(Signal),
    /// Waits this long for the end.
    Wait(Duration),
}

impl Default for StopLadder {
    fn default() -> StopLadder {
        let grace = StopStep::Wait(Duration::from_secs(10));
        StopLadder {
            steps: vec![StopStep::Signal(Signal::SIGTERM), grace, StopStep::Signal(Signal::SIGKILL)],
        }
    }
}
