//! Pools among the children. A pool takes a moment to start and to end, so threads wait for that.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use nix::sys::eventfd::EventFd;
use serde_json::Value;

use crate::supervisor::control::protocol::Answer;
use crate::supervisor::machine::{Event, UnitId};
use crate::supervisor::policy::End;
use crate::supervisor::specification;
use crate::supervisor::status::Death;
use crate::{Output, ProcessHandle};

use super::{Asker, Driver, functions};

/// The stock worker.
const STOCK: &str = "watertight-worker";

/// What the threads of pools and functions tell.
pub(super) enum News {
    Started(UnitId, Result<Arc<crate::Pool>, String>),
    /// It cannot start workers any more.
    Broken(UnitId, String),
    Ended(UnitId),
    Called(Asker, Result<Value, String>),
    FunctionStarted(UnitId, ProcessHandle),
    FunctionEnded(UnitId, Box<functions::Ended>),
}

/// Where a pool is.
enum Life {
    /// It was asked for.
    Starting {
        then: Then,
    },
    Running(Arc<crate::Pool>),
    /// It was told to end, by whom or why.
    Ending(Reason),
}

/// What becomes of a pool that is being started.
enum Then {
    Run,
    End(Reason),
}

/// Why a pool ends.
enum Reason {
    Asked,
    Broken(String),
}

/// The pools that are alive.
pub(super) struct Pools {
    alive: BTreeMap<UnitId, Life>,
    telling: Telling,
    received: Receiver<News>,
}

/// How threads tell the driver.
#[derive(Clone)]
pub(super) struct Telling {
    sender: Sender<News>,
    kick: Arc<EventFd>,
}

impl Telling {
    pub(super) fn tell(&self, news: News) {
        // A driver that is gone needs no news.
        let _ = self.sender.send(news);
        let _ = self.kick.write(1);
    }
}

impl Pools {
    pub(super) fn new(kick: Arc<EventFd>) -> Pools {
        let (sender, received) = channel();
        Pools { alive: BTreeMap::new(), telling: Telling { sender, kick }, received }
    }

    pub(super) fn telling(&self) -> Telling {
        self.telling.clone()
    }

    /// Does on a thread what takes its time, and tells the driver what came of it.
    pub(super) fn spawn(&self, work: impl FnOnce() -> News + Send + 'static) -> Result<(), String> {
        let telling = self.telling.clone();
        let thread = thread::Builder::new().name("watertight-pools".to_owned()).spawn(move || {
            crate::sys::signal::block_all_in_this_thread();
            telling.tell(work());
        });
        thread.map(drop).map_err(|error| format!("cannot start a thread: {error}"))
    }

    /// Whether something of this pool may be there.
    pub(super) fn is_alive(&self, unit: UnitId) -> bool {
        self.alive.contains_key(&unit)
    }

    fn running(&self, unit: UnitId) -> Option<&Arc<crate::Pool>> {
        match self.alive.get(&unit)? {
            Life::Running(pool) => Some(pool),
            Life::Starting { .. } | Life::Ending(_) => None,
        }
    }
}

impl Driver {
    pub(super) fn start_pool(&mut self, unit: UnitId, pool: specification::Pool) -> Result<(), String> {
        let (telling, counters) = (self.pools.telling.clone(), self.counters_of(unit));
        let (_, stderr) = self.ends_of_pipes(unit).map_err(|error| format!("cannot make pipes: {error}"))?;
        self.pools.spawn(move || {
            let broken = move |reason: &str| telling.tell(News::Broken(unit, reason.to_owned()));
            News::Started(
                unit,
                start(&pool, |builder| builder.counters(counters).on_break(broken).relay_to(stderr))
                    .map(Arc::new),
            )
        })?;
        self.pools.alive.insert(unit, Life::Starting { then: Then::Run });
        Ok(())
    }

    /// Whether the unit is a pool; it ends then, whatever the signal is.
    pub(super) fn end_pool(&mut self, unit: UnitId) -> bool {
        let is_pool = self.pools.is_alive(unit);
        if is_pool {
            self.end_pool_for(unit, Reason::Asked);
        }
        is_pool
    }

    fn end_pool_for(&mut self, unit: UnitId, reason: Reason) {
        match self.pools.alive.remove(&unit) {
            Some(Life::Starting { then: Then::Run }) => {
                self.pools.alive.insert(unit, Life::Starting { then: Then::End(reason) });
            }
            Some(Life::Running(pool)) => {
                self.pools.alive.insert(unit, Life::Ending(reason));
                let ended = self.pools.spawn(move || {
                    pool.terminate();
                    // Others may hold it too, for a call that ends now.
                    let _ = pool.join();
                    News::Ended(unit)
                });
                if ended.is_err() {
                    // The pool went with the thread that could not be.
                    self.pool_ended(unit);
                }
            }
            Some(life @ (Life::Starting { .. } | Life::Ending(_))) => {
                self.pools.alive.insert(unit, life);
            }
            None => {}
        }
    }

    pub(super) fn hear_pools(&mut self) {
        while let Ok(news) = self.pools.received.try_recv() {
            match news {
                News::Started(unit, Ok(pool)) => self.pool_started(unit, pool),
                News::Started(unit, Err(text)) => {
                    self.pools.alive.remove(&unit);
                    self.gone(unit, Death::unknown(text), End::Failure);
                }
                News::Broken(unit, reason) => self.end_pool_for(unit, Reason::Broken(reason)),
                News::Ended(unit) => self.pool_ended(unit),
                News::Called(asker, Ok(value)) => {
                    self.say(&asker, &Answer::Value(value));
                    self.end(&asker, &Answer::done());
                }
                News::Called(asker, Err(text)) => self.end(&asker, &Answer::error(text)),
                News::FunctionStarted(unit, process) => self.function_started(unit, process),
                News::FunctionEnded(unit, ended) => self.function_ended(unit, *ended),
            }
        }
    }

    fn pool_started(&mut self, unit: UnitId, pool: Arc<crate::Pool>) {
        let before = self.pools.alive.insert(unit, Life::Running(pool));
        self.handle(Event::Started { unit });
        match before {
            Some(Life::Starting { then: Then::End(reason) }) => self.end_pool_for(unit, reason),
            _ => self.handle(Event::Ready { unit }),
        }
    }

    /// Nothing of it is left.
    fn pool_ended(&mut self, unit: UnitId) {
        let (how, cause, end) = match self.pools.alive.remove(&unit) {
            Some(Life::Ending(Reason::Broken(reason))) => {
                (format!("broke down: {reason}"), "its workers do not start", End::Failure)
            }
            _ => ("ended".to_owned(), "it was told to stop", End::Success),
        };
        self.gone(unit, Death { cause: cause.to_owned(), ..Death::unknown(how) }, end);
    }

    /// Runs a task on a pool; the answer comes when it is there.
    pub(super) fn call(
        &mut self,
        name: &str,
        task: String,
        input: Vec<Value>,
        asker: &Asker,
    ) -> Result<(), String> {
        let mut units = self.pools.alive.keys().filter(|unit| *self.machine.unit(**unit).name == *name);
        let pool = units.find_map(|unit| self.pools.running(*unit)).map(Arc::clone);
        let pool = pool.ok_or_else(|| format!("no pool `{name}` runs"))?;
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
    let index = crate::task::registry::find(pool.tasks(), task).map_err(|error| error.to_string())?;
    let known = pool.tasks().get(index as usize).ok_or("the pool has no such task")?;
    let arguments = arguments(known, input)?;
    feed.call(&serde_json::to_vec(&arguments).map_err(|error| error.to_string())?);
    drop(feed);
    let record = outcomes.receive().and_then(|records| records.into_iter().next());
    let record = record.ok_or("the pool ended")?;
    let line = record.outcome.map_err(|error| error.to_string())?;
    serde_json::from_slice(&line).map_err(|error| error.to_string())
}

/// A text is a string where the task takes one, and else JSON, or a string if it is none.
#[cfg(feature = "cli")]
fn arguments(task: &crate::TaskDescription, input: &[Value]) -> Result<Vec<Value>, String> {
    let takes = task.parameters.len();
    if takes != input.len() {
        let many =
            |count: usize| if count == 1 { "1 argument".to_owned() } else { format!("{count} arguments") };
        return Err(format!("the task takes {}, and got {}", many(takes), input.len()));
    }
    let argument = |(parameter, value): (&crate::Parameter, &Value)| match value {
        Value::String(text) if !parameter.is_text => {
            serde_json::from_str(text).unwrap_or_else(|_| value.clone())
        }
        _ => value.clone(),
    };
    Ok(task.parameters.iter().zip(input).map(argument).collect())
}

fn start(
    pool: &specification::Pool,
    supervised: impl FnOnce(crate::PoolBuilder) -> crate::PoolBuilder,
) -> Result<crate::Pool, String> {
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
    supervised(builder).start().map_err(|error| error.to_string())
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
