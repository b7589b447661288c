//! The worker executable, started by somebody who is no keeper.

use std::process::{Command, Stdio};

#[test]
fn a_worker_that_is_started_by_hand_explains_itself() {
    let mut worker = Command::new(env!("CARGO_BIN_EXE_watertight-worker"));
    let output = worker.stdin(Stdio::null()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr.starts_with("watertight-worker "), "{stderr}");
    assert!(stderr.contains("watertight tasks"), "{stderr}");
    assert_eq!(output.stdout, b"");
}
