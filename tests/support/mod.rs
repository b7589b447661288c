//! Looking at processes from outside, for tests about deaths.
#![allow(dead_code, unreachable_pub, reason = "a module of several tests, each of which uses a part")]

use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process that cannot be mistaken for a later one with its number.
pub struct Target(OwnedFd);

impl Target {
    /// `None` if it is gone.
    pub fn open(pid: u32) -> Option<Target> {
        pidfd_open(Pid::from_raw(pid as i32)?, PidfdFlags::empty()).ok().map(Target)
    }

    /// Sends a signal; a process that has ended is no error.
    pub fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.0, signal);
    }

    /// Waits for its end; false if it has not ended by then.
    pub fn ends_by(&self, deadline: Instant) -> bool {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&timeout)) {
                Ok(0) if left.is_zero() => return false,
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return true,
                Err(errno) => panic!("poll: {errno}"),
            }
        }
    }
}

/// All processes whose parent is `parent`.
pub fn children(parent: u32) -> Vec<u32> {
    let parent_of = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat[stat.rfind(')')? + 1..].split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    processes().filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

/// The keepers of this process.
pub fn keepers() -> Vec<u32> {
    let is_keeper =
        |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "watertight\n");
    children(std::process::id()).into_iter().filter(is_keeper).collect()
}

/// The ids of all processes, zombies too.
pub fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// What a process has.
#[derive(Debug, PartialEq, Eq)]
pub struct Census {
    pub descriptors: usize,
    pub threads: usize,
    pub children: usize,
}

impl Census {
    pub fn of(pid: u32) -> Census {
        let count = |what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).map_or(0, Iterator::count);
        Census { descriptors: count("fd"), threads: count("task"), children: children(pid).len() }
    }

    /// Waits until the process has no more than this again. It may have less: a census that is taken while the
    /// process works counts what it is about to close.
    pub fn comes_back(&self, pid: u32) {
        comes_to(None, || {
            let now = Census::of(pid);
            let more = now.descriptors > self.descriptors
                || now.threads > self.threads
                || now.children > self.children;
            more.then(|| format!("{now:?}, before {self:?}"))
        });
    }
}

/// A keeper's private folder.
pub fn folder_of(keeper: u32) -> PathBuf {
    let links = fs::read_dir(format!("/proc/{keeper}/fd")).unwrap().flatten();
    let folder = links
        .filter_map(|link| fs::read_link(link.path()).ok())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("watertight-")));
    folder.expect("a keeper holds its folder open, for its lock")
}

/// What lies in a keeper's private folder.
pub fn in_folder_of(keeper: u32) -> Vec<PathBuf> {
    fs::read_dir(folder_of(keeper)).unwrap().flatten().map(|entry| entry.path()).collect()
}

/// Looks until `look` gives what is `expected`: for what other processes do in their own time.
pub fn comes_to<T: PartialEq + std::fmt::Debug>(expected: T, mut look: impl FnMut() -> T) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let seen = look();
        if seen == expected {
            return;
        }
        assert!(Instant::now() < deadline, "expected {expected:?}, and it stays {seen:?}");
        // A look may take the processor from those that it waits for.
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Numbers that look random and come again with the same seed.
pub struct Random(u64);

impl Random {
    /// From `WATERTIGHT_SEED`, or fresh; said in the output, which is shown when a test fails.
    pub fn new() -> Random {
        use std::hash::{BuildHasher, Hasher};
        let fresh = || std::hash::RandomState::new().build_hasher().finish();
        let given = std::env::var("WATERTIGHT_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(fresh);
        println!("WATERTIGHT_SEED={seed}");
        Random(seed)
    }

    /// Another series, from a number of this one.
    pub fn from(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Spreads a number over all numbers.
pub fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Whether there are minutes instead of seconds.
pub fn is_long() -> bool {
    std::env::var_os("WATERTIGHT_LONG").is_some_and(|value| value == "1")
}
