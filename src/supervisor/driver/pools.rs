//! Pools among the children. A pool takes a moment to start and to end, so threads wait for that.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use nix::sys::eventfd::EventFd;
use rustc_hash::FxHashMap;
use serde_json::Value;

use crate::Output;
use crate::supervisor::control::protocol::Answer;
use crate::supervisor::machine::{Event, UnitId};
use crate::supervisor::policy::End;
use crate::supervisor::specification;
use crate::supervisor::status::Death;

use super::{Asker, Driver};

/// The stock worker.
const STOCK: &str = "watertight-worker";

/// What the threads of pools tell.
enum News {
    Started(UnitId, Result<Arc<crate::Pool>, String>),
    Ended(UnitId),
    Called(Asker, Result<Value, String>),
}

/// The pools that run.
pub(super) struct Pools {
    running: BTreeMap<UnitId, Arc<crate::Pool>>,
    /// Asked for, with whether an end was asked for meanwhile.
    starting: FxHashMap<UnitId, bool>,
    sender: Sender<News>,
    received: Receiver<News>,
    kick: Arc<EventFd>,
}

impl Pools {
    pub(super) fn new(kick: Arc<EventFd>) -> Pools {
        let (sender, received) = channel();
        Pools { running: BTreeMap::new(), starting: FxHashMap::default(), sender, received, kick }
    }

    /// Does on a thread what takes its time, and tells the driver what came of it.
    fn spawn(&self, work: impl FnOnce() -> News + Send + 'static) -> Result<(), String> {
        let (sender, kick) = (self.sender.clone(), Arc::clone(&self.kick));
        let thread = thread::Builder::new().name("watertight-pools".to_owned()).spawn(move || {
            crate::sys::signal::block_all_in_this_thread();
            let _ = sender.send(work());
            let _ = kick.write(1);
        });
        thread.map(drop).map_err(|error| format!("cannot start a thread: {error}"))
    }
}

impl Driver {
    pub(super) fn start_pool(&mut self, unit: UnitId, pool: specification::Pool) -> Result<(), String> {
        self.pools.starting.insert(unit, false);
        self.pools.spawn(move || News::Started(unit, start(&pool).map(Arc::new)))
    }

    /// Whether the unit is a pool; it ends then, whatever the signal is.
    pub(super) fn end_pool(&mut self, unit: UnitId) -> bool {
        if let Some(ends) = self.pools.starting.get_mut(&unit) {
            *ends = true;
            return true;
        }
        let Some(pool) = self.pools.running.remove(&unit) else { return false };
        let ended = self.pools.spawn(move || {
            pool.terminate();
            drop(pool);
            News::Ended(unit)
        });
        if ended.is_err() {
            self.gone(unit, Death::unknown("ended".to_owned()), End::Success);
        }
        true
    }

    pub(super) fn hear_pools(&mut self) {
        while let Ok(news) = self.pools.received.try_recv() {
            match news {
                News::Started(unit, Ok(pool)) => self.pool_started(unit, pool),
                News::Started(unit, Err(text)) => {
                    self.pools.starting.remove(&unit);
                    self.gone(unit, Death::unknown(text), End::Failure);
                }
                News::Ended(unit) => self.gone(unit, Death::unknown("ended".to_owned()), End::Success),
                News::Called(asker, Ok(value)) => {
                    self.say(&asker, &Answer::Value(value));
                    self.end(&asker, &Answer::done());
                }
                News::Called(asker, Err(text)) => self.end(&asker, &Answer::error(text)),
            }
        }
    }

    fn pool_started(&mut self, unit: UnitId, pool: Arc<crate::Pool>) {
        let ends = self.pools.starting.remove(&unit).unwrap_or(false);
        self.pools.running.insert(unit, pool);
        self.handle(Event::Started { unit });
        if ends {
            self.end_pool(unit);
        } else {
            self.handle(Event::Ready { unit });
        }
    }

    /// Runs a task on a pool; the answer comes when it is there.
    pub(super) fn call(
        &mut self,
        name: &str,
        task: String,
        input: Vec<Value>,
        asker: &Asker,
    ) -> Result<(), String> {
        let running = self.pools.running.iter().find(|(unit, _)| *self.machine.unit(**unit).name == *name);
        let pool =
            running.map(|(_, pool)| Arc::clone(pool)).ok_or_else(|| format!("no pool `{name}` runs"))?;
        let asker = asker.clone();
        self.pools.spawn(move || News::Called(asker, call(&pool, &task, &input)))
    }
}

/// Only the command line calls by JSON; a program that embeds a supervisor has its own pools.
#[cfg(not(feature = "cli"))]
fn call(_pool: &crate::Pool, task: &str, _input: &[Value]) -> Result<Value, String> {
    Err(format!("`{task}` cannot be called: built without the feature `cli`"))
}

#[cfg(feature = "cli")]
fn call(pool: &crate::Pool, task: &str, input: &[Value]) -> Result<Value, String> {
    let (mut feed, outcomes) = pool.json_calls(task).map_err(|error| error.to_string())?;
    let arguments = serde_json::to_vec(input).map_err(|error| error.to_string())?;
    feed.call(&arguments);
    drop(feed);
    let record = outcomes.receive().and_then(|records| records.into_iter().next());
    let record = record.ok_or("the pool ended")?;
    let line = record.outcome.map_err(|error| error.to_string())?;
    serde_json::from_slice(&line).map_err(|error| error.to_string())
}

fn start(pool: &specification::Pool) -> Result<crate::Pool, String> {
    let worker = pool.worker.clone().map_or_else(stock, Ok)?;
    let mut builder = crate::Pool::builder()
        .name(pool.name.as_str())
        .worker(worker)
        .stdout(Output::Stderr)
        .spare_workers(pool.spares as usize)
        .attempts(pool.attempts.max(1));
    if let Some(size) = pool.size {
        builder = builder.workers(size as usize);
    }
    if let Some(tasks) = pool.max_tasks_per_worker {
        builder = builder.max_tasks_per_worker(tasks);
    }
    if let Some(time) = pool.timeout {
        builder = builder.timeout(time);
    }
    if let Some(time) = pool.grace {
        builder = builder.grace(time);
    }
    if let Some(tasks) = pool.max_pending {
        builder = builder.max_pending(tasks);
    }
    if let Some(bytes) = pool.memory {
        builder = builder.memory_limit(bytes);
    }
    if let Some(time) = pool.cpu_time {
        builder = builder.cpu_limit(time);
    }
    if let Some(folder) = &pool.folder {
        builder = builder.current_dir(folder);
    }
    for (name, value) in &pool.environment {
        builder = builder.env(name, value);
    }
    builder.start().map_err(|error| error.to_string())
}

/// The stock worker beside this program, or on PATH.
fn stock() -> Result<PathBuf, String> {
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent).map(Path::to_owned);
    let search = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&search).filter(|folder| folder.is_absolute());
    let mut places = beside.into_iter().chain(on_path).map(|folder| folder.join(STOCK));
    places
        .find(|path| path.is_file())
        .ok_or_else(|| format!("there is no `{STOCK}` beside this program or on PATH"))
}
