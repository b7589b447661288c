//! What a piece of code left behind in its process.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nix::unistd::getpid;

use crate::sys::procfs;

/// What a process has at one moment.
pub(super) struct Inventory {
    descriptors: BTreeSet<(i32, String)>,
    threads: usize,
    names: BTreeSet<std::ffi::OsString>,
}

impl Inventory {
    /// Takes stock.
    pub(super) fn take() -> Inventory {
        Inventory {
            descriptors: procfs::descriptors().into_iter().collect(),
            threads: procfs::thread_count(),
            names: own_names(),
        }
    }

    /// What is there now and was not there then, one line each. Nothing is an empty list.
    pub(super) fn leftovers(&self) -> Vec<String> {
        // First, because a thread that is about to end lets go of descriptors and names.
        let threads = settled(|| procfs::thread_count().saturating_sub(self.threads));
        let threads = (threads > 0).then(|| format!("{threads} threads"));
        let now = Inventory::take();
        let children = procfs::children(getpid()).into_iter().map(|child| {
            let name = std::fs::read_to_string(format!("/proc/{}/comm", child.pid)).unwrap_or_default();
            format!("child process {} ({}, state {})", child.pid, name.trim(), child.state)
        });
        let descriptors = now
            .descriptors
            .difference(&self.descriptors)
            .map(|(number, target)| format!("descriptor {number} ({target})"));
        let names =
            now.names.difference(&self.names).map(|name| format!("/dev/shm/{}", name.to_string_lossy()));
        children.chain(descriptors).chain(threads).chain(names).collect()
    }
}

/// A scoped thread has done its work before the kernel is through with it, which no descriptor tells. Only a
/// test that leaves threads behind waits here for long.
fn settled(count: impl Fn() -> usize) -> usize {
    let deadline = Instant::now() + Duration::from_secs(1);
    while count() > 0 && Instant::now() < deadline {
        std::thread::park_timeout(Duration::from_millis(1));
    }
    count()
}

/// Names in /dev/shm that carry this process's id: tests that run beside this one have their own.
fn own_names() -> BTreeSet<std::ffi::OsString> {
    let mark = format!("-{}-", std::process::id());
    let entries = std::fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).filter(|name| name.to_string_lossy().contains(&mark)).collect()
}
