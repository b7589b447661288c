//! Sums the squares of ten million numbers in chunks that travel as plain memory.

use watertight::{Bytes, Pool};

fn sum_of_squares(chunk: Bytes) -> f64 {
    let (numbers, _) = chunk.as_chunks::<8>();
    numbers.iter().map(|number| f64::from_le_bytes(*number)).map(|x| x * x).sum()
}

fn main() -> watertight::Result<()> {
    watertight::init();
    let numbers: Vec<f64> = (0..10_000_000).map(|i| f64::from(i % 1000)).collect();
    let chunks = numbers.chunks(1_000_000).map(|chunk| {
        let bytes: Vec<u8> = chunk.iter().flat_map(|x| x.to_le_bytes()).collect();
        Bytes::from(bytes)
    });
    let pool = Pool::new(2)?;
    let sum: f64 = pool.map(sum_of_squares, chunks)?.into_iter().sum();
    println!("{sum}");
    assert_eq!(sum, numbers.iter().map(|x| x * x).sum::<f64>());
    Ok(())
}
