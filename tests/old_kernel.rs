//! Locks where the kernel cannot sleep on two words: before Linux 5.16, or where a sandbox does not allow it. And
//! groups where it cannot signal them by descriptor: before Linux 6.9.
//!
//! The processes of these tests forbid themselves `futex_waitv`, or that flag, as a filter of system calls would.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(unsafe_code, reason = "nothing safe installs a filter")]

mod common;

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use watertight::sync::{Atomic, Barrier, Condition, Event, Lock, LockError, Semaphore, Waiter, waiters};
use watertight::{Pool, Process, Value};

use common::{note, notes, runs, until as until_it};

/// Longer than any test may take.
const LONG: Duration = Duration::from_secs(50);

/// The word at this place of what the kernel tells a filter of a call.
fn load(k: u32) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, jt: 0, jf: 0, k }
}

/// Passes over so many steps if it is not this.
fn is(k: u32, otherwise: u8) -> libc::sock_filter {
    let code = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    libc::sock_filter { code, jt: 0, jf: otherwise, k }
}

fn answer(k: u32) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k }
}

/// Has `futex_waitv` fail in this thread, and in all that it starts.
fn forbid_waitv(errno: i32) {
    let fails = answer(libc::SECCOMP_RET_ERRNO | errno as u32);
    install(&mut [load(0), is(libc::SYS_futex_waitv as u32, 1), fails, answer(libc::SECCOMP_RET_ALLOW)]);
    // SAFETY: without any words to wait for the call does nothing.
    let result = unsafe { libc::syscall(libc::SYS_futex_waitv, 0, 0, 0, 0, 0) };
    assert_eq!((result, std::io::Error::last_os_error().raw_os_error()), (-1, Some(errno)));
}

/// Has a signal to a group by a descriptor fail in this thread, and in all that it starts.
fn forbid_group_signals() {
    const GROUP: u32 = 1 << 2;
    // The low half of the fourth argument.
    let flags = 16 + 3 * 8 + if cfg!(target_endian = "big") { 4 } else { 0 };
    let fails = answer(libc::SECCOMP_RET_ERRNO | libc::EINVAL as u32);
    let call = is(libc::SYS_pidfd_send_signal as u32, 3);
    install(&mut [load(0), call, load(flags), is(GROUP, 1), fails, answer(libc::SECCOMP_RET_ALLOW)]);
    // SAFETY: the number is no descriptor.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, -1, 0, 0, GROUP) };
    assert_eq!((result, std::io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EINVAL)));
}

fn install(filter: &mut [libc::sock_filter]) {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: both calls take plain numbers, and a program that lives until the second one returns.
    let installed = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    };
    assert!(installed, "{}", std::io::Error::last_os_error());
}

fn until(suits: impl Fn(&Waiter) -> bool) {
    while !waiters().unwrap().iter().any(&suits) {
        std::thread::yield_now();
    }
}

fn hold(lock: Lock, semaphore: Semaphore, _barrier: Barrier, held: Event) {
    let _both = (lock.lock().unwrap(), semaphore.acquire().unwrap());
    held.set();
    std::thread::park_timeout(LONG);
}

/// Runs `wait` in a process of an old kernel, and kills the holder of everything when it waits.
fn told_of_a_death(wait: impl FnOnce(Lock, Semaphore, Barrier) -> Process<bool>) {
    let (lock, semaphore) = (Lock::new().unwrap(), Semaphore::new(1).unwrap());
    let (barrier, held) = (Barrier::new(2).unwrap(), Event::new().unwrap());
    let arguments = (lock.clone(), semaphore.clone(), barrier.clone(), held.clone());
    let holder = Process::builder().daemon(true).spawn(hold, arguments).unwrap();
    held.wait().unwrap();
    let waiter = wait(lock, semaphore, barrier);
    until(|found| found.party.pid == waiter.pid());
    holder.kill().unwrap();
    assert!(waiter.join().unwrap());
    assert!(holder.join().is_err());
}

#[watertight::test]
fn a_death_is_told_to_who_waits_for_a_lock() {
    for errno in [libc::ENOSYS, libc::EPERM] {
        let wait = |errno: i32, lock: Lock| {
            forbid_waitv(errno);
            matches!(lock.lock().map(drop), Err(LockError::HolderDied(_)))
        };
        told_of_a_death(|lock, _, _| Process::spawn(wait, (errno, lock)).unwrap());
    }
}

#[watertight::test]
fn a_permit_of_a_dead_owner_comes_back() {
    let wait = |semaphore: Semaphore| {
        forbid_waitv(libc::ENOSYS);
        semaphore.acquire().is_ok()
    };
    told_of_a_death(|_, semaphore, _| Process::spawn(wait, (semaphore,)).unwrap());
}

#[watertight::test]
fn a_barrier_is_broken_by_a_death() {
    let wait = |barrier: Barrier| {
        forbid_waitv(libc::ENOSYS);
        barrier.wait().is_err()
    };
    told_of_a_death(|_, _, barrier| Process::spawn(wait, (barrier,)).unwrap());
}

fn count(value: Value<u64>) {
    forbid_waitv(libc::ENOSYS);
    for _ in 0..2000 {
        let mut value = value.lock().unwrap();
        *value += 1;
        // The others come, and sleep.
        std::thread::yield_now();
    }
}

#[watertight::test]
fn a_contended_lock_passes_on() {
    let value = Value::new(0_u64).unwrap();
    let processes = [(); 3].map(|()| Process::spawn(count, (value.clone(),)).unwrap());
    processes.into_iter().for_each(|process| process.join().unwrap());
    assert_eq!(value.get().unwrap(), 6000);
}

fn wait_for_all(lock: Lock, condition: Condition, event: Event) {
    forbid_waitv(libc::ENOSYS);
    let mut guard = lock.lock().unwrap();
    condition.wait(&mut guard).unwrap();
    drop(guard);
    event.wait().unwrap();
    assert!(lock.lock_timeout(Duration::from_millis(1)).unwrap().is_none());
}

#[watertight::test]
fn a_notification_an_event_and_the_end_of_a_time_are_noticed() {
    let (lock, condition) = (Lock::new().unwrap(), Condition::new().unwrap());
    let event = Event::new().unwrap().named("go");
    let arguments = (lock.clone(), condition.clone(), event.clone());
    let process = Process::spawn(wait_for_all, arguments).unwrap();
    while condition.notify(1).unwrap() == 0 {
        std::thread::yield_now();
    }
    until(|waiter| waiter.object == "`go`");
    let _guard = lock.lock().unwrap();
    event.set();
    process.join().unwrap();
}

fn opposite(first: Lock, second: Lock, ready: Atomic<u32>) -> bool {
    forbid_waitv(libc::ENOSYS);
    let _first = first.lock().unwrap();
    ready.fetch_add(1, Ordering::AcqRel);
    while ready.load(Ordering::Acquire) < 2 {
        std::thread::yield_now();
    }
    second.lock().is_err_and(|error| error.is_deadlock())
}

#[watertight::test]
fn a_circle_is_found() {
    let (one, two) = (Lock::new().unwrap(), Lock::new().unwrap());
    let ready = Atomic::new(0_u32).unwrap();
    let first = (one.clone(), two.clone(), ready.clone());
    let first = Process::spawn(opposite, first).unwrap();
    let second = Process::spawn(opposite, (two, one, ready)).unwrap();
    assert_ne!(first.join().unwrap(), second.join().unwrap(), "one of two is refused");
}

/// Starts a child that outlives whoever does not kill it, and says who it and the keeper are.
fn leave_a_child() -> (u32, u32) {
    let child = std::process::Command::new("sleep").arg("1000").spawn();
    (child.map(|child| child.id()).unwrap(), std::os::unix::process::parent_id())
}

fn leave_a_child_and_wait(path: PathBuf) {
    let (child, keeper) = leave_a_child();
    note(&path, &format!("{child} {keeper}"));
    std::thread::park_timeout(LONG);
}

fn kill(pid: u32) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::SIGKILL).unwrap();
}

#[watertight::test]
fn a_keepers_death_ends_the_workers_children() {
    forbid_group_signals();
    let pool = Pool::new(1).unwrap();
    let (child, keeper) = pool.apply(leave_a_child, ()).unwrap();
    assert!(runs(child));
    until_it(|| pool.pids().len() == 1);
    kill(keeper);
    // What is started while it dies may still be asked of it.
    until_it(|| !runs(child) && !runs(keeper));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pids");
    let process = Process::spawn(leave_a_child_and_wait, (path.clone(),)).unwrap();
    until_it(|| notes(&path).len() == 1);
    let pids: Vec<u32> = notes(&path)[0].split(' ').map(|pid| pid.parse().unwrap()).collect();
    kill(pids[1]);
    assert!(process.join().is_err());
    until_it(|| !runs(pids[0]));
}
