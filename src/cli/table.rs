//! Status as a table.

use std::time::Duration;

use bytesize::ByteSize;

use crate::supervisor::{Death, UnitStatus};

const HEADS: [&str; 9] = ["NAME", "STATE", "PID", "UPTIME", "STARTS", "RESTARTS", "CPU", "RSS", "LAST EXIT"];

/// A line for each unit, beneath the heads.
pub(super) fn table(units: &[UnitStatus]) -> Vec<String> {
    let rows: Vec<[String; 9]> = units.iter().map(row).collect();
    let heads = HEADS.map(str::to_owned);
    let all: Vec<&[String; 9]> = [&heads].into_iter().chain(&rows).collect();
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADS.len()).map(width).collect();
    let line = |row: &[String; 9]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all.into_iter().map(line).collect()
}

fn row(unit: &UnitStatus) -> [String; 9] {
    let state = format!("{:?}", unit.state).to_lowercase();
    let state = match (&unit.waits_for, unit.next_start_ms) {
        (Some(other), _) => format!("{state} for {other}"),
        (None, Some(wait)) => format!("{state} {}", time(wait)),
        (None, None) => state,
    };
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    [
        unit.name.clone(),
        state,
        or_dash(unit.pid.map(|pid| pid.to_string())),
        or_dash(unit.uptime_ms.map(time)),
        unit.starts.to_string(),
        unit.restarts.to_string(),
        or_dash(unit.cpu_ms.map(time)),
        or_dash(unit.rss.map(|rss| ByteSize(rss).display().iec().to_string())),
        or_dash(unit.last_exit.clone()),
    ]
}

/// The deaths of a unit, the newest first.
pub(super) fn deaths(unit: &UnitStatus) -> Vec<String> {
    let mut lines = Vec::new();
    for death in &unit.deaths {
        lines.push(format!("{} start {}: {}", unit.name, death.generation, death.how));
        lines.push(details(death));
    }
    if !unit.stderr.is_empty() {
        lines.push(format!("{} last wrote to stderr:", unit.name));
        lines.extend(unit.stderr.iter().map(|line| format!("    {line}")));
    }
    lines
}

fn details(death: &Death) -> String {
    let mut parts = vec![format!("after {}", time(death.uptime_ms)), format!("cause: {}", death.cause)];
    parts.extend(death.max_rss.map(|rss| format!("at most {}", ByteSize(rss).display().iec())));
    parts.extend((death.strays_killed > 0).then(|| format!("{} strays killed", death.strays_killed)));
    parts.push(death.decision.clone());
    format!("    {}", parts.join("; "))
}

fn time(milliseconds: u64) -> String {
    let time = Duration::from_millis(milliseconds);
    let time = if milliseconds >= 1000 { Duration::from_secs(time.as_secs()) } else { time };
    humantime::format_duration(time).to_string()
}
