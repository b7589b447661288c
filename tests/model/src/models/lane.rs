//! Both ends of a lane, with everything between them.

use std::sync::Arc;

use bytes::Bytes;
use loom::thread::{self, JoinHandle};

use crate::explore::explore;
use crate::link::frame::{Coding, DOWN_HEAD, DownHead, DownKind, UpKind};
use crate::link::host_end::HostEnd;
use crate::link::lane::Lane;
use crate::link::worker_end::WorkerEnd;
use crate::primitive::{AtomicBool, Doorbell, Ordering};

/// Words of a frame of tasks without arguments: head and lengths.
const FRAME: usize = DOWN_HEAD + 1;

/// A host that sleeps on the doorbell, as the pool's reader does.
struct Host {
    end: HostEnd,
    retiring: Arc<AtomicBool>,
    /// Tasks whose results have come.
    results: u32,
}

impl Host {
    /// A lane whose ring down has so many words, and a worker at its other end that answers each task with so
    /// many bytes.
    fn start(down: usize, answer: usize) -> (Host, JoinHandle<u32>) {
        let (end, _) = HostEnd::create("model", down, 1 << 10).expect("memory is there");
        let (lane, doorbell) = (Arc::clone(end.lane()), end.doorbell().clone());
        let retiring = Arc::new(AtomicBool::new(false));
        let workers = Arc::clone(&retiring);
        let worker = thread::spawn(move || work(&lane, doorbell, &workers, answer));
        (Host { end, retiring, results: 0 }, worker)
    }

    /// Sends tasks in one frame.
    fn send(&mut self, tasks: u32) {
        let line = vec![0; 4 * tasks as usize];
        let head = DownHead {
            kind: DownKind::Tasks,
            coding: Coding::Offset,
            parts: 0,
            count: tasks,
            first: 0,
            line: 0,
            function: 0,
            timeout: 0,
        };
        self.end.send(head, &line, &[], || Bytes::copy_from_slice(&line)).expect("the worker is honest");
        self.end.publish().expect("the worker is honest");
    }

    fn take_back(&mut self) -> u32 {
        self.end.take_back().expect("the worker is honest")
    }

    /// Reads what is there, and writes what has room.
    fn drain(&mut self) {
        self.results +=
            self.end.read(|arrival| assert_eq!(arrival.kind, UpKind::Value)).expect("an honest worker");
        self.end.publish().expect("the worker is honest");
    }

    /// Sleeps and reads until so many results have come.
    fn wait_for(&mut self, results: u32) {
        while self.results < results {
            self.end.mark(true);
            self.end.lane().host_bell().arm();
            if !self.end.lane().has_news() {
                self.end.doorbell().wait();
            }
            self.end.lane().host_bell().disarm();
            self.drain();
        }
    }

    /// As the worker's control thread, told by the host.
    fn retire(&self) {
        self.retiring.store(true, Ordering::Release);
        self.end.lane().worker_bell().ring();
    }

    /// After the worker's end, everything has come that will come.
    fn end(&mut self, worker: JoinHandle<u32>, results: u32) {
        let done = worker.join().expect("the worker ends");
        self.drain();
        assert_eq!((done, self.results), (results, results));
        assert!(!self.end.is_busy());
    }
}

fn work(lane: &Lane, doorbell: Doorbell, retiring: &AtomicBool, answer: usize) -> u32 {
    let (mut end, mut done) = (WorkerEnd::new(lane, doorbell), 0);
    while end.next(retiring).expect("the host is honest") {
        end.respond(end.number(), UpKind::Value, &mut vec![7; answer], &mut Vec::new(), None)
            .expect("the host is honest");
        done += 1;
    }
    done
}

/// A task, and another one when its result is there.
pub fn task_after_task() -> usize {
    explore(2, || {
        let (mut host, worker) = Host::start(FRAME, 0);
        host.send(1);
        host.wait_for(1);
        host.send(1);
        host.wait_for(2);
        host.retire();
        host.end(worker, 2);
    })
}

/// A worker is told to go while a task is still on its way to it.
pub fn retire_behind_a_task() -> usize {
    explore(2, || {
        let (mut host, worker) = Host::start(FRAME, 0);
        host.send(1);
        host.retire();
        host.end(worker, 1);
    })
}

/// A frame, taken back while the worker claims, and another one behind it.
pub fn taken_back() -> usize {
    explore(2, || {
        let (mut host, worker) = Host::start(2 * FRAME, 0);
        host.send(1);
        let taken = host.take_back();
        host.send(1);
        host.wait_for(2 - taken);
        host.retire();
        host.end(worker, 2 - taken);
    })
}

/// Frames that have to wait for room, down and up.
pub fn room() -> usize {
    explore(2, || {
        let (mut host, worker) = Host::start(FRAME, 0);
        host.send(1);
        host.send(1);
        host.wait_for(2);
        host.retire();
        host.end(worker, 2);
    })
}

/// A result that is longer than its ring.
pub fn in_pieces() -> usize {
    explore(2, || {
        let (mut host, worker) = Host::start(FRAME, 8);
        host.send(1);
        host.wait_for(1);
        host.retire();
        host.end(worker, 1);
    })
}
