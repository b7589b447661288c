//! The words at the head of each frame in a lane. Pure: words to structs and back.
//!
//! Down, from host to worker:
//!
//! | word | bits | |
//! |---|---|---|
//! | 0 | 0–7 kind, 8–15 coding, 16–23 number of parts, 32–63 number of tasks | |
//! | 1 | 0–31 number of the first task | |
//! | 2 | | bytes of the line |
//! | 3 | | the function: offset in the image, or index in the registry |
//! | 4 | | time-out of each task in nanoseconds, 0 for none |
//! | 5… | | bytes of each part |
//!
//! Then the line, then each part, each filled up to whole words. The line of a frame of tasks is, for each
//! task, four bytes of length and the encoded arguments.
//!
//! Up, from worker to host, one frame a task:
//!
//! | word | bits | |
//! |---|---|---|
//! | 0 | 0–31 bytes of the line, 32–39 kind, 40–47 number of parts, 48–63 end of the task's number | |
//! | 1–3 | | start, duration in nanoseconds, largest resident set in bytes, if measured |
//! | then | | bytes of each part |

use super::ring::Breach;

/// Words at the head of a frame down, without the sizes of its parts.
pub(crate) const DOWN_HEAD: usize = 5;

/// The most bytes that a worker tells of a task that has no value, whatever the maximum for values is.
pub(crate) const MAX_REPORT: u64 = 1 << 20;

/// What a frame down holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DownKind {
    /// Tasks.
    Tasks,
    /// A value that later tasks refer to by number.
    Put,
    /// A value that no task refers to any more.
    Drop,
}

/// How arguments are encoded and the function is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// A function of the same executable, by its descriptor's offset.
    Offset,
    /// A registered task, with encoded arguments.
    Registered,
    /// A registered task, with a JSON array of arguments.
    Json,
}

/// The head of a frame down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DownHead {
    pub(crate) kind: DownKind,
    pub(crate) coding: Coding,
    pub(crate) parts: u8,
    pub(crate) count: u32,
    pub(crate) first: u32,
    pub(crate) line: u64,
    pub(crate) function: u64,
    /// Nanoseconds; 0 for none.
    pub(crate) timeout: u64,
}

impl DownHead {
    /// The head of a frame that brings a shared value.
    pub(crate) fn put(number: u64, line: &[u8], parts: usize) -> DownHead {
        DownHead::value(DownKind::Put, number, line.len() as u64, parts as u8)
    }

    /// The head of a task that no worker has, and that each answers without running anything.
    pub(crate) fn question() -> DownHead {
        let nothing = DownHead::value(DownKind::Tasks, u64::from(u32::MAX), 0, 0);
        DownHead { coding: Coding::Registered, count: 1, ..nothing }
    }

    /// The head of a frame that takes it away again.
    pub(crate) fn drop(number: u64) -> DownHead {
        DownHead::value(DownKind::Drop, number, 0, 0)
    }

    fn value(kind: DownKind, number: u64, line: u64, parts: u8) -> DownHead {
        DownHead {
            kind,
            coding: Coding::Offset,
            parts,
            count: 0,
            first: 0,
            line,
            function: number,
            timeout: 0,
        }
    }

    pub(crate) fn to_words(self) -> [u64; DOWN_HEAD] {
        let kind = match self.kind {
            DownKind::Tasks => 1,
            DownKind::Put => 2,
            DownKind::Drop => 3,
        };
        let coding = match self.coding {
            Coding::Offset => 1,
            Coding::Registered => 2,
            Coding::Json => 3,
        };
        let first = kind | coding << 8 | u64::from(self.parts) << 16 | u64::from(self.count) << 32;
        [first, u64::from(self.first), self.line, self.function, self.timeout]
    }

    pub(crate) fn from_words(words: [u64; DOWN_HEAD]) -> Result<DownHead, Breach> {
        let kind = match words[0] as u8 {
            1 => DownKind::Tasks,
            2 => DownKind::Put,
            3 => DownKind::Drop,
            _ => return Err(Breach("a frame of an unknown kind")),
        };
        let coding = match (words[0] >> 8) as u8 {
            1 => Coding::Offset,
            2 => Coding::Registered,
            3 => Coding::Json,
            _ => return Err(Breach("a frame of an unknown coding")),
        };
        Ok(DownHead {
            kind,
            coding,
            parts: (words[0] >> 16) as u8,
            count: (words[0] >> 32) as u32,
            first: words[1] as u32,
            line: words[2],
            function: words[3],
            timeout: words[4],
        })
    }
}

/// What a frame up tells of its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpKind {
    /// The encoded value.
    Value,
    /// An encoded `Panic`.
    Panic,
    /// A text: the arguments could not be decoded.
    BadArguments,
    /// A text: the value could not be encoded.
    BadResult,
    /// A text: the task's own error, of a call with JSON.
    Failed,
    /// A text: the function is none of this executable's.
    UnknownTask,
}

impl UpKind {
    fn to_byte(self) -> u8 {
        match self {
            UpKind::Value => 1,
            UpKind::Panic => 2,
            UpKind::BadArguments => 3,
            UpKind::BadResult => 4,
            UpKind::Failed => 5,
            UpKind::UnknownTask => 6,
        }
    }

    fn from_byte(byte: u8) -> Result<UpKind, Breach> {
        Ok(match byte {
            1 => UpKind::Value,
            2 => UpKind::Panic,
            3 => UpKind::BadArguments,
            4 => UpKind::BadResult,
            5 => UpKind::Failed,
            6 => UpKind::UnknownTask,
            _ => return Err(Breach("a result of an unknown kind")),
        })
    }
}

/// The first word of a frame up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UpHead {
    pub(crate) kind: UpKind,
    pub(crate) measured: bool,
    pub(crate) parts: u8,
    pub(crate) number: u16,
    pub(crate) line: u32,
}

const MEASURED: u8 = 0x80;

impl UpHead {
    pub(crate) fn to_word(self) -> u64 {
        let kind = self.kind.to_byte() | if self.measured { MEASURED } else { 0 };
        u64::from(self.line)
            | u64::from(kind) << 32
            | u64::from(self.parts) << 40
            | u64::from(self.number) << 48
    }

    #[inline]
    pub(crate) fn from_word(word: u64) -> Result<UpHead, Breach> {
        let kind = (word >> 32) as u8;
        Ok(UpHead {
            kind: UpKind::from_byte(kind & !MEASURED)?,
            measured: kind & MEASURED != 0,
            parts: (word >> 40) as u8,
            number: (word >> 48) as u16,
            line: word as u32,
        })
    }

    /// Words between the first one and the line.
    #[inline]
    pub(crate) fn more(self) -> usize {
        usize::from(self.parts) + if self.measured { 3 } else { 0 }
    }
}

/// When a task ran and what its process had used by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Measure {
    /// Nanoseconds of the monotonic clock.
    pub(crate) start: u64,
    /// Nanoseconds.
    pub(crate) elapsed: u64,
    /// Bytes.
    pub(crate) max_rss: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_come_back_as_they_went() {
        let head = DownHead {
            kind: DownKind::Tasks,
            coding: Coding::Json,
            parts: 255,
            count: u32::MAX,
            first: 7,
            line: 1 << 40,
            function: u64::MAX,
            timeout: 5,
        };
        assert_eq!(DownHead::from_words(head.to_words()), Ok(head));
        for kind in [
            UpKind::Value,
            UpKind::Panic,
            UpKind::BadArguments,
            UpKind::BadResult,
            UpKind::Failed,
            UpKind::UnknownTask,
        ] {
            let head =
                UpHead { kind, measured: kind == UpKind::Panic, parts: 3, number: 0xabcd, line: u32::MAX };
            assert_eq!(UpHead::from_word(head.to_word()), Ok(head));
        }
    }

    #[test]
    fn unknown_kinds_are_breaches() {
        assert!(UpHead::from_word(0).is_err());
        assert!(UpHead::from_word(7 << 32).is_err());
        assert!(DownHead::from_words([0; DOWN_HEAD]).is_err());
    }
}
