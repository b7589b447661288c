//! Pulls inputs, encodes them, and submits as much as the workers have an appetite for.

use std::iter::Fuse;

use crate::task::arguments::Transfer;
use crate::task::error::{Encoding, TaskErrorKind};

use super::batch::{Encoder, Function, TaskOptions};
use super::core::Core;
use super::machine::JobKey;
use super::state::State;

/// A batch is submitted when it is so large.
const BATCH_BYTES: usize = 64 * 1024;

/// The inputs of one submission, on the thread of the caller.
pub(super) struct Feed<I: Iterator> {
    inputs: Fuse<I>,
    pub(super) job: JobKey,
    pub(super) function: Function,
    options: TaskOptions,
    largest_argument: u64,
    /// Inputs pulled so far.
    pub(super) pulled: u64,
    pub(super) exhausted: bool,
}

impl<I, A> Feed<I>
where
    I: Iterator<Item = A>,
    A: Transfer,
{
    pub(super) fn new(
        inputs: I,
        job: JobKey,
        function: Function,
        options: TaskOptions,
        largest_argument: u64,
    ) -> Self {
        Feed { inputs: inputs.fuse(), job, function, options, largest_argument, pulled: 0, exhausted: false }
    }

    /// Pulls and submits at most `most` inputs, in batches.
    pub(super) fn submit(&mut self, core: &Core, most: u64) {
        let mut left = most;
        while left > 0 && !self.exhausted {
            let mut encoder = Encoder::default();
            let first = self.pulled;
            while left > 0 && !encoder.is_closed() && encoder.bytes() < BATCH_BYTES {
                let Some(input) = self.inputs.next() else {
                    self.exhausted = true;
                    break;
                };
                left -= 1;
                // An input that panics here has no place in the submission.
                let pushed = encoder.push(&input, self.largest_argument);
                self.pulled += 1;
                match pushed {
                    Ok(None) => {}
                    Ok(Some(before)) => {
                        let count = u64::from(before.count());
                        self.send(core, before, first);
                        self.send(core, std::mem::take(&mut encoder), first + count);
                        break;
                    }
                    Err(error) => {
                        self.send(core, std::mem::take(&mut encoder), first);
                        let kind = TaskErrorKind::Encoding {
                            what: Encoding::EncodeArguments,
                            message: error.to_string(),
                        };
                        self.with(core, |state, job| state.reject(job, self.pulled - 1, kind));
                        break;
                    }
                }
            }
            if !encoder.is_empty() {
                self.send(core, encoder, first);
            }
        }
        // An input that knows its length need not be asked for more than it has.
        self.exhausted |= self.inputs.size_hint().1 == Some(0);
        if self.exhausted {
            self.with(core, State::seal);
        }
    }

    /// Nothing more is submitted. Should there be another input, it counts as one, without an outcome.
    pub(super) fn give_up(&mut self) {
        if !self.exhausted && self.inputs.next().is_some() {
            self.pulled += 1;
        }
    }

    fn send(&self, core: &Core, encoder: Encoder, first: u64) {
        if encoder.is_empty() {
            return;
        }
        let batch = encoder.finish(self.job, self.function.clone(), first, self.options);
        self.with(core, |state, _| state.submit(batch));
    }

    fn with(&self, core: &Core, act: impl FnOnce(&mut State, JobKey)) {
        let mut state = core.lock();
        act(&mut state, self.job);
        core.release(state);
    }
}
