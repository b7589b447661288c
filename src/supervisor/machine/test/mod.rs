//! The machine alone: processes are played, the clock is a number.

mod random;
mod starts;
mod stops;
mod world;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::supervisor::specification::{
    AutoShutdown, Condition, DependsOn, Group, Intensity, Program, Readiness, RestartPolicy, Specification,
    StopLadder, StopStep, Strategy, Supervision,
};

use super::*;
use world::World;

const SECOND: Duration = Duration::from_secs(1);

fn program(name: &str) -> Program {
    let mut program = Program::new(name, vec!["true".into()]);
    program.backoff.jitter = 0.0;
    program
}

fn after(name: &str, others: &[(&str, Condition)]) -> Program {
    let on =
        |(name, condition): &(&str, Condition)| DependsOn { name: (*name).into(), condition: *condition };
    Program { depends_on: others.iter().map(on).collect(), ..program(name) }
}

fn specification(programs: Vec<Program>) -> Specification {
    let order = programs.iter().map(|program| program.name.clone()).collect();
    Specification { programs, order, ..Specification::default() }
}

fn terms(names: &[&str]) -> Vec<(String, Signal)> {
    names.iter().map(|name| ((*name).to_owned(), Signal::SIGTERM)).collect()
}
