//! Who does the operations: a thread or a process with handles on everything, told what to do one at a time.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use watertight::sync::{
    Atomic, Barrier, BarrierError, ChunkMut, ChunkMutGuard, Condition, Event, Lock, LockError, LockGuard,
    Permit, RLock, RLockGuard, Semaphore, waiters,
};
use watertight::{Array, Process};

pub(crate) const PERMITS: u32 = 2;
pub(crate) const PARTIES: usize = 3;

/// What all share.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Stage {
    lock: Lock,
    rlock: RLock,
    semaphore: Semaphore,
    condition: Condition,
    event: Event,
    barrier: Barrier,
    array: Array<u8>,
    parts: Vec<ChunkMut<u8>>,
}

impl Stage {
    pub(crate) fn set() -> Stage {
        let array = Array::zeroed(8).unwrap();
        Stage {
            lock: Lock::new().unwrap(),
            rlock: RLock::new().unwrap(),
            semaphore: Semaphore::new(PERMITS).unwrap(),
            condition: Condition::new().unwrap(),
            event: Event::new().unwrap(),
            barrier: Barrier::new(PARTIES as u32).unwrap(),
            parts: array.chunks_mut(2).unwrap(),
            array,
        }
    }

    /// Does what has nothing to wait for and leaves nothing in one's hands.
    pub(crate) fn do_at_once(&self, operation: Operation) -> Answer {
        perform(self, &mut Hands::default(), operation)
    }
}

macro_rules! numbered {
    ($(#[$text:meta])* $name:ident { $($variant:ident),* $(,)? }) => {
        $(#[$text])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $($variant),* }

        impl $name {
            pub(crate) const ALL: &[$name] = &[$($name::$variant),*];
        }
    };
}

numbered! {
    /// What an actor can be told to do.
    Operation {
        Lock, TryLock, Recover, Unlock,
        RLock, RUnlock,
        Acquire, TryAcquire, GiveBack, Forget, Release,
        Wait, NotifyOne, NotifyAll,
        Set, Clear, WaitEvent,
        Pass, Abort, Reset,
        TakePart, GivePart, TakeWhole, GiveWhole, RecoverWhole,
    }
}

numbered! {
    /// What came of it.
    Answer { Done, Busy, Died, Deadlock, Broken }
}

/// How it is told, and answers: the number of the operation and of the question, and the same of the answer.
#[derive(Clone, Serialize, Deserialize)]
struct Mailbox {
    question: Atomic<u64>,
    asked: Event,
    answer: Atomic<u64>,
    ids: Atomic<u64>,
}

const END: u64 = 1000;

enum Who {
    Process(Option<Process<()>>),
    Thread(Option<std::thread::JoinHandle<()>>),
}

pub(crate) struct Actor {
    mailbox: Mailbox,
    who: Who,
    asked: u64,
}

impl Actor {
    pub(crate) fn start(stage: &Stage, index: usize) -> Actor {
        let mailbox = Mailbox {
            question: Atomic::new(0).unwrap(),
            asked: Event::new().unwrap().named("mailbox"),
            answer: Atomic::new(0).unwrap(),
            ids: Atomic::new(0).unwrap(),
        };
        let arguments = (stage.clone(), mailbox.clone());
        let who = match index % 2 {
            0 => Who::Thread(Some(std::thread::spawn(move || act(arguments.0, arguments.1)))),
            _ => Who::Process(Some(Process::builder().daemon(true).spawn(act, arguments).unwrap())),
        };
        while mailbox.ids.load(Ordering::Acquire) == 0 {
            std::thread::yield_now();
        }
        Actor { mailbox, who, asked: 0 }
    }

    pub(crate) fn is_process(&self) -> bool {
        matches!(self.who, Who::Process(_))
    }

    pub(crate) fn begin(&mut self, operation: Operation) {
        self.ask(operation as u64);
    }

    fn ask(&mut self, number: u64) {
        self.asked += 1;
        self.mailbox.question.store(self.asked << 32 | number, Ordering::Release);
        self.mailbox.asked.set();
    }

    /// The answer to the last question, if it is there.
    pub(crate) fn answer(&self) -> Option<Answer> {
        let answer = self.mailbox.answer.load(Ordering::Acquire);
        (answer >> 32 == self.asked).then(|| Answer::ALL[answer as u32 as usize])
    }

    /// Comes back when it waits; the error is its answer, if it has one.
    pub(crate) fn is_seen_to_wait(&self) -> Result<(), Answer> {
        let ids = self.mailbox.ids.load(Ordering::Acquire);
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            let waits = waiters().unwrap().into_iter().any(|waiter| {
                let party = u64::from(waiter.party.pid) << 32 | u64::from(waiter.party.thread_id);
                party == ids && waiter.object != "`mailbox`"
            });
            match self.answer() {
                Some(answer) => return Err(answer),
                None if waits => return Ok(()),
                None => std::thread::yield_now(),
            }
        }
        panic!("it neither waits nor answers");
    }

    pub(crate) fn kill(&mut self) {
        if let Who::Process(process) = &mut self.who {
            let process = process.take().unwrap();
            process.kill().unwrap();
            assert!(process.join().is_err());
        }
    }

    /// Ends a thread, which waits for nothing.
    pub(crate) fn end(&mut self) {
        if !self.is_process() {
            self.ask(END);
        }
        if let Who::Thread(thread) = &mut self.who {
            thread.take().unwrap().join().unwrap();
        }
    }
}

/// What an actor has in its hands.
#[derive(Default)]
struct Hands<'a> {
    lock: Option<LockGuard<'a>>,
    rlock: Vec<RLockGuard<'a>>,
    permits: Vec<Permit<'a>>,
    part: Option<ChunkMutGuard<'a, u8>>,
    whole: Option<watertight::sync::ArrayGuard<'a, u8>>,
}

fn act(stage: Stage, mailbox: Mailbox) {
    let mut hands = Hands::default();
    let ids = u64::from(std::process::id()) << 32 | nix::unistd::gettid().as_raw() as u64;
    mailbox.ids.store(ids, Ordering::Release);
    loop {
        mailbox.asked.wait().unwrap();
        mailbox.asked.clear();
        let question = mailbox.question.load(Ordering::Acquire);
        if question as u32 as u64 == END {
            return;
        }
        let operation = Operation::ALL[question as u32 as usize];
        let answer = perform(&stage, &mut hands, operation);
        mailbox.answer.store(question >> 32 << 32 | answer as u64, Ordering::Release);
    }
}

/// Keeps what was taken, and says what came of it.
fn keep<G>(taken: Result<Option<G>, LockError>, place: impl FnOnce(G)) -> Answer {
    match taken {
        Ok(Some(guard)) => {
            place(guard);
            Answer::Done
        }
        Ok(None) => Answer::Busy,
        Err(LockError::HolderDied(_)) => Answer::Died,
        Err(LockError::Deadlock(_)) => Answer::Deadlock,
        Err(error) => panic!("{error}"),
    }
}

fn perform<'a>(stage: &'a Stage, hands: &mut Hands<'a>, operation: Operation) -> Answer {
    use Operation::*;
    match operation {
        Lock => return keep(stage.lock.lock().map(Some), |guard| hands.lock = Some(guard)),
        TryLock => return keep(stage.lock.try_lock(), |guard| hands.lock = Some(guard)),
        Recover => {
            return keep(stage.lock.lock_recover().map(Some), |mut guard| {
                guard.mark_consistent();
                hands.lock = Some(guard);
            });
        }
        Unlock => hands.lock = None,
        RLock => {
            return keep(stage.rlock.lock_recover().map(Some), |mut guard| {
                guard.mark_consistent();
                hands.rlock.push(guard);
            });
        }
        RUnlock => drop(hands.rlock.pop()),
        Acquire => return keep(stage.semaphore.acquire().map(Some), |permit| hands.permits.push(permit)),
        TryAcquire => return keep(stage.semaphore.try_acquire(), |permit| hands.permits.push(permit)),
        GiveBack => drop(hands.permits.pop()),
        Forget => hands.permits.pop().unwrap().forget().unwrap(),
        Release => stage.semaphore.release(1).unwrap(),
        Wait => {
            let guard = hands.lock.as_mut().unwrap();
            stage.condition.wait(guard).unwrap();
            guard.mark_consistent();
        }
        NotifyOne => stage.condition.notify_one().unwrap(),
        NotifyAll => stage.condition.notify_all().unwrap(),
        Set => stage.event.set(),
        Clear => stage.event.clear(),
        WaitEvent => stage.event.wait().unwrap(),
        Pass => match stage.barrier.wait() {
            Ok(_) => {}
            Err(BarrierError::Broken) => return Answer::Broken,
            Err(error) => panic!("{error}"),
        },
        Abort => stage.barrier.abort().unwrap(),
        Reset => stage.barrier.reset().unwrap(),
        TakePart => return keep(stage.parts[0].try_lock(), |guard| hands.part = Some(guard)),
        GivePart => hands.part = None,
        TakeWhole => return keep(stage.array.try_lock(), |guard| hands.whole = Some(guard)),
        GiveWhole => hands.whole = None,
        RecoverWhole => stage.array.lock_recover().unwrap().mark_consistent(),
    }
    Answer::Done
}
