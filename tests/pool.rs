//! Pools, from the outside.

use watertight::{Pool, Signal};

fn square(x: i64) -> i64 {
    x * x
}

#[watertight::test]
fn a_pool_maps_a_function_over_inputs_in_their_order() {
    let pool = Pool::new(4).unwrap();
    assert_eq!(pool.map(square, 1..=5).unwrap(), [1, 4, 9, 16, 25]);
    let expected: Vec<i64> = (0..10_000).map(square).collect();
    assert_eq!(pool.map(square, 0..10_000).unwrap(), expected);
}

#[watertight::test]
fn apply_gives_the_value_or_the_error() {
    let pool = Pool::new(2).unwrap();
    assert_eq!(pool.apply(square, (7,)).unwrap(), 49);
    let error = pool.apply(|| -> i32 { std::process::abort() }, ()).unwrap_err();
    assert_eq!(error.signal(), Some(Signal::SIGABRT));
    assert_eq!(pool.apply(square, (8,)).unwrap(), 64);
}
