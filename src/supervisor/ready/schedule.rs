//! When a probe is tried, and when an attempt has taken too long. Pure: the clock is an argument.

use std::time::Instant;

use crate::supervisor::specification::Probe;

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Begin an attempt.
    Try,
    /// End the attempt that runs; it failed.
    GiveUp,
}

/// The attempts of one probe, one at a time.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    probe: Probe,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The next attempt begins then.
    Resting(Instant),
    /// The attempt that runs must be done then.
    Trying(Instant),
    /// One succeeded.
    Done,
}

impl Schedule {
    /// The first attempt is due at once.
    pub(crate) fn new(probe: Probe, now: Instant) -> Schedule {
        Schedule { probe, state: State::Resting(now) }
    }

    /// When [`due`](Schedule::due) has something to say.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        match self.state {
            State::Resting(at) | State::Trying(at) => Some(at),
            State::Done => None,
        }
    }

    /// What is due; whoever asks does it.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Due> {
        match self.state {
            State::Resting(at) if at <= now => {
                self.state = State::Trying(now + self.probe.timeout);
                Some(Due::Try)
            }
            State::Trying(at) if at <= now => {
                self.state = State::Resting(now + self.probe.every);
                Some(Due::GiveUp)
            }
            State::Resting(_) | State::Trying(_) | State::Done => None,
        }
    }

    /// The attempt that runs has ended. One that was given up before has nothing to say any more.
    pub(crate) fn ended(&mut self, passed: bool, now: Instant) {
        match self.state {
            State::Trying(_) if passed => self.state = State::Done,
            State::Trying(_) => self.state = State::Resting(now + self.probe.every),
            State::Resting(_) | State::Done => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn attempts_come_one_at_a_time_until_one_passes() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let probe = Probe { every: Duration::from_secs(5), timeout: Duration::from_secs(2) };
        let mut schedule = Schedule::new(probe, start);
        assert_eq!(schedule.due(start), Some(Due::Try));
        assert_eq!((schedule.due(at(1)), schedule.wake_at()), (None, Some(at(2))));
        assert_eq!(schedule.due(at(2)), Some(Due::GiveUp));
        schedule.ended(true, at(2));
        assert_eq!((schedule.due(at(6)), schedule.wake_at()), (None, Some(at(7))));
        assert_eq!(schedule.due(at(7)), Some(Due::Try));
        schedule.ended(false, at(8));
        assert_eq!(schedule.due(at(13)), Some(Due::Try));
        schedule.ended(true, at(14));
        assert_eq!((schedule.due(at(99)), schedule.wake_at()), (None, None));
    }
}
