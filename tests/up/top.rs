//! The counters of units, and the display that reads them.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Stdio};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use nix::unistd::Pid;

use crate::{NAP, Up, watertight};

/// A program that says that it lives, again and again.
const ALIVE: &str = r#"
[program.alive]
command = ["python3", "-c", """
import os, socket, time
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
address = '\\0' + os.environ['NOTIFY_SOCKET'][1:]
notify.sendto(b'READY=1', address)
while True:
    notify.sendto(b'WATCHDOG=1', address)
    time.sleep(0.05)
"""]
ready = "notify"
watchdog = "60s"
"#;

/// `watertight top` on a terminal of its own.
struct Top {
    child: Child,
    terminal: File,
    /// The other end, to see how it is set.
    inside: File,
    seen: String,
}

impl Top {
    fn start(up: &Up) -> Top {
        let size = Winsize { ws_row: 24, ws_col: 160, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let inside = File::from(pty.slave);
        let mut command = watertight(up.folder.path(), &["top"]);
        command
            .stdin(Stdio::from(inside.try_clone().unwrap()))
            .stdout(Stdio::from(inside.try_clone().unwrap()));
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        Top { child, terminal: File::from(pty.master), inside, seen: String::new() }
    }

    /// Reads what is drawn up to a page on which this stands.
    fn shows(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        loop {
            let pages = self.seen.split("\x1b[H");
            let whole = pages.filter(|page| page.contains("\x1b[J")).map(|page| page.replace("\x1b[K", ""));
            if let Some(page) = whole.filter(|page| wanted(page)).last() {
                self.seen.clear();
                return page;
            }
            let mut piece = [0; 4096];
            let length = self.terminal.read(&mut piece).unwrap();
            self.seen += &String::from_utf8_lossy(&piece[..length]);
        }
    }

    fn settings(&self) -> Termios {
        tcgetattr(&self.inside).unwrap()
    }

    /// Its exit code, and how the terminal is set then.
    fn ends(mut self) -> (Option<i32>, Termios) {
        let code = self.child.wait().unwrap().code();
        // It writes no more: what is in the terminal is all.
        self.inside.write_all(b"<end>").unwrap();
        while !self.seen.contains("<end>") {
            let mut piece = [0; 4096];
            let length = self.terminal.read(&mut piece).unwrap();
            self.seen += &String::from_utf8_lossy(&piece[..length]);
        }
        assert!(self.seen.contains("\x1b[?25h\x1b[?1049l"), "the page is not put back: {:?}", self.seen);
        (code, self.settings())
    }
}

fn line<'a>(page: &'a str, name: &str) -> Option<&'a str> {
    page.lines().find(|line| line.split_whitespace().next() == Some(name))
}

#[watertight::test]
fn status_tells_what_a_pool_has_done_and_who_works_for_it() {
    let up = Up::start("[pool.sums]\nsize = 2\n");
    assert_eq!(up.run_when_up(&["wait", "sums", "--timeout", "20s"]).code, Some(0));
    for number in ["5", "6", "7"] {
        assert_eq!(up.run(&["call", "sums", "factorial", number]).code, Some(0));
    }
    assert_eq!(up.run(&["call", "sums", "fault", "segv"]).code, Some(1));
    let status = up.status("sums");
    let tasks = &status["tasks"];
    assert_eq!((&tasks["done"], &tasks["failed"]), (&3.into(), &1.into()), "{status}");
    assert_eq!((&tasks["crashed"], &tasks["pending"]), (&1.into(), &0.into()), "{status}");
    assert_eq!(status["pid"], serde_json::Value::Null);
    crate::common::until(|| up.status("sums")["workers"].as_array().is_some_and(|all| all.len() == 2));
    let status = up.status("sums");
    for pid in status["workers"].as_array().unwrap() {
        // One that was just started has its keeper's name for a moment.
        let name = || std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        crate::common::until(|| name().starts_with("sums-"));
    }
    assert!(status["rss"].as_u64().unwrap() > 0);
    let text = up.run(&["status", "sums"]).stdout;
    assert!(text.contains("2 workers") && text.contains("sums works in"), "{text}");
}

#[watertight::test]
fn status_tells_when_the_last_sign_of_life_came() {
    let up = Up::start(&format!("{NAP}{ALIVE}"));
    assert_eq!(up.run_when_up(&["wait", "alive", "nap", "--timeout", "60s"]).code, Some(0));
    crate::common::until(|| up.status("alive")["heartbeat_ms"].is_u64());
    assert!(up.status("nap")["heartbeat_ms"].is_null());
    assert!(up.run(&["status"]).stdout.contains("HEARTBEAT"));
}

#[watertight::test]
fn top_redraws_at_a_transition_and_reads_the_counters_itself() {
    let up = Up::start(&format!("{NAP}[pool.sums]\nsize = 1\n{ALIVE}"));
    assert_eq!(up.run_when_up(&["wait", "nap", "sums", "alive", "--timeout", "60s"]).code, Some(0));
    let mut top = Top::start(&up);
    top.shows(|page| line(page, "nap").is_some_and(|line| line.contains("running")) && page.contains("ago"));
    assert_eq!(up.run(&["call", "sums", "factorial", "5"]).code, Some(0));
    // No heartbeat, one done, none failed, none pending, no exit.
    let counts =
        |line: &str| line.split_whitespace().rev().take(5).collect::<Vec<_>>() == ["-", "0", "0", "1", "-"];
    let page = top.shows(|page| line(page, "sums").is_some_and(counts));
    assert!(line(&page, "sums").unwrap().contains("1 worker "), "{page}");
    assert_eq!(up.run(&["stop", "nap"]).code, Some(0));
    top.shows(|page| {
        line(page, "nap").is_some_and(|line| line.contains("stopped") && line.contains("SIGTERM"))
    });
    assert_eq!(up.run(&["start", "nap"]).code, Some(0));
    assert_eq!(up.run(&["scale", "nap", "2"]).code, Some(0));
    top.shows(|page| line(page, "nap.2").is_some_and(|line| line.contains("running")));
    assert_eq!(up.run(&["scale", "nap", "1"]).code, Some(0));
    top.shows(|page| line(page, "nap.2").is_none());
    // What it shows of tasks and of life, it reads; a supervisor that stands still does not keep it.
    up.signal(libc::SIGSTOP);
    top.shows(|page| line(page, "alive").is_some_and(|line| line.contains("1s ") && line.contains("ago")));
    up.signal(libc::SIGCONT);
    top.terminal.write_all(b"q").unwrap();
    assert_eq!(top.ends().0, Some(0));
}

#[watertight::test]
fn top_leaves_the_terminal_as_it_was_however_it_is_ended() {
    let mut up = Up::start(NAP);
    assert_eq!(up.run_when_up(&["wait", "nap", "--timeout", "20s"]).code, Some(0));
    let all = LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG;
    for way in ["ctrl-c", "TERM", "INT", "down"] {
        let mut top = Top::start(&up);
        top.shows(|page| line(page, "nap").is_some());
        assert_eq!(top.settings().local_flags & all, LocalFlags::empty());
        let pid = Pid::from_raw(top.child.id() as i32);
        match way {
            "ctrl-c" => top.terminal.write_all(b"\x03").unwrap(),
            "TERM" => kill(pid, Signal::SIGTERM).unwrap(),
            "INT" => kill(pid, Signal::SIGINT).unwrap(),
            _ => assert_eq!(up.run(&["down"]).code, Some(0)),
        }
        let (code, settings) = top.ends();
        assert_eq!(code, Some(if way == "down" { 4 } else { 0 }), "{way}");
        assert_eq!(settings.local_flags & all, all, "{way}");
    }
    up.wait();
}

#[watertight::test]
fn the_counters_go_with_the_supervisor_and_its_readers() {
    let names = |pid: u32| {
        let all = std::fs::read_dir("/dev/shm").unwrap().flatten();
        let all = all.map(|entry| entry.file_name().into_string().unwrap());
        all.filter(|name| name.starts_with(&format!("watertight-{pid}-"))).count()
    };
    let mut up = Up::start(NAP);
    assert_eq!(up.run_when_up(&["wait", "nap", "--timeout", "20s"]).code, Some(0));
    let mut top = Top::start(&up);
    top.shows(|page| line(page, "nap").is_some());
    assert!(names(up.child.id()) > 0);
    top.child.kill().unwrap();
    top.child.wait().unwrap();
    assert_eq!(up.run(&["down"]).code, Some(0));
    up.wait();
    assert_eq!(names(up.child.id()), 0);
    // Killed, it takes nothing away itself; its keeper does.
    let mut up = Up::start(NAP);
    assert_eq!(up.run_when_up(&["wait", "nap", "--timeout", "20s"]).code, Some(0));
    up.signal(libc::SIGKILL);
    up.child.wait().unwrap();
    crate::common::until(|| names(up.child.id()) == 0);
}
