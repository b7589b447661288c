//! A folder, and a pipe through which programs say that they run.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

/// Nothing takes longer than this, or is broken.
const LONGEST: i64 = 120;

pub(crate) struct Scene {
    folder: tempfile::TempDir,
    said: File,
}

impl Scene {
    pub(crate) fn new() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        for name in ["said", "hold"] {
            nix::unistd::mkfifo(&folder.path().join(name), nix::sys::stat::Mode::S_IRWXU).unwrap();
        }
        // Both ends are open here, so it never ends.
        let said = File::options().read(true).write(true).open(folder.path().join("said")).unwrap();
        Scene { folder, said }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A program that says its number, and then waits for nothing.
    pub(crate) fn program(&self) -> [String; 3] {
        self.script("read x < @/hold")
    }

    /// A program that says its number, does this, and says its number again.
    pub(crate) fn program_that(&self, work: &str) -> [String; 3] {
        self.script(&format!("{work}; echo $$ > @/said"))
    }

    fn script(&self, rest: &str) -> [String; 3] {
        let script = format!("echo $$ > @/said; {rest}").replace('@', self.folder.path().to_str().unwrap());
        ["/bin/sh".to_owned(), "-c".to_owned(), script]
    }

    /// Waits until so many programs have said their numbers.
    pub(crate) fn all(&self, count: usize) {
        for _ in 0..count {
            self.next();
        }
    }

    /// Waits until a program has said its number.
    pub(crate) fn next(&self) -> i32 {
        let mut number = 0;
        loop {
            let wait = Timespec { tv_sec: LONGEST, tv_nsec: 0 };
            let ready = poll(&mut [PollFd::new(&self.said.as_fd(), PollFlags::IN)], Some(&wait)).unwrap();
            assert!(ready > 0, "a program did not start");
            let mut byte = [0];
            (&self.said).read_exact(&mut byte).unwrap();
            match byte[0] {
                b'\n' => return number,
                digit => number = number * 10 + i32::from(digit - b'0'),
            }
        }
    }
}

pub(crate) fn kill(pid: i32) {
    let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
}

/// Resident memory of a process in bytes.
pub(crate) fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
}
