//! What a worker notes down for the time after its death: whether it was ready, what runs since when, how
//! far the task is, and why the process crashed.
//!
//! The host reads it as hints. It checks nothing but lengths, and decides nothing on it that another worker
//! could feel.

use std::time::Duration;

use crate::primitive::{AtomicU64, Ordering};
use crate::sys::crash;
use crate::task::codec;
use crate::task::context::Progress;
use crate::task::error::{DeathDetail, Panic};

const READY: usize = 0;
const STARTED: usize = 1;
const DONE: usize = 2;
const TOTAL: usize = 3;
const CRASH: usize = 4;
const PANIC_BYTES: usize = 5;
const PANIC: usize = 6;

/// The words of the box.
#[derive(Clone, Copy)]
pub(crate) struct BlackBox<'a> {
    words: &'a [AtomicU64],
}

impl<'a> BlackBox<'a> {
    pub(crate) fn new(words: &'a [AtomicU64]) -> BlackBox<'a> {
        BlackBox { words }
    }

    /// Worker: it can take tasks; its initializer is done.
    pub(crate) fn set_ready(self) {
        self.words[READY].store(1, Ordering::Release);
    }

    /// Host: whether the worker ever was ready.
    pub(crate) fn is_ready(self) -> bool {
        self.words[READY].load(Ordering::Acquire) == 1
    }

    /// Worker: a task starts now.
    pub(crate) fn start_task(self, now: u64) {
        self.words[DONE].store(0, Ordering::Relaxed);
        self.words[TOTAL].store(0, Ordering::Relaxed);
        self.words[STARTED].store(now, Ordering::Release);
    }

    /// Worker: the task's result is committed, and the next one has not started.
    pub(crate) fn end_task(self) {
        self.words[STARTED].store(0, Ordering::Release);
    }

    /// Host: when the running task started, by the worker's word.
    pub(crate) fn started(self) -> u64 {
        self.words[STARTED].load(Ordering::Acquire)
    }

    /// Worker: where a task writes how far it is, done and total.
    pub(crate) fn progress_words(self) -> [&'a AtomicU64; 2] {
        [&self.words[DONE], &self.words[TOTAL]]
    }

    /// Worker that is a thread: so far is its task.
    pub(crate) fn tell_progress(self, done: u64, total: u64) {
        self.words[TOTAL].store(total, Ordering::Relaxed);
        self.words[DONE].store(done, Ordering::Relaxed);
    }

    /// Host: how far the running task is.
    pub(crate) fn progress(self) -> Progress {
        let read = |index: usize| self.words[index].load(Ordering::Relaxed);
        Progress { done: read(DONE), total: read(TOTAL) }
    }

    /// The word that the crash handlers write.
    pub(crate) fn crash_note(self) -> &'a AtomicU64 {
        &self.words[CRASH]
    }

    /// Worker, in its panic hook: should the process abort of this panic, this is what it said.
    pub(crate) fn note_panic(self, panic: &Panic) {
        let room = (self.words.len() - PANIC) * 8;
        let line = encode_within(panic, room);
        for (word, chunk) in self.words[PANIC..].iter().zip(line.chunks(8)) {
            let mut bytes = [0; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
        self.words[PANIC_BYTES].store(line.len() as u64, Ordering::Release);
    }

    /// Host, after a death by SIGABRT: the panic that the process aborted of.
    pub(crate) fn fatal_panic(self) -> Option<Panic> {
        if self.words[CRASH].load(Ordering::Acquire) != crash::PANIC {
            return None;
        }
        let length = self.words[PANIC_BYTES].load(Ordering::Acquire) as usize;
        let words = self.words[PANIC..].get(..length.div_ceil(8))?;
        let bytes: Vec<u8> =
            words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect();
        codec::decode(&bytes[..length], Vec::new()).ok()
    }

    /// Host, after a death by a fault: what the handlers saw.
    pub(crate) fn death_detail(self) -> Option<DeathDetail> {
        let overflow = self.words[CRASH].load(Ordering::Acquire) == crash::STACK_OVERFLOW;
        overflow.then_some(DeathDetail::StackOverflow)
    }

    /// Host: how long the running task has been running, by the worker's word.
    pub(crate) fn elapsed(self, now: u64) -> Option<Duration> {
        self.begun(now).map(|(_, elapsed)| Duration::from_nanos(elapsed))
    }

    /// When the task began that runs, and how long it runs, in nanoseconds.
    pub(crate) fn begun(self, now: u64) -> Option<(u64, u64)> {
        let started = self.started();
        (started != 0 && started <= now).then(|| (started, now - started))
    }
}

/// The panic without its backtrace, and with its message cut if it still does not fit.
pub(crate) fn encode_within(panic: &Panic, room: usize) -> Vec<u8> {
    let mut panic = Panic { backtrace: None, ..panic.clone() };
    let mut line = Vec::new();
    while codec::encode(&panic, &mut line, &mut Vec::new(), room as u64).is_err() {
        let half = panic.message.len() / 2;
        let cut = (0..=half).rev().find(|&at| panic.message.is_char_boundary(at)).unwrap_or(0);
        panic.message.truncate(cut);
        if cut == 0 {
            panic.location = None;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Vec<AtomicU64> {
        (0..512).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn a_panic_is_told_only_if_the_process_aborted_of_it() {
        let words = words();
        let note = BlackBox::new(&words);
        let panic = Panic { message: "ä".repeat(5000), location: Some("a.rs:1:1".into()), backtrace: None };
        note.note_panic(&panic);
        assert_eq!(note.fatal_panic(), None);
        note.crash_note().store(crash::PANIC, Ordering::Relaxed);
        let told = note.fatal_panic().unwrap();
        assert!(told.location == panic.location && panic.message.starts_with(&told.message));
        assert!(told.message.len() > 1000);
    }

    #[test]
    fn between_two_tasks_none_is_running() {
        let words = words();
        let note = BlackBox::new(&words);
        assert_eq!(note.elapsed(9), None);
        note.start_task(4);
        assert_eq!(note.elapsed(9), Some(Duration::from_nanos(5)));
        note.end_task();
        assert_eq!(note.elapsed(9), None);
    }

    #[test]
    fn scribbles_are_no_panic() {
        let words = words();
        let note = BlackBox::new(&words);
        note.crash_note().store(crash::PANIC, Ordering::Relaxed);
        for length in [u64::MAX, 1 << 20, 3, 0] {
            words[PANIC_BYTES].store(length, Ordering::Relaxed);
            assert_eq!(note.fatal_panic(), None);
        }
    }
}
