//! Twenty tasks, one of which kills its process: nineteen values and one error that says what happened.

use watertight::Pool;

fn fragile(x: i64) -> i64 {
    if x == 5 {
        std::process::abort();
    }
    x * x
}

fn main() -> watertight::Result<()> {
    watertight::init();
    let pool = Pool::new(2)?;
    for outcome in pool.imap(fragile, 0..20) {
        match outcome {
            Ok(value) => println!("{value}"),
            Err(error) => println!("{error}"),
        }
    }
    let stats = pool.stats();
    assert_eq!((stats.done, stats.failed, stats.crashed), (19, 1, 1));
    Ok(())
}
