//! The thread on which completion callbacks run, and on which events are told: both may take long, submit more, and
//! panic.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{JoinHandle, ThreadId};

use crate::sys::signal;
use crate::task::payload;

use super::core::Core;
use super::job::Job;

/// The thread, once there was something for it. There are never more callbacks in its queue than pending
/// submissions, and one word for all events that wait.
#[derive(Default)]
pub(super) struct Callbacks(Option<(Sender<Work>, JoinHandle<()>)>);

/// What the thread does.
enum Work {
    Call(Job),
    /// Tell the events that wait in the pool.
    Tell,
}

thread_local! {
    /// The pool whose callback this thread calls now.
    static CALLING: Cell<*const Core> = const { Cell::new(std::ptr::null()) };
}

/// Whether the calling thread runs a callback of that pool now. The pool's end waits for those, so they must not
/// wait for it.
pub(super) fn is_calling(pool: &Core) -> bool {
    std::ptr::eq(CALLING.get(), pool)
}

impl Callbacks {
    /// Has the callbacks of these jobs called.
    pub(super) fn call(&mut self, pool: &Arc<Core>, jobs: Vec<Job>) {
        jobs.into_iter()
            .filter(|job| job.completion.is_some())
            .for_each(|job| self.have(pool, Work::Call(job)));
    }

    /// Has the events told that wait.
    pub(super) fn tell_events(&mut self, pool: &Arc<Core>) {
        self.have(pool, Work::Tell);
    }

    fn have(&mut self, pool: &Arc<Core>, work: Work) {
        if self.0.is_none() {
            self.0 = start(Arc::clone(pool));
        }
        match &self.0 {
            // It never ends while the sender lives: panics are caught.
            Some((sender, _)) => drop(sender.send(work)),
            // No thread can be had: late is better than never.
            None => work.run(pool),
        }
    }

    /// Waits for those that are still to be called, unless one of them is waiting for this.
    pub(super) fn finish(self: &mut Callbacks) {
        if let Some((sender, thread)) = self.0.take() {
            drop(sender);
            // The last handle of the pool may have been dropped by a callback.
            if thread.thread().id() != current() {
                let _ = thread.join();
            }
        }
    }
}

fn current() -> ThreadId {
    std::thread::current().id()
}

fn start(pool: Arc<Core>) -> Option<(Sender<Work>, JoinHandle<()>)> {
    let (sender, receiver) = channel::<Work>();
    let body = move || {
        signal::block_all_in_this_thread();
        receiver.into_iter().for_each(|work| work.run(&pool));
    };
    let thread = std::thread::Builder::new().name("watertight-callbacks".to_owned()).spawn(body);
    thread.ok().map(|thread| (sender, thread))
}

impl Work {
    fn run(self, pool: &Core) {
        match self {
            Work::Call(job) => run(pool, job),
            Work::Tell => {
                let events = pool.lock().events.take();
                let before = CALLING.replace(pool);
                events.tell();
                CALLING.set(before);
            }
        }
    }
}

/// Calls the callback of a job of that pool, on this thread.
pub(super) fn run(pool: &Core, job: Job) {
    let Some(completion) = job.completion else { return };
    let before = CALLING.replace(pool);
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| completion(job.mailbox))) {
        let message = payload::into_message(payload);
        tracing::error!(task = &*job.task, message, "a completion callback panicked");
    }
    CALLING.set(before);
}
