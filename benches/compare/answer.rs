//! What a peer says when it is asked for a number, as a line of text.

/// A peer's answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Answer {
    /// In seconds, bytes, or so many a second.
    Value(f64),
    /// It was tried, and no answer came.
    Never,
    /// The peer has nothing of the kind.
    Absent,
    /// An idle pool is there, until `release`.
    Held,
}

impl Answer {
    pub(crate) fn to_line(self) -> String {
        match self {
            Answer::Value(value) => format!("value {value:e}"),
            Answer::Never => "never".to_owned(),
            Answer::Absent => "absent".to_owned(),
            Answer::Held => "held".to_owned(),
        }
    }

    pub(crate) fn from_line(line: &str) -> Option<Answer> {
        match line.trim() {
            "never" => Some(Answer::Never),
            "absent" => Some(Answer::Absent),
            "held" => Some(Answer::Held),
            other => other.strip_prefix("value ")?.parse().ok().map(Answer::Value),
        }
    }
}
