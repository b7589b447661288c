//! What should happen, in a few plain variables.

use std::collections::{BTreeMap, BTreeSet};

use crate::actor::{Answer, Operation, PARTIES, PERMITS};

/// The most permits that are ever made.
const MOST_PERMITS: u32 = 6;

/// What an actor waits for, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Lock,
    Recover,
    /// Notified at that time, and to have the lock again before it goes on.
    LockAgain(u64),
    RLock,
    Permit,
    Notification,
    Event,
    Barrier,
}

#[derive(Clone, Copy, Debug, Default)]
struct Owned {
    by: Option<usize>,
    /// A holder has died.
    marked: bool,
}

#[derive(Debug)]
pub(crate) struct Reference {
    time: u64,
    actors: usize,
    waits: BTreeMap<usize, (u64, Wait)>,
    /// Who has to go on, and with which answer.
    due: BTreeMap<usize, Answer>,
    lock: Owned,
    /// Who may have been told of a dead holder before somebody else recovered the lock.
    perhaps_told: BTreeSet<usize>,
    rlock: Option<(usize, u32)>,
    free: u32,
    permits: BTreeMap<usize, u32>,
    event: bool,
    broken: bool,
    part: Owned,
    whole: Owned,
}

impl Reference {
    pub(crate) fn new(actors: usize) -> Reference {
        Reference {
            time: 0,
            actors,
            waits: BTreeMap::new(),
            due: BTreeMap::new(),
            lock: Owned::default(),
            perhaps_told: BTreeSet::new(),
            rlock: None,
            free: PERMITS,
            permits: BTreeMap::new(),
            event: false,
            broken: false,
            part: Owned::default(),
            whole: Owned::default(),
        }
    }

    fn is_idle(&self, index: usize) -> bool {
        !self.waits.contains_key(&index) && !self.due.contains_key(&index)
    }

    /// Whether it makes sense that this one does that now; somebody always stays idle.
    pub(crate) fn may(&self, index: usize, operation: Operation) -> bool {
        use Operation::*;
        let can_wait = self.waits.len() + 1 < self.actors;
        let permits = self.permits.get(&index).copied().unwrap_or(0);
        let makes_sense = match operation {
            Unlock => self.lock.by == Some(index),
            RUnlock => self.rlock.is_some_and(|(by, _)| by == index),
            GiveBack | Forget => permits > 0,
            Release => self.free + self.permits.values().sum::<u32>() < MOST_PERMITS,
            Wait => self.lock.by == Some(index) && can_wait,
            Lock | Recover | RLock | Acquire | WaitEvent | Pass => can_wait,
            GivePart => self.part.by == Some(index),
            GiveWhole => self.whole.by == Some(index),
            RecoverWhole => self.part.by.is_none() && self.whole.by.is_none(),
            _ => true,
        };
        self.is_idle(index) && makes_sense
    }

    pub(crate) fn begin(&mut self, index: usize, operation: Operation) {
        use Operation::*;
        self.time += 1;
        let answer = match operation {
            Lock => return self.wait(index, self::Wait::Lock),
            Recover => return self.wait(index, self::Wait::Recover),
            Acquire => return self.wait(index, self::Wait::Permit),
            RLock => match &mut self.rlock {
                Some((by, depth)) if *by == index => {
                    *depth += 1;
                    Answer::Done
                }
                _ => return self.wait(index, self::Wait::RLock),
            },
            Wait => {
                self.lock.by = None;
                return self.wait(index, self::Wait::Notification);
            }
            WaitEvent if !self.event => return self.wait(index, self::Wait::Event),
            Pass if !self.broken => {
                self.wait(index, self::Wait::Barrier);
                if self.who_waits(self::Wait::Barrier).len() == PARTIES {
                    self.end_round(Answer::Done);
                }
                return;
            }
            Pass => Answer::Broken,
            TryLock => self.lock.try_take(index),
            TryAcquire if self.free == 0 => Answer::Busy,
            TakePart | TakeWhole => self.take_of_array(index, operation),
            _ => {
                self.change(index, operation);
                Answer::Done
            }
        };
        self.due.insert(index, answer);
    }

    /// What is done at once, and always works.
    fn change(&mut self, index: usize, operation: Operation) {
        use Operation::*;
        let permits = self.permits.entry(index).or_default();
        match operation {
            Unlock => self.lock.by = None,
            RUnlock => self.rlock = self.rlock.filter(|(_, depth)| *depth > 1).map(|(by, n)| (by, n - 1)),
            TryAcquire => (self.free, *permits) = (self.free - 1, *permits + 1),
            GiveBack => (self.free, *permits) = (self.free + 1, *permits - 1),
            Forget => *permits -= 1,
            Release => self.free += 1,
            NotifyOne => self.notify(1, self.time),
            NotifyAll => self.notify(usize::MAX, self.time),
            Clear => self.event = false,
            Set => {
                self.event = true;
                self.all_go_on(self::Wait::Event, Answer::Done);
            }
            Abort => self.break_barrier(),
            Reset => {
                self.end_round(Answer::Broken);
                self.broken = false;
            }
            GivePart => self.part.by = None,
            GiveWhole => self.whole.by = None,
            RecoverWhole => (self.part.marked, self.whole.marked) = (false, false),
            _ => {}
        }
    }

    fn take_of_array(&mut self, index: usize, operation: Operation) -> Answer {
        let (own, other) = match operation {
            Operation::TakePart => (&mut self.part, self.whole),
            _ => (&mut self.whole, self.part),
        };
        if own.by.is_none() && !own.marked {
            if other.by.is_some() {
                return Answer::Busy;
            }
            if other.marked {
                return Answer::Died;
            }
        }
        own.try_take(index)
    }

    fn wait(&mut self, index: usize, wait: Wait) {
        self.waits.insert(index, (self.time, wait));
    }

    /// Those who wait for that, the one who came first at the head.
    fn who_waits(&self, wait: Wait) -> Vec<usize> {
        let mut all: Vec<_> = self.waits.iter().filter(|(_, (_, other))| *other == wait).collect();
        all.sort_by_key(|(_, (since, _))| *since);
        all.into_iter().map(|(index, _)| *index).collect()
    }

    fn all_go_on(&mut self, wait: Wait, answer: Answer) {
        for index in self.who_waits(wait) {
            self.waits.remove(&index);
            self.due.insert(index, answer);
        }
    }

    fn end_round(&mut self, answer: Answer) {
        self.all_go_on(Wait::Barrier, answer);
    }

    fn break_barrier(&mut self) {
        self.end_round(Answer::Broken);
        self.broken = true;
    }

    /// Notifies so many of those who waited at that time.
    fn notify(&mut self, count: usize, at: u64) {
        let waiting = self.who_waits(Wait::Notification).into_iter();
        let waiting: Vec<usize> = waiting.filter(|index| self.waits[index].0 < at).take(count).collect();
        for index in waiting {
            self.waits.insert(index, (self.time, Wait::LockAgain(at)));
        }
    }

    /// A process is killed, whatever it does.
    pub(crate) fn die(&mut self, index: usize) {
        self.time += 1;
        if let Some((_, Wait::LockAgain(at))) = self.waits.remove(&index) {
            self.notify(1, at);
        }
        for owned in [&mut self.lock, &mut self.part, &mut self.whole] {
            if owned.by == Some(index) {
                *owned = Owned { by: None, marked: true };
            }
        }
        self.rlock = self.rlock.filter(|(by, _)| *by != index);
        self.free += self.permits.remove(&index).unwrap_or(0);
        self.break_barrier();
    }

    /// Those of whom one has to go on next; `None` if nobody has to.
    pub(crate) fn next_to_go_on(&self) -> Option<Vec<usize>> {
        if let Some(index) = self.due.keys().next() {
            return Some(vec![*index]);
        }
        let of = |suits: fn(Wait) -> bool| {
            let all = self.waits.iter().filter(|(_, (_, wait))| suits(*wait));
            Some(all.map(|(index, _)| *index).collect::<Vec<usize>>()).filter(|all| !all.is_empty())
        };
        let lock = || of(|wait| matches!(wait, Wait::Lock | Wait::Recover | Wait::LockAgain(_)));
        let free_lock = if self.lock.by.is_none() { lock() } else { None };
        let free_rlock = || if self.rlock.is_none() { of(|wait| wait == Wait::RLock) } else { None };
        let free_permit = || if self.free > 0 { of(|wait| wait == Wait::Permit) } else { None };
        let refused = || self.refused().map(|index| vec![index]);
        free_lock.or_else(free_rlock).or_else(free_permit).or_else(refused)
    }

    /// The youngest of a circle of waits who can be refused.
    fn refused(&self) -> Option<usize> {
        let holder = |index: &usize| match self.waits.get(index)?.1 {
            Wait::Lock | Wait::Recover | Wait::LockAgain(_) => self.lock.by,
            Wait::RLock => self.rlock.map(|(by, _)| by),
            _ => None,
        };
        self.waits.keys().find_map(|start| {
            let circle: Vec<usize> =
                std::iter::successors(Some(*start), |index| holder(index).filter(|next| next != start))
                    .take(self.actors + 1)
                    .collect();
            let closes = circle.last().and_then(holder) == Some(*start);
            let can_be = |index: &&usize| !matches!(self.waits[*index].1, Wait::LockAgain(_));
            if !closes {
                return None;
            }
            circle.iter().filter(can_be).max_by_key(|index| self.waits[*index].0).copied()
        })
    }

    /// Somebody went on with that answer. Whether that is right.
    pub(crate) fn go_on(&mut self, index: usize, answer: Answer) -> bool {
        if let Some(foreseen) = self.due.remove(&index) {
            return foreseen == answer;
        }
        if answer == Answer::Deadlock {
            let right = self.refused() == Some(index);
            self.waits.remove(&index);
            return right;
        }
        let Some((_, wait)) = self.waits.remove(&index) else { return false };
        let taken = match wait {
            Wait::Lock => self.lock.try_take(index),
            Wait::Recover | Wait::LockAgain(_) => {
                if std::mem::take(&mut self.lock.marked) {
                    self.perhaps_told = self.who_waits(Wait::Lock).into_iter().collect();
                }
                self.lock.try_take(index)
            }
            Wait::RLock if self.rlock.is_none() => {
                self.rlock = Some((index, 1));
                Answer::Done
            }
            Wait::Permit if self.free > 0 => {
                self.change(index, Operation::TryAcquire);
                Answer::Done
            }
            _ => return false,
        };
        taken == answer
    }

    /// Who has to be seen to wait.
    pub(crate) fn waiting(&self) -> Vec<usize> {
        self.waits.keys().copied().collect()
    }

    /// Somebody does not wait any more. Whether it may have been told of a dead holder before.
    pub(crate) fn was_told(&mut self, index: usize, answer: Answer) -> bool {
        answer == Answer::Died && self.perhaps_told.remove(&index) && self.waits.remove(&index).is_some()
    }

    /// Everybody who waits was seen to wait.
    pub(crate) fn settled(&mut self) {
        self.perhaps_told.clear();
    }

    /// Whom it takes to give up locks before all can end.
    pub(crate) fn to_give_up(&self) -> Option<(usize, Operation)> {
        let lock = self.lock.by.map(|by| (by, Operation::Unlock));
        let rlock = self.rlock.map(|(by, _)| (by, Operation::RUnlock));
        lock.into_iter().chain(rlock).find(|(by, _)| self.is_idle(*by))
    }
}

impl Owned {
    fn try_take(&mut self, index: usize) -> Answer {
        match (self.by, self.marked) {
            (Some(_), _) => Answer::Busy,
            (None, true) => Answer::Died,
            (None, false) => {
                self.by = Some(index);
                Answer::Done
            }
        }
    }
}
