//! Victim × fault × policy: what a supervised tree loses, leaves, doubles, or waits for without end. Each cell counts
//! what it should never see; `docs/reliability.md` has the table that this test prints.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test says what it saw")]

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::{Target, is_long, processes};

/// Every process of a round carries this in its environment.
const MARK: &str = "WATERTIGHT_TEST_MARK";

/// A loaded machine gets more than a person would wait.
const PATIENCE: Duration = Duration::from_secs(30);

const POLICIES: [&str; 3] = ["permanent", "transient", "temporary"];

/// What a victim does by itself, as a line of shell; the second start only sleeps.
const OWN_FAULTS: [(&str, &str); 4] = [
    ("exit 0", "exit 0"),
    ("exit 7", "exit 7"),
    ("crash", "kill -SEGV $$"),
    ("memory", "exec python3 -c 'bytearray(1 << 30)'"),
];

const SENT_FAULTS: [&str; 3] = ["SIGKILL", "SIGTERM", "SIGSTOP"];

/// What no cell should count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    /// A program that its policy would run does not, or the other way round.
    lost: usize,
    /// Processes that outlive their supervisor, or their program's restart.
    orphaned: usize,
    /// A second generation beside the first.
    doubled: usize,
    /// Commands without an end.
    stuck: usize,
    /// Files that are left in the runtime folder.
    leaked: usize,
}

impl Counts {
    fn add(&mut self, other: Counts) {
        self.lost += other.lost;
        self.orphaned += other.orphaned;
        self.doubled += other.doubled;
        self.stuck += other.stuck;
        self.leaked += other.leaked;
    }
}

/// A supervisor with one program, in a folder of its own.
struct Round {
    folder: tempfile::TempDir,
    mark: String,
    supervisor: Child,
    counts: Counts,
}

impl Round {
    /// `fault` is what the program does at its first start.
    fn new(policy: &str, fault: &str) -> Round {
        Round::beside(policy, fault, "")
    }

    /// As `new`, with more in the configuration.
    fn beside(policy: &str, fault: &str, more: &str) -> Round {
        let folder = tempfile::tempdir().unwrap();
        // A grandchild in the program's group, which must go with it.
        let script = format!(
            "#!/bin/sh\nsleep 1000 &\necho $$ >> starts\n[ $(wc -l < starts) = 1 ] && {{ {fault}; }}\nwait\n"
        );
        fs::write(folder.path().join("victim.sh"), script).unwrap();
        let text = format!(
            "[program.victim]\ncommand = [\"/bin/sh\", \"victim.sh\"]\nfolder = \".\"\nrestart = \"{policy}\"\n\
             stop = [\"TERM\", \"2s\", \"KILL\"]\nbackoff = {{ first = \"10ms\" }}\nlimits = {{ memory = \"256MiB\" }}\n\
             log = \"victim.log\"\n[program.bystander]\ncommand = \"sleep 1000\"\n{more}"
        );
        fs::write(folder.path().join("watertight.toml"), text).unwrap();
        let mark = format!("{}-{:?}", std::process::id(), folder.path());
        let mut command = command(folder.path(), &mark, &["up"]);
        let log = fs::File::create(folder.path().join("up.log")).unwrap();
        let supervisor = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let round = Round { folder, mark, supervisor, counts: Counts::default() };
        let first = round.until(|| round.pids_in("starts").first().copied()).unwrap();
        // One that exits at once may be gone; the others prove that the mark can be seen.
        assert!(fault != ":" || round.marked().contains(&first));
        round.until(|| round.status("bystander").filter(|state| state == "running"));
        round
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn pids_in(&self, name: &str) -> Vec<u32> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Looks again and again, within reason.
    fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(seen) = look() {
                return Some(seen);
            }
            // A look is a command of its own, and the others have to get on.
            std::thread::park_timeout(Duration::from_millis(1));
        }
        println!("{}", fs::read_to_string(self.path("up.log")).unwrap_or_default());
        None
    }

    /// What a verb printed, and its exit code; `None` if it does not end.
    fn verb(&self, arguments: &[&str]) -> Option<(String, Option<i32>)> {
        let mut child = command(self.folder.path(), "", arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        if !ends(&child) {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        let output = child.wait_with_output().unwrap();
        Some((String::from_utf8(output.stdout).unwrap(), output.status.code()))
    }

    fn status(&self, name: &str) -> Option<String> {
        Some(self.record(name)?["state"].as_str()?.to_owned())
    }

    fn record(&self, name: &str) -> Option<serde_json::Value> {
        let (text, _) = self.verb(&["status", "--json", name])?;
        serde_json::from_str(text.lines().next()?).ok()
    }

    /// The processes of this round, the supervisor aside.
    fn marked(&self) -> Vec<u32> {
        let word = format!("{MARK}={}", self.mark);
        let is_ours = |pid: &u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == word.as_bytes())
        };
        processes().filter(is_ours).filter(|pid| *pid != self.supervisor.id()).collect()
    }

    /// The generations of the victim that live, and those of their processes that belong to none.
    fn look_at_generations(&mut self) {
        let starts = self.pids_in("starts");
        let alive = |pid: &u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rfind(')').is_some_and(|at| !stat[at..].starts_with(") Z"))
        };
        self.counts.doubled += starts.iter().filter(|pid| alive(pid)).count().saturating_sub(1);
        let Some((last, before)) = starts.split_last() else { return };
        for pid in self.marked().into_iter().filter(|pid| before.contains(&group_of(*pid))) {
            assert_ne!(pid, *last);
            self.counts.orphaned += 1;
        }
    }

    fn expect(&mut self, starts: usize, state: &str) {
        let seen = self.until(|| {
            let now = (self.pids_in("starts").len(), self.status("victim")?);
            (now.0 == starts && now.1 == state).then_some(())
        });
        if seen.is_none() {
            println!("{starts} {state}: {:?} {:?}", self.pids_in("starts"), self.status("victim"));
        }
        self.counts.lost += usize::from(seen.is_none());
        let bystander = self.status("bystander");
        if bystander.as_deref() != Some("running") {
            println!("the bystander is {bystander:?}");
            self.counts.lost += 1;
        }
    }

    fn signal_victim(&self, name: &str) {
        let signal = named(name);
        let pid = *self.pids_in("starts").last().unwrap();
        Target::open(pid).unwrap().signal(signal);
    }

    /// Stops everything, and counts what is left.
    fn end(mut self) -> Counts {
        self.counts.stuck += usize::from(self.verb(&["down"]).is_none());
        let run = self.path("run");
        let (folder, mut counts) = self.count_the_rest();
        // The lock's file stays for the next supervisor.
        counts.leaked += walk(&run).iter().filter(|path| !path.ends_with("lock")).count();
        drop(folder);
        counts
    }

    fn count_the_rest(mut self) -> (tempfile::TempDir, Counts) {
        if !ends(&self.supervisor) {
            self.counts.stuck += 1;
            let _ = self.supervisor.kill();
        }
        let _ = self.supervisor.wait();
        let rest = self.marked();
        let deadline = Instant::now() + PATIENCE;
        let left =
            rest.iter().filter_map(|pid| Target::open(*pid)).filter(|target| !target.ends_by(deadline));
        let left = left.count();
        self.counts.orphaned += left;
        (self.folder, self.counts)
    }
}

fn command(folder: &Path, mark: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_watertight"));
    let runtime = folder.join("run");
    fs::create_dir_all(&runtime).unwrap();
    command.args(arguments).current_dir(folder).env("XDG_RUNTIME_DIR", runtime).stdin(Stdio::null());
    if !mark.is_empty() {
        command.env(MARK, mark);
    }
    command
}

fn ends(child: &Child) -> bool {
    Target::open(child.id()).is_none_or(|target| target.ends_by(Instant::now() + PATIENCE))
}

fn named(name: &str) -> Signal {
    match name {
        "SIGKILL" => Signal::KILL,
        "SIGTERM" => Signal::TERM,
        "SIGSTOP" => Signal::STOP,
        _ => panic!("no {name}"),
    }
}

fn state_of(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 1..].trim_start().chars().next()
}

fn group_of(pid: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rfind(')').map(|at| &stat[at + 1..]).unwrap_or_default();
    fields.split_whitespace().nth(2).and_then(|group| group.parse().ok()).unwrap_or_default()
}

/// What a policy makes of an end: how many starts, and where the program is then.
fn follows(policy: &str, success: bool) -> (usize, &'static str) {
    match (policy, success) {
        ("permanent", _) | ("transient", false) => (2, "running"),
        (_, true) => (1, "finished"),
        (_, false) => (1, "failed"),
    }
}

fn program_faults_itself(policy: &str, fault: &str, script: &str) -> Counts {
    let mut round = Round::new(policy, script);
    let (starts, state) = follows(policy, fault == "exit 0");
    round.expect(starts, state);
    round.look_at_generations();
    round.end()
}

fn program_is_sent(policy: &str, fault: &str) -> Counts {
    let mut round = Round::new(policy, ":");
    round.signal_victim(fault);
    let (starts, state) = if fault == "SIGSTOP" { (1, "running") } else { follows(policy, false) };
    round.expect(starts, state);
    round.look_at_generations();
    round.end()
}

fn supervisor_is_sent(policy: &str, fault: &str) -> Counts {
    let round = Round::new(policy, ":");
    let target = Target::open(round.supervisor.id()).unwrap();
    target.signal(named(fault));
    if fault == "SIGSTOP" {
        // It is slow, not dead: its programs go on, and it does too when it is let.
        target.signal(Signal::CONT);
        return round.end();
    }
    // A killed supervisor leaves the file of its socket to the next one.
    round.count_the_rest().1
}

fn client_is_sent(policy: &str, fault: &str) -> Counts {
    let mut round = Round::new(policy, ":");
    let mut client = command(round.folder.path(), "", &["events"]).stdout(Stdio::null()).spawn().unwrap();
    let target = Target::open(client.id()).unwrap();
    target.signal(named(fault));
    round.expect(1, "running");
    let counts = round.end();
    target.signal(Signal::KILL);
    let _ = client.wait();
    counts
}

fn client_talks_nonsense(policy: &str) -> Counts {
    let mut round = Round::new(policy, ":");
    let socket = walk(&round.path("run")).into_iter().find(|path| path.ends_with("control")).unwrap();
    let nonsense = [&b"\xff\xfe\n"[..], b"{\"verb\":\"explode\"}\n", b"{", &[b'x'; 100_000], b"\n\n\n"];
    let silent: Vec<UnixStream> = nonsense
        .into_iter()
        .map(|bytes| {
            let mut stream = UnixStream::connect(&socket).unwrap();
            // The supervisor may close before everything is said.
            let _ = stream.write_all(bytes);
            stream
        })
        .collect();
    round.expect(1, "running");
    let counts = round.end();
    drop(silent);
    counts
}

/// The worker of a pool is sent a signal, or its task kills it: the pool goes on with another one.
fn worker_suffers(policy: &str, fault: &str) -> Counts {
    let pool = format!("[pool.pool]\nsize = 1\ntimeout = \"1s\"\nrestart = \"{policy}\"\n");
    let mut round = Round::beside(policy, ":", &pool);
    let worker = |round: &Round| round.record("pool")?["workers"][0].as_u64();
    let runs = || round.record("pool").filter(|pool| pool["state"] == "running");
    // What it took to start it is no part of what follows from the fault.
    let before = round.until(runs).unwrap()["starts"].clone();
    let pid = round.until(|| worker(&round)).unwrap() as u32;
    match fault {
        "exit" | "segv" => drop(round.verb(&["call", "pool", "fault", fault])),
        "SIGSTOP" => {
            Target::open(pid).unwrap().signal(Signal::STOP);
            // Until then it may still answer, and rightly.
            round.until(|| (state_of(pid) == Some('T')).then_some(())).unwrap();
        }
        name => Target::open(pid).unwrap().signal(named(name)),
    }
    let answer = || round.verb(&["call", "pool", "factorial", "5"]).filter(|(text, _)| text == "\"120\"\n");
    let (answered, other) = (round.until(answer), worker(&round));
    let pool = round.record("pool").unwrap_or_default();
    if answered.is_none() || other == Some(pid.into()) || pool["starts"] != before {
        println!("{fault} to {pid}: {answered:?} of {other:?}, {before} starts before: {pool}");
        round.counts.lost += 1;
    }
    round.counts.orphaned +=
        usize::from(Target::open(pid).is_some_and(|old| !old.ends_by(Instant::now() + PATIENCE)));
    round.expect(1, "running");
    round.end()
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn nothing_is_lost_orphaned_doubled_stuck_or_leaked() {
    let rounds = if is_long() { 20 } else { 1 };
    let mut all = Counts::default();
    println!("| victim | fault | policy | rounds | lost | orphaned | doubled | stuck | leaked |");
    println!("|---|---|---|---|---|---|---|---|---|");
    let mut cell = |victim: &str, fault: &str, policy: &str, run: &dyn Fn() -> Counts| {
        let mut counts = Counts::default();
        (0..rounds).for_each(|_| counts.add(run()));
        let Counts { lost, orphaned, doubled, stuck, leaked } = counts;
        println!(
            "| {victim} | {fault} | {policy} | {rounds} | {lost} | {orphaned} | {doubled} | {stuck} | {leaked} |"
        );
        all.add(counts);
    };
    for policy in POLICIES {
        for (fault, script) in OWN_FAULTS {
            cell("program", fault, policy, &|| program_faults_itself(policy, fault, script));
        }
        for fault in SENT_FAULTS {
            cell("program", fault, policy, &|| program_is_sent(policy, fault));
            cell("supervisor", fault, policy, &|| supervisor_is_sent(policy, fault));
            cell("client", fault, policy, &|| client_is_sent(policy, fault));
        }
        for fault in SENT_FAULTS.into_iter().chain(["exit", "segv"]) {
            cell("pool worker", fault, policy, &|| worker_suffers(policy, fault));
        }
        cell("client", "nonsense", policy, &|| client_talks_nonsense(policy));
    }
    assert_eq!(all, Counts::default());
}
