//! What supervision costs, beside doing the same by hand and beside supervisord. Run with
//! `cargo bench --bench supervise`; `docs/benchmarks.md` tells how it is measured.
//!
//! `--rounds N` takes N rounds in place of 5. supervisord is looked for in `SUPERVISORD`, then on PATH.
#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

mod by_hand;
mod scene;
mod sides;
mod work;

use scene::Scene;
use sides::Side;
use work::{Row, rows};

#[expect(clippy::print_stdout, reason = "a benchmark's output")]
fn main() {
    let words: Vec<String> = std::env::args().collect();
    let given =
        words.iter().position(|word| word == "--rounds").and_then(|at| words.get(at + 1)?.parse().ok());
    let rounds: usize = given.unwrap_or(5);
    let peer = sides::supervisord();
    println!("rounds: {rounds}; load average before {}", load());
    if peer.is_none() {
        println!("supervisord is not there: `pip install supervisor`, or name it in SUPERVISORD");
    }
    println!("\n| work | bar | watertight | by hand | supervisord |\n| --- | --- | --- | --- | --- |");
    for row in rows() {
        println!("{}", measure(&row, rounds, peer.as_deref()));
    }
    println!("\nload average after {}", load());
}

/// A row of the table: medians of the rounds, in which everybody has a turn.
fn measure(row: &Row, rounds: usize, peer: Option<&std::path::Path>) -> String {
    let (mut ours, mut hand, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours.push((row.supervised)(&Scene::new(), &Side::Watertight));
        hand.extend(row.by_hand.map(|by_hand| by_hand(&Scene::new())));
        theirs.extend(peer.map(|path| (row.supervised)(&Scene::new(), &Side::Supervisord(path.to_owned()))));
    }
    let (ours, hand, theirs) = (median(ours), median(hand), median(theirs));
    let reached = if (row.reached)(ours.unwrap(), hand) { "✓" } else { "✗" };
    let beside = |other: Option<f64>| match other {
        Some(other) => format!("{} · {:.2}×", (row.show)(other), other / ours.unwrap()),
        None => "—".to_owned(),
    };
    let (own, hand, theirs) = ((row.show)(ours.unwrap()), beside(hand), beside(theirs));
    format!("| {} | {} {reached} | {own} | {hand} | {theirs} |", row.work, row.bar)
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}
