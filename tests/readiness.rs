//! Every way in which a supervised program can say that it is ready, and what its output becomes.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// `PORT` is one that nobody has.
const TREE: &str = r#"
[program.notify]
command = ["python3", "-c", """
import os, socket, time
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.sendto(b'READY=1\\nSTATUS=all fine', '\\0' + os.environ['NOTIFY_SOCKET'][1:])
time.sleep(1000)
"""]
ready = "notify"

[program.http]
command = ["python3", "-m", "http.server", "PORT", "--bind", "127.0.0.1"]
ready = { http = "http://localhost:PORT/", every = "50ms" }
log = "http.log"
depends_on = ["notify"]

[program.tcp]
command = ["sleep", "1000"]
ready = { tcp = "localhost:PORT" }
depends_on = ["http"]

[program.fd]
command = "sh -c 'echo ready >&5; exec sleep 1000'"
ready = { fd = 5 }

[program.command]
command = "sh -c 'touch here; exec sleep 1000'"
ready = { command = "test -e here", every = "50ms" }
folder = "."

[program.line]
command = "sh -c 'echo hello; echo now listening on 80; exec sleep 1000'"
ready = { line = "listening on" }
log = "line.log"

[program.flood]
command = "sh -c 'seq 100000; exec sleep 1000'"
ready = { line = "100000" }
log = { file = "flood.log", max_size = "64KiB", copies = 100 }

[program.never]
command = "sleep 1000"
ready = { tcp = "127.0.0.1:1" }
ready_within = "500ms"
restart = "temporary"

[program.unwritable]
command = "sh -c 'echo lost; exec sleep 1000'"
log = "no/such/folder/log"
"#;

struct Supervisor(Child);

impl Drop for Supervisor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_watertight"));
    command.args(arguments).current_dir(folder).env("XDG_RUNTIME_DIR", folder).stdin(Stdio::null());
    command
}

fn ask(folder: &Path, arguments: &[&str]) -> (String, Option<i32>) {
    let output = command(folder, arguments).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

#[test]
fn every_way_to_become_ready_is_heard_and_no_output_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    fs::write(folder.join("watertight.toml"), TREE.replace("PORT", &port)).unwrap();
    let log = fs::File::create(folder.join("up.log")).unwrap();
    let mut supervisor = Supervisor(command(folder, &["up"]).stdout(log).spawn().unwrap());
    let deadline = Instant::now() + Duration::from_secs(60);
    let names = ["notify", "http", "tcp", "fd", "command", "line", "flood", "unwritable"];
    let wait = [&["wait", "--ready", "--timeout", "30s"][..], &names].concat();
    // Until it listens, nobody can be asked.
    while ask(folder, &wait).1 != Some(0) {
        assert!(Instant::now() < deadline, "{}", fs::read_to_string(folder.join("up.log")).unwrap());
        std::thread::park_timeout(Duration::from_millis(1));
    }
    assert!(ask(folder, &["status", "--json", "notify"]).0.contains("\"says\":\"all fine\""));
    assert_eq!(ask(folder, &["wait", "--stopped", "--timeout", "30s", "never"]).1, Some(0));
    assert!(ask(folder, &["status", "--json", "never"]).0.contains("\"state\":\"failed\""));
    assert_eq!(ask(folder, &["down"]).1, Some(0));
    assert_eq!(supervisor.0.wait().unwrap().code(), Some(0));

    let older = put_aside(folder);
    let text = older.concat() + &fs::read_to_string(folder.join("flood.log")).unwrap();
    assert!(older.len() > 5 && older.iter().all(|part| part.len() <= 64 << 10));
    assert!(text.lines().map(|line| line.parse::<u32>().unwrap()).eq(1..=100_000));
    assert_eq!(fs::read_to_string(folder.join("line.log")).unwrap(), "hello\nnow listening on 80\n");
    let told = fs::read_to_string(folder.join("up.log")).unwrap();
    assert_eq!(told.matches("the log of unwritable cannot be written").count(), 1, "{told}");
    assert!(told.contains("never was not ready in time"), "{told}");
}

/// What was put aside, the oldest first.
fn put_aside(folder: &Path) -> Vec<String> {
    let names = (1..).map(|number| folder.join(format!("flood.log.{number}")));
    let mut texts: Vec<String> = names.map_while(|name| fs::read_to_string(name).ok()).collect();
    texts.reverse();
    texts
}
