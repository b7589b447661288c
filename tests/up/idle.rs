//! An idle supervisor costs nothing, however much it supervises.

use std::io::BufReader;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::{status, wakings};
use crate::{NAP, Up, watertight};

/// For so long nothing may happen.
const WHILE: Duration = Duration::from_secs(1);

/// A hundred programs of all kinds of readiness and rules, and a pool.
fn many() -> String {
    let mut text = String::from("[pool.sums]\nsize = 2\ntimeout = \"60s\"\n");
    for number in 0..100 {
        let more = match number % 4 {
            0 => "ready = { line = \"here\" }\nwatchdog = \"1h\"",
            1 => "log = \"@/log\"\nready_within = \"30s\"",
            2 => "depends_on = { p0 = \"healthy\" }\nbackoff = { reset_after = \"1ms\" }",
            _ => "restart = \"transient\"",
        };
        let more = more.replace("@/log", &format!("@/log{number}"));
        let backoff = if number == 0 { "backoff = { reset_after = \"1ms\" }\n" } else { "" };
        text += &format!(
            "[program.p{number}]\ncommand = [\"sh\", \"-c\", \"echo here; exec sleep 1000\"]\n{more}\n{backoff}"
        );
    }
    text
}

#[watertight::test(timeout = "300s")]
fn an_idle_supervisor_of_a_hundred_programs_is_not_woken() {
    let up = Up::start(&many());
    // Its output is of no interest, and must not fill the pipe.
    let names: Vec<String> = (0..100).map(|number| format!("p{number}")).collect();
    let mut words = vec!["wait", "sums", "--timeout", "120s"];
    words.extend(names.iter().map(String::as_str));
    assert_eq!(up.run_when_up(&words).code, Some(0));
    let keeper: u32 = status(&up.pid("p0").to_string(), "PPid").parse().unwrap();
    is_idle(&[up.child.id(), keeper], 4);
    assert!(watertight(up.folder.path(), &["down"]).status().unwrap().success());
}

/// Waits for a while in which none of these processes, with so many threads or more, is woken.
fn is_idle(pids: &[u32], threads: usize) {
    loop {
        let before = wakings(pids);
        assert!(before.len() >= threads, "{before:?}");
        std::thread::sleep(WHILE);
        if wakings(pids) == before {
            return;
        }
    }
}

#[watertight::test]
fn a_supervisor_whose_output_nobody_reads_sleeps() {
    let mut up = Up::start(NAP);
    let pid = up.pid("nap");
    // Its own reading end is closed when another pipe takes its place.
    let mut other = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
    up.stdout = BufReader::new(other.stdout.take().unwrap());
    other.wait().unwrap();
    assert_eq!(up.run(&["restart", "nap"]).code, Some(0));
    crate::common::until(|| up.pid("nap") != pid);
    is_idle(&[up.child.id()], 1);
}
