//! Two processes count in shared memory, under the counter's lock.

use watertight::{Process, Value};

fn count(counter: Value<u64>) {
    for _ in 0..1_000_000 {
        *counter.lock().expect("nobody dies holding it") += 1;
    }
}

fn main() -> watertight::Result<()> {
    watertight::init();
    let counter = Value::new(0)?;
    let processes = [Process::spawn(count, (counter.clone(),))?, Process::spawn(count, (counter.clone(),))?];
    for process in processes {
        process.join()?;
    }
    println!("{}", counter.get()?);
    assert_eq!(counter.get()?, 2_000_000);
    Ok(())
}
