use watertight::{Dies, Process, Signal, assert_dies};

fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[watertight::test]
fn a_process_returns_its_functions_value() {
    assert_eq!(Process::spawn(add, (1, 2)).unwrap().join().unwrap(), 3);
}

#[watertight::test]
fn deaths_are_told() {
    assert_dies!(Signal::SIGABRT, || std::process::abort());
    assert_dies!(Dies::Exit(3), || std::process::exit(3));
    assert_dies!(Dies::Panic("out of bounds"), || Vec::<u8>::new()[std::hint::black_box(7)]);
}
