//! Floor 1. When to dial again after a dial failed.
//!
//! While it is failing only one dial is under way at a time: twenty refused dials tell no more than one. The longest delay plus
//! one janitor tick stays under 2 s, so a pool is whole again within 2 s of Postgres being back.

use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_millis(1600);

/// The dialling state of one set of startup parameters. Default = dial as you like.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failed: Option<Failed>,
}

#[derive(Debug)]
struct Failed {
    at: Instant,
    step: Duration,
    delay: Duration,
}

impl Backoff {
    /// `jitter` in 0..=1 shortens the delay by up to a quarter, so that many pools do not knock in step. Dials that were started
    /// before the last failure was known belong to the same burst and do not lengthen the delay.
    pub(super) fn fail(&mut self, started: Instant, now: Instant, jitter: f64) {
        let step = match &self.failed {
            Some(before) if started <= before.at => before.step,
            Some(before) => before.step.saturating_mul(2).min(LONGEST),
            None => FIRST,
        };
        let delay = step.mul_f64(1.0 - 0.25 * jitter.clamp(0.0, 1.0));
        self.failed = Some(Failed { at: now, step, delay });
    }

    pub(super) fn succeed(&mut self) {
        self.failed = None;
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failed.is_some()
    }

    /// `urgent`: somebody waits and nothing is live, so knock again at the shortest delay.
    pub(super) fn allows(&self, now: Instant, urgent: bool, under_way: usize) -> bool {
        let Some(failed) = &self.failed else {
            return true;
        };
        let delay = if urgent { failed.delay.min(FIRST) } else { failed.delay };
        under_way == 0 && now >= failed.at + delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn doubles_up_to_the_longest_and_forgets_on_success() {
        let mut backoff = Backoff::default();
        let mut now = Instant::now();
        assert!(backoff.allows(now, false, 7));
        for expected in [100, 200, 400, 800, 1600, 1600] {
            backoff.fail(now, now, 0.0);
            assert!(!backoff.allows(now + (expected - 1) * MS, false, 0));
            assert!(backoff.allows(now + expected * MS, false, 0));
            assert!(!backoff.allows(now + expected * MS, false, 1), "one trial at a time");
            now += expected * MS;
        }
        backoff.succeed();
        assert!(backoff.allows(now, false, 3) && !backoff.is_failing());
    }

    #[test]
    fn a_burst_counts_once() {
        let mut backoff = Backoff::default();
        let start = Instant::now();
        for after in 1..=20 {
            backoff.fail(start, start + after * MS, 0.0);
        }
        assert!(backoff.allows(start + 120 * MS, false, 0));
    }

    #[test]
    fn urgent_knocks_every_100_ms_and_jitter_only_shortens() {
        let mut backoff = Backoff::default();
        let now = Instant::now();
        for _ in 0..6 {
            backoff.fail(now + MS, now, 1.0);
        }
        assert!(backoff.allows(now + 100 * MS, true, 0));
        assert!(!backoff.allows(now + 1199 * MS, false, 0));
        assert!(backoff.allows(now + 1200 * MS, false, 0));
    }
}
