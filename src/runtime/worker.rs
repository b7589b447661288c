//! The worker's main thread: takes a task, runs it, commits the result.

use std::convert::Infallible;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsFd;
use std::time::Duration;

use bytes::Bytes as Buffer;

use crate::keeper::identity;
use crate::keeper::launch::Inheritance;
use crate::link::black_box::encode_within;
use crate::link::frame::{Coding, DownHead, MAX_REPORT, Measure, UpKind};
use crate::link::lane::Lane;
use crate::link::request::{Role, Settings};
use crate::link::ring::Breach;
use crate::link::worker_end::WorkerEnd;
use crate::primitive::Doorbell;
use crate::roster;
use crate::shm;
use crate::sys::clock::monotonic_nanos;
use crate::sys::cpu_timer::CpuTimer;
use crate::sys::crash;
use crate::sys::exit::ResourceUsage;
use crate::task::call::{Call, CallFailure};
use crate::task::context::{Words, begin, end as end_of_task};
use crate::task::error::Panic;
use crate::task::identity::Descriptor;
use crate::task::{codec, registry};

use super::panic::{self, Printing};
use super::{context, control};

/// The exit code of a `Process` whose function panicked, as Python's.
const PANICKED: i32 = 1;

/// Runs a worker to its end.
pub(super) fn run(mut inheritance: Inheritance) -> io::Result<Infallible> {
    let (lane, doorbell) =
        inheritance.take_lane().ok_or_else(|| io::Error::other("a worker came without its lane"))?;
    // Should this worker not come so far, its channel stays until the host has connected.
    let server = inheritance.server.take().map(|(server, address)| (ManuallyDrop::new(server), address));
    let settings = inheritance.launch.settings;
    let lane: &'static Lane = Box::leak(Box::new(Lane::open(lane.as_fd())?));
    context::attach(lane);
    crash::install(Lane::crash_note(lane))?;
    panic::install(match settings.role {
        Role::Pool => Printing::Error,
        Role::Process => Printing::ErrorAndStderr,
    });
    roster::become_worker(settings.tree.id, &settings.name);
    shm::name::set_guard(&settings.tree.guard);
    if settings.role == Role::Pool {
        shm::mapped::keep_between_tasks();
    }
    identity::become_worker(settings.clone());
    identity::allow_workers();
    match server {
        Some((server, address)) => control::start(server, address)?,
        // Without commands, what stands in the lane is all.
        None => context::retire(),
    }
    let mut end = WorkerEnd::new(lane, Doorbell::adopt(doorbell));
    let Settings { role, measured, largest_result, .. } = settings;
    let mut worker =
        Worker::new(Terms { role, measured, largest_result }, inheritance.launch.limits.cpu_time)?;
    lane.black_box().set_ready();
    while end.next(context::retiring()).map_err(io::Error::other)? {
        worker.run(lane, &mut end).map_err(io::Error::other)?;
    }
    std::process::exit(worker.exit_code)
}

/// The starts of more tasks in one frame are not noted down.
const MOST_TIMED: u32 = 64;

pub(super) struct Worker {
    terms: Terms,
    cpu_timer: Option<(CpuTimer, Duration)>,
    result: Vec<u8>,
    parts: Vec<Buffer>,
    /// What holds for all tasks of the frame with this number.
    frame: Frame,
    exit_code: i32,
}

/// What a worker was told about its results.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) role: Role,
    /// Whether each result carries times and memory.
    pub(crate) measured: bool,
    pub(crate) largest_result: u64,
}

/// What tasks of one frame have in common.
struct Frame {
    serial: u64,
    /// What `code` is the code of.
    function: (Coding, u64),
    code: Result<Code, String>,
    /// Nanoseconds; 0 for none.
    timeout: u64,
    /// Whether each start is noted down.
    timed: bool,
}

/// How to call a function.
#[derive(Clone, Copy)]
enum Code {
    Encoded(fn(&mut Call<'_>) -> Result<(), CallFailure>),
    Json(fn(&[u8]) -> Result<Vec<u8>, CallFailure>),
}

impl Worker {
    pub(super) fn new(terms: Terms, cpu_limit: Option<Duration>) -> io::Result<Worker> {
        let cpu_timer = match cpu_limit {
            Some(limit) => Some((CpuTimer::new()?, limit)),
            None => None,
        };
        let frame = Frame {
            serial: 0,
            function: (Coding::Offset, 0),
            code: Err(String::new()),
            timeout: 0,
            timed: false,
        };
        Ok(Worker { terms, cpu_timer, result: Vec::new(), parts: Vec::new(), frame, exit_code: 0 })
    }

    /// In a worker that is a thread: runs the task that `end` has claimed, and commits its result.
    pub(super) fn run_in_thread(
        &mut self,
        lane: &Lane,
        end: &mut WorkerEnd<'_>,
        words: &Words,
    ) -> Result<(), Breach> {
        self.look_at_frame(end);
        let (number, start) = (end.number(), if self.frame.timed { monotonic_nanos() } else { 0 });
        lane.black_box().start_task(start);
        words.begin(number, 0);
        self.result.clear();
        self.parts.clear();
        let kind = self.call(end);
        words.end();
        let measure = self.measure(kind, start);
        end.respond(number, kind, &mut self.result, &mut self.parts, measure)?;
        self.end_of_time(lane);
        Ok(())
    }

    /// What is told of a task beside its result. Whoever reads of a failure wants to know how long it took, and the
    /// black box is about another task by then.
    #[inline]
    fn measure(&self, kind: UpKind, start: u64) -> Option<Measure> {
        let told = self.terms.measured || (kind != UpKind::Value && self.frame.timed);
        told.then(|| measure(start))
    }

    /// The time of the next task begins when it is noted down, not when it is claimed.
    #[inline]
    fn end_of_time(&self, lane: &Lane) {
        if self.frame.timed {
            lane.black_box().end_task();
        }
    }

    #[inline]
    fn look_at_frame(&mut self, end: &WorkerEnd<'_>) {
        if let Some((head, serial)) = end.frame()
            && serial != self.frame.serial
        {
            self.take_up(*head, serial);
        }
    }

    /// Runs the task that `end` has claimed, and commits its result.
    #[inline]
    fn run(&mut self, lane: &Lane, end: &mut WorkerEnd<'_>) -> Result<(), Breach> {
        self.look_at_frame(end);
        shm::mapped::let_go_of_ended();
        let number = end.number();
        let start = if self.frame.timed { monotonic_nanos() } else { 0 };
        lane.black_box().start_task(start);
        let timeout = self.frame.timeout;
        begin(number, if timeout == 0 { 0 } else { start.saturating_add(timeout) });
        if let Some((timer, limit)) = &self.cpu_timer {
            timer.arm(*limit);
        }
        self.result.clear();
        self.parts.clear();
        let kind = self.call(end);
        if let Some((timer, _)) = &self.cpu_timer {
            timer.disarm();
        }
        end_of_task();
        let measure = self.measure(kind, start);
        end.respond(number, kind, &mut self.result, &mut self.parts, measure)?;
        self.end_of_time(lane);
        Ok(())
    }

    #[inline]
    fn call(&mut self, end: &mut WorkerEnd<'_>) -> UpKind {
        let code = match &self.frame.code {
            Ok(code) => *code,
            Err(text) => {
                let text = text.clone();
                return self.text(UpKind::UnknownTask, text);
            }
        };
        let (line, parts) = end.arguments();
        let mut call = Call {
            line,
            parts,
            result: &mut self.result,
            result_parts: &mut self.parts,
            largest_result: self.terms.largest_result,
            only: self.terms.role == Role::Process,
        };
        match panic::catch(|| code.run(&mut call)) {
            Ok(Ok(())) => UpKind::Value,
            Ok(Err(failure)) => self.failed(failure),
            Err(panic) => self.panicked(&panic),
        }
    }

    #[cold]
    fn failed(&mut self, failure: CallFailure) -> UpKind {
        match failure {
            CallFailure::Arguments(text) => self.text(UpKind::BadArguments, text),
            CallFailure::Result(text) => self.text(UpKind::BadResult, text),
            CallFailure::Own(text) => self.text(UpKind::Failed, text),
        }
    }

    #[cold]
    fn panicked(&mut self, panic: &Panic) -> UpKind {
        self.exit_code = PANICKED;
        self.result.clear();
        self.parts.clear();
        if codec::encode(panic, &mut self.result, &mut Vec::new(), MAX_REPORT).is_err() {
            self.result = encode_within(panic, MAX_REPORT as usize);
        }
        UpKind::Panic
    }

    fn text(&mut self, kind: UpKind, text: String) -> UpKind {
        self.parts.clear();
        self.result = text.into_bytes();
        // A character that is cut is shown as one that was.
        self.result.truncate(MAX_REPORT as usize);
        kind
    }

    /// What holds for the tasks of a frame. Mostly they call what those before them did.
    #[inline(never)]
    fn take_up(&mut self, head: DownHead, serial: u64) {
        if self.frame.serial == 0 || self.frame.function != (head.coding, head.function) {
            self.frame.code = look_up(head);
            self.frame.function = (head.coding, head.function);
        }
        self.frame.serial = serial;
        self.frame.timeout = head.timeout;
        // So many tasks travel together only if they are tiny, and then the clock would take longer than they do.
        self.frame.timed = head.timeout != 0 || self.terms.measured || head.count <= MOST_TIMED;
    }
}

/// How to call what the tasks of a frame call.
#[cold]
fn look_up(head: DownHead) -> Result<Code, String> {
    let function = head.function;
    let registered =
        || registry::code(function as u32).ok_or_else(|| format!("there is no task number {function}"));
    match head.coding {
        Coding::Offset => {
            Descriptor::at(function).map(|found| Code::Encoded(found.call)).map_err(|error| error.to_string())
        }
        Coding::Registered => registered().map(|code| Code::Encoded((code.descriptor)().call)),
        Coding::Json => registered().map(|code| Code::Json(code.json)),
    }
}

impl Code {
    #[inline]
    fn run(self, call: &mut Call<'_>) -> Result<(), CallFailure> {
        match self {
            Code::Encoded(function) => function(call),
            Code::Json(function) => {
                let json = function(call.line)?;
                let most = call.largest_result.min(codec::MAX_LINE);
                if json.len() as u64 > most {
                    let error = codec::EncodeError::TooLarge(most);
                    return Err(CallFailure::Result(error.to_string()));
                }
                *call.result = json;
                Ok(())
            }
        }
    }
}

#[cold]
fn measure(start: u64) -> Measure {
    Measure {
        start,
        elapsed: monotonic_nanos().saturating_sub(start),
        max_rss: ResourceUsage::of_this_process().max_rss,
    }
}
