//! Floor 4. Periods: what has taken too long?

use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::error::{Error, Kind};
use crate::pg::TransactionStatus;

use super::super::meter::Meter;

/// Periods that end a client's wait or its session. Zero = never.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// A statement may take so long.
    pub query: Duration,
    /// An open transaction may sit idle so long.
    pub idle_in_transaction: Duration,
    /// A client may sit idle so long.
    pub idle: Duration,
}

impl Limits {
    /// How often to look at the clock.
    pub(super) fn tick(&self) -> Option<Duration> {
        let shortest = [self.query, self.idle_in_transaction, self.idle].into_iter().filter(|limit| !limit.is_zero()).min()?;
        Some((shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(5)))
    }
}

/// What has taken too long, if anything.
pub(super) fn overdue(limits: &Limits, engine: &Engine, meter: &Meter, now: Instant) -> Option<Error> {
    let over = |limit: Duration| !limit.is_zero() && now.saturating_duration_since(meter.quiet_since()) >= limit;
    if engine.is_busy() {
        let running = now.saturating_duration_since(meter.busy_since());
        return (!limits.query.is_zero() && running >= limits.query).then(|| {
            Error::new(Kind::QueryTimeout, format!("the statement ran longer than query_timeout ({:?})", limits.query))
        });
    }
    if engine.status() != TransactionStatus::Idle {
        return over(limits.idle_in_transaction)
            .then(|| Error::new(Kind::IdleInTransaction, "terminating connection due to idle-in-transaction timeout"));
    }
    over(limits.idle).then(|| Error::new(Kind::IdleSession, "terminating connection due to idle-session timeout"))
}
