//! A process that stops wherever it changes what others can see, and runs at full speed in between.
//!
//! Its view of the shared memory is made read-only, so each store there is a fault before it happens; the page is
//! then opened for that one instruction. All system calls are stops anyway.

#![allow(unsafe_code, reason = "the address of a fault is told by a field that other signals do not have")]
#![allow(unreachable_pub, reason = "a module of several tests")]

use std::fs;

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::debugger::{MARK, OVER};

pub const PAGE: u64 = 4096;

/// After what a process stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A store into shared memory.
    Stored,
    /// A system call.
    Called,
    /// A system call that failed.
    Failed,
    /// Not stopped: it sleeps in the kernel, and has not been woken.
    Asleep,
    /// The mark, or what somebody sends when all is over.
    Over,
    /// The end of the thread.
    Gone,
    /// Another thread of it ran into what was meant for this one, and it died of that.
    Tripped,
}

/// Which part of a mapping is guarded, by its line in the list of mappings and its bounds.
pub type Guard = fn(&str, (u64, u64)) -> Option<(u64, u64)>;

pub struct Tripwire {
    pid: Pid,
    guard: Guard,
    /// Where an instruction for system calls stands in its code.
    call_at: u64,
    /// The shared memory that it has mapped.
    windows: Vec<(u64, u64)>,
    is_spanned: bool,
    is_asleep: bool,
    /// All is over, which was told while it made an instruction of ours.
    is_over: bool,
    /// What `falls_asleep` was told on its way.
    told: Option<WaitStatus>,
}

impl Tripwire {
    /// Of a process that is stopped right behind a system call.
    pub fn new(pid: u32, guard: Guard) -> Tripwire {
        let pid = Pid::from_raw(pid as i32);
        // Two bytes before where it goes on.
        let call_at = ptrace::getregs(pid).unwrap().rip - 2;
        let code = ptrace::read(pid, call_at as ptrace::AddressType).unwrap();
        assert_eq!(code & 0xffff, 0x050f, "it should be stopped behind a system call");
        Tripwire {
            pid,
            guard,
            call_at,
            windows: Vec::new(),
            is_spanned: false,
            is_asleep: false,
            is_over: false,
            told: None,
        }
    }

    /// Spans it over all that is to be guarded of what is mapped, and will be. `None` if the process has died.
    pub fn span(&mut self) -> Option<()> {
        self.is_spanned = true;
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.pid)).ok()?;
        for line in maps.lines().filter(|line| line.contains(" rw-s ")) {
            let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
            let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
            let Some((start, end)) = (self.guard)(line, (start, end)) else { continue };
            self.windows.push((start, end));
            self.protect(start, end - start, libc::PROT_READ)?;
        }
        Some(())
    }

    /// To the next change that others can see. A call that has failed was none, unless it was one to sleep.
    pub fn next(&mut self) -> Point {
        loop {
            match self.next_or_failed() {
                Some(Point::Failed) => {}
                Some(point) => return point,
                None => return Point::Tripped,
            }
        }
    }

    /// `None` if the process has died.
    fn next_or_failed(&mut self) -> Option<Point> {
        if std::mem::take(&mut self.is_over) {
            return Some(Point::Over);
        }
        if !std::mem::take(&mut self.is_asleep) {
            ptrace::syscall(self.pid, None).ok()?;
            match self.wait()? {
                WaitStatus::PtraceSyscall(_) => {}
                WaitStatus::Stopped(_, Signal::SIGSEGV) => return self.step_over(),
                WaitStatus::Stopped(_, MARK | OVER) => return Some(Point::Over),
                WaitStatus::Exited(..) => return Some(Point::Gone),
                status => panic!("the process should go on: {status:?}"),
            }
            let call = ptrace::getregs(self.pid).ok()?.orig_rax as i64;
            ptrace::syscall(self.pid, None).ok()?;
            if matches!(call, libc::SYS_futex_waitv | libc::SYS_futex) && self.falls_asleep() {
                self.is_asleep = true;
                return Some(Point::Asleep);
            }
        }
        match self.wait()? {
            WaitStatus::PtraceSyscall(_) => {}
            WaitStatus::Exited(..) => return Some(Point::Gone),
            status => panic!("the call should return: {status:?}"),
        }
        let after = ptrace::getregs(self.pid).ok()?;
        let (call, result) = (after.orig_rax as i64, after.rax as i64);
        if call == libc::SYS_mmap && self.is_spanned {
            self.span()?;
        }
        let is_sleep = matches!(call, libc::SYS_futex_waitv | libc::SYS_futex);
        Some(if result < 0 && !is_sleep { Point::Failed } else { Point::Called })
    }

    /// What comes next; `None` if that is its death by a thread that ran into the wire.
    fn wait(&mut self) -> Option<WaitStatus> {
        let told = self.told.take();
        let status = told.unwrap_or_else(|| waitpid(self.pid, Some(WaitPidFlag::__WALL)).unwrap());
        (!matches!(status, WaitStatus::Signaled(_, Signal::SIGSEGV, _))).then_some(status)
    }

    /// Whether it sleeps in the call that it has just entered; false if that is over.
    fn falls_asleep(&mut self) -> bool {
        loop {
            let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap();
            if stat[stat.rfind(')').unwrap() + 2..].starts_with('S') {
                return true;
            }
            match waitpid(self.pid, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG)).unwrap() {
                WaitStatus::StillAlive => std::thread::yield_now(),
                status => {
                    self.told = Some(status);
                    return false;
                }
            }
        }
    }

    /// Lets it do the store that it stands before.
    fn step_over(&mut self) -> Option<Point> {
        let mut open = Vec::new();
        loop {
            let information = ptrace::getsiginfo(self.pid).ok()?;
            // SAFETY: the kernel fills in the address for this signal.
            let at = unsafe { information.si_addr() } as u64;
            assert!(
                self.windows.iter().any(|(start, end)| (*start..*end).contains(&at)),
                "a fault at {at:#x}"
            );
            self.protect(at / PAGE * PAGE, PAGE, libc::PROT_READ | libc::PROT_WRITE)?;
            open.push(at / PAGE * PAGE);
            match self.step()? {
                WaitStatus::Stopped(_, Signal::SIGTRAP) => break,
                // One instruction may touch two pages.
                WaitStatus::Stopped(_, Signal::SIGSEGV) => {}
                status => panic!("the process should step: {status:?}"),
            }
        }
        for page in open {
            self.protect(page, PAGE, libc::PROT_READ)?;
        }
        Some(Point::Stored)
    }

    /// One instruction, or a fault in its place.
    fn step(&mut self) -> Option<WaitStatus> {
        loop {
            ptrace::step(self.pid, None).ok()?;
            match self.wait()? {
                WaitStatus::Stopped(_, OVER) => self.is_over = true,
                status => return Some(status),
            }
        }
    }

    /// Has the process change how it may use its memory.
    fn protect(&mut self, start: u64, length: u64, how: libc::c_int) -> Option<()> {
        let before = ptrace::getregs(self.pid).ok()?;
        let mut call = before;
        (call.rip, call.rax, call.orig_rax) = (self.call_at, libc::SYS_mprotect as u64, u64::MAX);
        (call.rdi, call.rsi, call.rdx) = (start, length, how as u64);
        ptrace::setregs(self.pid, call).ok()?;
        let status = self.step()?;
        assert!(matches!(status, WaitStatus::Stopped(_, Signal::SIGTRAP)), "{status:?}");
        assert_eq!(ptrace::getregs(self.pid).ok()?.rax, 0, "the memory should be protected");
        ptrace::setregs(self.pid, before).ok()?;
        Some(())
    }
}
