//! Threads that wait for results, and the driver, which reads when none of them does.

use std::sync::Arc;

use loom::thread;

use crate::explore::explore;
use crate::primitive::{current_thread, park};

use super::core::{Core, Sets, Woken};
use super::reader::Role;
use super::state::{Lane, State};

struct Pool {
    core: Arc<Core>,
    sets: Arc<Sets>,
    lane: Arc<Lane>,
    driver: thread::JoinHandle<()>,
}

impl Pool {
    /// A pool of one worker, whose driver runs, with so many jobs.
    fn start(jobs: usize) -> Pool {
        let sets = Sets::new();
        let lane = Lane::new(Arc::clone(&sets));
        let core = Arc::new(Core::new(State::new(Arc::clone(&lane), jobs), Arc::clone(&sets)));
        let (drivers, events) = (Arc::clone(&core), Arc::clone(&sets));
        let driver = thread::spawn(move || drive(&drivers, &events));
        Pool { core, sets, lane, driver }
    }

    fn send(&self, jobs: u64) {
        send(&self.core, jobs);
    }

    /// The worker commits these results, one after the other.
    fn work(&self, results: std::ops::RangeInclusive<u64>) -> thread::JoinHandle<()> {
        let lane = Arc::clone(&self.lane);
        thread::spawn(move || results.for_each(|count| lane.commit(count)))
    }

    /// The driver has nothing more to do, and finds that out.
    fn end(self) {
        self.sets.end();
        self.driver.join().expect("the driver ends");
    }
}

fn send(core: &Core, jobs: u64) {
    let mut state = core.lock();
    state.send(jobs);
    core.release(state);
}

fn wait(core: &Core, job: usize, role: Role) {
    let done =
        core.wait(job, None, role, |state| state.jobs.get_mut(&job).filter(|job| job.done).map(|_| ()));
    assert!(done.is_some());
}

fn wait_to_be_told(core: &Core, job: usize) {
    loop {
        let mut state = core.lock();
        let Some(waited_for) = state.jobs.get_mut(&job).filter(|job| !job.done) else { return };
        waited_for.sleepers.push(current_thread());
        core.release(state);
        park();
    }
}

/// As the driver of a pool: its clock may strike at any moment.
fn drive(core: &Core, sets: &Sets) {
    loop {
        let mut state = core.lock();
        if state.look_at().is_some() {
            core.look_as_driver(&mut state);
            core.release(state);
            continue;
        }
        state.alarm = None;
        core.release(state);
        match sets.await_events() {
            Woken::Kicked => core.answer_kick(),
            Woken::Rung => core.read_as_driver(),
            Woken::Over => return,
        }
    }
}

/// One thread waits for two results, one after the other.
pub fn one_waiter() -> usize {
    explore(2, || {
        let pool = Pool::start(2);
        pool.send(2);
        let worker = pool.work(1..=2);
        wait(&pool.core, 0, Role::None);
        wait(&pool.core, 1, Role::None);
        worker.join().expect("the worker ends");
        pool.end();
    })
}

/// Two threads wait, each for a result of its own: one polls, the other follows.
pub fn two_waiters() -> usize {
    explore(2, || {
        let pool = Pool::start(2);
        pool.send(2);
        let worker = pool.work(1..=2);
        let core = Arc::clone(&pool.core);
        let other = thread::spawn(move || wait(&core, 1, Role::None));
        wait(&pool.core, 0, Role::None);
        other.join().expect("the other waiter ends");
        worker.join().expect("the worker ends");
        pool.end();
    })
}

/// A thread says that it will be back, and stays away while somebody waits who reads nothing: a future.
pub fn a_poller_that_stays_away() -> usize {
    explore(2, || {
        let pool = Pool::start(2);
        pool.send(2);
        let worker = pool.work(1..=2);
        wait(&pool.core, 0, Role::Returning);
        wait_to_be_told(&pool.core, 1);
        worker.join().expect("the worker ends");
        pool.end();
    })
}

/// A result comes of a task that another thread sends while the poller sleeps.
pub fn sent_while_asleep() -> usize {
    explore(2, || {
        let pool = Pool::start(1);
        let (core, lane) = (Arc::clone(&pool.core), Arc::clone(&pool.lane));
        let sender = thread::spawn(move || {
            send(&core, 1);
            lane.commit(1);
        });
        wait(&pool.core, 0, Role::None);
        sender.join().expect("the sender ends");
        pool.end();
    })
}

/// A task is sent in the moment in which the poller wakes. Afterwards the driver has to come to rest.
pub fn sent_while_waking() -> usize {
    explore(2, || {
        let pool = Pool::start(2);
        pool.send(1);
        let worker = pool.work(1..=1);
        let core = Arc::clone(&pool.core);
        let sender = thread::spawn(move || send(&core, 1));
        wait(&pool.core, 0, Role::None);
        sender.join().expect("the sender ends");
        worker.join().expect("the worker ends");
        pool.end();
    })
}
