//! Ten processes print two lines each, and no line of another comes between.

use watertight::Process;
use watertight::sync::Lock;

fn greet(lock: Lock, number: u32) {
    let _guard = lock.lock().expect("nobody dies holding it");
    println!("hello from {number},");
    println!("    says process {}", std::process::id());
}

fn main() -> watertight::Result<()> {
    watertight::init();
    let lock = Lock::new()?;
    let mut processes = Vec::new();
    for number in 0..10 {
        processes.push(Process::spawn(greet, (lock.clone(), number))?);
    }
    for process in processes {
        process.join()?;
    }
    Ok(())
}
