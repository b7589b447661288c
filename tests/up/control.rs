//! The control socket: what it takes, and from whom.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use crate::{NAP, Up, configure};

/// The socket of a supervisor that is up.
fn socket(up: &mut Up) -> PathBuf {
    assert_eq!(up.run_when_up(&["wait", "nap", "--timeout", "20s"]).code, Some(0));
    let base = up.path("watertight");
    let place = std::fs::read_dir(base).unwrap().next().unwrap().unwrap().path();
    place.join("control")
}

#[test]
fn nobody_else_can_reach_the_socket() {
    let mut up = Up::start(NAP);
    let socket = socket(&mut up);
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o600, 0o700));
}

#[test]
fn a_client_that_babbles_or_hangs_costs_nobody_but_itself() {
    let mut up = Up::start(NAP);
    let socket = socket(&mut up);
    let silent = UnixStream::connect(&socket).unwrap();
    let mut half = UnixStream::connect(&socket).unwrap();
    half.write_all(b"{\"verb\":").unwrap();
    let mut babble = UnixStream::connect(&socket).unwrap();
    babble.write_all(b"\xff\x00 GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    BufReader::new(&babble).read_line(&mut answer).unwrap();
    assert!(answer.contains("not understood"), "{answer}");
    let mut endless = UnixStream::connect(&socket).unwrap();
    let piece = vec![b'x'; 64 * 1024];
    // It is cut off, which a write sees sooner or later.
    while endless.write_all(&piece).is_ok() {}
    assert_eq!(up.run(&["status"]).code, Some(0));
    drop((silent, half));
}

#[test]
fn copies_come_and_go_with_the_scale() {
    let mut up = Up::start(NAP);
    socket(&mut up);
    assert_eq!(up.run(&["scale", "nap", "3"]).code, Some(0));
    assert_eq!(up.run(&["wait", "nap", "--timeout", "20s"]).code, Some(0));
    let pids = ["nap", "nap.2", "nap.3"].map(|name| up.pid(name));
    assert_eq!(up.run(&["scale", "nap", "1"]).code, Some(0));
    crate::common::until(|| !pids[1..].iter().any(|pid| crate::common::runs(*pid)));
    assert_eq!(up.pid("nap"), pids[0]);
}

#[test]
fn a_reload_restarts_what_changed_and_leaves_the_rest_alone() {
    let mut up = Up::start(&format!("{NAP}[program.other]\ncommand = [\"sleep\", \"2000\"]\n"));
    socket(&mut up);
    let (nap, other) = (up.pid("nap"), up.pid("other"));
    configure(up.folder.path(), &format!("{NAP}[program.other]\ncommand = [\"sleep\", \"3000\"]\n"));
    assert_eq!(up.run(&["reload"]).code, Some(0));
    assert_eq!(up.run(&["wait", "other", "--timeout", "20s"]).code, Some(0));
    assert_eq!(up.pid("nap"), nap);
    assert_ne!(up.pid("other"), other);
    configure(up.folder.path(), "[program.nap]\ncomand = [\"sleep\", \"1000\"]\n");
    let refused = up.run(&["reload"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("command"), "{}", refused.stderr);
    assert_eq!(up.pid("nap"), nap);
}

#[test]
fn a_wait_that_is_too_long_has_an_exit_code_of_its_own() {
    let mut up = Up::start(NAP);
    socket(&mut up);
    assert_eq!(up.run(&["wait", "nap", "--stopped", "--timeout", "50ms"]).code, Some(7));
    let unknown = up.run(&["stop", "nip"]);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("did you mean `nap`"), "{}", unknown.stderr);
}

#[test]
fn logs_are_kept_and_followed() {
    let mut up = Up::start(
        "[program.nap]\ncommand = [\"sh\", \"-c\", \"echo one; echo two >&2; printf three; exec sleep 1000\"]\n",
    );
    up.read_until("one");
    socket(&mut up);
    crate::common::until(|| up.run(&["logs", "nap"]).stdout.lines().count() >= 2);
    let logs = up.run(&["logs", "nap"]).stdout;
    assert!(logs.contains("nap | one") && logs.contains("nap | two"), "{logs}");
}

#[test]
fn copies_that_have_gone_leave_no_descriptors() {
    let mut up = Up::start(NAP);
    socket(&mut up);
    let descriptors = |up: &Up| std::fs::read_dir(format!("/proc/{}/fd", up.child.id())).unwrap().count();
    let before = descriptors(&up);
    for _ in 0..5 {
        assert_eq!(up.run(&["scale", "nap", "5"]).code, Some(0));
        assert_eq!(up.run(&["wait", "nap", "--timeout", "20s"]).code, Some(0));
        assert_eq!(up.run(&["scale", "nap", "1"]).code, Some(0));
        crate::common::until(|| up.run(&["status", "--json"]).stdout.lines().count() == 1);
    }
    crate::common::until(|| descriptors(&up) <= before);
}
