//! What the public calls cost, from end to end.

use divan::{Bencher, counter::ItemsCount};
use watertight::{Bytes, Pool, Process, Shared, isolate};

fn square(x: i64) -> i64 {
    x * x
}

fn pool() -> Pool {
    Pool::new(1).expect("a pool")
}

#[divan::bench(sample_size = 200)]
fn apply(bencher: Bencher<'_, '_>) {
    let pool = pool();
    bencher.bench_local(|| pool.apply(square, (7,)).expect("an answer"));
}

#[divan::bench(sample_size = 200)]
fn apply_async_and_get(bencher: Bencher<'_, '_>) {
    let pool = pool();
    bencher.bench_local(|| pool.apply_async(square, (7,)).expect("a handle").get().expect("an answer"));
}

#[divan::bench(args = [1, 100, 10_000])]
fn map(bencher: Bencher<'_, '_>, tasks: i64) {
    let pool = pool();
    bencher
        .counter(ItemsCount::new(tasks as usize))
        .bench_local(|| pool.map(square, 0..tasks).expect("answers"));
}

#[divan::bench(args = [1024, 1 << 20])]
fn apply_bytes(bencher: Bencher<'_, '_>, bytes: usize) {
    let pool = pool();
    let argument = Bytes::from(vec![7; bytes]);
    let length = |bytes: Bytes| bytes.len() as u64;
    bencher.bench_local(|| pool.apply(length, (argument.clone(),)).expect("an answer"));
}

/// The value travels once, however often it is an argument.
#[divan::bench(sample_size = 200)]
fn apply_shared(bencher: Bencher<'_, '_>) {
    let pool = pool();
    let argument = Shared::new(vec![7_u64; 1 << 16]);
    let length = |numbers: Shared<Vec<u64>>| numbers.len() as u64;
    bencher.bench_local(|| pool.apply(length, (argument.clone(),)).expect("an answer"));
}

#[divan::bench]
fn spawn_and_join(bencher: Bencher<'_, '_>) {
    let keeping = pool();
    bencher.bench_local(|| Process::spawn(square, (7,)).expect("a process").join().expect("an answer"));
    drop(keeping);
}

#[divan::bench]
fn isolate_and_run(bencher: Bencher<'_, '_>) {
    let keeping = pool();
    bencher.bench_local(|| isolate(|| 7).run().into_result().expect("an answer"));
    drop(keeping);
}

/// With the keeper running.
#[divan::bench]
fn start_a_pool_and_drop_it(bencher: Bencher<'_, '_>) {
    let keeping = pool();
    bencher.bench_local(|| pool().apply(square, (7,)).expect("an answer"));
    drop(keeping);
}
