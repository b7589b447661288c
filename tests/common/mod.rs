//! What several files of tests use.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "of several tests, each of which uses a part"
)]

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

/// A named pipe at which a task stops until the test lets it go on. Nobody polls, and whoever dies leaves the
/// other side at the mercy of the test's deadline only.
pub struct Gate {
    folder: tempfile::TempDir,
}

impl Gate {
    pub fn new() -> Gate {
        let gate = Gate { folder: tempfile::tempdir().unwrap() };
        nix::unistd::mkfifo(&gate.path(), Mode::S_IRWXU).unwrap();
        gate
    }

    /// The argument of a task that calls `stop_at`.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("gate")
    }

    /// Waits until a task stands at the gate. It goes on when what this returns is dropped.
    pub fn wait_for_task(&self) -> File {
        OpenOptions::new().write(true).open(self.path()).unwrap()
    }

    /// Lets everybody who stands there, or comes from now on, pass as long as what this returns lives.
    pub fn open(&self) -> File {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open(self.path())
            .unwrap();
        (&file).write_all(&[b'.'; 4096]).unwrap();
        file
    }
}

/// A task stops here until the test lets it go on.
pub fn stop_at(gate: &Path) {
    use std::io::Read;
    let mut byte = [0];
    // One byte, or the end: both say that it may go on.
    let _ = File::open(gate).unwrap().read(&mut byte).unwrap();
}

/// This process's own stderr, which has its place back when this is dropped.
pub struct OwnStderr(OwnedFd);

/// Puts a pipe in the place of this process's stderr. Its reading end is the first.
pub fn pipe_as_stderr() -> (File, OwnStderr) {
    let (reader, writer) = nix::unistd::pipe().unwrap();
    let own = OwnStderr(std::io::stderr().as_fd().try_clone_to_owned().unwrap());
    nix::unistd::dup2_stderr(writer).unwrap();
    (File::from(reader), own)
}

impl Drop for OwnStderr {
    fn drop(&mut self) {
        nix::unistd::dup2_stderr(&self.0).unwrap();
    }
}

/// Adds a line to a file, whole, whoever else does so at the same time.
pub fn note(path: &Path, line: &str) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// The lines that were noted, sorted.
pub fn notes(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Gives other threads and processes the processor until something holds that no descriptor tells. The test's
/// deadline ends it should that never be.
pub fn until(mut holds: impl FnMut() -> bool) {
    let mut looks = 0;
    while !holds() {
        looks += 1;
        let_others_run(looks);
    }
}

/// A look may cost those that it waits for as much as what they are to do, and many tests wait at a time: after
/// some looks there is a millisecond between two.
fn let_others_run(looks: u32) {
    match looks {
        0..100 => std::thread::yield_now(),
        _ => std::thread::park_timeout(std::time::Duration::from_millis(1)),
    }
}

/// Whether a process of this number runs; one that has ended and is not reaped does not.
pub fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// A field of `/proc/PID/status`.
pub fn status(process: &str, field: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {field} in {text}")).trim().to_owned()
}

/// How often each thread of these processes has slept, and for how long it has run.
pub fn wakings(pids: &[u32]) -> BTreeMap<String, (String, u64)> {
    let me = nix::unistd::gettid().to_string();
    let mut counts = BTreeMap::new();
    for pid in pids {
        for entry in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
            let thread = entry.file_name().into_string().unwrap();
            if thread == me {
                continue;
            }
            let switches = status(&format!("{pid}/task/{thread}"), "voluntary_ctxt_switches");
            let stat = std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat")).unwrap();
            let ran = stat.split(' ').next().unwrap().parse().unwrap();
            counts.insert(format!("{pid}/{thread}"), (switches, ran));
        }
    }
    counts
}
