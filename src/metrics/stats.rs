//! Floor 0. A copy of all figures at one moment: what `/stats` shows as JSON, what `/metrics` and the console are rendered from.
//!
//! Field names are the JSON keys. Durations are microseconds.

use std::collections::BTreeMap;

use serde::ser::SerializeTuple;
use serde::{Serialize, Serializer};

use super::counters::{CacheCounters, ClientCounters, Counters, PlanCounters, PoolCounters, TrafficCounters};
use super::histogram::{Bucket, Snapshot};
use super::label::Label;

/// Counts by word.
pub type Words = BTreeMap<&'static str, u64>;

/// Shapes shown.
const TOP_SHAPES: usize = 100;

/// Everything.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Stats {
    /// pgdial's version.
    pub version: String,
    /// Seconds since the start.
    pub uptime: u64,
    /// Stopping: no new clients are let in.
    pub draining: bool,
    /// Who connects.
    pub clients: ClientStats,
    /// What passes.
    pub traffic: TrafficStats,
    /// Errors sent to clients by pgdial itself, by kind.
    pub errors: Words,
    /// Latencies.
    pub latency: Latencies,
    /// Warm results.
    pub cache: CacheStats,
    /// Warm plans.
    pub plans: PlanStats,
    /// Warm connections.
    pub pool: PoolStats,
    /// The shapes on which most time was spent.
    pub shapes: Vec<Shape>,
    /// Shapes that had to leave the table.
    pub shapes_evicted: u64,
}

/// Who connects.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ClientStats {
    /// Connected now.
    pub connected: u64,
    /// Accepted since the start.
    pub total: u64,
    /// Turned away, by reason.
    pub rejected: Words,
    /// Failed logins.
    pub logins_failed: u64,
    /// Cancel requests.
    pub cancels: u64,
    /// Replication connections now.
    pub replication: u64,
}

/// What passes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct TrafficStats {
    /// Statements.
    pub queries: u64,
    /// Transactions.
    pub transactions: u64,
    /// Batches answered without a server connection.
    pub batches_local: u64,
    /// From clients.
    pub client_bytes_in: u64,
    /// To clients.
    pub client_bytes_out: u64,
    /// From servers.
    pub server_bytes_in: u64,
    /// To servers.
    pub server_bytes_out: u64,
    /// Time that batches took, as clients saw it.
    #[serde(rename = "query_time")]
    pub query_us: u64,
    /// Time that transactions took.
    #[serde(rename = "transaction_time")]
    pub transaction_us: u64,
    /// Sessions begun.
    pub sessions: u64,
    /// Parse messages of clients.
    pub client_parses: u64,
    /// Parse messages sent to servers.
    pub server_parses: u64,
    /// Statements bound.
    pub binds: u64,
}

/// The process-wide latencies.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Latencies {
    /// As clients see it.
    pub query: LatencyStats,
    /// Waiting for a server connection.
    pub checkout: LatencyStats,
}

/// One latency.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LatencyStats {
    /// How many.
    pub count: u64,
    /// Sum.
    #[serde(rename = "sum")]
    pub sum_us: u64,
    /// Mean.
    #[serde(rename = "mean")]
    pub mean_us: u64,
    /// Median.
    #[serde(rename = "p50")]
    pub p50_us: u64,
    /// 90th percentile.
    #[serde(rename = "p90")]
    pub p90_us: u64,
    /// 99th percentile.
    #[serde(rename = "p99")]
    pub p99_us: u64,
    /// 99.9th percentile.
    #[serde(rename = "p999")]
    pub p999_us: u64,
    /// Greatest.
    #[serde(rename = "max")]
    pub max_us: u64,
    /// `[from, to, count]` of each bucket that is not empty: the difference of two polls gives percentiles of the time between.
    #[serde(rename = "buckets")]
    pub snapshot: Snapshot,
}

impl From<Snapshot> for LatencyStats {
    fn from(snapshot: Snapshot) -> Self {
        Self {
            count: snapshot.count(),
            sum_us: snapshot.sum_us,
            mean_us: snapshot.mean_us(),
            p50_us: snapshot.percentile_us(0.5),
            p90_us: snapshot.percentile_us(0.9),
            p99_us: snapshot.percentile_us(0.99),
            p999_us: snapshot.percentile_us(0.999),
            max_us: snapshot.max_us,
            snapshot,
        }
    }
}

impl Serialize for Snapshot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.buckets)
    }
}

impl Serialize for Bucket {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(3)?;
        tuple.serialize_element(&self.from_us)?;
        tuple.serialize_element(&self.to_us)?;
        tuple.serialize_element(&self.count)?;
        tuple.end()
    }
}

/// Warm results.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CacheStats {
    /// `off`, `observe` or `on`.
    pub mode: &'static str,
    /// Answered from memory.
    pub hits: u64,
    /// Asked for.
    pub misses: u64,
    /// Joined another client's flight.
    pub waits: u64,
    /// Stored.
    pub fills: u64,
    /// Served after their ttl.
    pub stale_served: u64,
    /// Version bumps.
    pub invalidations: u64,
    /// Writes that met more than was expected of them.
    pub footprint_escapes: u64,
    /// Entries now.
    pub entries: u64,
    /// Bytes they take.
    pub bytes: u64,
    /// `cache.memory`.
    pub bytes_limit: u64,
    /// Why the cache was not used.
    pub bypass: Words,
    /// Fences whose write has an unknown outcome.
    pub unresolved: Vec<Fence>,
}

/// A fence that stays up since the outcome of its write is not known yet.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Fence {
    /// Database.
    pub database: String,
    /// Process id of the lost server.
    pub pid: i32,
    /// The tables behind it, or `everything`.
    pub footprint: String,
    /// Why it is not known.
    pub reason: String,
    /// Seconds since the connection was lost.
    pub age: u64,
}

/// Warm plans.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PlanStats {
    /// `off`, `named` or `auto`.
    pub mode: &'static str,
    /// The server had the statement.
    pub hits: u64,
    /// It had not.
    pub misses: u64,
    /// Parse messages sent.
    pub prepared: u64,
    /// Texts executed as a shared statement.
    pub promoted: u64,
    /// Closed to make room.
    pub evicted: u64,
}

/// Warm connections, all pools together and one by one.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PoolStats {
    /// Clients logged in.
    pub clients: u64,
    /// Servers that work for a client.
    pub active: u64,
    /// Servers that are free.
    pub idle: u64,
    /// Clients that wait for a server.
    pub waiting: u64,
    /// Clients that hold a server beyond their transaction, by reason, now.
    pub pinned: Words,
    /// Servers there may be.
    pub size: u64,
    /// Servers being opened.
    pub dialing: u64,
    /// Connections opened.
    pub dials: u64,
    /// Attempts that failed.
    pub dials_failed: u64,
    /// Checkouts that had to wait.
    pub waits: u64,
    /// Checkouts given up.
    pub timeouts: u64,
    /// Pins since the start, by reason.
    pub pins: Words,
    /// Each pool.
    pub pools: Vec<Pool>,
    /// Pinned clients, the longest first.
    pub pinned_clients: Vec<Pinned>,
}

impl PoolStats {
    /// Adds up the pools. Call it after `pools` is set.
    pub fn sum_pools(&mut self) {
        let sum = |field: fn(&Pool) -> u64| self.pools.iter().map(field).sum();
        (self.clients, self.active, self.idle) = (sum(|p| p.clients), sum(|p| p.active), sum(|p| p.idle));
        (self.waiting, self.size, self.dialing) = (sum(|p| p.waiting), sum(|p| p.size), sum(|p| p.dialing));
    }
}

/// The pool of one database and user.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Pool {
    /// Database.
    pub database: String,
    /// User.
    pub user: String,
    /// Clients logged in.
    pub clients: u64,
    /// Servers that work for a client.
    pub active: u64,
    /// Servers that are free.
    pub idle: u64,
    /// Clients that wait.
    pub waiting: u64,
    /// Servers being opened.
    pub dialing: u64,
    /// Servers there may be.
    pub size: u64,
    /// How long the first in the queue has waited.
    #[serde(rename = "max_wait")]
    pub max_wait_us: u64,
}

/// A client that holds a server beyond its transaction.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Pinned {
    /// Its address.
    pub client: String,
    /// Database.
    pub database: String,
    /// User.
    pub user: String,
    /// `application_name`.
    pub application: String,
    /// The pin's word.
    pub reason: &'static str,
    /// Seconds since.
    pub age: u64,
}

/// One query shape.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Shape {
    /// Normalised text.
    pub text: String,
    /// Tables it reads or writes.
    pub tables: Vec<String>,
    /// Executions.
    pub calls: u64,
    /// Of these, from memory.
    pub hits: u64,
    /// Rows.
    pub rows: u64,
    /// Bytes of result.
    pub bytes: u64,
    /// Time spent, as clients saw it.
    #[serde(rename = "total")]
    pub total_us: u64,
    /// Mean latency.
    #[serde(rename = "mean")]
    pub mean_us: u64,
    /// Median latency.
    #[serde(rename = "p50")]
    pub p50_us: u64,
    /// 99th percentile.
    #[serde(rename = "p99")]
    pub p99_us: u64,
    /// Greatest.
    #[serde(rename = "max")]
    pub max_us: u64,
}

impl<K: Label, N: Label, P: Label> Counters<K, N, P> {
    /// What is counted here. Traffic is counted by database; and what is a state and not a count (entries, pools, pinned clients, fences, modes, uptime) is left at its
    /// default: whoever holds it sets it.
    pub fn stats(&self) -> Stats {
        Stats {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            clients: self.clients.stats(),
            errors: self.errors.snapshot(),
            latency: Latencies { query: self.query_latency.snapshot().into(), checkout: self.checkout_wait.snapshot().into() },
            cache: self.cache.stats(),
            plans: self.plans.stats(),
            pool: self.pool.stats(),
            shapes: self.shapes.top(TOP_SHAPES),
            shapes_evicted: self.shapes.evicted(),
            ..Stats::default()
        }
    }
}

impl ClientCounters {
    fn stats(&self) -> ClientStats {
        ClientStats {
            connected: self.connected.get(),
            total: self.total.get(),
            rejected: self.rejected.snapshot(),
            logins_failed: self.logins_failed.get(),
            cancels: self.cancels.get(),
            replication: self.replication.get(),
        }
    }
}

impl TrafficStats {
    /// What was counted in several databases.
    pub fn sum(parts: impl Iterator<Item = Self>) -> Self {
        parts.fold(Self::default(), |a, b| a.with(&b, u64::saturating_add))
    }

    /// What came after `before` was taken.
    pub fn since(&self, before: &Self) -> Self {
        self.with(before, u64::saturating_sub)
    }

    fn with(&self, other: &Self, f: fn(u64, u64) -> u64) -> Self {
        let (a, b) = (self, other);
        Self {
            queries: f(a.queries, b.queries),
            transactions: f(a.transactions, b.transactions),
            batches_local: f(a.batches_local, b.batches_local),
            client_bytes_in: f(a.client_bytes_in, b.client_bytes_in),
            client_bytes_out: f(a.client_bytes_out, b.client_bytes_out),
            server_bytes_in: f(a.server_bytes_in, b.server_bytes_in),
            server_bytes_out: f(a.server_bytes_out, b.server_bytes_out),
            query_us: f(a.query_us, b.query_us),
            transaction_us: f(a.transaction_us, b.transaction_us),
            sessions: f(a.sessions, b.sessions),
            client_parses: f(a.client_parses, b.client_parses),
            server_parses: f(a.server_parses, b.server_parses),
            binds: f(a.binds, b.binds),
        }
    }
}

impl TrafficCounters {
    /// A copy.
    pub fn stats(&self) -> TrafficStats {
        TrafficStats {
            queries: self.queries.get(),
            transactions: self.transactions.get(),
            batches_local: self.batches_local.get(),
            client_bytes_in: self.client_bytes_in.get(),
            client_bytes_out: self.client_bytes_out.get(),
            server_bytes_in: self.server_bytes_in.get(),
            server_bytes_out: self.server_bytes_out.get(),
            query_us: self.query_us.get(),
            transaction_us: self.transaction_us.get(),
            sessions: self.sessions.get(),
            client_parses: self.client_parses.get(),
            server_parses: self.server_parses.get(),
            binds: self.binds.get(),
        }
    }
}

impl<N: Label> CacheCounters<N> {
    fn stats(&self) -> CacheStats {
        CacheStats {
            hits: self.hits.get(),
            misses: self.misses.get(),
            waits: self.waits.get(),
            fills: self.fills.get(),
            stale_served: self.stale_served.get(),
            invalidations: self.invalidations.get(),
            footprint_escapes: self.footprint_escapes.get(),
            bypass: self.bypass.snapshot(),
            ..CacheStats::default()
        }
    }
}

impl PlanCounters {
    fn stats(&self) -> PlanStats {
        PlanStats {
            mode: "",
            hits: self.hits.get(),
            misses: self.misses.get(),
            prepared: self.prepared.get(),
            promoted: self.promoted.get(),
            evicted: self.evicted.get(),
        }
    }
}

impl<P: Label> PoolCounters<P> {
    fn stats(&self) -> PoolStats {
        PoolStats {
            dials: self.dials.get(),
            dials_failed: self.dials_failed.get(),
            waits: self.waits.get(),
            timeouts: self.timeouts.get(),
            pinned: self.pinned.snapshot(),
            pins: self.pins.snapshot(),
            ..PoolStats::default()
        }
    }
}
