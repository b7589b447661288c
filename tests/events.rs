//! Events for whoever listens, through `tracing`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::until;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use watertight::Pool;

static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Writes down each event of the library as a line.
struct Listener;

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "message" => write!(self.0, " {value:?}").unwrap(),
            name => write!(self.0, " {name}={value:?}").unwrap(),
        }
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("watertight")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        static LAST: AtomicU64 = AtomicU64::new(1);
        Id::from_u64(LAST.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        SEEN.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn seen(parts: &[&str]) -> bool {
    SEEN.lock().unwrap().iter().any(|line| parts.iter().all(|part| line.contains(part)))
}

#[watertight::test]
fn the_life_and_death_of_workers_is_told() {
    tracing::subscriber::set_global_default(Listener).unwrap();
    let builder = Pool::builder().workers(1).attempts(2).backoff(Duration::from_millis(1));
    let pool = builder.timeout(Duration::from_secs(50)).start().unwrap();
    let pid = pool.apply(std::process::id, ()).unwrap();
    until(|| seen(&["DEBUG", "worker started", &format!("pid={pid}")]));
    assert!(pool.apply(|| -> i32 { std::process::abort() }, ()).is_err());
    until(|| seen(&["INFO", "worker died", &format!("pid={pid}"), "SIGABRT"]));
    assert!(seen(&["DEBUG", "worker ready", &format!("pid={pid}")]));
    assert!(seen(&["INFO", "task failed, trying again", "attempt=1", "SIGABRT"]));
    assert!(seen(&["WARN", "task quarantined", "attempts=2", "SIGABRT"]));
    let next = pool.apply(std::process::id, ()).unwrap();
    until(|| seen(&["DEBUG", "worker replaced", &format!("pid={next}")]));
    assert!(!seen(&["worker replaced", &format!("pid={pid}")]), "the first one replaces nobody");
    pool.apply_async(|| (), ()).unwrap().on_complete(|_| panic!("in a callback"));
    until(|| seen(&["ERROR", "a completion callback panicked"]));
    let keeper = pool.apply(std::os::unix::process::parent_id, ()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(keeper as i32), nix::sys::signal::SIGKILL).unwrap();
    pool.apply(|| (), ()).unwrap_or_default();
    until(|| seen(&["WARN", "keeper died", &format!("pid={keeper}")]));
    let last = pool.apply(std::process::id, ()).unwrap();
    pool.close();
    pool.join().unwrap();
    until(|| seen(&["DEBUG", "worker exited", &format!("pid={last}")]));
    let broken = Pool::builder().workers(1).initializer(|| panic!("no model"), ()).start().unwrap();
    assert!(broken.apply(|| (), ()).is_err());
    until(|| seen(&["ERROR", "the pool gives up", "no model"]));
}
