use std::path::{Path, PathBuf};
use std::time::Duration;

use super::parse;
use crate::Signal;
use crate::supervisor::specification::{
    AutoShutdown, Condition, DependsOn, Readiness, RestartPolicy, Specification, StopStep, Strategy,
};

fn good(text: &str) -> Specification {
    parse(text, "w.toml", Path::new("/base")).unwrap_or_else(|report| panic!("{report}"))
}

/// What is wrong, as `line:column: text`.
fn wrong(text: &str) -> Vec<String> {
    let report = parse(text, "w.toml", Path::new("/base")).expect_err("it should be refused");
    assert!(!report.to_string().is_empty());
    report.mistakes().iter().map(|it| format!("{}:{}: {}", it.line, it.column, it.text)).collect()
}

#[test]
fn the_smallest_file_is_a_program_with_a_command() {
    let specification = good("[program.nap]\ncommand = [\"sleep\", \"1000\"]\n");
    assert_eq!(specification.programs[0].command, ["sleep", "1000"]);
    assert_eq!(specification.order, ["nap"]);
    assert_eq!(good(""), Specification::default());
}

#[test]
fn every_key_arrives_where_it_belongs() {
    let text = r#"
[supervisor]
strategy = "rest_for_one"
intensity = { restarts = 3, period = "5s" }

[group.front]
children = ["web"]
strategy = "one_for_all"
auto_shutdown = "any_significant"
restart = "temporary"
depends_on = ["db"]

[program.web]
command = "serve --name 'a b'"
arguments = ["--port", "80"]
environment = { LANG = "C", EMPTY = "" }
inherit_environment = false
folder = "srv"
user = "0"
replicas = 3
autostart = false
depends_on = { db = "healthy", calc = "started" }
restart = "transient"
backoff = { first = "1s", factor = 1.5, cap = "1m", jitter = 0, reset_after = "2m" }
success = [0, 2]
significant = true
ready = { http = "http://localhost:80/up", every = "1s", timeout = 3 }
ready_within = "9s"
watchdog = "5s"
stop = ["INT", "500ms", "TERM", "10s"]
limits = { memory = "1GiB", cpu_time = "1h", open_files = 64, core = 0 }
log = { file = "/var/log/web.log", max_size = "1MiB", copies = 2, rotate = false }

[pool.calc]
worker = "bin/worker"
size = 4
spares = 1
timeout = "3s"
attempts = 2
memory = "64MiB"
log = "calc.log"

[program.db]
command = "echo '$HOME' | cat"
shell = true
ready = "notify"
"#;
    let specification = good(text);
    assert_eq!(specification.order, ["front", "web", "calc", "db"]);
    assert_eq!(specification.root.strategy, Strategy::RestForOne);
    assert_eq!(specification.root.intensity.restarts, 3);
    let group = &specification.groups[0];
    assert_eq!((group.restart, &group.children[..]), (RestartPolicy::Temporary, &["web".to_owned()][..]));
    assert_eq!(group.supervision.auto_shutdown, AutoShutdown::AnySignificant);
    let web = &specification.programs[0];
    assert_eq!(web.command, ["serve", "--name", "a b", "--port", "80"]);
    assert_eq!(web.environment["EMPTY"], "");
    assert_eq!(web.folder, Some(PathBuf::from("/base/srv")));
    assert_eq!((web.replicas, web.autostart, web.inherit_environment), (3, false, false));
    let healthy = DependsOn { name: "db".to_owned(), condition: Condition::Healthy };
    assert_eq!(web.depends_on[0], healthy);
    assert_eq!(web.backoff.cap, Duration::from_secs(60));
    assert_eq!((web.success.as_slice(), web.significant), (&[0, 2][..], true));
    let Readiness::Http { url, probe } = &web.readiness else { panic!("{:?}", web.readiness) };
    assert_eq!((url.as_str(), probe.timeout), ("http://localhost:80/up", Duration::from_secs(3)));
    assert_eq!(web.watchdog.map(|watchdog| watchdog.within), Some(Duration::from_secs(5)));
    assert_eq!(web.stop.steps[0], StopStep::Signal(Signal::SIGINT));
    assert_eq!(web.stop.steps[1], StopStep::Wait(Duration::from_millis(500)));
    assert_eq!((web.limits.memory, web.limits.core), (Some(1 << 30), Some(0)));
    assert_eq!(web.log.file, Some(PathBuf::from("/var/log/web.log")));
    assert_eq!((web.log.max_size, web.log.copies, web.log.rotate), (1 << 20, 2, false));
    let pool = &specification.pools[0];
    assert_eq!(pool.worker, Some(PathBuf::from("/base/bin/worker")));
    assert_eq!((pool.size, pool.spares, pool.attempts), (Some(4), 1, 2));
    let db = &specification.programs[1];
    assert_eq!(db.command, ["/bin/sh", "-c", "echo '$HOME' | cat"]);
    assert_eq!(db.readiness, Readiness::Notify);
}

#[test]
fn every_mistake_of_a_file_is_told_at_once() {
    let text = "[program.a]\ncomand = \"x\"\nreplicas = 0\nrestart = \"permanet\"\nwatchdog = \"5 parsecs\"\n\
                stop = [\"TERN\"]\n";
    let found = wrong(text);
    assert_eq!(found.len(), 6, "{found:#?}");
    assert_eq!(found[0], "1:10: `a` needs a `command`");
    assert_eq!(found[1], "2:1: `comand` is no key of `program`; did you mean `command`?");
    assert_eq!(found[2], "3:12: `program.replicas` must be at least 1");
    assert!(
        found[3].starts_with("4:11: `permanet` is none of the words") && found[3].contains("`permanent`")
    );
    assert!(found[4].starts_with("5:12: ") && found[4].contains("write it like"));
    assert_eq!(found[5], "6:9: `TERN` names no signal, and is no time");
}

#[test]
fn wrong_types_and_unknown_tables_are_pointed_at() {
    assert_eq!(wrong("program = 3"), ["1:11: `program` must be a table, and this is a whole number"]);
    assert_eq!(wrong("[programs.a]"), ["1:2: `programs` is no key; did you mean `program`?"]);
    let found = wrong("[program]\na = 1\n[pool.b]\nsize = -4\nworker = []\nsize2 = 1979-05-27");
    assert_eq!(found[0], "2:1: `program` must be a table, and this is a whole number".replace("2:1", "2:5"));
    assert_eq!(found[1], "4:8: -4 is out of range for `pool.size`");
    assert!(found[2].starts_with("5:10: `pool.worker` must be a string"), "{found:#?}");
    assert_eq!(found[3], "6:1: `size2` is no key of `pool`; did you mean `size`?");
}

#[test]
fn a_syntax_error_hides_no_other_and_has_a_place() {
    let found = wrong("[program.a\ncommand = \"x\"\n");
    assert!(found[0].starts_with("1:"), "{found:#?}");
    let found = wrong("[program.a]\ncommand = \"x\"\ncommand = \"y\"\n");
    assert!(found[0].starts_with("3:1"), "{found:#?}");
    assert!(wrong("a = \"\u{0}\"").len() == 1);
}

#[test]
fn flaws_of_the_whole_are_found_where_they_stand() {
    let text = "[program.a]\ncommand = \"x\"\ndepends_on = [\"b\", \"dB\"]\n[program.b]\ncommand = \"x\"\n\
                depends_on = { a = \"ready\" }\n[program.db]\ncommand = \"x\"\nlog = \"l\"\n\
                [pool.p]\nlog = \"./l\"\n";
    let found = wrong(text);
    assert_eq!(found[0], "3:15: a circle, of which none can start: a → b → a");
    assert_eq!(found[1], "3:20: nothing is named `dB`; did you mean `db`?");
    assert_eq!(found[2], "11:1: `db` writes to the same file");
    assert_eq!(found.len(), 3, "{found:#?}");
    let found = wrong("[program.j]\ncommand = \"x\"\n[pool.p]\ndepends_on = { j = \"finished\" }");
    assert!(found[0].starts_with("4:16: `j` is permanent"), "{found:#?}");
    let found = wrong("[group.g]\nchildren = [\"x\"]");
    assert_eq!(found, ["2:13: nothing is named `x`"]);
    assert_eq!(wrong("[pool.a]\n[program.a]\ncommand = \"x\"").len(), 1);
}

#[test]
fn a_command_that_needs_a_shell_says_so() {
    let found = wrong("[program.a]\ncommand = \"x | y\"");
    assert!(found[0].starts_with("2:11: `|` needs a shell"), "{found:#?}");
    assert!(wrong("[program.a]\ncommand = \"x 'y\"")[0].contains("no end"));
    assert!(wrong("[program.a]\ncommand = \"\"")[0].contains("the command is empty"));
    assert!(wrong("[program.a]\ncommand = []")[0].contains("the command is empty"));
    assert_eq!(good("[program.a]\ncommand = [\"x\", \"|\"]").programs[0].command, ["x", "|"]);
}

#[test]
fn a_number_of_processes_is_refused_with_the_reason() {
    let found = wrong("[program.a]\ncommand = \"x\"\nlimits = { processes = 5 }");
    assert!(found[0].starts_with("3:24: ") && found[0].contains("cgroup"), "{found:#?}");
}

#[test]
fn a_user_that_the_machine_does_not_know_is_a_mistake() {
    let found = wrong("[program.a]\ncommand = \"x\"\nuser = \"no-such-user-here\"");
    assert_eq!(found, ["3:8: there is no user `no-such-user-here`"]);
    assert_eq!(
        good("[program.a]\ncommand = \"x\"\nuser = \"root\"").programs[0].user.as_deref(),
        Some("root")
    );
}

#[test]
fn two_ways_to_be_ready_are_one_too_many() {
    let found = wrong("[program.a]\ncommand = \"x\"\nready = { fd = 3, tcp = \"localhost:1\" }");
    assert_eq!(found, ["3:9: one way to become ready is enough"]);
    let found = wrong("[program.a]\ncommand = \"x\"\nready = { every = 3 }");
    assert!(found[0].starts_with("3:9: "), "{found:#?}");
}

/// Arbitrary damage to a file is a report or a specification, never a panic.
#[test]
fn damaged_files_never_panic() {
    let text =
        "[program.a]\ncommand = [\"x\", \"ü\"]\nready = { tcp = \"[::1]:80\" }\nstop = [\"TERM\", 1]\n";
    for cut in (0..text.len()).filter(|cut| text.is_char_boundary(*cut)) {
        for insert in ["", "\"", "[", "}", "=", "\n", "\u{7f}", "é"] {
            let damaged = format!(
                "{}{insert}{}",
                &text[..cut],
                &text[cut + usize::from(text.is_char_boundary(cut + 1))..]
            );
            if let Err(report) = parse(&damaged, "w", Path::new("/")) {
                assert!(!report.mistakes().is_empty() && !report.to_string().is_empty());
            }
        }
    }
}

fn manual() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/supervisor.md");
    std::fs::read_to_string(path).unwrap()
}

/// What stands between a line that begins so and the next fence.
fn blocks(text: &str) -> Vec<&str> {
    let rest = text.split("```toml\n").skip(1);
    rest.map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn the_examples_of_the_manual_are_valid() {
    let manual = manual();
    assert!(blocks(&manual).len() >= 3);
    blocks(&manual).into_iter().for_each(|block| drop(good(block)));
}

/// Every key that any table asks for; a table is only asked if it is there.
const ALL_TABLES: &str = r#"
[supervisor]
intensity = {}
[program.a]
command = "x"
backoff = {}
ready = { fd = 3 }
limits = {}
log = {}
[pool.b]
backoff = {}
log = {}
[group.c]
intensity = {}
"#;

#[test]
fn every_key_is_in_the_manual() {
    let notes = super::Notes::default();
    super::parse_noting(ALL_TABLES, Path::new("/"), &notes);
    assert!(notes.mistakes.borrow().is_empty(), "{:?}", notes.mistakes);
    let manual = manual();
    let sections: Vec<&str> = manual.split("\n## ").collect();
    let section = |kind: &str| *sections.iter().find(|it| it.starts_with(&format!("`[{kind}"))).unwrap();
    let keys = notes.keys.into_inner();
    assert!(keys.len() > 60, "{keys:?}");
    for key in keys {
        let (kind, rest) = key.split_once('.').unwrap_or((&key, &key));
        let (word, table) = (format!("`{rest}`"), rest.split('.').next().unwrap());
        let own = section(kind);
        // Tables of options that several kinds share are told once.
        let shared = own.contains(&format!("`{table}`"))
            && (section("program").contains(&word) || section("supervisor").contains(&word));
        assert!(own.contains(&word) || shared, "the manual has no `{key}`");
    }
}
