//! A struct of counters in shared memory, filled by a pool.

use watertight::bytemuck::{Pod, Zeroable};
use watertight::{Pool, Value};

#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[bytemuck(crate = "watertight::bytemuck")]
#[repr(C)]
struct Counters {
    numbers: u64,
    primes: u64,
    largest_prime: u64,
}

fn look_at(counters: Value<Counters>, number: u64) {
    let is_prime =
        number > 1 && (2..number).take_while(|d| d * d <= number).all(|d| !number.is_multiple_of(d));
    let mut counters = counters.lock().expect("nobody dies holding it");
    counters.numbers += 1;
    if is_prime {
        counters.primes += 1;
        counters.largest_prime = counters.largest_prime.max(number);
    }
}

fn main() -> watertight::Result<()> {
    watertight::init();
    let counters = Value::new(Counters::default())?;
    let pool = Pool::new(4)?;
    pool.starmap(look_at, (0..1000).map(|number| (counters.clone(), number))).expect("no task dies");
    let counters = counters.get()?;
    println!("{counters:?}");
    assert_eq!(counters, Counters { numbers: 1000, primes: 168, largest_prime: 997 });
    Ok(())
}
