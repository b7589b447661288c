//! A progress bar over tasks of different lengths, fed as they finish.

use std::time::Duration;

use indicatif::ProgressBar;
use watertight::Pool;

fn work(milliseconds: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}

fn main() -> watertight::Result<()> {
    watertight::init();
    let pool = Pool::new(4)?;
    let inputs: Vec<u64> = (0..60).map(|i| 10 + i % 7 * 10).collect();
    let bar = ProgressBar::new(inputs.len() as u64);
    let mut total = 0;
    for outcome in pool.imap_unordered(work, inputs) {
        total += outcome?;
        bar.inc(1);
    }
    bar.finish();
    println!("{total} ms of work");
    Ok(())
}
