//! `watertight map`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{io, process};

use crate::pool::stream::{JsonOutcomes, Record};
use crate::pool::{Output, Pool, Stats};
use crate::task::error::TaskErrorKind;
use crate::task::registry;

use super::arguments::{MapArguments, PoolArguments, WorkerArguments};
use super::convert::Shape;
use super::feed::{Feed, Texts};
use super::inputs::Inputs;
use super::interrupt::Interrupts;
use super::order::Order;
use super::printer::{Printer, Written, complain};
use super::progress::Progress;
use super::record::{Clock, Outcome};
use super::{Exit, Failure, events};

pub(super) fn run(arguments: MapArguments) -> Result<Exit, Failure> {
    let MapArguments { task, input, worker, source, pool, unordered, json, progress, quiet, verbose } =
        arguments;
    let inputs = Inputs::open(input, &source)?;
    let progress = Progress::new(progress, inputs.total());
    events::tell(verbose, &progress.stderr());
    let pool = start(&worker, &pool, json)?;
    let (calls, outcomes) = pool.json_calls(&task)?;
    let description = registry::find(pool.tasks(), &task)
        .map(|index| &pool.tasks()[index as usize])
        .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    let texts = Texts::default();
    let feed = Feed { inputs, shape: Shape::of(description), calls, texts: texts.clone() };
    let started = Instant::now();
    let interrupted = AtomicBool::new(false);
    let mut report = Report {
        task: &description.name,
        json,
        texts,
        order: Order::new(unordered),
        printer: Printer::new(),
        progress,
        clock: Clock::new(),
        interrupted: &interrupted,
        counts: Counts::default(),
    };
    let (written, feed) = thread::scope(|scope| {
        // Before anything begins: whoever sees a task run may interrupt it.
        let _interrupts =
            Interrupts::watch(scope, |before| interrupt(before, &interrupted, &pool, &outcomes))?;
        let feed = feed.start()?;
        io::Result::Ok((report.print_all(&outcomes), feed))
    })
    .map_err(system)?;
    let (counts, stats) = (report.finish(), pool.stats());
    drop((outcomes, pool));
    let interrupted = interrupted.into_inner();
    let exit = end(written, feed, interrupted, &counts);
    if !quiet && exit.1 {
        complain(&counts.summary(started.elapsed(), &stats, interrupted));
    }
    Ok(exit.0)
}

fn system(error: io::Error) -> Failure {
    Failure::new(Exit::NoWorkers, format!("the machine refuses a thread or a signal handler: {error}"))
}

fn start(worker: &WorkerArguments, options: &PoolArguments, json: bool) -> Result<Pool, Failure> {
    let mut builder = Pool::builder()
        .name("map")
        .worker(worker.path()?)
        .stdout(Output::Stderr)
        .grace(options.grace)
        .attempts(options.attempts);
    if let Some(jobs) = options.jobs {
        builder = builder.workers(jobs.into());
    }
    if let Some(timeout) = options.timeout {
        builder = builder.timeout(timeout);
    }
    if let Some(bytes) = options.memory {
        builder = builder.memory_limit(bytes);
    }
    if let Some(limit) = options.cpu_time {
        builder = builder.cpu_limit(limit);
    }
    if let Some(tasks) = options.max_tasks_per_worker {
        builder = builder.max_tasks_per_worker(tasks);
    }
    Ok(if json { builder.measured() } else { builder }.start()?)
}

/// The first signal lets running tasks end, the second one kills them, the third one waits for nothing.
fn interrupt(before: usize, interrupted: &AtomicBool, pool: &Pool, outcomes: &JsonOutcomes) {
    interrupted.store(true, Ordering::Relaxed);
    match before {
        0 => {
            // First: who has read that nothing more begins may count on it.
            outcomes.stop();
            complain("interrupted: waiting for the tasks that run; once more kills them");
        }
        1 => pool.terminate(),
        // The keeper sees the end of this process, and ends the workers.
        _ => process::exit(Exit::Interrupted as i32),
    }
}

/// The exit code, and whether somebody may want to read a summary.
fn end(
    written: Written,
    feed: JoinHandle<io::Result<()>>,
    interrupted: bool,
    counts: &Counts,
) -> (Exit, bool) {
    let exit = match counts {
        _ if interrupted => Exit::Interrupted,
        Counts { no_worker: 1.., .. } => Exit::NoWorkers,
        Counts { failed: 1.., .. } => Exit::Failed,
        _ => Exit::Success,
    };
    match written {
        Written::Closed => return (exit, false),
        Written::Failed(error) => {
            complain(&format!("cannot write to stdout: {error}"));
            return (Exit::Failed, true);
        }
        Written::All if interrupted || matches!(exit, Exit::NoWorkers) => return (exit, true),
        Written::All => {}
    }
    // All outcomes have come, so the feed is at its end; where it was stopped it may still be reading.
    match feed.join() {
        Ok(Err(error)) => {
            complain(&format!("cannot read the inputs: {error}"));
            (Exit::Failed, true)
        }
        _ => (exit, true),
    }
}

/// How many tasks ended how.
#[derive(Debug, Default)]
struct Counts {
    done: u64,
    failed: u64,
    /// Of those that failed: no worker could be started for them.
    no_worker: u64,
    /// Submitted, and given up at an interruption.
    given_up: u64,
}

impl Counts {
    fn summary(&self, elapsed: Duration, stats: &Stats, interrupted: bool) -> String {
        let tasks = counted(self.done + self.failed, "task", "tasks");
        let seconds = elapsed.as_secs_f64();
        let mut text = format!("{tasks} in {seconds:.1} s: {} done, {} failed", self.done, self.failed);
        if stats.crashed > 0 {
            text.push_str(&format!(", {} crashed", counted(stats.crashed, "worker", "workers")));
        }
        if stats.retried > 0 {
            text.push_str(&format!(", {}", counted(stats.retried, "attempt repeated", "attempts repeated")));
        }
        if self.no_worker > 0 {
            text.push_str("; gave up, because no worker can be started");
        }
        if interrupted {
            text.push_str(&format!("; interrupted, {} given up", self.given_up));
        }
        text
    }
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Prints outcomes as they come, or in their turn.
struct Report<'a> {
    task: &'a str,
    json: bool,
    texts: Texts,
    order: Order<Outcome>,
    printer: Printer,
    progress: Progress,
    clock: Clock,
    interrupted: &'a AtomicBool,
    counts: Counts,
}

impl Report<'_> {
    fn print_all(&mut self, outcomes: &JsonOutcomes) -> Written {
        while let Some(records) = outcomes.receive() {
            let arrived = records.len() as u64;
            let began = self.counts.no_worker == 0;
            let (passed, written) = self.print(records);
            if began && self.counts.no_worker > 0 {
                // Nor will there be any for what is still to be read, which may be without end.
                outcomes.stop();
            }
            self.progress.advance(arrived, self.counts.failed);
            if !matches!(written, Written::All) {
                outcomes.cancel();
                return written;
            }
            outcomes.release(passed);
        }
        self.print_rest()
    }

    /// Prints what has its turn; says how many that were.
    fn print(&mut self, records: Vec<Record>) -> (u64, Written) {
        let mut turns = Vec::with_capacity(records.len());
        for record in records {
            let outcome = Outcome::new(record, self.task);
            self.order.take(outcome.record.number, outcome, |_, outcome| turns.push(outcome));
        }
        let passed = turns.len() as u64;
        (passed, self.write(turns))
    }

    /// After an interruption some outcomes never have their turn.
    fn print_rest(&mut self) -> Written {
        let order = std::mem::replace(&mut self.order, Order::new(true));
        let rest = order.into_rest().map(|(_, outcome)| outcome).collect();
        self.write(rest)
    }

    fn write(&mut self, outcomes: Vec<Outcome>) -> Written {
        let Report { json, texts, printer, progress, clock, interrupted, counts, .. } = self;
        let interrupted = interrupted.load(Ordering::Relaxed);
        printer.group(progress, |printer| {
            outcomes.into_iter().try_for_each(|outcome| {
                let number = outcome.record.number;
                let input = texts.take(number);
                if interrupted && is_given_up(&outcome) {
                    counts.given_up += 1;
                    return Ok(());
                }
                counts.take(&outcome);
                match outcome.error() {
                    _ if *json => printer.result(&outcome.json(&input, clock)?),
                    None => printer.result(&outcome.text()),
                    Some(error) => {
                        printer.failure(&Outcome::complaint(error, number, &input));
                        Ok(())
                    }
                }
            })
        })
    }

    fn finish(self) -> Counts {
        self.progress.finish();
        self.counts
    }
}

impl Counts {
    fn take(&mut self, outcome: &Outcome) {
        match outcome.error() {
            None => self.done += 1,
            Some(error) => {
                self.failed += 1;
                self.no_worker += u64::from(matches!(error.kind(), TaskErrorKind::NoWorker { .. }));
            }
        }
    }
}

/// Whether the interruption itself ended it.
fn is_given_up(outcome: &Outcome) -> bool {
    outcome.error().is_some_and(|error| error.is_cancelled() || error.is_terminated())
}
