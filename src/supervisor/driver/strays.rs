//! Who is left of programs whose keeper was killed, and so cannot end them.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::time::Duration;

use crate::keeper::programs::marks_of;
use crate::supervisor::machine::UnitId;
use crate::sys::pidfd;
use crate::sys::procfs;
use crate::sys::signal::Signal;

use super::Driver;

/// How long those that were killed may take to be gone, each time.
const LONGEST_END: Duration = Duration::from_secs(1);

/// How often to look whether somebody came to be meanwhile.
const ROUNDS: usize = 8;

impl Driver {
    /// Ends what these units left outside of their groups.
    pub(super) fn end_strays(&mut self, units: &[UnitId]) {
        let mark = |unit| self.processes.get(unit).map(|process| process.mark.clone());
        let marks: Vec<String> = units.iter().filter_map(mark).filter(|mark| !mark.is_empty()).collect();
        let leaders: Vec<i32> =
            units.iter().filter_map(|unit| self.processes.get(unit)?.pid).map(|pid| pid as i32).collect();
        let counts = kill_marked(&marks, &leaders);
        for unit in units {
            if let Some(process) = self.processes.get_mut(unit) {
                process.strays.0 += counts.get(&process.mark).copied().unwrap_or(0);
            }
        }
    }
}

/// Kills all processes that bear one of these marks, and says how many there were of each outside of the leaders'
/// groups: in there they were killed before, and may be on their way.
fn kill_marked(marks: &[String], leaders: &[i32]) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for _ in 0..ROUNDS {
        let found: Vec<(procfs::Entry, String)> = procfs::entries()
            .filter(|entry| entry.state != 'Z')
            .filter_map(|entry| bearer(entry, marks))
            .collect();
        if found.is_empty() {
            break;
        }
        for (entry, mark) in found {
            if kill(entry.pid.as_raw(), &mark) && !leaders.contains(&entry.group.as_raw()) {
                *counts.entry(mark).or_default() += 1;
            }
        }
    }
    counts
}

fn bearer(entry: procfs::Entry, marks: &[String]) -> Option<(procfs::Entry, String)> {
    let mark = marks_of(entry.pid.as_raw()).into_iter().find(|mark| marks.contains(mark))?;
    Some((entry, mark))
}

/// Kills a process if it is still the one that bears the mark, and waits for its end.
fn kill(pid: i32, mark: &String) -> bool {
    let Ok(process) = pidfd::open(nix::unistd::Pid::from_raw(pid)) else { return false };
    let killed = marks_of(pid).contains(mark) && pidfd::send_signal(process.as_fd(), Signal::SIGKILL).is_ok();
    let _ = killed && pidfd::wait_for_end(process.as_fd(), Some(LONGEST_END)).unwrap_or(false);
    killed
}
