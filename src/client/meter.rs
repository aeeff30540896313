//! Floor 4. What one client's traffic adds to the statistics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::{Engine, Finished, Tally};
use crate::error::Error;
use crate::metrics::{ShapeStats, TrafficCounters};
use crate::pg::TransactionStatus;
use crate::query::Statement;
use crate::server::{ClientCard, Slot};
use crate::session::Pins;

use super::counts::Counts;

/// Counts for one client.
pub(super) struct Meter {
    counts: Arc<Counts>,
    /// The database's share.
    traffic: Arc<TrafficCounters>,
    slot: Arc<Slot>,
    busy_since: Option<Instant>,
    transaction_since: Option<Instant>,
    quiet_since: Instant,
    waiting_since: Option<Instant>,
    now: Instant,
    pins: Pins,
    /// The statement of last time, and its figures: most clients repeat themselves.
    shape: Option<(Arc<Statement>, Arc<ShapeStats>)>,
    /// Bytes to the client since its last batch was counted.
    sent: u64,
    /// `[log] slow_query`.
    slow: Duration,
    /// Queries of this session, for its line in the log.
    pub(super) queries: u64,
}

impl Meter {
    /// For a client that has just logged in.
    pub(super) fn new(counts: Arc<Counts>, traffic: Arc<TrafficCounters>, slot: Arc<Slot>, slow: Duration, now: Instant) -> Self {
        let pins = Pins::default();
        traffic.sessions.inc();
        Self {
            counts,
            traffic,
            slot,
            busy_since: None,
            transaction_since: None,
            quiet_since: now,
            waiting_since: None,
            now,
            pins,
            shape: None,
            sent: 0,
            slow,
            queries: 0,
        }
    }

    pub(super) fn now(&mut self, now: Instant) {
        self.now = now;
    }

    /// Who the client is.
    pub(super) fn card(&self) -> &ClientCard {
        self.slot.card()
    }

    /// The time of the turn that is under way.
    pub(super) fn moment(&self) -> Instant {
        self.now
    }

    pub(super) fn client_sent(&mut self, bytes: usize) {
        self.traffic.client_bytes_in.add(bytes as u64);
        self.busy_since.get_or_insert(self.now);
    }

    pub(super) fn server_sent(&self, bytes: usize) {
        self.traffic.server_bytes_in.add(bytes as u64);
    }

    pub(super) fn client_got(&mut self, bytes: usize) {
        if bytes > 0 {
            self.sent += bytes as u64;
            self.traffic.client_bytes_out.add(bytes as u64);
        }
    }

    pub(super) fn server_got(&self, bytes: usize) {
        if bytes > 0 {
            self.traffic.server_bytes_out.add(bytes as u64);
        }
    }

    pub(super) fn waits(&mut self) {
        self.waiting_since.get_or_insert(self.now);
        self.counts.pool.waits.inc();
    }

    pub(super) fn waited(&mut self, now: Instant) {
        if let Some(since) = self.waiting_since.take() {
            self.counts.checkout_wait.record(now.saturating_duration_since(since));
        }
    }

    pub(super) fn refused(&self, error: &Error) {
        self.counts.errors.inc(error.kind());
    }

    /// Since when the client has been waiting for an answer.
    pub(super) fn busy_since(&self) -> Instant {
        self.busy_since.unwrap_or(self.now)
    }

    /// Since when the client has nothing to wait for.
    pub(super) fn quiet_since(&self) -> Instant {
        self.quiet_since
    }

    /// Takes over what the engine has counted.
    pub(super) fn take(&mut self, engine: &mut Engine) {
        // Pins go when Postgres has been asked, behind the last batch.
        if engine.tally == Tally::default() && engine.pins() == self.pins {
            return;
        }
        let tally = std::mem::take(&mut engine.tally);
        let counts = Arc::clone(&self.counts);
        if tally.batches > 0 {
            let now = Instant::now();
            self.queries += u64::from(tally.batches);
            self.traffic.queries.add(u64::from(tally.batches));
            self.traffic.transactions.add(u64::from(tally.transactions));
            if tally.local > 0 {
                self.traffic.batches_local.add(u64::from(tally.local));
            }
            if let Some(since) = self.busy_since {
                let latency = now.saturating_duration_since(since);
                counts.query_latency.record(latency);
                self.traffic.query_us.add(micros(latency));
                self.follow_transaction(engine.status(), since, now);
                self.finished(engine.finished.take(), latency);
            }
            self.busy_since = engine.is_busy().then_some(now);
            self.quiet_since = now;
        }
        if tally.plan_hits > 0 {
            counts.plans.hits.add(u64::from(tally.plan_hits));
        }
        if tally.client_parses > 0 {
            self.traffic.client_parses.add(u64::from(tally.client_parses));
        }
        if tally.plan_hits + tally.plan_misses > 0 {
            self.traffic.binds.add(u64::from(tally.plan_hits) + u64::from(tally.plan_misses));
        }
        if tally.prepared > 0 || tally.plan_misses > 0 {
            counts.plans.prepared.add(u64::from(tally.prepared));
            self.traffic.server_parses.add(u64::from(tally.prepared));
            counts.plans.misses.add(u64::from(tally.plan_misses));
            counts.plans.evicted.add(u64::from(tally.plan_evictions));
        }
        if engine.pins() != self.pins {
            self.follow_pins(engine.pins(), tally.pins);
        }
    }

    /// A transaction lasts from its first batch to the answer that ends it.
    fn follow_transaction(&mut self, status: TransactionStatus, since: Instant, now: Instant) {
        let began = *self.transaction_since.get_or_insert(since);
        if status == TransactionStatus::Idle {
            self.transaction_since = None;
            self.traffic.transaction_us.add(micros(now.saturating_duration_since(began)));
        }
    }

    /// Adds to the shape's figures, and says so when it was slow.
    fn finished(&mut self, finished: Option<Finished>, latency: Duration) {
        let sent = std::mem::take(&mut self.sent);
        let Some(Finished { statement, hit, rows }) = finished else { return };
        if !self.slow.is_zero() && latency >= self.slow {
            tracing::warn!(ms = latency.as_millis(), rows, text = statement.shown.as_str(), "slow query");
        }
        let same = |known: &(Arc<Statement>, Arc<ShapeStats>)| Arc::ptr_eq(&known.0, &statement) && known.1.is_listed();
        if !self.shape.as_ref().is_some_and(same) {
            let tables = || statement.reads.iter().chain(&statement.writes).map(|name| name.name.clone()).collect::<Vec<_>>();
            let stats = self.counts.shapes.shape(statement.shown.as_str().as_bytes(), tables);
            self.shape = Some((statement, stats));
        }
        if let Some((_, stats)) = &self.shape {
            stats.record(latency, hit, rows, sent);
        }
    }

    fn follow_pins(&mut self, pins: Pins, new: Pins) {
        pins.without(self.pins).iter().for_each(|pin| self.counts.pool.pinned.up(pin));
        self.pins.without(pins).iter().for_each(|pin| self.counts.pool.pinned.down(pin));
        new.iter().for_each(|pin| self.counts.pool.pins.inc(pin));
        self.pins = pins;
        self.slot.set_pins(pins, self.now);
    }
}

fn micros(period: Duration) -> u64 {
    u64::try_from(period.as_micros()).unwrap_or(u64::MAX)
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.pins.iter().for_each(|pin| self.counts.pool.pinned.down(pin));
    }
}
