//! Arguments and results as bytes.

use divan::{Bencher, counter::BytesCount};
use serde::{Serialize, de::DeserializeOwned};

use crate::task::codec::{decode, encode};

const LARGEST: u64 = 1 << 30;

fn round_trip<T: Serialize + DeserializeOwned + 'static>(bencher: Bencher<'_, '_>, value: T) {
    let (mut line, mut parts) = (Vec::new(), Vec::new());
    encode(&value, &mut line, &mut parts, LARGEST).expect("an encoding");
    bencher.counter(BytesCount::new(line.len())).bench_local(|| {
        line.clear();
        encode(&value, &mut line, &mut parts, LARGEST).expect("an encoding");
        decode::<T>(&line, std::mem::take(&mut parts)).expect("a value")
    });
}

#[divan::bench]
fn one_number(bencher: Bencher<'_, '_>) {
    round_trip(bencher, (7_i64,));
}

#[divan::bench]
fn a_sentence(bencher: Bencher<'_, '_>) {
    round_trip(bencher, ("the quick brown fox jumps over the lazy dog".to_owned(),));
}

#[divan::bench(args = [1024, 1 << 20])]
fn a_vector_of_bytes(bencher: Bencher<'_, '_>, bytes: usize) {
    round_trip(bencher, (vec![7_u8; bytes],));
}

#[divan::bench(args = [128, 1 << 17])]
fn a_vector_of_floats(bencher: Bencher<'_, '_>, numbers: usize) {
    round_trip(bencher, (vec![7.0_f64; numbers],));
}
