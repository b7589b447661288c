//! What locks cost, beside std's. Run with `cargo bench --bench locks`.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use watertight::sync::Lock;
use watertight::{Process, Value};

fn main() -> watertight::Result<()> {
    watertight::init();
    uncontended()?;
    contended()?;
    making()?;
    Ok(())
}

/// The best of many short rounds, which a busy machine interrupts least, in nanoseconds an operation.
fn best(count: u32, mut round: impl FnMut()) -> f64 {
    let times = (0..10_000_000 / count).map(|_| {
        let start = Instant::now();
        round();
        start.elapsed()
    });
    times.min().unwrap_or_default().as_nanos() as f64 / f64::from(count)
}

#[expect(clippy::print_stdout, reason = "a benchmark's output")]
fn row(work: &str, nanos: f64) {
    println!("{work:<48} {nanos:>10.1} ns");
}

const COUNT: u32 = 1_000_000;

/// Of a round without contention.
const FEW: u32 = 10_000;

fn uncontended() -> watertight::Result<()> {
    let lock = Lock::new()?;
    row("Lock: lock and unlock", best(FEW, || (0..FEW).for_each(|_| drop(lock.lock().unwrap()))));
    let value = Value::new(0_u64)?;
    row("Value: lock, add, unlock", best(FEW, || (0..FEW).for_each(|_| *value.lock().unwrap() += 1)));
    let mutex = Mutex::new(0_u64);
    let add = || (0..FEW).for_each(|_| *mutex.lock().unwrap() += 1);
    row("std Mutex: lock, add, unlock", best(FEW, add));
    Ok(())
}

fn contended() -> watertight::Result<()> {
    let mutex = Mutex::new(0_u64);
    let both = |work: &(dyn Fn() + Sync)| {
        std::thread::scope(|scope| {
            scope.spawn(work);
            scope.spawn(work);
        });
    };
    let add = || (0..COUNT).for_each(|_| *mutex.lock().unwrap() += 1);
    row("std Mutex: two threads add", best(2 * COUNT, || both(&add)));
    let value = Value::new(0_u64)?;
    let add = || (0..COUNT).for_each(|_| *value.lock().unwrap() += 1);
    row("Value: two threads add", best(2 * COUNT, || both(&add)));
    fn count(value: Value<u64>) -> Duration {
        let start = Instant::now();
        (0..COUNT).for_each(|_| *value.lock().unwrap() += 1);
        start.elapsed()
    }
    let times = (0..5).map(|_| -> watertight::Result<Duration> {
        let processes = [Process::spawn(count, (value.clone(),))?, Process::spawn(count, (value.clone(),))?];
        let [one, two] = processes.map(Process::join);
        Ok(one?.max(two?))
    });
    let best = times.collect::<watertight::Result<Vec<_>>>()?.into_iter().min().unwrap_or_default();
    row("Value: two processes add", best.as_nanos() as f64 / f64::from(2 * COUNT));
    Ok(())
}

fn making() -> watertight::Result<()> {
    let count = 10_000;
    let make = || (0..count).map(|x| Value::new(x).unwrap()).collect::<Vec<_>>();
    let times = (0..10).map(|_| {
        let start = Instant::now();
        let values = make();
        let made = start.elapsed();
        drop(values);
        (made, start.elapsed() - made)
    });
    let (made, dropped) = times.min().unwrap_or_default();
    row("Value: make one of 10,000", made.as_nanos() as f64 / f64::from(count));
    row("Value: drop one of 10,000", dropped.as_nanos() as f64 / f64::from(count));
    let values = make();
    let open = |values: Vec<Value<u32>>| -> (Duration, u64) {
        let start = Instant::now();
        let sum = values.iter().map(|value| u64::from(value.get().unwrap())).sum();
        (start.elapsed(), sum)
    };
    let (time, _) = Process::spawn(open, (values,))?.join()?;
    row("Value: get one of 10,000 in another process", time.as_nanos() as f64 / f64::from(count));
    Ok(())
}
