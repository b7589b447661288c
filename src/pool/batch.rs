//! Arguments on their way to the workers: many tasks' in one buffer.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes as Buffer;

use crate::link::frame::Coding;
use crate::task::arguments::Transfer;
use crate::task::codec::{self, EncodeError};
use crate::task::shared::{self, Encoded};

use super::machine::JobKey;

/// How the workers know a function.
#[derive(Clone, Debug)]
pub(super) struct Function {
    pub(super) coding: Coding,
    pub(super) number: u64,
    pub(super) name: Name,
    /// Its value may hold handles of shared objects.
    pub(super) boards: bool,
}

/// A function's name.
#[derive(Clone, Debug)]
pub(super) enum Name {
    Static(&'static str),
    Shared(Arc<str>),
}

impl std::ops::Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Name::Static(name) => name,
            Name::Shared(name) => name,
        }
    }
}

/// Encoded tasks of one submission. Kept until all of them are settled, for those that run again elsewhere.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) job: JobKey,
    pub(super) function: Function,
    /// The first task's position in the submission.
    pub(super) first: u64,
    line: Line,
    /// Where each task ends in the line, if there is more than one.
    ends: Vec<u32>,
    /// Buffers beside the line; then the batch has one task.
    pub(super) parts: Vec<Buffer>,
    pub(super) shared: Vec<Arc<Encoded>>,
    pub(super) options: TaskOptions,
}

/// How the tasks of a submission are run.
#[derive(Clone, Copy, Debug)]
pub(super) struct TaskOptions {
    pub(super) attempts: u32,
    pub(super) timeout: Option<Duration>,
    /// Tasks a frame, if the caller chose.
    pub(super) chunk: Option<u32>,
}

/// Encoded tasks: a small line is copied should it have to wait for room, a large one is shared.
#[derive(Debug)]
enum Line {
    Small(Vec<u8>),
    Large(Buffer),
}

impl Batch {
    /// The bytes of some of its tasks, and how to keep them.
    pub(super) fn line(&self, items: Range<u32>) -> (&[u8], impl FnOnce() -> Buffer) {
        let (range, line) = (self.range(items), &self.line);
        let bytes: &[u8] = match line {
            Line::Small(bytes) => bytes,
            Line::Large(buffer) => buffer,
        };
        let kept = range.clone();
        let keep = move || match line {
            Line::Small(bytes) => Buffer::copy_from_slice(&bytes[kept]),
            Line::Large(buffer) => buffer.slice(kept),
        };
        (&bytes[range], keep)
    }

    fn length(&self) -> usize {
        match &self.line {
            Line::Small(bytes) => bytes.len(),
            Line::Large(buffer) => buffer.len(),
        }
    }

    fn range(&self, items: Range<u32>) -> Range<usize> {
        if self.ends.is_empty() {
            return 0..self.length();
        }
        let start = if items.start == 0 { 0 } else { self.ends[items.start as usize - 1] };
        start as usize..self.ends[items.end as usize - 1] as usize
    }

    pub(super) fn count(&self) -> u32 {
        self.ends.len().max(1) as u32
    }

    pub(super) fn bytes(&self) -> usize {
        self.length() + self.parts.iter().map(Buffer::len).sum::<usize>()
    }
}

/// A batch in the making.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    line: Vec<u8>,
    count: u32,
    /// Where each task ends; empty for the first one, which often stays alone.
    ends: Vec<u32>,
    parts: Vec<Buffer>,
    shared: Vec<Arc<Encoded>>,
}

/// Larger lines are shared, not copied, should they have to wait.
const LARGE: usize = 128 * 1024;

impl Encoder {
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn bytes(&self) -> usize {
        self.line.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a task. Returns what was there before if the task has to stand alone, because buffers travel
    /// beside it.
    #[inline]
    pub(super) fn push<A: Transfer>(
        &mut self,
        arguments: &A,
        largest: u64,
    ) -> Result<Option<Encoder>, EncodeError> {
        let start = self.line.len();
        self.line.extend_from_slice(&[0; 4]);
        let (result, mut shared) =
            shared::numbering::<A, _>(|| codec::encode(arguments, &mut self.line, &mut self.parts, largest));
        if let Err(error) = result {
            self.line.truncate(start);
            return Err(error);
        }
        let length = (self.line.len() - start - 4) as u32;
        self.line[start..start + 4].copy_from_slice(&length.to_le_bytes());
        if !self.parts.is_empty() && start > 0 {
            let line = self.line.split_off(start);
            let alone =
                Encoder { line, count: 1, ends: Vec::new(), parts: std::mem::take(&mut self.parts), shared };
            return Ok(Some(std::mem::replace(self, alone)));
        }
        self.added(start);
        self.shared.append(&mut shared);
        Ok(None)
    }

    /// Adds a task whose arguments are JSON already.
    #[cfg(feature = "cli")]
    pub(super) fn push_json(&mut self, json: &[u8]) {
        let start = self.line.len();
        self.line.extend_from_slice(&(json.len() as u32).to_le_bytes());
        self.line.extend_from_slice(json);
        self.added(start);
    }

    #[inline]
    fn added(&mut self, start: usize) {
        self.count += 1;
        match self.count {
            1 => {}
            2 => self.ends.extend([start as u32, self.line.len() as u32]),
            _ => self.ends.push(self.line.len() as u32),
        }
    }

    /// Whether nothing can be added: buffers travel beside its one task.
    pub(super) fn is_closed(&self) -> bool {
        !self.parts.is_empty()
    }

    pub(super) fn finish(self, job: JobKey, function: Function, first: u64, options: TaskOptions) -> Batch {
        let Encoder { line, ends, parts, shared, .. } = self;
        let line = if line.len() > LARGE { Line::Large(line.into()) } else { Line::Small(line) };
        Batch { job, function, first, line, ends, parts, shared, options }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bytes;

    const OPTIONS: TaskOptions = TaskOptions { attempts: 1, timeout: None, chunk: None };

    fn function() -> Function {
        Function { coding: Coding::Offset, number: 0, name: Name::Static("f"), boards: false }
    }

    #[test]
    fn any_range_of_tasks_can_be_sent_again() {
        let mut encoder = Encoder::default();
        for text in ["a", "", "ccc"] {
            assert!(encoder.push(&(text.to_owned(),), 1000).unwrap().is_none());
        }
        let batch = encoder.finish(1, function(), 0, OPTIONS);
        assert_eq!(batch.count(), 3);
        assert_eq!((batch.range(0..1), batch.range(1..3), batch.range(0..3)), (0..13, 13..40, 0..40));
    }

    #[test]
    fn a_task_with_buffers_stands_alone() {
        let large = (Bytes::from(vec![1; 100_000]),);
        let mut encoder = Encoder::default();
        encoder.push(&(Bytes::from(vec![1]),), 1 << 20).unwrap();
        let before = encoder.push(&large, 1 << 20).unwrap().unwrap();
        assert_eq!((before.count(), encoder.count(), encoder.is_closed()), (1, 1, true));
        let batch = encoder.finish(1, function(), 1, OPTIONS);
        assert_eq!((batch.parts.len(), batch.bytes() > 100_000), (1, true));
    }

    #[test]
    fn arguments_that_are_too_large_leave_no_trace() {
        let mut encoder = Encoder::default();
        assert!(encoder.push(&("x".repeat(2000),), 1000).is_err());
        assert!(encoder.is_empty() && encoder.bytes() == 0);
    }
}
