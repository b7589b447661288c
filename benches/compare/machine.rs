//! What the table was measured on.

use std::fs;
use std::process::Command;

/// The load averages now.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// Machine, versions, and how loaded it was.
pub(crate) fn describe(rounds: usize, load_before: &str) -> String {
    let lines = [
        format!("machine: {}, {} processors, Linux {}", processor(), watertight::cpu_count(), kernel()),
        format!("peers: {}, procspawn 1.0.2", python()),
        format!("executable: {} KiB, of which each worker is a process", executable() / 1024),
        format!("rounds: {rounds}, interleaved; load average before {load_before}, after {}", load()),
    ];
    lines.join("\n")
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split(": ").nth(1)).unwrap_or("processor unknown").to_owned()
}

fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

fn python() -> String {
    let output = Command::new("python3").arg("--version").output();
    output.map_or_else(
        |_| "no python3".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

fn executable() -> u64 {
    let metadata = std::env::current_exe().and_then(fs::metadata);
    metadata.map_or(0, |metadata| metadata.len())
}
