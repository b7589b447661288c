//! Both ends of a lane as threads of one process.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes as Buffer;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::unistd::Pid;

use super::frame::{Coding, DownHead, DownKind, Measure, UpKind};
use super::host_end::HostEnd;
use super::lane::Lane;
use super::worker_end::WorkerEnd;
use crate::primitive::Doorbell;

const LARGEST: u64 = 1 << 20;

/// The head of a frame with so many tasks.
fn tasks(count: u32, parts: usize) -> DownHead {
    DownHead {
        kind: DownKind::Tasks,
        coding: Coding::Offset,
        parts: parts as u8,
        count,
        first: 0,
        line: 0,
        function: 0,
        timeout: 0,
    }
}

/// A line of tasks with these arguments.
fn line<'a>(arguments: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let framed = arguments.into_iter().map(|bytes| [&(bytes.len() as u32).to_le_bytes()[..], bytes].concat());
    framed.flatten().collect()
}

/// Runs `host` against a worker that answers each task with its own arguments and parts, until told to go.
fn with_echo(down: usize, host: impl FnOnce(&mut HostEnd)) {
    let (mut end, memory) = HostEnd::create("test", down, LARGEST).unwrap();
    let lane = Lane::open(memory.as_fd()).unwrap();
    let doorbell = Doorbell::adopt(end.doorbell().as_fd().try_clone_to_owned().unwrap());
    let retiring = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| echo(&lane, doorbell, &retiring));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| host(&mut end)));
        retiring.store(true, Ordering::Release);
        end.lane().worker_bell().ring();
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
        worker.join().unwrap();
    });
}

fn echo(lane: &Lane, doorbell: Doorbell, retiring: &AtomicBool) {
    let mut end = WorkerEnd::new(lane, doorbell);
    while end.next(retiring).unwrap() {
        let number = end.number();
        let (bytes, parts) = end.arguments();
        let (mut bytes, mut parts) = (bytes.to_vec(), std::mem::take(parts));
        let measure =
            number.is_multiple_of(3).then_some(Measure { start: 1, elapsed: 2, max_rss: u64::from(number) });
        end.respond(number, UpKind::Value, &mut bytes, &mut parts, measure).unwrap();
    }
}

/// Reads until so many results have come, asleep between them; `take` gets each one's line and parts.
fn read(end: &mut HostEnd, count: usize, mut take: impl FnMut(&[u8], Vec<Buffer>)) {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    epoll.add(end.doorbell(), EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0)).unwrap();
    let mut come = 0;
    loop {
        end.mark(true);
        end.lane().host_bell().arm();
        come += end.read(|arrival| take(arrival.line.bytes(), arrival.parts)).unwrap() as usize;
        end.publish().unwrap();
        if come == count {
            return end.lane().host_bell().disarm();
        }
        if !end.lane().has_news() {
            let woken = epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::from(60_000_u16)).unwrap();
            assert!(woken > 0, "nobody rang");
        }
    }
}

#[test]
fn tasks_come_back_in_order_through_rings_that_are_smaller_than_they_are() {
    let arguments: Vec<Vec<u8>> = (0..2000).map(|size| vec![size as u8; size]).collect();
    with_echo(256, |end| {
        for bytes in &arguments {
            let line = line([&bytes[..]]);
            end.send(tasks(1, 0), &line, &[], || Buffer::copy_from_slice(&line)).unwrap();
            end.publish().unwrap();
        }
        let mut come = Vec::new();
        read(end, arguments.len(), |line, _| come.push(line.to_vec()));
        assert_eq!(come, arguments);
    });
}

#[test]
fn parts_travel_beside_the_line_both_ways() {
    let part = |byte: u8, size: usize| Buffer::from(vec![byte; size]);
    let parts = [part(1, 0), part(2, 100_001), part(3, 7), part(4, 600_000)];
    with_echo(1024, |end| {
        let line = line([&b"arguments"[..]]);
        end.send(tasks(1, parts.len()), &line, &parts, || Buffer::copy_from_slice(&line)).unwrap();
        end.publish().unwrap();
        read(end, 1, |line, come| assert!(line == b"arguments" && come == parts));
    });
}

#[test]
fn a_host_that_shares_its_processor_is_not_rung_at_each_commit() {
    let alone = || {
        let mut one = CpuSet::new();
        let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
        one.set((0..CpuSet::count()).find(|&cpu| allowed.is_set(cpu).unwrap()).unwrap()).unwrap();
        sched_setaffinity(Pid::from_raw(0), &one).unwrap();
        let (mut end, _memory) = HostEnd::create("test", 1024, LARGEST).unwrap();
        let mut give = |count| {
            let empty = line(std::iter::repeat_n(&b""[..], count as usize));
            end.send(tasks(count, 0), &empty, &[], || Buffer::copy_from_slice(&empty)).unwrap();
            end.publish().unwrap();
            (end.mark(true), end.mark(false).0)
        };
        assert_eq!(give(15), ((false, 0), false), "a few are told one by one");
        assert_eq!(give(15), ((true, 15), false), "of many, half is waited for, if they move");
    };
    // The mask is the thread's own.
    std::thread::spawn(alone).join().unwrap();
}

#[test]
fn a_lane_outlives_the_numbers_of_its_tasks() {
    const MANY: u32 = u32::MAX / 2;
    let empty = line([&b""[..]]);
    let send = |end: &mut HostEnd, count: u32, line: &[u8]| {
        end.send(tasks(count, 0), line, &[], || Buffer::copy_from_slice(line)).unwrap();
        end.publish().unwrap();
    };
    let (mut end, memory) = HostEnd::create("test", 1024, LARGEST).unwrap();
    // Numbers that are taken back are used up all the same.
    for count in [MANY, MANY - 7] {
        send(&mut end, count, &empty);
        assert_eq!(end.take_back(), Ok(count));
    }
    let lane = Lane::open(memory.as_fd()).unwrap();
    let doorbell = Doorbell::adopt(end.doorbell().as_fd().try_clone_to_owned().unwrap());
    let (retiring, mut worker) = (AtomicBool::new(false), WorkerEnd::new(&lane, doorbell));
    let mut numbers = Vec::new();
    for round in 0..4 {
        send(&mut end, 2, &line([&[round][..], &[round]]));
        send(&mut end, 1, &empty);
        let (_, mark) = end.mark(true);
        assert!(!lane.has_reached(mark));
        assert_eq!(end.take_back(), Ok(3));
        send(&mut end, 2, &line([&[round][..], &[round]]));
        for _ in 0..2 {
            assert!(worker.next(&retiring).unwrap());
            let number = worker.number();
            assert_eq!(worker.arguments().0, [round]);
            numbers.push(number);
            worker.respond(number, UpKind::Value, &mut vec![round], &mut Vec::new(), None).unwrap();
        }
        assert_eq!(end.read(|arrival| assert_eq!(arrival.line.bytes(), [round])), Ok(2));
        assert!(!end.is_busy() && end.claimed() == Ok(0));
    }
    assert!(numbers.windows(2).any(|pair| pair == [u32::MAX, 0]), "{numbers:?} did not wrap");
}

#[test]
fn a_lane_that_is_shut_gives_nothing_more_even_to_a_worker_that_lives() {
    let (mut host, memory) = HostEnd::create("test", 1024, LARGEST).unwrap();
    let lane = Lane::open(memory.as_fd()).unwrap();
    let doorbell = Doorbell::adopt(host.doorbell().as_fd().try_clone_to_owned().unwrap());
    let mut worker = WorkerEnd::new(&lane, doorbell);
    let retiring = AtomicBool::new(true);
    let two = line([&b"one"[..], b"two"]);
    host.send(tasks(2, 0), &two, &[], || two.clone().into()).unwrap();
    host.publish().unwrap();
    assert!(worker.next(&retiring).unwrap());
    host.shut();
    host.send(tasks(2, 0), &two, &[], || two.clone().into()).unwrap();
    host.publish().unwrap();
    worker.respond(0, UpKind::Value, &mut b"1".to_vec(), &mut Vec::new(), None).unwrap();
    assert!(!worker.next(&retiring).unwrap(), "it claimed what the host has back");
    let mut values = 0;
    host.read(|_| values += 1).unwrap();
    assert_eq!((values, host.claimed()), (1, Ok(0)));
}
