//! Three processes add to one number.

use watertight::{Process, Value};

fn add(sum: Value<f64>, summand: f64) {
    *sum.lock().expect("nobody dies holding it") += summand;
}

fn main() -> watertight::Result<()> {
    watertight::init();
    let sum = Value::new(0.0)?;
    let mut processes = Vec::new();
    for summand in [1.0, 2.0, 3.0] {
        processes.push(Process::spawn(add, (sum.clone(), summand))?);
    }
    for process in processes {
        process.join()?;
    }
    println!("{:.1}", sum.get()?);
    assert_eq!(sum.get()?, 6.0);
    Ok(())
}
