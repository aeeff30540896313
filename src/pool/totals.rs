//! Floor 1. What a pool has done so far, and how it stands.
//!
//! Plain numbers under the ledger's own lock: counting costs no atomic on the hot path, and a reader copies them in well under a
//! microsecond, a few times per minute.

use std::time::Duration;

/// Number of wait-time buckets: bucket n counts waits below 2^n microseconds, the last one all others.
pub const WAIT_BUCKETS: usize = 28;

/// Why a server connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// Its user asked for it: its state was not known to be clean.
    Released,
    /// It was found dead, or failed its check.
    Dead,
    /// A client had left something behind that was not known of.
    Unclean,
    /// Idle for longer than `idle_timeout`.
    IdleTimeout,
    /// Older than `max_lifetime`.
    MaxLifetime,
    /// Made room for a client with other startup parameters.
    OtherSet,
    /// The pool was made smaller, or an extra server for pinned clients is not needed any more.
    PoolSize,
    /// RECONNECT, or the address or password of the server changed.
    Reconnect,
    /// The pool is paused.
    Paused,
    /// The pool is closing.
    Draining,
}

impl CloseReason {
    /// Every reason, in the order of `Totals::closes`.
    pub const ALL: [Self; 10] = [
        Self::Released,
        Self::Dead,
        Self::Unclean,
        Self::IdleTimeout,
        Self::MaxLifetime,
        Self::OtherSet,
        Self::PoolSize,
        Self::Reconnect,
        Self::Paused,
        Self::Draining,
    ];

    /// Metric label, log field, doc row.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Dead => "dead",
            Self::Unclean => "unclean",
            Self::IdleTimeout => "idle_timeout",
            Self::MaxLifetime => "max_lifetime",
            Self::OtherSet => "other_set",
            Self::PoolSize => "pool_size",
            Self::Reconnect => "reconnect",
            Self::Paused => "paused",
            Self::Draining => "draining",
        }
    }
}

/// Counts since the pool was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Connections handed to clients, at once or after a wait.
    pub checkouts: u64,
    /// Clients that had to wait.
    pub waits: u64,
    /// Clients that waited for longer than `checkout_timeout`.
    pub timeouts: u64,
    /// Clients that went away while they waited.
    pub abandoned: u64,
    /// Time waited by those that were served.
    pub wait_time: Duration,
    /// The longest of these waits.
    pub longest_wait: Duration,
    /// Waits of served clients by length; see `WAIT_BUCKETS`.
    pub wait_buckets: [u64; WAIT_BUCKETS],
    /// Dials started.
    pub dials: u64,
    /// Dials that failed.
    pub dial_failures: u64,
    closes: [u64; CloseReason::ALL.len()],
}

impl Totals {
    /// Connections closed, by reason.
    pub fn closes(&self) -> impl Iterator<Item = (CloseReason, u64)> + '_ {
        CloseReason::ALL.into_iter().zip(self.closes.iter().copied())
    }

    pub(super) fn closed(&mut self, reason: CloseReason) {
        if let Some(count) = self.closes.get_mut(reason as usize) {
            *count += 1;
        }
    }

    pub(super) fn served(&mut self, waited: Duration) {
        self.checkouts += 1;
        self.wait_time += waited;
        self.longest_wait = self.longest_wait.max(waited);
        let bits = u64::BITS - u64::try_from(waited.as_micros()).unwrap_or(u64::MAX).leading_zeros();
        let bucket = (bits as usize).min(WAIT_BUCKETS - 1);
        if let Some(count) = self.wait_buckets.get_mut(bucket) {
            *count += 1;
        }
    }
}

/// How a pool stands now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The most connections it may have.
    pub size: usize,
    /// Connections in use.
    pub active: usize,
    /// Connections ready for use.
    pub idle: usize,
    /// Dials under way.
    pub connecting: usize,
    /// Clients in the queue.
    pub waiting: usize,
    /// How long the first of them has waited.
    pub oldest_wait: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closes_are_listed_under_their_own_name() {
        for reason in CloseReason::ALL {
            let mut totals = Totals::default();
            totals.closed(reason);
            let found: Vec<_> = totals.closes().filter(|(_, n)| *n == 1).collect();
            assert_eq!(found, [(reason, 1)], "{}", reason.as_str());
        }
    }

    #[test]
    fn waits_fall_into_powers_of_two() {
        let mut totals = Totals::default();
        for (micros, bucket) in [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (1_000, 10), (u64::MAX, WAIT_BUCKETS - 1)] {
            let before = totals.wait_buckets[bucket];
            totals.served(Duration::from_micros(micros).min(Duration::from_secs(1 << 40)));
            assert_eq!(totals.wait_buckets[bucket], before + 1, "{micros}");
        }
        assert_eq!(totals.checkouts, 7);
    }
}
