//! Floor 4. Periods: what has taken too long?

use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::error::{Error, Kind};
use crate::pg::TransactionStatus;

use super::super::meter::Meter;
use super::super::pipe::HIGH_WATER;

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

/// What is to be done about what has taken too long.
pub(super) enum Overdue {
    /// The statement is cancelled; the session goes on.
    Cancel,
    /// The session ends with this error.
    End(Error),
}

/// What has taken too long, if anything.
pub(super) fn overdue(limits: &Limits, engine: &Engine, meter: &Meter, now: Instant) -> Option<Overdue> {
    let over = |limit: Duration, since: Instant| !limit.is_zero() && now.saturating_duration_since(since) >= limit;
    if engine.is_busy() {
        let since = meter.busy_since();
        // A client that does not read hides whether the cancel has worked: its server is not kept for that.
        let grace = if engine.client_out.len() >= HIGH_WATER { Duration::ZERO } else { GRACE };
        if over(limits.query * 2 + grace, since) && !limits.query.is_zero() {
            let what = "the statement could not be cancelled";
            return Some(ended(Kind::QueryTimeout, what, "[pool] query_timeout", limits.query, meter));
        }
        return over(limits.query, since).then_some(Overdue::Cancel);
    }
    let since = meter.quiet_since();
    if engine.status() != TransactionStatus::Idle {
        let (limit, key) = (limits.idle_in_transaction, "[pool] idle_in_transaction_timeout");
        let what = "terminating connection due to idle-in-transaction timeout";
        return over(limit, since).then(|| ended(Kind::IdleInTransaction, what, key, limit, meter));
    }
    let what = "terminating connection due to idle-session timeout";
    over(limits.idle, since).then(|| ended(Kind::IdleSession, what, "[listen] client_idle_timeout", limits.idle, meter))
}

/// Begins with Postgres's words where it has some.
fn ended(kind: Kind, what: &str, key: &str, limit: Duration, meter: &Meter) -> Overdue {
    let (card, limit) = (meter.card(), humantime::format_duration(limit));
    let text = format!("{what}: user \"{}\", database \"{}\", limit {limit}", card.user, card.database);
    Overdue::End(Error::new(kind, text).with_hint(format!("The limit is {key} in pgdial's config file.")))
}

/// For a cancel request to arrive and to be acted on.
const GRACE: Duration = Duration::from_secs(5);
