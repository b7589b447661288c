//! Lazy iterators over outcomes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::TimedOut;
use crate::task::arguments::Transfer;
use crate::task::error::TaskError;

use super::core::{Core, Role};
use super::feed::Feed;
use super::job::Mailbox;
use super::outcome::{decode_all, terminated};

/// The order of outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Of the inputs.
    Input,
    /// As they come.
    Completion,
}

/// Outcomes of a function over inputs, one by one. Made by [`Pool::imap`](super::Pool::imap) and
/// [`Pool::imap_unordered`](super::Pool::imap_unordered).
///
/// Inputs are pulled on the thread that reads, only as far ahead as the workers have use for and the pool's
/// `buffer` allows; a reader that stops reading stops the pool. Dropped, it cancels what is not done.
pub struct Outcomes<I: Iterator, R>(Source<I, R>);

/// Where outcomes come from.
enum Source<I: Iterator, R> {
    Pool(Box<Stream<I, R>>),
    /// The pool does not take the task, which is told once.
    Refused(Option<TaskError>),
}

struct Stream<I: Iterator, R> {
    core: Arc<Core>,
    feed: Feed<I>,
    order: Order,
    buffer: u64,
    /// Outcomes read by the caller.
    read: u64,
    /// Outcomes that came before their turn, or all in order of completion.
    waiting: BTreeMap<u64, Result<R, TaskError>>,
    arrived: u64,
    mailbox: Mailbox,
}

impl<I, A, R> Outcomes<I, R>
where
    I: Iterator<Item = A>,
    A: Transfer,
    R: Transfer,
{
    pub(super) fn new(core: Arc<Core>, feed: Feed<I>, order: Order, buffer: usize) -> Self {
        Outcomes(Source::Pool(Box::new(Stream {
            core,
            feed,
            order,
            buffer: buffer as u64,
            read: 0,
            waiting: BTreeMap::new(),
            arrived: 0,
            mailbox: Mailbox::default(),
        })))
    }

    pub(super) fn refused(error: TaskError) -> Self {
        Outcomes(Source::Refused(Some(error)))
    }

    /// The next outcome, `None` at the end; waits for it for at most `timeout`.
    ///
    /// # Errors
    /// If none has come in time. The iterator goes on as if nothing had been.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Result<R, TaskError>>, TimedOut<()>> {
        match &mut self.0 {
            Source::Pool(stream) => {
                stream.advance(Instant::now().checked_add(timeout)).ok_or_else(|| TimedOut::new(()))
            }
            Source::Refused(error) => Ok(error.take().map(Err)),
        }
    }
}

impl<I, A, R> Stream<I, R>
where
    I: Iterator<Item = A>,
    A: Transfer,
    R: Transfer,
{
    /// The outer `None`: the deadline has passed.
    fn advance(&mut self, deadline: Option<Instant>) -> Option<Option<Result<R, TaskError>>> {
        loop {
            if let Some(outcome) = self.take_waiting() {
                self.read += 1;
                return Some(Some(outcome));
            }
            if self.feed.exhausted && self.read == self.feed.pulled {
                return Some(None);
            }
            self.feed_workers();
            if !self.receive(deadline) {
                return None;
            }
        }
    }

    fn take_waiting(&mut self) -> Option<Result<R, TaskError>> {
        match self.order {
            Order::Input => self.waiting.remove(&self.read),
            Order::Completion => self.waiting.pop_first().map(|(_, outcome)| outcome),
        }
    }

    /// How many inputs the buffer allows to be pulled by now.
    fn most_pulled(&self) -> u64 {
        self.read.saturating_add(self.buffer)
    }

    fn feed_workers(&mut self) {
        if self.feed.exhausted {
            return;
        }
        let room = self.most_pulled().saturating_sub(self.feed.pulled);
        let appetite = self.core.lock().appetite(self.feed.job).min(room);
        // One by one: an input that is held back while the next one is slow to come would be late.
        for _ in 0..appetite {
            if self.feed.exhausted {
                break;
            }
            self.feed.submit(&self.core, 1);
        }
    }

    /// Takes what has come, or waits until something does; false if the deadline passes.
    fn receive(&mut self, deadline: Option<Instant>) -> bool {
        let (job, exhausted, room) =
            (self.feed.job, self.feed.exhausted, self.most_pulled() > self.feed.pulled);
        let mailbox = &mut self.mailbox;
        let news = self.core.wait(job, deadline, Role::Returning, |state| {
            let hungry = !exhausted && room && state.has_appetite(job);
            let ended = state.ended;
            let job = state.jobs.get_mut(&job)?;
            let over = !hungry && job.mailbox.is_empty() && (job.outstanding == 0 || ended);
            let news = hungry || over || !job.mailbox.is_empty();
            news.then(|| {
                job.mailbox.swap(mailbox);
                over
            })
        });
        let (order, waiting, arrived) = (self.order, &mut self.waiting, &mut self.arrived);
        decode_all(mailbox, &self.feed.function.name, |index, outcome| {
            let place = if order == Order::Input { index } else { *arrived };
            *arrived += 1;
            waiting.insert(place, outcome);
        });
        if news == Some(true) {
            self.end_missing();
        }
        news.is_some()
    }

    /// Nothing more comes of what was pulled. Should anything be missing, the pool has ended without a word of it.
    fn end_missing(&mut self) {
        let (task, in_order) = (&self.feed.function.name, self.order == Order::Input);
        for place in self.read..self.feed.pulled {
            let missing = || Err(terminated(task, in_order.then_some(place)));
            self.waiting.entry(place).or_insert_with(missing);
        }
    }
}

impl<I, A, R> Iterator for Outcomes<I, R>
where
    I: Iterator<Item = A>,
    A: Transfer,
    R: Transfer,
{
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Result<R, TaskError>> {
        match &mut self.0 {
            Source::Pool(stream) => stream.advance(None).flatten(),
            Source::Refused(error) => error.take().map(Err),
        }
    }
}

impl<I: Iterator, R> Drop for Stream<I, R> {
    fn drop(&mut self) {
        self.core.abandon(self.feed.job);
    }
}

impl<I: Iterator, R> fmt::Debug for Outcomes<I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Pool(stream) => {
                write!(f, "Outcomes({}, {} read)", &*stream.feed.function.name, stream.read)
            }
            Source::Refused(error) => write!(f, "Outcomes(refused: {error:?})"),
        }
    }
}
