//! The table: medians, and how many times better or worse that is than Watertight.

use comfy_table::{Table, presets};

use crate::answer::Answer;
use crate::contender::{Peer, Placement};
use crate::rounds::Samples;
use crate::work::{Goal, Unit};

/// Where the table is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Terminal,
    Markdown,
}

pub(crate) fn render(all: &[Samples], format: Format) -> String {
    let mut table = Table::new();
    table.load_style(match format {
        Format::Terminal => presets::UTF8_FULL_CONDENSED,
        Format::Markdown => presets::ASCII_MARKDOWN,
    });
    table.set_header(["work", "on", "goal", "watertight", "±", "Python", "procspawn", "limit"]);
    let mut last = None;
    for samples in all {
        let mut cells = cells(samples, format);
        if last.replace(samples.row.key) == Some(samples.row.key) {
            cells[0].clear();
        }
        table.add_row(cells);
    }
    let notes = "on: all processors or one. n×: how many times better Watertight is (below 1: worse). ±: half of the \
                 middle half of\nWatertight's rounds. never: it was tried, and no answer came. —: there is no such thing.";
    format!("{table}\n\n{notes}")
}

fn cells(samples: &Samples, format: Format) -> Vec<String> {
    let row = samples.row;
    let line = if format == Format::Markdown { "<br>" } else { "\n" };
    let placement = match samples.placement {
        Placement::Free => "all",
        Placement::Pinned => "one",
    };
    let ours = samples.median(Peer::Watertight);
    let spread = samples.spread(Peer::Watertight);
    let mut cells = vec![
        format!("{}{line}{}", row.name, row.detail),
        placement.to_owned(),
        goal(samples),
        text(ours, row.unit),
        spread.map_or_else(String::new, |spread| format!("{:.0} %", spread * 50.0)),
    ];
    for peer in [Peer::Python, Peer::Procspawn, Peer::Limit] {
        let theirs = samples.median(peer);
        let ratio = ratio(ours, theirs, row.unit).map_or_else(String::new, |ratio| format!(" · {ratio}×"));
        cells.push(format!("{}{ratio}", text(theirs, row.unit)));
    }
    cells
}

/// How many times better `ours` is.
fn ratio(ours: Answer, theirs: Answer, unit: Unit) -> Option<String> {
    let (Answer::Value(ours), Answer::Value(theirs)) = (ours, theirs) else { return None };
    let ratio = if less_is_better(unit) { theirs / ours } else { ours / theirs };
    ratio.is_finite().then(|| significant(ratio))
}

fn less_is_better(unit: Unit) -> bool {
    match unit {
        Unit::Time | Unit::Count | Unit::Memory => true,
        Unit::Rate | Unit::Bandwidth => false,
    }
}

fn goal(samples: &Samples) -> String {
    let row = samples.row;
    let goal = match samples.placement {
        Placement::Pinned => row.goal_pinned.unwrap_or(row.goal),
        Placement::Free => row.goal,
    };
    let limit = match samples.median(Peer::Limit) {
        Answer::Value(limit) => limit,
        _ => f64::NAN,
    };
    let (words, bound) = match goal {
        Goal::None => return "—".to_owned(),
        Goal::AtMost(most) => (format!("≤ {}", bound_text(most, row.unit)), most),
        Goal::AtLeast(least) => (format!("≥ {}", bound_text(least, row.unit)), least),
        Goal::TimesLimit(times) => (format!("≤ {times} × limit"), limit * times),
    };
    let Answer::Value(ours) = samples.median(Peer::Watertight) else { return words };
    let reached = if less_is_better(row.unit) { ours <= bound } else { ours >= bound };
    format!("{words} {}", if reached { "✓" } else { "✗" })
}

fn text(answer: Answer, unit: Unit) -> String {
    match answer {
        Answer::Value(value) => value_text(value, unit),
        Answer::Never => "never".to_owned(),
        Answer::Absent | Answer::Held => "—".to_owned(),
    }
}

fn value_text(value: f64, unit: Unit) -> String {
    let scales: &[(f64, &str)] = match unit {
        Unit::Time => &[(1.0, " s"), (1e-3, " ms"), (1e-6, " µs"), (1e-9, " ns")],
        Unit::Rate => &[(1e6, " M/s"), (1e3, " k/s"), (1.0, " /s")],
        Unit::Bandwidth => &[(1e9, " GB/s"), (1e6, " MB/s")],
        Unit::Count => &[(1.0, "")],
        Unit::Memory => &[(1048576.0, " MiB"), (1024.0, " KiB")],
    };
    // 0.9 µs reads better than 900 ns: a smaller unit begins at a tenth.
    let fits = |(scale, _): &&(f64, &str)| value >= scale * 0.1;
    let (scale, name) = scales.iter().find(fits).or(scales.last()).copied().unwrap_or((1.0, ""));
    format!("{}{name}", significant(value / scale))
}

/// A goal is a round number.
fn bound_text(value: f64, unit: Unit) -> String {
    let text = value_text(value, unit);
    let (number, unit) = text.split_once(' ').unwrap_or((&text, ""));
    let number =
        if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    format!("{number} {unit}").trim_end().to_owned()
}

/// Three digits where they mean something.
fn significant(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}
