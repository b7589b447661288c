//! What is counted of each unit, in shared memory where that can be had: readers cost this process nothing.

use crate::supervisor::control::protocol::Answer;
use crate::supervisor::machine::UnitId;
use crate::supervisor::status::TaskCounts;
use crate::sync::counters::{Count, Counters};
use crate::sys::{clock, cpu};

use super::{Driver, Watcher};

/// How many workers of a pool have a place in its counters.
const MOST_PLACES: usize = 4096;

impl Driver {
    /// The counters of a unit, made when they are first needed. Where there is no shared memory, they are this
    /// process's own.
    pub(super) fn counters_of(&mut self, unit: UnitId) -> Counters {
        if let Some(counters) = self.counters.get(&unit) {
            return counters.clone();
        }
        let places = self.places(unit);
        let counters = Counters::published(places).unwrap_or_else(|error| {
            tracing::warn!(%error, "counters are not shared");
            Counters::own(places)
        });
        self.counters.insert(unit, counters.clone());
        if let Some(answer) = self.counters_answer(unit) {
            self.tell(&answer, |watcher| watcher.counters);
        }
        counters
    }

    /// How many processes may work for a unit: none for a program.
    fn places(&self, unit: UnitId) -> usize {
        let name = &self.machine.unit(unit).name;
        let pool = self.machine.specification().pools.iter().find(|pool| *pool.name == **name);
        let size = |size: Option<u32>| size.map_or_else(cpu::cpu_count, |size| size as usize);
        pool.map_or(0, |pool| (size(pool.size) + pool.spares as usize).min(MOST_PLACES))
    }

    /// What a reader needs to look for itself.
    fn counters_answer(&self, unit: UnitId) -> Option<Answer> {
        let handle = self.counters.get(&unit)?.handle()?;
        let handle = serde_json::to_value(handle).ok()?;
        Some(Answer::Counters { name: self.machine.unit(unit).label(), tree: crate::roster::tree(), handle })
    }

    /// Tells a new watcher where all counters are.
    pub(super) fn tell_counters(&mut self, watcher: &Watcher) {
        let units: Vec<UnitId> = self.machine.units().map(|(unit, _)| unit).collect();
        for unit in units {
            self.counters_of(unit);
            if let Some(answer) = self.counters_answer(unit) {
                self.say(&watcher.asker, &answer);
            }
        }
    }

    /// A sign of life came.
    pub(super) fn count_heartbeat(&mut self, unit: UnitId) {
        self.counters_of(unit).set(Count::Heartbeat, clock::monotonic_nanos() / 1_000_000);
    }

    /// Milliseconds since the last sign of life.
    pub(super) fn heartbeat_of(&self, unit: UnitId) -> Option<u64> {
        self.counters.get(&unit).and_then(crate::supervisor::status::since_heartbeat)
    }

    /// The counts of a pool's tasks.
    pub(super) fn tasks_of(&self, unit: UnitId) -> Option<TaskCounts> {
        let is_pool = self.places(unit) > 0;
        self.counters.get(&unit).filter(|_| is_pool).map(TaskCounts::of)
    }
}
