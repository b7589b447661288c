//! A debugger for processes of a test's own: they are stopped, stepped and killed between any two instructions.
//!
//! A signal that is ignored by whoever is not debugged shows how far its process is.
#![allow(dead_code, unreachable_pub, reason = "a module of several tests, each of which uses a part")]

use std::cell::Cell;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// What a process raises where something begins or ends.
pub const MARK: Signal = Signal::SIGWINCH;

/// What somebody else sends it when all is over.
pub const OVER: Signal = Signal::SIGURG;

/// A process under our debugger, stopped.
pub struct Stepped {
    pid: Pid,
    is_dead: Cell<bool>,
}

/// What ended a step or a run.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    Step,
    Syscall,
    Mark,
    Over,
    /// The end of the thread.
    Gone,
}

impl Stepped {
    /// Stops a process wherever it is.
    pub fn stop(pid: u32) -> Stepped {
        let pid = Pid::from_raw(pid as i32);
        let options = Options::PTRACE_O_EXITKILL | Options::PTRACE_O_TRACESYSGOOD;
        ptrace::seize(pid, options).expect(
            "this test needs to debug a process of its own; a container may need `--cap-add=SYS_PTRACE`, and \
             /proc/sys/kernel/yama/ptrace_scope may have to be 0",
        );
        let stepped = Stepped { pid, is_dead: Cell::new(false) };
        stepped.interrupt();
        // On one processor a step takes microseconds, across two of them tens of these.
        let here = sched_getcpu().unwrap();
        let mut processor = CpuSet::new();
        processor.set(here).unwrap();
        sched_setaffinity(pid, &processor).unwrap();
        sched_setaffinity(Pid::from_raw(0), &processor).unwrap();
        stepped
    }

    pub fn pid(&self) -> u32 {
        self.pid.as_raw() as u32
    }

    /// Lets it run, until it is interrupted.
    pub fn run(&self) {
        ptrace::cont(self.pid, None).unwrap();
    }

    /// Stops it while it runs.
    pub fn interrupt(&self) {
        ptrace::interrupt(self.pid).unwrap();
        let status = waitpid(self.pid, Some(WaitPidFlag::__WALL)).unwrap();
        assert!(matches!(status, WaitStatus::PtraceEvent(..)), "{status:?}");
    }

    pub fn step(&self) -> Stop {
        ptrace::step(self.pid, None).unwrap();
        self.wait()
    }

    pub fn run_to_mark(&self) {
        self.run();
        assert_eq!(self.wait(), Stop::Mark);
    }

    /// Runs to the next entry into the kernel, or return from it.
    pub fn run_to_syscall(&self) -> Stop {
        ptrace::syscall(self.pid, None).unwrap();
        self.wait()
    }

    pub fn run_for(&self, time: Duration) {
        self.run();
        let end = Instant::now() + time;
        while Instant::now() < end {
            std::thread::yield_now();
        }
    }

    fn wait(&self) -> Stop {
        match waitpid(self.pid, Some(WaitPidFlag::__WALL)).unwrap() {
            WaitStatus::Stopped(_, Signal::SIGTRAP) => Stop::Step,
            WaitStatus::Stopped(_, MARK) => Stop::Mark,
            WaitStatus::Stopped(_, OVER) => Stop::Over,
            WaitStatus::PtraceSyscall(_) => Stop::Syscall,
            WaitStatus::Exited(..) => Stop::Gone,
            status => panic!("the process should step: {status:?}"),
        }
    }

    /// Kills it. Its keeper hears of it only after the debugger. What it died of, should that have come before.
    pub fn kill(&self) -> Option<Signal> {
        self.is_dead.set(true);
        // Whoever is dead already is still to be waited for.
        let _ = kill(self.pid, Signal::SIGKILL);
        loop {
            // A stop from before may still be told.
            match waitpid(self.pid, Some(WaitPidFlag::__WALL)) {
                Ok(WaitStatus::Signaled(_, signal, _)) => return Some(signal),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }
}

impl Drop for Stepped {
    /// A test that fails would wait for a process whose keeper is never told of its end.
    fn drop(&mut self) {
        if !self.is_dead.get() {
            self.kill();
        }
    }
}
