//! Two workers take two locks in opposite order. One of them gets an error that names the circle, backs off,
//! and both come to their end.

use watertight::Process;
use watertight::sync::{Barrier, Lock, LockError};

fn transfer(from: Lock, to: Lock, both_hold_one: Barrier) -> Option<String> {
    let mut report = None;
    let first = from.lock().expect("nobody dies holding it");
    both_hold_one.wait().expect("both come");
    match to.lock() {
        Ok(_both) => return report,
        Err(LockError::Deadlock(deadlock)) => report = Some(deadlock.to_string()),
        Err(error) => panic!("{error}"),
    }
    // Back off, and take them again when the other one is done.
    drop(first);
    let _to = to.lock().expect("the other one goes on");
    let _from = from.lock().expect("the other one is done");
    report
}

fn main() -> watertight::Result<()> {
    watertight::init();
    let (savings, current) = (Lock::new()?.named("savings"), Lock::new()?.named("current"));
    let barrier = Barrier::new(2)?;
    let processes = [
        Process::spawn(transfer, (savings.clone(), current.clone(), barrier.clone()))?,
        Process::spawn(transfer, (current, savings, barrier))?,
    ];
    let mut reports = Vec::new();
    for process in processes {
        reports.extend(process.join()?);
    }
    assert_eq!(reports.len(), 1, "exactly one of them has to give way");
    println!("{}", reports[0]);
    Ok(())
}
