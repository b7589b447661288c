//! What stands behind the lock, with a real lane and a worker that takes one step at a time.

use std::os::fd::AsFd;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use crate::link::frame::{Coding, UpKind};
use crate::link::host_end::HostEnd;
use crate::link::lane::{Lane, RING_WORDS};
use crate::link::worker_end::WorkerEnd;
use crate::pool::batch::{Encoder, Function, Name, TaskOptions};
use crate::pool::machine::{Config, Event, JobKey, Machine};
use crate::pool::worker::{Initializer, WorkerProcess};
use crate::primitive::Doorbell;
use crate::process::stdio::Capture;
use crate::sys::exit::{ExitStatus, ResourceUsage};
use crate::sys::limits::Limits;
use crate::task::error::TaskErrorKind;

use super::{Duty, Ending, Room, State};

/// The pool's side, and the worker's.
struct Scene {
    state: State,
    end: WorkerEnd<'static>,
}

fn state(measured: bool) -> State {
    let config = Config {
        workers: 1,
        spares: 0,
        max_tasks_per_worker: None,
        grace: Duration::from_secs(1),
        backoff: Duration::ZERO,
        initializer: false,
        initializer_timeout: None,
        timeout: None,
        bytes_ahead: 1 << 16,
        chunk: None,
    };
    let mut first = Vec::new();
    let machine = Machine::new(config, Instant::now(), &mut first);
    let mut state = State::new(machine, Limits::default(), measured);
    state.begin(first);
    assert_eq!(state.deferred.pop_front(), Some(Duty::Start { slot: 0 }));
    state
}

fn scene() -> Scene {
    scene_of(false)
}

fn scene_of(measured: bool) -> Scene {
    let mut state = state(measured);
    let (lane, memory) = HostEnd::create("test", RING_WORDS, 1 << 20).unwrap();
    let (_, stderr) = Capture::tail(1024).unwrap();
    let doorbell = Doorbell::adopt(lane.doorbell().as_fd().try_clone_to_owned().unwrap());
    // A worker uses its lane until its process ends.
    let view: &'static Lane = Box::leak(Box::new(Lane::open(memory.as_fd()).unwrap()));
    view.black_box().set_ready();
    state.workers.push(None);
    state.install(0, WorkerProcess::new(1, lane, stderr, Initializer::Done));
    Scene { state, end: WorkerEnd::new(view, doorbell) }
}

fn submit(state: &mut State, count: i64) -> JobKey {
    let function = Function { coding: Coding::Offset, number: 0, name: Name::Static("f"), boards: false };
    let job = state.open(function.name.clone());
    let mut encoder = Encoder::default();
    (0..count).for_each(|input| drop(encoder.push(&(input,), 1000).unwrap()));
    state.submit(encoder.finish(job, function, 0, TaskOptions { attempts: 1, timeout: None, chunk: None }));
    state.seal(job);
    job
}

/// A worker that has been given two tasks. A test that is held up for long is taken for a slow worker, and given one.
fn with_two_given() -> (Scene, JobKey, JobKey) {
    loop {
        let mut scene = scene().warm_up();
        let (first, second) = (submit(&mut scene.state, 1), submit(&mut scene.state, 1));
        if scene.state.machine.in_flight() == 2 {
            return (scene, first, second);
        }
    }
}

impl Scene {
    /// The worker claims the next task.
    fn claim(&mut self) -> u32 {
        assert!(self.end.next(&AtomicBool::new(true)).unwrap(), "there is a task");
        self.end.number()
    }

    /// The worker ends the task that it has claimed.
    fn end(&mut self, kind: UpKind) {
        let number = self.end.number();
        self.end.respond(number, kind, &mut vec![0], &mut Vec::new(), None).unwrap();
    }

    fn read(&mut self) {
        self.state.drain(0);
    }

    /// It has shown that it is quick, and is given more ahead.
    fn warm_up(mut self) -> Scene {
        for _ in 0..4 {
            submit(&mut self.state, 1);
            self.claim();
            self.end(UpKind::Value);
            self.read();
        }
        self
    }

    /// Whose results have come.
    fn pids(&mut self, job: JobKey) -> Vec<u32> {
        let mut pids = Vec::new();
        let job = self.state.jobs.get_mut(&job).unwrap();
        job.mailbox.take_others(|_, _, facts| pids.extend(facts.map(|facts| facts.pid)));
        pids
    }

    fn errors(&mut self, job: JobKey) -> Vec<TaskErrorKind> {
        let mut kinds = Vec::new();
        let job = self.state.jobs.get_mut(&job).unwrap();
        job.mailbox
            .take_others(|_, content, _| kinds.extend(content.err().map(|error| error.kind().clone())));
        kinds
    }
}

#[test]
fn only_the_condemned_task_is_asked_to_stop() {
    let mut scene = scene();
    let (first, second) = (submit(&mut scene.state, 1), submit(&mut scene.state, 1));
    let number = scene.claim();
    scene.state.run(Event::Cancel { job: first });
    // Before the driver says so, the task ends by itself and the next one begins.
    scene.end(UpKind::Value);
    scene.read();
    let next = scene.claim();
    assert_ne!(number, next);
    assert_eq!(scene.state.deferred, [Duty::AskToStop { slot: 0, number }]);
    assert!(matches!(scene.errors(first)[..], [TaskErrorKind::Cancelled]), "its value came too late");
    assert!(scene.errors(second).is_empty());
}

#[test]
fn a_task_whose_failure_was_there_already_is_not_told_as_cancelled() {
    let (mut scene, first, second) = with_two_given();
    scene.claim();
    scene.end(UpKind::Value);
    scene.claim();
    scene.end(UpKind::Failed);
    scene.state.run(Event::Cancel { job: second });
    scene.read();
    assert!(scene.state.deferred.is_empty(), "nobody is asked to stop");
    assert!(scene.errors(first).is_empty());
    let errors = scene.errors(second);
    assert!(matches!(errors[..], [TaskErrorKind::Failed { .. }]), "{errors:?}");
}

#[test]
fn what_began_unnoticed_is_asked_to_stop_once_it_is_noticed() {
    let (mut scene, _, second) = with_two_given();
    scene.claim();
    scene.end(UpKind::Value);
    let number = scene.claim();
    scene.state.run(Event::Cancel { job: second });
    scene.read();
    assert_eq!(scene.state.deferred, [Duty::AskToStop { slot: 0, number }]);
}

#[test]
fn what_has_not_begun_is_withdrawn() {
    let mut scene = scene().warm_up();
    let job = submit(&mut scene.state, 3);
    scene.claim();
    scene.state.run(Event::Withdraw { job });
    assert!(matches!(scene.errors(job)[..], [TaskErrorKind::Cancelled, TaskErrorKind::Cancelled]));
    assert_eq!(scene.state.jobs[&job].outstanding, 1, "the one that runs is waited for");
    scene.end(UpKind::Value);
    scene.read();
    assert!(scene.state.jobs[&job].is_complete() && scene.state.deferred.is_empty());
}

#[test]
fn a_rejection_wakes_those_who_wait() {
    let mut state = state(false);
    let job = submit(&mut state, 1);
    state.jobs.get_mut(&job).unwrap().sleepers.push(thread::current());
    let epoch = state.epoch();
    state.has_told = false;
    state.reject(job, 1, TaskErrorKind::Cancelled);
    assert!(epoch.has_passed() && state.has_told, "a poller looks again");
    assert!(state.jobs[&job].sleepers.is_empty(), "and so does who sleeps");
}

/// The calling thread waits for room, as a follower does.
fn starve(state: &mut State) {
    state.starve(&thread::current());
    assert_eq!(state.hungry.len(), 1);
}

#[test]
fn whoever_waits_for_an_appetite_is_woken_when_others_tasks_end() {
    let mut scene = scene();
    let mine = submit(&mut scene.state, 1);
    submit(&mut scene.state, 1);
    assert!(!scene.state.has_appetite(mine));
    starve(&mut scene.state);
    for _ in 0..2 {
        scene.claim();
        scene.end(UpKind::Value);
        scene.read();
    }
    assert!(scene.state.hungry.is_empty());
}

#[test]
fn whoever_waits_for_pending_tasks_is_woken_when_others_end() {
    let mut scene = scene();
    submit(&mut scene.state, 2);
    assert_eq!((scene.state.room(3), scene.state.lacking), (1, None));
    assert_eq!(scene.state.room(2), 0);
    assert_eq!(scene.state.lacking, Some(Room::Pending(2)));
    starve(&mut scene.state);
    scene.claim();
    scene.end(UpKind::Value);
    scene.read();
    assert!(scene.state.hungry.is_empty());
}

#[test]
fn whoever_waits_for_an_appetite_is_woken_when_the_pool_grows_or_ends() {
    for event in [Event::Resize { workers: 3 }, Event::Terminate] {
        let mut state = state(false);
        let job = submit(&mut state, 2);
        assert!(!state.has_appetite(job));
        starve(&mut state);
        let epoch = state.epoch();
        state.run(event);
        assert!(state.hungry.is_empty() && epoch.has_passed());
    }
}

#[test]
fn a_submission_has_one_task_in_the_queue_however_busy_the_pool_is() {
    let mut state = state(false);
    let busy = submit(&mut state, 1000);
    let other = state.open(Name::Static("g"));
    assert_eq!((state.appetite(busy), state.appetite(other)), (0, 1));
}

#[test]
fn a_worker_that_broke_the_protocol_is_given_nothing_and_counts_as_crashed() {
    let mut scene = scene();
    submit(&mut scene.state, 1);
    scene.claim();
    scene.end(UpKind::Value);
    // A second result, for a task that nobody gave.
    scene.end(UpKind::Value);
    scene.read();
    assert_eq!(scene.state.deferred, [Duty::Kill { slot: 0 }]);
    submit(&mut scene.state, 1);
    assert_eq!((scene.state.machine.in_flight(), scene.state.machine.queued()), (0, 1));
    let status = ExitStatus::Signal { signal: crate::Signal::SIGKILL, core_dumped: false };
    scene.state.worker_ended(0, Ending::Exited(status, ResourceUsage::default()), None);
    assert_eq!(scene.state.counters.get(crate::sync::counters::Count::Crashed), 1);
}

#[test]
fn a_result_waits_for_its_workers_pid_if_tasks_are_measured() {
    let mut scene = scene_of(true);
    let job = submit(&mut scene.state, 1);
    scene.claim();
    scene.end(UpKind::Value);
    scene.read();
    assert!(!scene.state.workers[0].as_ref().unwrap().has_news(), "nobody looks in vain");
    assert_eq!((scene.state.lanes.len(), scene.pids(job)), (0, vec![]));
    scene.state.name(0, 4711, None);
    assert_eq!((scene.state.lanes.len(), scene.pids(job)), (1, vec![4711]));
}

#[test]
fn a_result_of_a_worker_that_ended_before_its_pid_was_told_counts() {
    let mut scene = scene_of(true);
    let job = submit(&mut scene.state, 1);
    scene.claim();
    scene.end(UpKind::Value);
    scene.state.worker_ended(0, Ending::Lost, None);
    assert_eq!(scene.pids(job), [0]);
}
