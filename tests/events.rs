//! Events for whoever listens, through `tracing`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex, Weak, mpsc};
use std::time::Duration;

use common::until;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use watertight::Pool;

static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "message" => write!(self.0, " {value:?}").unwrap(),
            name => write!(self.0, " {name}={value:?}").unwrap(),
        }
    }
}

/// Does something with each event of the library, as a line.
struct Listener<F>(F);

impl<F: Fn(String) + 'static> Subscriber for Listener<F> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("watertight")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        (self.0)(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn listen(hear: impl Fn(String) + Send + Sync + 'static) {
    tracing::subscriber::set_global_default(Listener(hear)).unwrap();
}

fn seen(parts: &[&str]) -> bool {
    SEEN.lock().unwrap().iter().any(|line| parts.iter().all(|part| line.contains(part)))
}

#[watertight::test]
fn the_life_and_death_of_workers_is_told() {
    listen(|line| SEEN.lock().unwrap().push(line));
    let builder = Pool::builder().workers(1).attempts(2).backoff(Duration::from_millis(1));
    let pool = builder.timeout(Duration::from_secs(50)).start().unwrap();
    let pid = pool.apply(std::process::id, ()).unwrap();
    until(|| seen(&["DEBUG", "worker started", &format!("pid={pid}")]));
    assert!(pool.apply(|| -> i32 { std::process::abort() }, ()).is_err());
    until(|| seen(&["INFO", "worker died", &format!("pid={pid}"), "SIGABRT"]));
    until(|| seen(&["WARN", "task quarantined", "attempts=2", "SIGABRT"]));
    assert!(seen(&["INFO", "task failed, trying again", "attempt=1", "SIGABRT"]));
    assert!(seen(&["DEBUG", "worker ready", &format!("pid={pid}")]));
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

#[watertight::test]
fn who_is_told_of_a_pool_may_use_it() {
    static POOL: Mutex<Weak<Pool>> = Mutex::new(Weak::new());
    let (sender, answers) = mpsc::channel();
    listen(move |line| {
        if line.contains("worker died") {
            let pool = POOL.lock().unwrap().upgrade().unwrap();
            let answer = (pool.stats().crashed, pool.apply(|x: i64| x * x, (3,)).unwrap());
            drop(pool);
            sender.send(answer).unwrap();
        }
    });
    let pool = Arc::new(Pool::new(1).unwrap());
    *POOL.lock().unwrap() = Arc::downgrade(&pool);
    assert!(pool.apply(|| -> i32 { std::process::abort() }, ()).is_err());
    assert_eq!(answers.recv().unwrap(), (1, 9));
}

#[watertight::test(timeout = "120s")]
fn who_is_slow_to_hear_of_a_pool_or_panics_does_not_hold_it_up() {
    let (gate, armed) = (Arc::new(Barrier::new(2)), Arc::new(AtomicBool::new(true)));
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (told, stops, lines) = (Arc::clone(&gate), Arc::clone(&armed), Arc::clone(&heard));
    listen(move |line| {
        let starts = line.contains("worker started");
        lines.lock().unwrap().push(line);
        if starts && stops.swap(false, Ordering::Relaxed) {
            told.wait();
            // Until it is let go on.
            told.wait();
            panic!("in a subscriber");
        }
    });
    let heard = |text: &str| heard.lock().unwrap().iter().filter(|line| line.contains(text)).count();

    let builder = Pool::builder().workers(1).timeout(Duration::from_millis(50)).grace(Duration::ZERO);
    let pool = builder.attempts(2).backoff(Duration::ZERO).start().unwrap();
    gate.wait();
    assert!(pool.apply(|| std::thread::sleep(Duration::from_secs(1000)), ()).unwrap_err().is_timeout());
    assert_eq!(heard("TimedOut"), 0);
    gate.wait();
    pool.close();
    pool.join().unwrap();
    assert!(heard("TimedOut") > 0, "what waits is told");

    armed.store(true, Ordering::Relaxed);
    let builder = Pool::builder().workers(1).attempts(2).backoff(Duration::ZERO).env("RUST_BACKTRACE", "0");
    let pool = builder.start().unwrap();
    gate.wait();
    // Each fails twice, and so there are more events than are kept.
    let outcomes = pool.outcomes(|_: i32| -> i32 { panic!("every time") }, 0..600);
    assert!(outcomes.iter().all(|outcome| outcome.as_ref().is_err_and(|error| error.is_panic())));
    gate.wait();
    pool.close();
    pool.join().unwrap();
    assert_eq!(heard("events were not told"), 1);
    let kept = heard("every time");
    assert!((900..=1024).contains(&kept), "{kept} events were kept");
}
