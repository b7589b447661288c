//! Idle processes, measured from outside by /proc.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use crate::work::{MANY, Work};

/// So long may a pool calm down, and so long is it watched.
const CALM: Duration = Duration::from_millis(300);
const WATCH: Duration = Duration::from_secs(1);

/// What an idle pool of `root` costs.
pub(crate) fn measure(root: u32, work: Work) -> Option<f64> {
    std::thread::sleep(CALM);
    let descendants = descendants(root);
    if descendants.len() < MANY {
        return None;
    }
    if work == Work::IdleMemory {
        let bytes: u64 = descendants.iter().map(|pid| pss(*pid)).sum();
        return Some(bytes as f64 / MANY as f64);
    }
    let all = || descendants.iter().chain([&root]).map(|pid| switches(*pid)).sum::<u64>();
    let before = all();
    std::thread::sleep(WATCH);
    Some(all().saturating_sub(before) as f64 / WATCH.as_secs_f64())
}

/// All processes below `root`.
fn descendants(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for pid in numbers("/proc") {
        if let Some(parent) = parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    found.split_off(1)
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything, parentheses too.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// How often the threads of a process have gone to sleep.
fn switches(pid: u32) -> u64 {
    let tasks = format!("/proc/{pid}/task");
    numbers(&tasks).map(|thread| field(&format!("{tasks}/{thread}/status"), "voluntary_ctxt_switches:")).sum()
}

/// Bytes of memory, shared pages divided among those who share them.
fn pss(pid: u32) -> u64 {
    field(&format!("/proc/{pid}/smaps_rollup"), "Pss:") * 1024
}

fn field(path: &str, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn numbers(folder: &str) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}
