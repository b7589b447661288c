//! Every event in every state, and every other event after that: nothing is lost, and all comes to an end.

use std::panic::catch_unwind;
use std::time::Duration;

use super::super::{Batch, Config, Event};
use super::bench::{MILLISECOND, SECOND, batch, config};
use super::reference::Unwanted;
use super::workers::{Ends, Starts};
use super::world::World;

type Step = (&'static str, fn(&mut World));

fn task() -> Batch {
    Batch { attempts: 2, timeout: Some(SECOND), ..batch(1, 1) }
}

fn act_all(world: &mut World) {
    while !world.deferred.is_empty() {
        world.act();
    }
}

/// Two workers, and the first one runs a task.
fn run(world: &mut World) {
    act_all(world);
    world.submit(task());
    world.work(0, Ends::Well);
}

/// Two workers that are known to be quick, and have more before them than they have begun.
fn run_laden(world: &mut World) {
    act_all(world);
    for _ in 0..3 {
        world.submit(Batch { count: 2, ..task() });
        for slot in 0..2 {
            world.work(slot, Ends::Well);
            world.later(MILLISECOND);
            world.work(slot, Ends::Well);
            world.read(slot);
        }
    }
    world.submit(Batch { count: 8, ..task() });
    world.work(0, Ends::Well);
}

fn time_out(world: &mut World) {
    run(world);
    world.rest();
    world.until_alarm();
}

fn fail_to_start(world: &mut World) {
    world.starts = Starts::Fail;
    act_all(world);
}

fn break_down(world: &mut World) {
    world.submit(task());
    (0..world.processes.len()).for_each(|slot| world.end(slot));
    for _ in 0..6 {
        fail_to_start(world);
        world.rest();
        world.until_alarm();
    }
    world.starts = Starts::Work;
    assert!(world.machine.broken().is_some());
}

const STATES: &[Step] = &[
    ("nothing is started yet", |_| ()),
    ("workers are idle", act_all),
    ("a task waits for its worker to start", |world| world.submit(task())),
    ("a task is given and not begun", |world| {
        act_all(world);
        world.submit(task());
    }),
    ("a task runs", run),
    ("tasks run and others are ahead", run_laden),
    ("a result is not read", |world| {
        run(world);
        world.work(0, Ends::Well);
    }),
    ("a result is not read and the next task has begun", |world| {
        run_laden(world);
        world.work(0, Ends::Well);
        world.work(0, Ends::Well);
    }),
    ("a task has timed out", time_out),
    ("a worker is being killed", |world| {
        time_out(world);
        world.rest();
        world.until_alarm();
        act_all(world);
    }),
    ("a worker should be killed and the keeper is stopped", |world| {
        time_out(world);
        world.keeper_is_stopped = true;
        world.rest();
        world.until_alarm();
        act_all(world);
    }),
    ("a running task was cancelled", |world| {
        run(world);
        world.call_off(1, Unwanted::Cancelled);
    }),
    ("what has not begun was withdrawn", |world| {
        run_laden(world);
        world.call_off(1, Unwanted::Withdrawn);
    }),
    ("a worker is doomed", |world| {
        run_laden(world);
        world.break_protocol(0);
    }),
    ("a worker leaves with a task that runs", |world| {
        act_all(world);
        world.submit(Batch { count: 2, ..task() });
        world.work(1, Ends::Well);
        world.resize(1);
    }),
    ("workers start again in a while", fail_to_start),
    ("a task waits for its next attempt", |world| {
        run(world);
        world.work(0, Ends::Badly);
        world.read(0);
    }),
    ("the pool is closed and busy", |world| {
        run_laden(world);
        world.run_event(Event::Close);
    }),
    ("the pool is closed and idle", |world| {
        act_all(world);
        world.run_event(Event::Close);
    }),
    ("the pool is terminated", |world| {
        run_laden(world);
        world.terminate();
    }),
    ("the pool is broken", break_down),
];

const EVENTS: &[Step] = &[
    ("a task is submitted", |world| world.submit(task())),
    ("many are submitted", |world| world.submit(Batch { job: 2, count: 50, ..task() })),
    ("the driver acts", act_all),
    ("the driver acts in vain", fail_to_start),
    ("a worker works", |world| world.work(0, Ends::Well)),
    ("a worker works to no good end", |world| world.work(0, Ends::Badly)),
    ("results are read", |world| (0..world.processes.len()).for_each(|slot| world.read(slot))),
    ("a worker dies", |world| world.end(0)),
    ("another worker dies", |world| world.end(1)),
    ("a worker breaks the protocol", |world| world.break_protocol(0)),
    ("a job is cancelled", |world| world.call_off(1, Unwanted::Cancelled)),
    ("a job is withdrawn", |world| world.call_off(1, Unwanted::Withdrawn)),
    ("the pool shrinks", |world| world.resize(1)),
    ("the pool grows", |world| world.resize(3)),
    ("the pool is closed", |world| world.run_event(Event::Close)),
    ("the pool is terminated", World::terminate),
    ("a little time passes", |world| world.later(MILLISECOND)),
    ("time passes", World::until_alarm),
    ("much time passes", |world| world.later(Duration::from_secs(60))),
];

fn other_configs() -> [Config; 3] {
    [
        Config { spares: 1, ..config(2) },
        Config { max_tasks_per_worker: Some(2), backoff: Duration::ZERO, ..config(2) },
        Config { initializer: true, grace: Duration::ZERO, ..config(2) },
    ]
}

/// Sets up the state; not every one comes about with every configuration.
fn world(config: &Config, state: fn(&mut World)) -> World {
    let mut world = World::new(config.clone());
    if config.initializer {
        act_all(&mut world);
        for slot in 0..2 {
            world.work(slot, Ends::Well);
            world.read(slot);
        }
    }
    state(&mut world);
    world.rest();
    world
}

/// Both events, one after the other, and then the end.
fn play(config: &Config, state: fn(&mut World), events: [fn(&mut World); 2]) {
    let mut world = world(config, state);
    for event in events {
        event(&mut world);
        world.rest();
    }
    world.come_to_an_end();
}

fn play_all(config: &Config, seconds: &[Step]) {
    for (state, set_up) in STATES {
        for (first, one) in EVENTS {
            for (second, two) in seconds {
                let played = catch_unwind(|| play(config, *set_up, [*one, *two]));
                assert!(played.is_ok(), "{state}; {first}; {second}; with {config:?}");
            }
        }
    }
}

#[test]
fn every_two_events_in_every_state_lose_nothing_and_all_comes_to_an_end() {
    play_all(&config(2), EVENTS);
}

#[test]
fn every_event_in_every_state_of_other_pools_loses_nothing_and_all_comes_to_an_end() {
    for config in other_configs() {
        play_all(&config, &[("time passes", World::until_alarm)]);
    }
}
