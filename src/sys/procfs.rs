//! What /proc tells of processes.

use std::fs;
use std::os::fd::RawFd;
use std::time::Duration;

use nix::unistd::{Pid, SysconfVar, sysconf};

/// The parent, group and state letter of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) pid: Pid,
    pub(crate) parent: Pid,
    pub(crate) group: Pid,
    pub(crate) state: char,
}

/// All processes whose parent is `parent`; zombies too.
pub(crate) fn children(parent: Pid) -> Vec<Entry> {
    entries().filter(|entry| entry.parent == parent).collect()
}

/// All processes that can be seen.
pub(crate) fn entries() -> impl Iterator<Item = Entry> {
    let folders = fs::read_dir("/proc").into_iter().flatten().flatten();
    folders.filter_map(|folder| read(folder.file_name().to_str()?.parse().ok()?))
}

/// Reads one process.
pub(crate) fn read(pid: i32) -> Option<Entry> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name in brackets may hold anything, brackets included: the fields begin after the last one.
fn parse(pid: i32, stat: &str) -> Option<Entry> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = Pid::from_raw(fields.next()?.parse().ok()?);
    let group = Pid::from_raw(fields.next()?.parse().ok()?);
    Some(Entry { pid: Pid::from_raw(pid), parent, group, state })
}

/// When a process began, in clock ticks since the machine did: with its number, a process's identity.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    start_time_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn start_time_in(stat: &str) -> Option<u64> {
    // The state is the third field, the start the twenty-second.
    stat.get(stat.rfind(')')? + 1..)?.split_whitespace().nth(19)?.parse().ok()
}

/// Whether a process, which may have ended and not be reaped yet, is still the copy that its parent made, and never
/// executed a file of its own.
pub(crate) fn never_executed(pid: i32) -> Option<bool> {
    never_executed_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn never_executed_in(stat: &str) -> Option<bool> {
    /// The kernel's `PF_FORKNOEXEC`.
    const FORKED_ONLY: u64 = 0x40;
    let flags: u64 = stat.get(stat.rfind(')')? + 1..)?.split_whitespace().nth(6)?.parse().ok()?;
    Some(flags & FORKED_ONLY != 0)
}

/// How many processes of this machine the kernel has killed for want of memory, the machine's or a cgroup's; counted
/// before the victim gets its signal. `None` before Linux 4.13.
pub(crate) fn killed_for_memory() -> Option<u64> {
    killed_for_memory_in(&fs::read_to_string("/proc/vmstat").ok()?)
}

fn killed_for_memory_in(vmstat: &str) -> Option<u64> {
    vmstat.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// What a process uses now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Resident memory in bytes.
    pub(crate) rss: u64,
    /// Processor time, the kernel's included.
    pub(crate) cpu: Duration,
}

/// Reads what a process uses.
pub(crate) fn usage(pid: u32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_whitespace().collect();
    let field = |at: usize| -> Option<u64> { fields.get(at)?.parse().ok() };
    let tick = sysconf(SysconfVar::CLK_TCK).ok()??.max(1) as u64;
    let page = sysconf(SysconfVar::PAGE_SIZE).ok()??.max(1) as u64;
    let cpu = Duration::from_millis((field(11)? + field(12)?) * 1000 / tick);
    Some(Usage { rss: field(21)? * page, cpu })
}

/// How many threads this process has.
pub(crate) fn thread_count() -> usize {
    fs::read_dir("/proc/self/task").map_or(usize::MAX, Iterator::count)
}

/// The open descriptors of this process with what they are, without the one that lists them.
pub(crate) fn descriptors() -> Vec<(RawFd, String)> {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return Vec::new() };
    let entries = entries.flatten().filter_map(|entry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        Some((number, fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned()))
    });
    let own = format!("/proc/{}/fd", std::process::id());
    let mut list: Vec<_> = entries.filter(|(_, target)| *target != own).collect();
    list.sort();
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_is_read_over() {
        let entry = parse(7, "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3").unwrap();
        assert_eq!((entry.parent, entry.group, entry.state), (Pid::from_raw(1), Pid::from_raw(7), 'S'));
        assert_eq!(parse(7, "nonsense"), None);
    }

    #[test]
    fn a_process_began_after_its_parent() {
        let own = start_time(std::process::id() as i32).unwrap();
        assert!(own >= start_time(nix::unistd::getppid().as_raw()).unwrap_or(0) && own > 0);
        assert_eq!(start_time_in("7 (a) b (c)) S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4242 9"), Some(4242));
    }

    #[test]
    fn who_executed_a_file_is_told_from_who_did_not() {
        assert_eq!(never_executed(std::process::id() as i32), Some(false));
        assert_eq!(never_executed_in("7 (a) b (c)) Z 1 7 7 0 -1 4194372 1 2 3"), Some(true));
        assert_eq!(never_executed_in("7 (a) b (c)) Z 1 7 7 0 -1 4194308 1 2 3"), Some(false));
    }

    #[test]
    fn kills_for_memory_are_counted_by_the_kernel() {
        assert_eq!(killed_for_memory_in("oom_kill_disable 1\noom_kill 7\nnr_dirty 3\n"), Some(7));
        assert_eq!(killed_for_memory_in("nr_dirty 3\n"), None);
    }

    #[test]
    fn this_process_is_found_with_its_parent() {
        let own = read(std::process::id() as i32).unwrap();
        assert_eq!(own.parent, Pid::parent());
        assert!(thread_count() >= 1);
    }
}
