//! How victims are killed: at a point of an operation, and at each of them in turn.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use nix::fcntl::{Flock, FlockArg};
use watertight::{Process, Signal};

use crate::debugger::{Stepped, Stop};
use crate::stage::{Operation, Stage, stopped_victim};
use crate::support::is_long;
use crate::tripwire::{Point, Tripwire};

/// Where in its operation the victim dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// After so many changes that others can see.
    Change(u64),
    /// After so many instructions.
    Instruction(u64),
}

/// What the last victim has done.
#[derive(Clone, Copy, Debug)]
struct Seen {
    stores: u64,
    calls: u64,
    sleeps: u64,
    instructions: u64,
    gone: bool,
    tripped: bool,
}

const NOTHING: Seen = Seen { stores: 0, calls: 0, sleeps: 0, instructions: 0, gone: false, tripped: false };

static SEEN: Mutex<Seen> = Mutex::new(NOTHING);

fn seen() -> std::sync::MutexGuard<'static, Seen> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All that a tree of processes shares is guarded.
pub(crate) fn shared_objects(line: &str, bounds: (u64, u64)) -> Option<(u64, u64)> {
    line.contains("/dev/shm/watertight-").then_some(bounds)
}

/// Where the victim's way to its death begins and ends, beside the marks.
enum Way<W> {
    Whole,
    /// It ends where the victim sleeps.
    ToSleep,
    /// It begins where the victim sleeps and something wakes it.
    FromSleep(W),
}

/// Kills a victim of `operation`. True if the operation was over by then.
pub(crate) fn kill(stage: &Stage, operation: Operation, at: At) -> (u32, bool) {
    kill_on_way(stage, operation, at, Way::<fn()>::Whole)
}

/// As `kill`, for an operation that sleeps for ever: it is over when the victim sleeps, and killed there.
pub(crate) fn kill_falling_asleep(stage: &Stage, operation: Operation, at: At) -> (u32, bool) {
    kill_on_way(stage, operation, at, Way::<fn()>::ToSleep)
}

/// As `kill`, but the victim sleeps first, and `wake` wakes it; what it does is counted from there.
pub(crate) fn kill_woken(stage: &Stage, operation: Operation, at: At, wake: impl FnOnce()) -> (u32, bool) {
    kill_on_way(stage, operation, at, Way::FromSleep(wake))
}

fn kill_on_way(stage: &Stage, operation: Operation, at: At, way: Way<impl FnOnce()>) -> (u32, bool) {
    let (process, stepped) = stopped_victim(stage, operation, matches!(at, At::Instruction(_)));
    let ends_asleep = matches!(way, Way::ToSleep);
    let mut wire = Tripwire::new(process.pid(), shared_objects);
    if let Way::FromSleep(wake) = way {
        while wire.next() != Point::Asleep {}
        wake();
        while wire.next() != Point::Called {}
    }
    step_and_kill(process, stepped, wire, at, ends_asleep)
}

/// Kills a process that stands at the beginning of what is looked at.
pub(crate) fn step_and_kill(
    process: Process<()>,
    stepped: Stepped,
    mut wire: Tripwire,
    at: At,
    ends_asleep: bool,
) -> (u32, bool) {
    *seen() = NOTHING;
    let over = match at {
        At::Change(count) => {
            let spanned = wire.span();
            seen().tripped = spanned.is_none();
            spanned.is_some() && run_changes(&mut wire, count, ends_asleep)
        }
        At::Instruction(count) => run_instructions(&stepped, count),
    };
    if seen().gone {
        process.kill().unwrap();
    } else {
        stepped.kill();
    }
    let pid = process.pid();
    let died = process.join().unwrap_err().signal();
    seen().tripped |= died == Some(Signal::SIGSEGV);
    assert!(died == Some(Signal::SIGKILL) || seen().tripped, "{died:?}");
    (pid, over)
}

/// Lets the victim make so many changes. True if it came to the end.
fn run_changes(wire: &mut Tripwire, count: u64, ends_asleep: bool) -> bool {
    for _ in 0..count {
        let point = wire.next();
        let mut seen = seen();
        match point {
            Point::Stored => seen.stores += 1,
            Point::Called | Point::Failed => seen.calls += 1,
            Point::Asleep => seen.sleeps += 1,
            Point::Over => return true,
            Point::Gone => {
                seen.gone = true;
                return true;
            }
            Point::Tripped => {
                seen.tripped = true;
                return false;
            }
        }
        if point == Point::Asleep && ends_asleep {
            return true;
        }
    }
    false
}

fn run_instructions(stepped: &Stepped, count: u64) -> bool {
    (0..count).any(|_| {
        let stop = stepped.step();
        let mut seen = seen();
        seen.instructions += 1;
        seen.gone = stop == Stop::Gone;
        matches!(stop, Stop::Mark | Stop::Gone)
    })
}

/// No operation changes so much.
const MOST_CHANGES: u64 = 5000;

/// Operations with more instructions than this are not killed after each of them.
const MOST_INSTRUCTIONS: u64 = 1000;

/// Kills an operation's victims at every point. `scene` sets the stage, has the victim killed there and looks
/// at what is left; it says whether the operation was over, and whether the victim held something.
pub(crate) fn sweep(name: &str, mut scene: impl FnMut(At) -> (bool, bool)) {
    // One sweep at a time: the deaths of others ring bells, and a thread of the victim that hears of one stores.
    let executable = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
    let _turn = Flock::lock(executable, FlockArg::LockExclusive).map_err(|(_, errno)| errno).unwrap();
    let start = Instant::now();
    let (kills, held, tripped) = sweep_changes(&mut scene);
    let Seen { stores, calls, sleeps, .. } = *seen();
    println!(
        "{name}: {stores} stores, {calls} calls, {sleeps} sleeps; {kills} kills, {held} while held, \
         {tripped} more elsewhere, {:?}",
        start.elapsed()
    );
    if is_long() {
        sweep_instructions(name, scene);
    }
}

fn sweep_changes(scene: &mut impl FnMut(At) -> (bool, bool)) -> (u64, u64, u64) {
    let (mut kills, mut held, mut tripped) = (0, 0, 0);
    let mut count = 0;
    loop {
        let (over, was_held) = scene(At::Change(count));
        if seen().tripped {
            // A death all the same, but not where it was meant.
            tripped += 1;
            continue;
        }
        kills += 1;
        held += u64::from(was_held);
        if over {
            return (kills, held, tripped);
        }
        count += 1;
        assert!(count < MOST_CHANGES, "the operation should end");
    }
}

/// The same, but after every single instruction, to see that nothing else is found there.
fn sweep_instructions(name: &str, mut scene: impl FnMut(At) -> (bool, bool)) {
    let start = Instant::now();
    let whole = scene(At::Instruction(1_000_000)).0;
    let instructions = seen().instructions;
    if !whole || instructions > MOST_INSTRUCTIONS {
        let more = if whole { "" } else { " and more" };
        println!("{name}: {instructions} instructions{more}");
        return;
    }
    let (mut kills, mut held) = (0, 0);
    for count in 0.. {
        let (over, was_held) = scene(At::Instruction(count));
        kills += 1;
        held += u64::from(was_held);
        if over {
            break;
        }
    }
    println!("{name}: {instructions} instructions, {kills} kills, {held} while held, {:?}", start.elapsed());
}
