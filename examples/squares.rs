//! Maps a function over numbers in four worker processes.

use watertight::Pool;

fn square(x: i64) -> i64 {
    x * x
}

fn main() -> watertight::Result<()> {
    watertight::init();
    let pool = Pool::new(4)?;
    println!("{:?}", pool.map(square, 1..=5)?);
    Ok(())
}
