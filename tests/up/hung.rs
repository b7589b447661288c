//! Programs whose start hangs in the kernel, as on a file system whose server is gone. A lease on the executable
//! stands in for that: the kernel makes whoever executes it wait until the holder gives it back.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::common::{runs, status, until};
use crate::{Up, configure, supervise, watertight};

/// Holds the start of an executable up, until it is dropped.
struct Held(Child);

const HOLD: &str = "
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
fcntl.fcntl(os.open(sys.argv[1], os.O_RDONLY), fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('held', flush=True)
sys.stdin.read()
";

impl Held {
    fn new(executable: &Path) -> Held {
        let mut command = Command::new("python3");
        command.args(["-c", HOLD]).arg(executable).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "held\n");
        Held(child)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A supervisor of `hung`, a shell that is held up and then says who it is, and of more.
fn start(more: &str) -> (Up, Held) {
    let folder = tempfile::tempdir().unwrap();
    let executable = folder.path().join("shell");
    fs::copy("/bin/sh", &executable).unwrap();
    let held = Held::new(&executable);
    let hung = "[program.hung]\nenvironment = { WORD = \"hello\" }\n\
                command = [\"@/shell\", \"-c\", \"echo $WORD from $WATERTIGHT_NAME; exec sleep 1000\"]\n";
    configure(folder.path(), &format!("{hung}{more}"));
    let (child, stdout, stderr) = supervise(&mut watertight(folder.path(), &["up"]));
    (Up { folder, child, stdout, stderr }, held)
}

const NAP: &str = "[program.nap]\ncommand = [\"sleep\", \"1000\"]\nbackoff = { first = \"1ms\" }\n";

/// The keeper's children: programs, and those who are on their way to be one.
fn children_of_the_keeper(up: &Up) -> Vec<u32> {
    let keeper = status(&up.pid("nap").to_string(), "PPid");
    let list = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).unwrap();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

fn wait_for_nap(up: &Up) {
    assert_eq!(up.run_when_up(&["wait", "nap", "--timeout", "20s"]).code, Some(0));
}

#[test]
fn a_start_that_hangs_holds_up_nobody_else() {
    let (mut up, _held) = start(NAP);
    wait_for_nap(&up);
    let first = up.pid("nap");
    assert_eq!(up.run(&["signal", "KILL", "nap"]).code, Some(0));
    until(|| up.status("nap")["restarts"] == 1);
    wait_for_nap(&up);
    assert!(!runs(first));
    assert_eq!(up.run(&["restart", "nap"]).code, Some(0));
    wait_for_nap(&up);
    assert_eq!(up.status("hung")["state"], "starting", "its start hangs, or nothing is shown here");
    let children = children_of_the_keeper(&up);
    assert_eq!(children.len(), 2);
    assert_eq!(up.run(&["down"]).code, Some(0));
    assert_eq!(up.wait().0, Some(0));
    assert!(!children.into_iter().any(runs));
}

#[test]
fn a_start_that_hangs_dies_with_a_supervisor_that_is_killed() {
    let (mut up, _held) = start(NAP);
    wait_for_nap(&up);
    assert_eq!(up.status("hung")["state"], "starting", "its start hangs, or nothing is shown here");
    let children = children_of_the_keeper(&up);
    assert_eq!(children.len(), 2);
    up.signal(libc::SIGKILL);
    up.child.wait().unwrap();
    until(|| !children.iter().copied().any(runs));
}

#[test]
fn a_start_that_hung_goes_on_with_what_it_was_given() {
    let others = "[program.others]\ncommand = [\"true\"]\nrestart = \"temporary\"\nreplicas = 100\n";
    let (mut up, held) = start(&format!("{NAP}{others}"));
    wait_for_nap(&up);
    assert_eq!(up.run(&["wait", "--stopped", "others", "--timeout", "60s"]).code, Some(0));
    assert_eq!(up.status("hung")["state"], "starting", "its start hangs, or nothing is shown here");
    drop(held);
    up.read_until("hello from hung");
    assert_eq!(up.run(&["wait", "hung", "--timeout", "20s"]).code, Some(0));
}

#[test]
fn a_start_that_hangs_fails_in_its_time() {
    let (mut up, _held) = start("ready_within = \"100ms\"\nrestart = \"temporary\"\n");
    up.read_until("hung was not ready in time");
    assert_eq!(up.run(&["wait", "hung", "--stopped", "--timeout", "20s"]).code, Some(0));
    let status = up.status("hung");
    let death = &status["deaths"][0];
    assert_eq!((&status["state"], &death["signal"]), (&"failed".into(), &"SIGTERM".into()), "{status}");
    assert_eq!(death["pid"], serde_json::Value::Null, "it never ran");
}

#[test]
fn a_start_that_hangs_can_be_stopped_and_never_counts_as_run() {
    let (up, held) = start(NAP);
    wait_for_nap(&up);
    assert_eq!(up.run(&["stop", "hung"]).code, Some(0));
    let status = up.status("hung");
    assert_eq!((&status["state"], &status["pid"]), (&"stopped".into(), &serde_json::Value::Null), "{status}");
    assert_eq!(children_of_the_keeper(&up).len(), 1);
    drop(held);
    assert_eq!(up.run(&["start", "hung"]).code, Some(0));
    assert_eq!(up.run(&["wait", "hung", "--timeout", "20s"]).code, Some(0));
}
