//! What the machine knows of one worker.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::kill::Recourse;
use super::timers::after;
use super::{BatchKey, Span, Verdict};

/// How far a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No process, and none wanted.
    Vacant,
    /// No process; one will be started then.
    Delayed(Instant),
    /// Its initializer runs, or it has to answer first.
    Initializing,
    /// Takes tasks.
    Working,
    /// Told to exit when its lane is empty.
    Leaving,
    /// Told to be killed.
    Ending,
}

/// The running item was told to stop.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condemned {
    pub(super) verdict: Verdict,
    /// When the grace time is over; `None` once the kill is ordered.
    pub(super) kill_at: Option<Instant>,
}

/// One worker, or the place where one will stand.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) phase: Phase,
    /// Takes tasks only when another worker is gone.
    pub(super) spare: bool,
    /// In flight, in the order of the lane.
    pub(super) spans: VecDeque<Span>,
    pub(super) in_flight: u32,
    pub(super) bytes: usize,
    /// Tasks given to this process so far.
    pub(super) given: u64,
    /// How often this process was asked to stop a task.
    pub(super) asked: u32,
    /// Whether this process has settled anything.
    pub(super) proven: bool,
    /// When it last made progress, or was given a first task: no running item began earlier.
    pub(super) since: Instant,
    /// When its process was started.
    pub(super) started: Instant,
    /// Nanoseconds an item, lately; 0 if not known.
    pub(super) pace: f64,
    /// How many items it may have in flight; follows the pace with a delay.
    pub(super) allowed: u32,
    pub(super) condemned: Option<Condemned>,
    /// When it is killed if it has not exited, as it was told and has nothing left to do.
    pub(super) exit_by: Option<Instant>,
    /// When the end of its process is told at the latest, since it is killed, and what is done if not.
    pub(super) ended_by: Option<(Instant, Recourse)>,
    /// It was not ready in time.
    pub(super) late: bool,
    /// It broke the protocol, or its process is gone: what it has is all that it gets.
    pub(super) doomed: bool,
    /// The next process here stands in the place of one that ended.
    pub(super) succeeds: bool,
    /// This process was started in the place of one that ended.
    pub(super) replaces: bool,
    /// Processes in this place that ended one after the other before they were ready.
    pub(super) failed_starts: u32,
    /// Processes in this place that ended one after the other, soon and without having done anything.
    pub(super) short_lives: u32,
    /// The next process in this place is not started before.
    pub(super) not_before: Instant,
    /// It was given something when it ended, as it seems before it was ready. The next one in this place has to
    /// answer first, so that whoever lies about that is known.
    pub(super) doubtful: bool,
    /// Its first item, if that is over its time; it may not have begun it.
    pub(super) overdue: Option<(BatchKey, u32)>,
    /// The time of its first item counts from its beginning now, and not from when it was given.
    pub(super) extended: bool,
    /// When it was given a first item that it had not begun in time.
    pub(super) silent_since: Option<Instant>,
    pub(super) taking_back: bool,
    /// A take-back brought nothing, so another will not until it makes progress.
    pub(super) settled_in: bool,
}

/// How much work a worker is given ahead.
const AHEAD: f64 = 2_000_000.0;

/// Items that take longer are given one by one.
const LONG: f64 = 10_000_000.0;

/// The most items in flight at one worker.
const MOST_AHEAD: f64 = 16_384.0;

impl Worker {
    pub(super) fn new(spare: bool, now: Instant) -> Worker {
        Worker {
            phase: Phase::Vacant,
            spare,
            spans: VecDeque::new(),
            in_flight: 0,
            bytes: 0,
            given: 0,
            asked: 0,
            proven: false,
            since: now,
            started: now,
            pace: 0.0,
            allowed: 1,
            condemned: None,
            exit_by: None,
            ended_by: None,
            late: false,
            doomed: false,
            succeeds: false,
            replaces: false,
            failed_starts: 0,
            short_lives: 0,
            not_before: now,
            doubtful: false,
            overdue: None,
            extended: false,
            silent_since: None,
            taking_back: false,
            settled_in: false,
        }
    }

    /// A new process stands here; what was learnt of the tasks' pace stays.
    pub(super) fn start(&mut self, phase: Phase, now: Instant) {
        debug_assert!(self.spans.is_empty() && self.in_flight == 0);
        self.phase = phase;
        self.given = 0;
        self.asked = 0;
        self.bytes = 0;
        self.proven = false;
        self.since = now;
        self.started = now;
        self.condemned = None;
        self.exit_by = None;
        self.ended_by = None;
        self.late = false;
        self.doomed = false;
        self.overdue = None;
        self.extended = false;
        self.silent_since = None;
        self.taking_back = false;
        self.settled_in = false;
    }

    /// Another process may follow in this place after `delay`.
    pub(super) fn delay(&mut self, delay: Duration, now: Instant) {
        self.not_before = after(now, delay);
        self.phase = Phase::Delayed(self.not_before);
    }

    /// Nobody is to follow in this place.
    pub(super) fn give_up_place(&mut self) {
        self.phase = Phase::Vacant;
        self.succeeds = false;
    }

    pub(super) fn has_process(&self) -> bool {
        !matches!(self.phase, Phase::Vacant | Phase::Delayed(_))
    }

    pub(super) fn is_working(&self) -> bool {
        self.phase == Phase::Working && !self.spare && !self.doomed
    }

    /// Whether it takes tasks, or will after the one that it runs.
    pub(super) fn stays(&self) -> bool {
        matches!(self.phase, Phase::Initializing | Phase::Working) && !self.doomed
    }

    /// Whether it is about to end, with whatever it has.
    pub(super) fn is_ending(&self) -> bool {
        self.doomed || self.phase == Phase::Ending
    }

    /// It has shown that it works.
    pub(super) fn prove(&mut self) {
        self.failed_starts = 0;
        self.short_lives = 0;
    }

    /// `count` items are through.
    pub(super) fn progressed(&mut self, count: u32, now: Instant) {
        let each = (now - self.since).as_nanos() as f64 / f64::from(count.max(1));
        self.pace = if self.pace == 0.0 { each } else { (3.0 * self.pace + each) / 4.0 };
        self.since = now;
        self.proven = true;
        self.prove();
        self.extended = false;
        self.silent_since = None;
        self.settled_in = false;
        self.lighten(count);
        let wanted = if self.pace > LONG { 1.0 } else { (AHEAD / self.pace.max(1.0)).clamp(2.0, MOST_AHEAD) };
        // It may grow fourfold at once, so that one quick task among slow ones draws no crowd behind it.
        self.allowed = (wanted as u32).min(self.allowed * 4).max(1);
    }

    /// How many items it may have in flight now: one that has been running for long has told its pace already, and what is
    /// given behind it would be taken back by whoever falls idle, again and again.
    pub(super) fn allowed_at(&self, now: Instant) -> u32 {
        // What is not read yet looks like one that runs, so a moment proves nothing.
        let running = now.saturating_duration_since(self.since).as_nanos() as f64;
        if self.in_flight > 0 && running > LONG { 1 } else { self.allowed }
    }

    /// Takes the first item in flight off its span, without counting it as progress.
    pub(super) fn take_front(&mut self) -> Option<Span> {
        let front = self.spans.front_mut()?;
        let item = front.split_front(1);
        if front.len() == 0 {
            self.spans.pop_front();
        }
        Some(item)
    }

    /// Everything in flight; none is afterwards.
    pub(super) fn clear(&mut self) -> VecDeque<Span> {
        self.in_flight = 0;
        self.bytes = 0;
        self.condemned = None;
        self.exit_by = None;
        self.ended_by = None;
        self.taking_back = false;
        std::mem::take(&mut self.spans)
    }

    /// `count` items are not in flight any more.
    pub(super) fn lighten(&mut self, count: u32) {
        let bytes_each = self.bytes.checked_div(self.in_flight as usize).unwrap_or(0);
        self.in_flight -= count;
        self.bytes = bytes_each * self.in_flight as usize;
    }

    /// How long what it has will take, by its pace.
    pub(super) fn estimate(&self) -> Duration {
        Duration::from_nanos((self.pace * f64::from(self.in_flight)) as u64)
    }
}
