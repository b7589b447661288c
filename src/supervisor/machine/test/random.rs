//! Random trees under random events.

use super::*;

/// Random trees under random events: never two generations, never a signal to the dead, never a start before its
/// back-off, and an end that is reached whatever happened before.
#[test]
fn whatever_happens_the_rules_hold_and_the_end_is_reached() {
    for seed in 1_u64..400 {
        let mut random = Random(seed);
        let mut world = World::new(random_specification(&mut random));
        for _ in 0..120 {
            random_event(&mut world, &mut random);
        }
        world.send(Event::ShutDown { at_once: false });
        for _ in 0..200 {
            if let Some(unit) = world.alive.keys().copied().next_back() {
                world.start_all();
                world.end_unit(unit, End::Success);
            }
        }
        assert!(world.finished, "seed {seed}: {:?}", world.running());
        assert_eq!(world.machine.wake_at(), None, "seed {seed}");
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn random_specification(random: &mut Random) -> Specification {
    let policies = [RestartPolicy::Permanent, RestartPolicy::Transient, RestartPolicy::Temporary];
    let strategies = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne];
    let rules = [AutoShutdown::Never, AutoShutdown::AnySignificant, AutoShutdown::AllSignificant];
    let mut programs = Vec::new();
    for at in 0..5 {
        let mut program = program(&format!("p{at}"));
        program.restart = policies[random.below(3) as usize];
        program.replicas = 1 + random.below(2) as u32;
        program.significant = random.below(3) == 0 && program.restart != RestartPolicy::Permanent;
        program.readiness = if random.below(2) == 0 { Readiness::Notify } else { Readiness::None };
        if at > 0 && random.below(2) == 0 {
            let name = format!("p{}", random.below(at));
            program.depends_on.push(DependsOn { name, condition: Condition::Started });
        }
        programs.push(program);
    }
    let mut all = specification(programs);
    all.root.strategy = strategies[random.below(3) as usize];
    all.root.auto_shutdown = rules[random.below(3) as usize];
    all.root.intensity.restarts = random.below(20) as u32;
    let supervision = Supervision {
        strategy: strategies[random.below(3) as usize],
        intensity: Intensity { restarts: random.below(4) as u32, period: 60 * SECOND },
        auto_shutdown: rules[random.below(3) as usize],
    };
    all.groups.push(Group {
        name: "g".into(),
        children: vec!["p3".into(), "p4".into()],
        supervision,
        restart: policies[random.below(3) as usize],
        significant: false,
        depends_on: vec![],
    });
    all.order.push("g".into());
    all
}

fn random_event(world: &mut World, random: &mut Random) {
    let count = world.machine.units.len() as u64;
    let unit = random.below(count) as usize;
    match random.below(12) {
        0..=3 => world.start_all(),
        4 | 5 => {
            let before = world.machine.unit(unit).failures;
            if world.alive.remove(&unit).is_some() {
                let end = if random.below(2) == 0 { End::Success } else { End::Failure };
                let (starts, now) = (world.starts.len(), world.now);
                // A person asked for it to be started anew, or will be heard next.
                let rolls = world.machine.rolling.contains(&unit);
                let asked = rolls || world.machine.unit(unit).leaving.is_some();
                world.send(Event::Ended { unit, end });
                let at_once = world.starts[starts..].contains(&(unit, now));
                assert!(asked || !at_once, "a start before its back-off, after {before} failures");
            }
        }
        6 => world.send(Event::Ready { unit }),
        7 => world.pass(Duration::from_millis(random.below(20_000))),
        8 => world.send(Event::Stop { units: vec![unit] }),
        9 => world.send(Event::Start { units: vec![unit] }),
        10 => world.send(Event::Restart { units: vec![unit], rolling: random.below(2) == 0 }),
        _ => {
            let replicas = random.below(4) as u32;
            let actions = world.machine.scale("p1", replicas, world.now);
            world.act(actions);
        }
    }
}
