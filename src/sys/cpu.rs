//! How many processors this process may use.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

/// How many processors this process may use: its affinity, cut by the quota of its cgroup, and at least one.
///
/// Python's `process_cpu_count` knows the affinity only; a container with a quota of two processors on a
/// machine of 64 gets two here.
///
/// ```
/// assert!(watertight::cpu_count() >= 1);
/// ```
pub fn cpu_count() -> usize {
    match quota() {
        Some(quota) => allowed().min(quota.ceil() as usize).max(1),
        None => allowed(),
    }
}

/// How many processors the affinity mask allows; asked anew, because a mask can change.
pub(crate) fn allowed() -> usize {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else {
        return std::thread::available_parallelism().map_or(1, usize::from);
    };
    (0..CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).count().max(1)
}

/// Whether only one processor can run this process, as it was at the first look: then spinning is useless.
pub(crate) fn is_alone() -> bool {
    static ALONE: OnceLock<bool> = OnceLock::new();
    *ALONE.get_or_init(|| allowed() == 1)
}

/// The quota in processors of this process's cgroup, version 2 or 1, read once.
fn quota() -> Option<f64> {
    static QUOTA: OnceLock<Option<f64>> = OnceLock::new();
    *QUOTA.get_or_init(|| quota_of_version_2().or_else(quota_of_version_1))
}

fn quota_of_version_2() -> Option<f64> {
    let mut smallest: Option<f64> = None;
    let mut folder = PathBuf::from("/sys/fs/cgroup");
    folder.push(group_path("0::")?.trim_start_matches('/'));
    // A quota of any ancestor binds as well.
    while folder.starts_with("/sys/fs/cgroup") {
        if let Some(quota) = fs::read_to_string(folder.join("cpu.max")).ok().and_then(|text| parse_max(&text))
        {
            smallest = Some(smallest.map_or(quota, |other| other.min(quota)));
        }
        folder.pop();
    }
    smallest
}

fn quota_of_version_1() -> Option<f64> {
    let read = |name: &str| -> Option<f64> {
        let text = fs::read_to_string(format!("/sys/fs/cgroup/cpu/{name}")).ok()?;
        text.trim().parse().ok()
    };
    let quota = read("cpu.cfs_quota_us").filter(|quota| *quota > 0.0)?;
    Some(quota / read("cpu.cfs_period_us").filter(|period| *period > 0.0)?)
}

fn group_path(prefix: &str) -> Option<String> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    text.lines().find_map(|line| line.strip_prefix(prefix).map(str::to_owned))
}

/// Reads `quota period`, where the quota may be the word `max`.
fn parse_max(text: &str) -> Option<f64> {
    let mut words = text.split_whitespace();
    let quota: f64 = words.next()?.parse().ok()?;
    let period: f64 = words.next()?.parse().ok()?;
    (period > 0.0).then_some(quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_read_in_processors() {
        assert_eq!(parse_max("150000 100000\n"), Some(1.5));
        assert_eq!(parse_max("max 100000\n"), None);
        assert_eq!(parse_max(""), None);
    }

    #[test]
    fn at_least_one_processor_is_allowed() {
        assert!(allowed() >= 1 && cpu_count() >= 1 && cpu_count() <= allowed());
    }
}
