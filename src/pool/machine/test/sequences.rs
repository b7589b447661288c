//! Sequences of events that nobody has thought of, against a simple reference.

use std::time::Duration;

use super::super::{Batch, Config, Event, JobKey, Stage};
use super::bench::MILLISECOND;
use super::choices::{Choices, for_random_choices};
use super::reference::Unwanted;
use super::workers::{Ends, Starts};
use super::world::World;

fn any_config(choices: &mut Choices) -> Config {
    Config {
        workers: 1 + choices.below(3),
        spares: choices.one_of(&[0, 0, 1]),
        max_tasks_per_worker: choices.one_of(&[None, None, Some(1), Some(3)]),
        grace: choices.one_of(&[200 * MILLISECOND, Duration::ZERO]),
        backoff: choices.one_of(&[10 * MILLISECOND, Duration::ZERO, Duration::from_secs(60)]),
        initializer: choices.below(4) == 3,
        initializer_timeout: choices.one_of(&[None, None, Some(100 * MILLISECOND)]),
        timeout: choices.one_of(&[None, None, Some(100 * MILLISECOND)]),
        bytes_ahead: choices.one_of(&[1 << 16, 64]),
        chunk: choices.one_of(&[None, None, Some(3)]),
    }
}

/// Of the latest job, or of a new one.
fn any_batch(choices: &mut Choices, latest: JobKey, chunk: Option<u32>) -> Batch {
    Batch {
        job: latest + u64::from(choices.below(3) == 0),
        count: choices.one_of(&[1, 2, 5, 40]),
        bytes: choices.one_of(&[10, 1000, 100_000]),
        attempts: choices.one_of(&[1, 2, 3]),
        timeout: choices.one_of(&[None, Some(100 * MILLISECOND), Some(Duration::from_secs(5))]),
        chunk,
    }
}

/// Something happens.
fn step(world: &mut World, choices: &mut Choices) {
    let slot = choices.below(world.processes.len());
    match choices.below(32) {
        0..4 => act(world, choices),
        4..9 => world.work(slot, choices.one_of(&[Ends::Well, Ends::Well, Ends::Well, Ends::Badly])),
        9..13 => world.read(slot),
        13..15 => world.end(slot),
        15..18 => submit(world, choices),
        18 => world.refuse(slot),
        19 => world.break_protocol(slot),
        20 => {
            let job = 1 + choices.below(world.jobs.len()) as JobKey;
            world.call_off(job, choices.one_of(&[Unwanted::Cancelled, Unwanted::Withdrawn]));
        }
        21 => world.resize(1 + choices.below(4)),
        22..25 => world.later(choices.one_of(&[MILLISECOND / 10, 2 * MILLISECOND, 300 * MILLISECOND])),
        25..28 => world.until_alarm(),
        28 if choices.below(16) == 15 => world.keeper_is_stopped = true,
        29 if choices.below(16) == 15 => world.run_event(Event::Close),
        30 if choices.below(64) == 63 => world.terminate(),
        _ => act(world, choices),
    }
}

fn act(world: &mut World, choices: &mut Choices) {
    world.starts = if choices.below(8) == 7 { Starts::Fail } else { Starts::Work };
    world.act();
}

fn submit(world: &mut World, choices: &mut Choices) {
    // Somebody may submit who does not know yet that the pool is closed.
    if world.machine.stage() == Stage::Open || choices.below(8) == 7 {
        let latest = world.jobs.len() as JobKey;
        let batch = any_batch(choices, latest.max(1), world.config.chunk);
        world.submit(batch);
    }
}

#[test]
fn whatever_happens_each_task_ends_once_and_the_pool_comes_to_its_end() {
    let seeds = std::env::var("WATERTIGHT_MACHINE_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    for_random_choices(0..seeds.unwrap_or(40), 1000, |mut choices| {
        let mut world = World::new(any_config(&mut choices));
        while !choices.is_used_up() {
            step(&mut world, &mut choices);
            world.rest();
        }
        world.come_to_an_end();
    });
}
