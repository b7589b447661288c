//! Four sleeps of two seconds on eight workers take two seconds, not eight.

use std::time::{Duration, Instant};

use watertight::Pool;

fn sleep(seconds: u64) -> u64 {
    std::thread::sleep(Duration::from_secs(seconds));
    seconds
}

fn main() -> watertight::Result<()> {
    watertight::init();
    let pool = Pool::new(8)?;
    let start = Instant::now();
    let slept: u64 = pool.map(sleep, [2; 4])?.into_iter().sum();
    println!("slept {slept} s in {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}
