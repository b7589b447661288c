//! Counts down from two hundred million twice: on one worker, then on two at once. Processes, unlike Python's
//! threads, share no lock that would make two of them as slow as one.

use std::time::Instant;

use watertight::Pool;

fn countdown(mut n: u64) -> u64 {
    while n > 0 {
        n = std::hint::black_box(n - 1);
    }
    n
}

fn main() -> watertight::Result<()> {
    watertight::init();
    for workers in [1, 2] {
        let pool = Pool::new(workers)?;
        let start = Instant::now();
        pool.map(countdown, [200_000_000; 2])?;
        println!("{workers} worker(s): {:.2} s", start.elapsed().as_secs_f64());
    }
    Ok(())
}
