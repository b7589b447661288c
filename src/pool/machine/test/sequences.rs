//! Sequences of events that nobody has thought of, against a simple reference.

use super::choices::for_random_choices;
use super::world::World;

#[test]
fn whatever_happens_each_task_ends_once_and_the_pool_comes_to_its_end() {
    let seeds = std::env::var("WATERTIGHT_MACHINE_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    for_random_choices(0..seeds.unwrap_or(40), 1000, |choices| World::new(choices).run());
}
