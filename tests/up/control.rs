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
    assert_eq!(up.run(&["wait", "other", "--timeout", "20s"]).code, Some(0));
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

/// The events of a supervisor, as they come.
fn events(up: &Up) -> (std::process::Child, impl Iterator<Item = serde_json::Value> + use<>) {
    let mut command = crate::watertight(up.folder.path(), &["events", "--json"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()))
}

#[test]
fn events_are_a_snapshot_and_then_every_transition() {
    let mut up =
        Up::start(&format!("{NAP}[program.other]\ncommand = [\"sleep\", \"2000\"]\nautostart = false\n"));
    socket(&mut up);
    let (mut child, mut events) = events(&up);
    let state = |event: serde_json::Value| {
        let text = |key: &str| event[key].as_str().map(str::to_owned);
        (text("event").unwrap(), text("name").unwrap_or_default(), text("state").unwrap_or_default())
    };
    let told = |name: &str, at: &str| ("state".to_owned(), name.to_owned(), at.to_owned());
    let mut next = || state(events.next().unwrap());
    assert_eq!([next(), next()], [told("nap", "running"), told("other", "stopped")]);
    assert_eq!(up.run(&["start", "other"]).code, Some(0));
    for at in ["waiting", "starting", "running"] {
        assert_eq!(next(), told("other", at));
    }
    assert_eq!(up.run(&["stop", "other"]).code, Some(0));
    assert_eq!(next(), told("other", "stopping"));
    assert_eq!(next(), ("death".to_owned(), "other".to_owned(), String::new()));
    assert_eq!(next(), told("other", "stopped"));
    assert_eq!(up.run(&["signal", "SEGV", "nap"]).code, Some(0));
    assert_eq!(next().0, "note");
    let death = events.next().unwrap();
    assert_eq!((&death["event"], &death["name"]), (&"death".into(), &"nap".into()));
    assert_eq!(death["death"]["signal"], "SIGSEGV");
    assert_eq!(death["death"]["decision"], "started again after a wait");
    let mut next = || state(events.next().unwrap());
    for at in ["waiting", "starting", "running"] {
        assert_eq!(next(), told("nap", at));
    }
    assert_eq!(up.run(&["down"]).code, Some(0));
    assert!(events.last().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(4), "the supervisor has ended");
}

#[test]
fn a_wait_ends_when_it_has_come_to_be() {
    let mut up = Up::start(
        "[program.slow]\nready = { command = [\"test\", \"-e\", \"@/go\"], every = \"10ms\" }\ncommand = [\"sleep\", \"1000\"]\n",
    );
    crate::common::until(|| up.run(&["status"]).code == Some(1));
    assert_eq!(up.run(&["wait", "slow", "--ready", "--timeout", "100ms"]).code, Some(7));
    let mut waiting = crate::watertight(up.folder.path(), &["wait", "slow", "--ready"]).spawn().unwrap();
    std::fs::write(up.path("go"), "").unwrap();
    assert_eq!(waiting.wait().unwrap().code(), Some(0));
    assert_eq!(up.run(&["status"]).code, Some(0));
    let mut waiting = crate::watertight(up.folder.path(), &["wait", "slow", "--stopped"]).spawn().unwrap();
    assert_eq!(up.run(&["stop", "slow"]).code, Some(0));
    assert_eq!(waiting.wait().unwrap().code(), Some(0));
    let mut waiting = crate::watertight(up.folder.path(), &["wait", "slow"]).spawn().unwrap();
    assert_eq!(up.run(&["down"]).code, Some(0));
    assert_eq!(waiting.wait().unwrap().code(), Some(4), "nobody waits for the dead");
    up.wait();
}

#[test]
fn nobody_waits_for_what_has_failed_for_good() {
    let script = "until test -e @/go; do sleep 0.01; done; exit 3";
    let bad = format!("restart = \"temporary\"\ncommand = [\"sh\", \"-c\", \"{script}\"]\n");
    let mut up = Up::start(&format!("{NAP}[program.bad]\nready = {{ line = \"never\" }}\n{bad}"));
    socket(&mut up);
    let mut waiting = crate::watertight(up.folder.path(), &["wait", "nap", "bad"]).spawn().unwrap();
    std::fs::write(up.path("go"), "").unwrap();
    assert_eq!(waiting.wait().unwrap().code(), Some(1));
    let again = up.run(&["wait", "bad", "nap"]);
    assert_eq!((again.code, &*again.stderr), (Some(1), "watertight: `bad` has failed for good\n"));
    assert_eq!(up.run(&["wait", "--stopped", "bad"]).code, Some(0));
}

#[test]
fn what_has_no_copies_is_not_scaled_and_said_to_be_there() {
    let mut up = Up::start(NAP);
    socket(&mut up);
    let said = |words: &[&str]| up.run(words).stderr;
    assert_eq!(said(&["scale", "naps", "2"]), "watertight: nothing is named `naps`; did you mean `nap`?\n");
    assert_eq!(said(&["scale", "entirely", "2"]), "watertight: nothing is named `entirely`\n");
    assert_eq!(up.run(&["scale", "nap", "2"]).code, Some(0));
    assert_eq!(
        said(&["scale", "nap.2", "3"]),
        "watertight: `nap.2` cannot be scaled: only programs have copies\n"
    );
}

#[test]
fn a_changed_dependency_restarts_nothing_and_holds_from_then_on() {
    let script = |name: &str| {
        format!(
            "[program.{name}]\ncommand = [\"sh\", \"-c\", \
             \"trap 'echo {name} ends; exit' TERM; echo up; while :; do sleep 0.05; done\"]\n"
        )
    };
    let (one, two) = (script("one"), script("two"));
    let mut up = Up::start(&format!("{one}depends_on = [\"two\"]\n{two}"));
    assert_eq!(up.run_when_up(&["wait", "one", "two", "--timeout", "20s"]).code, Some(0));
    let pids = ["one", "two"].map(|name| up.pid(name));
    configure(up.folder.path(), &format!("{one}{two}depends_on = [\"one\"]\n"));
    assert_eq!(up.run(&["reload"]).code, Some(0));
    assert_eq!(["one", "two"].map(|name| up.pid(name)), pids);
    for _ in 0..2 {
        up.read_until("| up");
    }
    assert_eq!(up.run(&["down"]).code, Some(0));
    let (_, rest, _) = up.wait();
    assert!(rest.find("two ends").unwrap() < rest.find("one ends").unwrap(), "{rest}");
}

#[test]
fn every_verb_speaks_json() {
    let mut up = Up::start(&format!("{NAP}[pool.pool]\nsize = 1\n"));
    assert_eq!(up.run_when_up(&["wait", "nap", "pool", "--timeout", "20s"]).code, Some(0));
    let json = |words: &[&str]| -> Vec<serde_json::Value> {
        let ran = up.run(&[words, &["--json"]].concat());
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let done = [serde_json::json!({ "done": true })];
    for words in [
        &["stop", "nap"][..],
        &["wait", "--stopped", "nap"],
        &["start", "nap"],
        &["wait", "nap"],
        &["restart", "nap"],
        &["restart", "--rolling", "nap"],
        &["scale", "nap", "2"],
        &["signal", "USR1", "pool"],
        &["reload"],
    ] {
        assert_eq!(json(words), done, "{words:?}");
    }
    assert_eq!(json(&["status", "nap"])[0]["name"], "nap");
    assert_eq!(json(&["call", "pool", "factorial", "5"]), ["120"]);
    assert!(json(&["logs"]).is_empty(), "nobody wrote");
    for words in
        [&["start", "nobody"][..], &["wait", "nobody"], &["status", "nobody"], &["call", "nap", "it"]]
    {
        let refused = json(words);
        assert!(refused[0]["error"].is_string(), "{words:?}: {refused:?}");
    }
    let late = json(&["wait", "--stopped", "nap", "--timeout", "10ms"]);
    assert!(late[0]["error"].is_string(), "{late:?}");
    assert_eq!(json(&["down"]), done);
    assert_eq!(up.wait().0, Some(0));
    let ran = up.run(&["status", "--json"]);
    assert!(ran.stdout.starts_with("{\"error\":") && ran.code == Some(4), "{ran:?}");
}
