//! What is said over the control socket: one JSON object a line. A request is one line; the answer is any number of
//! lines, the last of which is an `end`.

use serde::{Deserialize, Serialize};

use crate::shm::name::SegmentId;
use crate::supervisor::status::{SupervisorEvent, UnitStatus};

/// The longest line that a client may send, in bytes.
pub(crate) const LONGEST_REQUEST: usize = 1 << 20;

/// What may be asked. No names mean all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Request {
    /// Where the units are; with their deaths if they are named.
    Status {
        /// Whose.
        #[serde(default)]
        names: Vec<String>,
    },
    /// Starts what does not run.
    Start {
        /// What.
        names: Vec<String>,
    },
    /// Stops, and answers when it has stopped.
    Stop {
        /// What.
        names: Vec<String>,
    },
    /// Stops and starts, all at once or copy after copy.
    Restart {
        /// What.
        names: Vec<String>,
        /// Each ready before the next.
        #[serde(default)]
        rolling: bool,
    },
    /// Runs so many copies.
    Scale {
        /// Of which program.
        name: String,
        /// How many.
        replicas: u32,
    },
    /// Sends a signal to the group of each.
    Signal {
        /// The signal's name or number.
        signal: String,
        /// To whom.
        names: Vec<String>,
    },
    /// The last lines of output, and what follows.
    Logs {
        /// Whose.
        #[serde(default)]
        names: Vec<String>,
        /// Whether to go on.
        #[serde(default)]
        follow: bool,
    },
    /// A snapshot of all, then every transition.
    Events,
    /// As `events`, and where the counters of all are.
    Top,
    /// Answers when all copies are so far.
    Wait {
        /// Of what.
        names: Vec<String>,
        /// Until when.
        until: Until,
    },
    /// Reads the configuration again.
    Reload,
    /// Stops everything and ends, and answers when nothing runs any more.
    Down {
        /// Without grace.
        #[serde(default)]
        now: bool,
    },
    /// Runs a task on a pool.
    Call {
        /// The pool.
        pool: String,
        /// The task's name.
        task: String,
        /// Its arguments.
        input: Vec<serde_json::Value>,
    },
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Until {
    /// It runs and is ready.
    Ready,
    /// It does not run.
    Stopped,
}

/// A line of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// A unit.
    Unit(Box<UnitStatus>),
    /// A line of output.
    Line {
        /// Whose.
        name: String,
        /// Whether of stderr.
        stderr: bool,
        /// Without its end.
        text: String,
    },
    /// Something that happened.
    Event(SupervisorEvent),
    /// Where the counters of a unit are: a handle for the processes of that tree.
    Counters {
        /// Whose.
        name: String,
        /// Which tree of processes shares the memory.
        tree: SegmentId,
        /// The handle.
        handle: serde_json::Value,
    },
    /// What a task gave.
    Value(serde_json::Value),
    /// The last line: done, or why not.
    End {
        /// Why not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
}

impl Answer {
    pub(crate) fn done() -> Answer {
        Answer::End { error: None }
    }

    pub(crate) fn error(text: impl Into<String>) -> Answer {
        Answer::End { error: Some(text.into()) }
    }

    pub(crate) fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_known_verbs_with_the_known_fields_are_requests() {
        let good = [
            r#"{"verb":"status"}"#,
            r#"{"verb":"stop","names":["a"]}"#,
            r#"{"verb":"wait","names":["a"],"until":"ready"}"#,
            r#"{"verb":"down","now":true}"#,
        ];
        good.iter().for_each(|line| drop(serde_json::from_str::<Request>(line).unwrap()));
        for line in
            ["", "[]", r#"{"verb":"exec"}"#, r#"{"verb":"stop"}"#, r#"{"verb":"stop","names":["a"],"x":1}"#]
        {
            assert!(serde_json::from_str::<Request>(line).is_err(), "{line}");
        }
    }
}
