//! The command line, also of the processes that the comparison starts.

use crate::contender::{Peer, Placement};
use crate::program::Program;
use crate::work::{GROUPS, ROWS, Row};

/// What the comparison is to do.
pub(crate) struct Arguments {
    pub(crate) rounds: usize,
    pub(crate) markdown: bool,
    pub(crate) placements: Vec<Placement>,
    pub(crate) rows: Vec<&'static Row>,
}

/// What this process is.
pub(crate) enum Task {
    Compare(Arguments),
    /// A peer, which does what it is asked on stdin.
    Serve(Peer, Placement),
    /// A program that measures its own beginning.
    Run(Program),
    /// What `cargo test --benches` asks for.
    Nothing,
}

/// Rounds of a full comparison, and of a quick one.
const FULL: usize = 10;
const QUICK: usize = 3;

impl Arguments {
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Task, String> {
        let mut arguments = Arguments {
            rounds: if std::env::var_os("WATERTIGHT_BENCH_QUICK").is_some() { QUICK } else { FULL },
            markdown: false,
            placements: vec![Placement::Free, Placement::Pinned],
            rows: Vec::new(),
        };
        let mut words = words;
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
            match word.as_str() {
                // cargo says so.
                "--bench" => {}
                "--test" => return Ok(Task::Nothing),
                "--quick" => arguments.rounds = QUICK,
                "--rounds" => arguments.rounds = value()?.parse().map_err(|_| "--rounds wants a number")?,
                "--markdown" => arguments.markdown = true,
                "--pinned" => arguments.placements = vec![Placement::Pinned],
                "--unpinned" => arguments.placements = vec![Placement::Free],
                "--peer" => {
                    let peer = Peer::from_name(&value()?).ok_or("no such peer")?;
                    return Ok(Task::Serve(peer, *arguments.placements.first().unwrap_or(&Placement::Free)));
                }
                "--program" => {
                    return Ok(Task::Run(Program::from_name(&value()?).ok_or("no such program")?));
                }
                key => arguments.rows.extend(rows(key)?),
            }
        }
        if arguments.rows.is_empty() {
            arguments.rows = ROWS.iter().collect();
        }
        Ok(Task::Compare(arguments))
    }
}

/// The rows of a key, or of a group.
fn rows(key: &str) -> Result<Vec<&'static Row>, String> {
    match GROUPS.iter().find(|(name, _)| *name == key) {
        Some((_, works)) => Ok(ROWS.iter().filter(|row| works.contains(&row.work)).collect()),
        None => row(key).map(|row| vec![row]),
    }
}

fn row(key: &str) -> Result<&'static Row, String> {
    ROWS.iter().find(|row| row.key == key).ok_or_else(|| {
        let keys: Vec<&str> = ROWS.iter().map(|row| row.key).collect();
        format!("no row is called {key}; there are {}", keys.join(", "))
    })
}
