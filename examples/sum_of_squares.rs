//! Four parts of one array are squared by workers in place: no element is copied anywhere.

use watertight::sync::ChunkMut;
use watertight::{Array, Pool};

const COUNT: u32 = 1_000_000;

fn square(part: ChunkMut<f64>) -> f64 {
    let mut part = part.lock().expect("nobody dies holding it");
    part.iter_mut().for_each(|x| *x *= *x);
    part.iter().sum()
}

fn main() -> watertight::Result<()> {
    watertight::init();
    let array = Array::from_items((0..COUNT).map(|x| f64::from(x % 100)))?;
    let pool = Pool::new(2)?;
    let sums = pool.map(square, array.chunks_mut(4)?).expect("every part is squared");
    let sum: f64 = sums.iter().sum();
    println!("{sum}");
    assert_eq!(sum, 328_350.0 * f64::from(COUNT / 100));
    assert_eq!(array.get(199)?, Some(99.0 * 99.0));
    Ok(())
}
