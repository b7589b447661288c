//! A test suite whose code dies on purpose: run it with `cargo test --example dies_on_purpose`.

fn main() {
    println!("cargo test --example dies_on_purpose");
}

/// Stands for code that can take its process along: a C library, an old solver, a plugin.
#[cfg(test)]
fn decode(bytes: &[u8]) -> usize {
    match bytes {
        b"bad" => std::process::abort(),
        b"endless" => loop {
            std::hint::black_box(bytes);
        },
        b"huge" => (0..1 << 20).map(|_| vec![1_u8; 1 << 20]).collect::<Vec<_>>().len(),
        bytes => bytes[0].into(),
    }
}

#[cfg(test)]
mod tests {
    use super::decode;
    use std::time::Duration;
    use watertight::{Dies, Signal, assert_dies, isolate};

    #[watertight::test]
    fn a_bad_input_kills_only_its_own_process() {
        assert_dies!(Signal::SIGABRT, || decode(b"bad"));
        assert_eq!(decode(b"a good one"), 97);
    }

    #[watertight::test]
    fn an_empty_input_panics() {
        assert_dies!(Dies::Panic("index out of bounds"), || decode(b""));
    }

    #[watertight::test]
    fn an_endless_input_is_stopped() {
        assert_dies!(Dies::TimeOut(Duration::from_millis(200)), || decode(b"endless"));
    }

    #[watertight::test]
    fn a_huge_input_is_told_from_a_crash() {
        let outcome = isolate(|| decode(b"huge")).memory_limit(64 << 20).run();
        assert!(outcome.is_memory_limit(), "{outcome:?}");
    }
}
