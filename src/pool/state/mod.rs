//! Everything a pool knows, behind its one lock: the machine, and what its keys stand for.
//!
//! Whoever holds the lock may read lanes and carry out what is quick; what needs a system call of some
//! weight is left in `deferred` for the driver.

mod bells;
mod duty;
mod end;
mod epoch;
mod events;
mod jobs;
mod reading;
mod room;
mod telling;
#[cfg(test)]
mod test;
mod workers;

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::thread::Thread;
use std::time::Instant;

use rustc_hash::FxHashMap;
use tracing::Level;

use crate::link::lane::Lane;
use crate::sync::counters::{Count, Counters};
use crate::sys::limits::Limits;

use super::batch::Batch;
use super::job::Job;
use super::machine::{Action, BatchKey, Event, JobKey, Machine, Slot};
use super::reader::Poller;
use super::worker::WorkerProcess;
use epoch::Epoch;
use events::Events;
use telling::Told;

pub(super) use duty::Duty;
pub(super) use end::Ending;
pub(super) use epoch::PassingEpoch;
pub(super) use room::Room;

/// Called under the pool's lock, so it must be quick.
pub(super) type OnBreak = Box<dyn FnOnce(&str) + Send>;

/// Behind the lock.
pub(super) struct State {
    pub(super) machine: Machine,
    /// By slot.
    pub(super) workers: Vec<Option<WorkerProcess>>,
    /// The lanes of all workers, for a reader that spins without the lock.
    pub(super) lanes: Arc<[Arc<Lane>]>,
    pub(super) jobs: FxHashMap<JobKey, Job>,
    batches: FxHashMap<BatchKey, Batch>,
    last_key: u64,
    /// For the driver, in order.
    pub(super) deferred: VecDeque<Duty>,
    actions: Vec<Action>,
    /// What the driver or a lane has just told, for `Verdict::AsTold`.
    told: Option<Told>,
    /// Jobs that have news.
    news: Vec<JobKey>,
    pub(super) finished: Vec<Job>,
    pub(super) poller: Poller,
    /// Threads that wait for a result while another one polls.
    pub(super) followers: Vec<Thread>,
    /// Those among them that wait for room to submit more.
    pub(super) hungry: Vec<(Thread, Room)>,
    /// What the thread that looks just now waits for.
    pub(super) lacking: Option<Room>,
    /// The worker of which results are read that the machine does not know of yet.
    untold: Option<Slot>,
    epoch: Epoch,
    /// To be woken once the lock is given up: they are the user's code, which may come back for it.
    wakers: Vec<Waker>,
    /// To be told by the thread of callbacks, for the same reason.
    pub(super) events: Events,
    /// Some job had news since the lock was last given up.
    pub(super) has_told: bool,
    /// When to look at workers that ring late.
    pub(super) late_at: Option<Instant>,
    /// A lane was armed while it held results.
    pub(super) must_read: bool,
    /// Somebody was woken since a reader last looked.
    pub(super) woke: bool,
    /// When the driver will tick.
    pub(super) alarm: Option<Instant>,
    pub(super) limits: Limits,
    pub(super) measured: bool,
    pub(super) counters: Counters,
    /// Submitted and not delivered, of all jobs.
    pub(super) pending: u64,
    /// Calls that have more to submit.
    pub(super) holds: u32,
    /// The driver has left: nothing more will come.
    pub(super) ended: bool,
    /// Told why, should the pool give up.
    pub(super) on_break: Option<OnBreak>,
}

impl State {
    pub(super) fn new(machine: Machine, limits: Limits, measured: bool) -> State {
        State {
            machine,
            workers: Vec::new(),
            lanes: Arc::from(Vec::new()),
            jobs: FxHashMap::default(),
            batches: FxHashMap::default(),
            last_key: 0,
            deferred: VecDeque::new(),
            actions: Vec::new(),
            told: None,
            news: Vec::new(),
            finished: Vec::new(),
            poller: Poller::None,
            followers: Vec::new(),
            hungry: Vec::new(),
            lacking: None,
            untold: None,
            epoch: Epoch::default(),
            wakers: Vec::new(),
            events: Events::default(),
            has_told: false,
            late_at: None,
            must_read: false,
            woke: false,
            alarm: None,
            limits,
            measured,
            counters: Counters::own(0),
            pending: 0,
            holds: 0,
            ended: false,
            on_break: None,
        }
    }

    /// Carries out the machine's first actions.
    pub(super) fn begin(&mut self, actions: Vec<Action>) {
        for action in actions {
            self.perform(action);
        }
    }

    /// Tells the machine what happened and does what it says, until it has nothing more to say.
    pub(super) fn run(&mut self, event: Event) {
        let now = Instant::now();
        let mut actions = std::mem::take(&mut self.actions);
        if !event.is_of_a_lane() {
            // There may be room for more now, of which no lane tells the poller.
            self.pass_epoch();
        }
        self.machine.handle(event, now, &mut actions);
        let mut done = 0;
        while done < actions.len() {
            let action = actions[done].clone();
            done += 1;
            if let Some(event) = self.perform(action) {
                self.machine.handle(event, now, &mut actions);
            }
        }
        actions.clear();
        self.actions = actions;
        self.publish();
        self.tell_news();
        self.tell_hungry();
    }

    /// Tells readers of the counters what is going on.
    fn publish(&self) {
        if self.counters.is_published() {
            self.counters.set(Count::Busy, self.machine.busy());
            self.counters.set(Count::Pending, self.pending);
        }
    }

    fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Send { slot, span } => {
                let breach = self.send(slot, &span).err()?;
                Some(self.breached(slot, breach))
            }
            Action::TakeBack { slot } => Some(self.take_back(slot)),
            Action::Deliver { key, items, attempt, verdict } => {
                self.deliver(key, items, attempt, verdict);
                None
            }
            Action::Free { key } => {
                self.batches.remove(&key);
                None
            }
            Action::Retry { key, item, attempt } => {
                self.tell_retry(key, item, attempt);
                None
            }
            Action::Break { reason } => {
                if let Some(tell) = self.on_break.take() {
                    tell(&reason);
                }
                self.events.push(Level::ERROR, move || {
                    tracing::error!(reason = &*reason, "the pool gives up: its workers do not start");
                });
                None
            }
            Action::AskToStop { slot } => self.ask_to_stop(slot),
            Action::Start { slot } => self.defer(Duty::Start { slot }),
            Action::Kill { slot } => self.defer(Duty::Kill { slot }),
            Action::KillItself { slot } => self.defer(Duty::KillItself { slot }),
            Action::BlameKeeper { slot } => self.defer(Duty::BlameKeeper { slot }),
            Action::Retire { slot } => self.defer(Duty::Retire { slot }),
        }
    }

    /// What is to be woken when the lock is given up.
    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.wakers)
    }

    /// The present state of the jobs, to be compared later without the lock.
    pub(super) fn epoch(&self) -> PassingEpoch {
        self.epoch.present()
    }
}
