//! The rules of supervision, each by itself. Pure: no clock, no process, no state but the window's.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::specification::{AutoShutdown, Backoff, Intensity, RestartPolicy, Strategy};

/// How a child ended that nobody had asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Success,
    Failure,
}

/// Whether a child that ended by itself is to be started again.
pub(crate) fn restarts(policy: RestartPolicy, end: End) -> bool {
    match (policy, end) {
        (RestartPolicy::Permanent, End::Success | End::Failure) => true,
        (RestartPolicy::Transient, End::Success) => false,
        (RestartPolicy::Transient, End::Failure) => true,
        (RestartPolicy::Temporary, End::Success | End::Failure) => false,
    }
}

/// Which of `count` children are started anew when the one at `position` is.
pub(crate) fn affected(strategy: Strategy, position: usize, count: usize) -> Range<usize> {
    match strategy {
        Strategy::OneForOne => position..position + 1,
        Strategy::OneForAll => 0..count,
        Strategy::RestForOne => position..count,
    }
}

/// Whether a group ends, now that a significant child has ended for good. `others` says of each other significant
/// child whether it has ended for good too.
pub(crate) fn shuts_down(rule: AutoShutdown, mut others: impl Iterator<Item = bool>) -> bool {
    match rule {
        AutoShutdown::Never => false,
        AutoShutdown::AnySignificant => true,
        AutoShutdown::AllSignificant => others.all(|ended| ended),
    }
}

/// How long to wait before a restart that `before` others came before. `chance` (0 to 1) picks from the jitter.
pub(crate) fn delay(backoff: &Backoff, before: u32, chance: f64) -> Duration {
    let longest = backoff.cap.max(backoff.first).as_secs_f64();
    let power = backoff.factor.max(1.0).powi(before.min(1024) as i32);
    let plain = (backoff.first.as_secs_f64() * power).min(longest);
    let plain = if plain.is_finite() { plain } else { longest };
    let longer = plain * (1.0 + backoff.jitter.clamp(0.0, 1.0) * chance.clamp(0.0, 1.0));
    Duration::try_from_secs_f64(longer).unwrap_or(backoff.cap)
}

/// The restarts of a group within its period.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    restarts: VecDeque<Instant>,
}

impl Window {
    /// Counts a restart; false if it is one too many.
    pub(crate) fn admits(&mut self, intensity: Intensity, now: Instant) -> bool {
        while self.restarts.front().is_some_and(|first| now.duration_since(*first) >= intensity.period) {
            self.restarts.pop_front();
        }
        if self.restarts.len() >= intensity.restarts as usize {
            return false;
        }
        self.restarts.push_back(now);
        true
    }

    /// A group that starts anew has a clean record.
    pub(crate) fn clear(&mut self) {
        self.restarts.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn permanent_always_restarts_transient_after_failure_temporary_never() {
        let table = [
            (RestartPolicy::Permanent, End::Success, true),
            (RestartPolicy::Permanent, End::Failure, true),
            (RestartPolicy::Transient, End::Success, false),
            (RestartPolicy::Transient, End::Failure, true),
            (RestartPolicy::Temporary, End::Success, false),
            (RestartPolicy::Temporary, End::Failure, false),
        ];
        for (policy, end, expected) in table {
            assert_eq!(restarts(policy, end), expected, "{policy:?} {end:?}");
        }
    }

    #[test]
    fn a_strategy_says_whom_a_restart_takes_along() {
        for count in 1..5 {
            for position in 0..count {
                assert_eq!(affected(Strategy::OneForOne, position, count), position..position + 1);
                assert_eq!(affected(Strategy::OneForAll, position, count), 0..count);
                assert_eq!(affected(Strategy::RestForOne, position, count), position..count);
            }
        }
    }

    #[test]
    fn an_automatic_shutdown_waits_for_one_or_for_all() {
        for others in [vec![], vec![true], vec![false], vec![true, false]] {
            assert!(!shuts_down(AutoShutdown::Never, others.iter().copied()));
            assert!(shuts_down(AutoShutdown::AnySignificant, others.iter().copied()));
            let all = others.iter().all(|ended| *ended);
            assert_eq!(shuts_down(AutoShutdown::AllSignificant, others.iter().copied()), all);
        }
    }

    #[test]
    fn waits_grow_up_to_the_cap_and_never_fall_below_their_plain_length() {
        let backoff = Backoff { jitter: 0.5, ..Backoff::default() };
        let mut plain = backoff.first;
        for before in 0..2000 {
            for chance in [0.0, 0.3, 1.0, 7.0, -1.0] {
                let delay = delay(&backoff, before, chance);
                assert!(delay >= plain.min(backoff.cap), "{before}: {delay:?} is below {plain:?}");
                assert!(delay <= backoff.cap.mul_f64(1.5));
            }
            plain = plain.saturating_mul(2).min(backoff.cap);
        }
    }

    #[test]
    fn a_factor_that_makes_no_sense_neither_shortens_waits_nor_panics() {
        for factor in [0.0, -3.0, f64::INFINITY, f64::NAN, 1e300] {
            let backoff = Backoff { factor, ..Backoff::default() };
            for before in [0, 1, 5, u32::MAX] {
                let delay = delay(&backoff, before, 0.0);
                assert!(delay >= backoff.first && delay <= backoff.cap, "{factor} {before}: {delay:?}");
            }
        }
    }

    /// Restarts at random times: whatever the window admits, no period holds more than the intensity.
    #[test]
    fn no_period_ever_holds_more_restarts_than_the_intensity() {
        let start = Instant::now();
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for restarts in 0..6 {
            let intensity = Intensity { restarts, period: 10 * SECOND };
            let (mut window, mut now, mut admitted) = (Window::default(), start, Vec::new());
            for _ in 0..500 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                now += Duration::from_millis((random >> 33) % 4000);
                if window.admits(intensity, now) {
                    admitted.push(now);
                }
                let within = admitted.iter().filter(|time| now.duration_since(**time) < intensity.period);
                assert!(within.count() <= restarts as usize);
            }
        }
    }

    #[test]
    fn a_restart_that_has_left_the_period_counts_no_more() {
        let (start, mut window) = (Instant::now(), Window::default());
        let intensity = Intensity { restarts: 2, period: 5 * SECOND };
        assert!(window.admits(intensity, start));
        assert!(window.admits(intensity, start + SECOND));
        assert!(!window.admits(intensity, start + 4 * SECOND));
        assert!(window.admits(intensity, start + 5 * SECOND));
        assert!(!window.admits(intensity, start + 5 * SECOND));
    }
}
