//! Processes and threads that come to the roster, and leave it.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use nix::sys::signal::raise;
use watertight::sync::{Atomic, Lock, waiters};
use watertight::{Array, Process};

use crate::common::{Gate, stop_at};
use crate::debugger::{MARK, Stepped};
use crate::kill::shared_objects;
use crate::kill::{At, step_and_kill, sweep};
use crate::stage::{LONG, was_held};
use crate::tripwire::Tripwire;
use crate::waiting::until;

/// Kills a process after it has passed a gate, to which `start` brings it.
fn kill_behind_gate(at: At, start: impl FnOnce(PathBuf) -> Process<()>) -> (u32, bool) {
    let gate = Gate::new();
    let process = start(gate.path());
    let pass = gate.wait_for_task();
    let stepped = Stepped::stop(process.pid());
    drop(pass);
    stepped.run_to_mark();
    let wire = Tripwire::new(process.pid(), shared_objects);
    step_and_kill(process, stepped, wire, at, false)
}

fn passer_by(text: String, gate: PathBuf) {
    stop_at(&gate);
    raise(MARK).unwrap();
    let lock: Lock = serde_json::from_str(&text).unwrap();
    drop(lock.lock().unwrap());
    drop(lock);
    raise(MARK).unwrap();
    std::thread::park_timeout(LONG);
}

#[watertight::test(timeout = "3600s")]
fn whoever_joins_and_leaves_the_others_and_is_killed_anywhere_leaves_them_well() {
    sweep("Join and leave", |at| {
        let lock = Lock::new().unwrap();
        let text = serde_json::to_string(&lock).unwrap();
        let (pid, over) = kill_behind_gate(at, |gate| {
            Process::builder().daemon(true).spawn(passer_by, (text, gate)).unwrap()
        });
        let recover = || lock.lock_recover().unwrap().mark_consistent();
        let held = was_held(pid, lock.lock_timeout(LONG), recover);
        assert!(waiters().unwrap().is_empty());
        let take = |lock: Lock| lock.lock_timeout(LONG).unwrap().is_some();
        assert!(Process::spawn(take, (lock.clone(),)).unwrap().join().unwrap());
        (over, held)
    });
}

fn pioneer(gate: PathBuf) {
    stop_at(&gate);
    raise(MARK).unwrap();
    let lock = Lock::new().unwrap();
    drop(lock.lock().unwrap());
    drop(lock);
    raise(MARK).unwrap();
    std::thread::park_timeout(LONG);
}

#[watertight::test(timeout = "3600s")]
fn whoever_is_the_first_of_all_and_is_killed_anywhere_leaves_no_name_and_others_come() {
    sweep("First of all", |at| {
        let (pid, over) =
            kill_behind_gate(at, |gate| Process::builder().daemon(true).spawn(pioneer, (gate,)).unwrap());
        let lock = Lock::new().unwrap();
        let take = |lock: Lock| lock.lock_timeout(LONG).unwrap().is_some();
        assert!(Process::spawn(take, (lock.clone(),)).unwrap().join().unwrap());
        let mark = format!("watertight-{pid}-");
        let names = std::fs::read_dir("/dev/shm").unwrap().flatten();
        let left = names.filter(|name| name.file_name().to_string_lossy().starts_with(&mark)).count();
        assert_eq!(left, 0);
        (over, false)
    });
}

/// Has a thread use a lock and end; `thread` is its number.
fn short_lived(lock: Lock, thread: Atomic<u32>, go: Atomic<u32>) {
    let used = lock.clone();
    let body = move || {
        thread.store(nix::unistd::gettid().as_raw() as u32, Ordering::Release);
        until(|| go.load(Ordering::Acquire) == 1);
        raise(MARK).unwrap();
        drop(used.lock().unwrap());
        // Leaked on purpose: it is a dead holder's from this thread's end on.
        std::mem::forget(used.lock().unwrap());
    };
    std::thread::spawn(body).join().unwrap();
    std::thread::park_timeout(LONG);
    drop(lock);
}

#[watertight::test(timeout = "3600s")]
fn a_thread_whose_process_is_killed_anywhere_over_its_end_leaves_its_lock_with_notice() {
    sweep("Thread", |at| {
        let lock = Lock::new().unwrap();
        let [thread, go] = [(); 2].map(|()| Atomic::new(0_u32).unwrap());
        let arguments = (lock.clone(), thread.clone(), go.clone());
        let process = Process::builder().daemon(true).spawn(short_lived, arguments).unwrap();
        until(|| thread.load(Ordering::Acquire) != 0);
        let stepped = Stepped::stop(thread.load(Ordering::Acquire));
        go.store(1, Ordering::Release);
        stepped.run_to_mark();
        let wire = Tripwire::new(thread.load(Ordering::Acquire), shared_objects);
        let (pid, over) = step_and_kill(process, stepped, wire, at, false);
        let recover = || lock.lock_recover().unwrap().mark_consistent();
        let held = was_held(pid, lock.lock_timeout(LONG), recover);
        assert!(held || !over);
        assert!(Array::<u8>::zeroed(1).unwrap().lock().is_ok());
        (over, held)
    });
}
