//! Status as a table.

use std::time::Duration;

use bytesize::ByteSize;

use crate::supervisor::{Death, TaskCounts, UnitStatus};

const HEADS: [&str; 13] = [
    "NAME",
    "STATE",
    "PID",
    "UPTIME",
    "STARTS",
    "RESTARTS",
    "CPU",
    "RSS",
    "HEARTBEAT",
    "DONE",
    "FAILED",
    "PENDING",
    "LAST EXIT",
];

/// These are shown only where one of the units has them.
const RARE: std::ops::Range<usize> = 8..12;

type Row = [String; HEADS.len()];

/// A line for each unit, beneath the heads.
pub(super) fn table(units: &[UnitStatus]) -> Vec<String> {
    let rows: Vec<Row> = units.iter().map(row).collect();
    let is_shown = |column: &usize| !RARE.contains(column) || rows.iter().any(|row| row[*column] != "-");
    let columns: Vec<usize> = (0..HEADS.len()).filter(is_shown).collect();
    let heads: Row = HEADS.map(str::to_owned);
    let all: Vec<&Row> = [&heads].into_iter().chain(&rows).collect();
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADS.len()).map(width).collect();
    let line = |row: &Row| {
        let cells = columns.iter().map(|column| format!("{:<width$}", row[*column], width = widths[*column]));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all.into_iter().map(line).collect()
}

fn row(unit: &UnitStatus) -> Row {
    let state = format!("{:?}", unit.state).to_lowercase();
    let state = match (&unit.waits_for, unit.next_start_ms) {
        (Some(other), _) => format!("{state} for {other}"),
        (None, Some(wait)) => format!("{state} {}", time(wait)),
        (None, None) => state,
    };
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let workers = match unit.workers.len() {
        0 => None,
        1 => Some("1 worker".to_owned()),
        many => Some(format!("{many} workers")),
    };
    let tasks =
        |count: fn(&TaskCounts) -> u64| or_dash(unit.tasks.as_ref().map(|tasks| count(tasks).to_string()));
    [
        unit.name.clone(),
        state,
        or_dash(unit.pid.map(|pid| pid.to_string()).or(workers)),
        or_dash(unit.uptime_ms.map(time)),
        unit.starts.to_string(),
        unit.restarts.to_string(),
        or_dash(unit.cpu_ms.map(time)),
        or_dash(unit.rss.map(|rss| ByteSize(rss).display().iec().to_string())),
        or_dash(unit.heartbeat_ms.map(|ago| format!("{} ago", time(ago)))),
        tasks(|tasks| tasks.done),
        tasks(|tasks| tasks.failed),
        tasks(|tasks| tasks.pending),
        or_dash(unit.last_exit.clone()),
    ]
}

/// A pool's workers and tasks, where details were asked for.
fn at_work(unit: &UnitStatus) -> Option<String> {
    let tasks = unit.tasks.filter(|_| !unit.workers.is_empty())?;
    let pids: Vec<String> = unit.workers.iter().map(u32::to_string).collect();
    let TaskCounts { busy, crashed, .. } = tasks;
    Some(format!("{} works in {}: {busy} busy, {crashed} crashed", unit.name, pids.join(" ")))
}

/// What a unit works with, and its deaths, the newest first.
pub(super) fn details(unit: &UnitStatus) -> Vec<String> {
    let mut lines = Vec::from_iter(at_work(unit));
    for death in &unit.deaths {
        lines.push(format!("{} start {}: {}", unit.name, death.generation, death.how));
        lines.push(circumstances(death));
    }
    if !unit.stderr.is_empty() {
        lines.push(format!("{} last wrote to stderr:", unit.name));
        lines.extend(unit.stderr.iter().map(|line| format!("    {line}")));
    }
    lines
}

fn circumstances(death: &Death) -> String {
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
