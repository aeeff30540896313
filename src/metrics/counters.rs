//! Floor 0. The counters that the parts record into, one struct for the process, handed down in an `Arc`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::histogram::Histogram;
use super::label::{Label, Labelled, LabelledGauge};
use super::shapes::ShapeTable;

/// A number that only grows.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Counts `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down. Each `up` has one `down`, from whichever thread; reads never show less than zero.
#[derive(Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// One more.
    pub fn up(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// One less.
    pub fn down(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    /// The value now. A `down` may be seen before its `up`; that moment reads as zero and not as 2^64 - 1.
    pub fn get(&self) -> u64 {
        u64::try_from(self.0.load(Relaxed).cast_signed()).unwrap_or(0)
    }
}

/// Everything the process counts. `K` is the error kind, `N` the reason for not using the cache, `P` the reason of a pin:
/// they belong to other modules, whoever wires the process names them once in a type alias.
pub struct Counters<K, N, P> {
    /// Who connects.
    pub clients: ClientCounters,
    /// Errors sent to clients by pgdial itself, by kind.
    pub errors: Labelled<K>,
    /// Warm results.
    pub cache: CacheCounters<N>,
    /// Warm plans.
    pub plans: PlanCounters,
    /// Warm connections.
    pub pool: PoolCounters<P>,
    /// From the arrival of a batch to the last byte of its reply, as the client sees it.
    pub query_latency: Histogram,
    /// From asking for a server connection to having it.
    pub checkout_wait: Histogram,
    /// Per query shape.
    pub shapes: ShapeTable,
}

impl<K: Label, N: Label, P: Label> Default for Counters<K, N, P> {
    fn default() -> Self {
        Self {
            clients: ClientCounters::default(),
            errors: Labelled::default(),
            cache: CacheCounters::default(),
            plans: PlanCounters::default(),
            pool: PoolCounters::default(),
            query_latency: Histogram::default(),
            checkout_wait: Histogram::default(),
            shapes: ShapeTable::default(),
        }
    }
}

/// Who connects.
#[derive(Default)]
pub struct ClientCounters {
    /// Connected now, from accept to close.
    pub connected: Gauge,
    /// Accepted since the start.
    pub total: Counter,
    /// Turned away before a session began.
    pub rejected: Labelled<Rejected>,
    /// Wrong user, database or password.
    pub logins_failed: Counter,
    /// Cancel requests received.
    pub cancels: Counter,
    /// Replication connections now, each with a server of its own.
    pub replication: Gauge,
}

/// Why a client was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// `listen.max_clients`, or the user's own limit.
    TooManyClients,
    /// pgdial is stopping.
    Draining,
    /// No login within `listen.login_timeout`.
    LoginTimeout,
    /// Not the Postgres protocol.
    Protocol,
    /// TLS failed, or was required and not asked for.
    Tls,
    /// No rule lets this address, user and database in.
    NotAllowed,
}

impl Rejected {
    /// The word in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooManyClients => "too_many_clients",
            Self::Draining => "draining",
            Self::LoginTimeout => "login_timeout",
            Self::Protocol => "protocol",
            Self::Tls => "tls",
            Self::NotAllowed => "not_allowed",
        }
    }
}

crate::label!(Rejected: TooManyClients, Draining, LoginTimeout, Protocol, Tls, NotAllowed);

/// What passes, of one database.
#[derive(Default)]
pub struct TrafficCounters {
    /// Statements executed for clients, wherever they were answered.
    pub queries: Counter,
    /// Transactions ended, implicit ones included.
    pub transactions: Counter,
    /// Batches answered without a server connection.
    pub batches_local: Counter,
    /// Bytes from clients.
    pub client_bytes_in: Counter,
    /// Bytes to clients.
    pub client_bytes_out: Counter,
    /// Bytes from servers.
    pub server_bytes_in: Counter,
    /// Bytes to servers.
    pub server_bytes_out: Counter,
    /// Microseconds from the arrival of a batch to the end of its answer.
    pub query_us: Counter,
    /// Microseconds from the first batch of a transaction to its end.
    pub transaction_us: Counter,
    /// Sessions begun.
    pub sessions: Counter,
    /// Parse messages of clients.
    pub client_parses: Counter,
    /// Parse messages sent to servers.
    pub server_parses: Counter,
    /// Statements bound.
    pub binds: Counter,
}

/// Warm results.
pub struct CacheCounters<N> {
    /// Answered from memory.
    pub hits: Counter,
    /// Could have been, but had to be asked for.
    pub misses: Counter,
    /// Joined a flight that another client had started.
    pub waits: Counter,
    /// Results stored.
    pub fills: Counter,
    /// Served after their ttl, as a rule allows.
    pub stale_served: Counter,
    /// Version bumps of relations, by writes, NOTIFY, purges and DDL.
    pub invalidations: Counter,
    /// A write met a relation that its expected footprint did not name: the whole cache was flushed.
    pub footprint_escapes: Counter,
    /// Why the cache was not used.
    pub bypass: Labelled<N>,
}

impl<N: Label> Default for CacheCounters<N> {
    fn default() -> Self {
        Self {
            hits: Counter::default(),
            misses: Counter::default(),
            waits: Counter::default(),
            fills: Counter::default(),
            stale_served: Counter::default(),
            invalidations: Counter::default(),
            footprint_escapes: Counter::default(),
            bypass: Labelled::default(),
        }
    }
}

/// Warm plans.
#[derive(Default)]
pub struct PlanCounters {
    /// The server already had the statement.
    pub hits: Counter,
    /// It had to be prepared first.
    pub misses: Counter,
    /// Parse messages sent.
    pub prepared: Counter,
    /// Texts executed as a shared statement.
    pub promoted: Counter,
    /// Closed to make room.
    pub evicted: Counter,
}

/// Warm connections.
pub struct PoolCounters<P> {
    /// Connections to Postgres opened.
    pub dials: Counter,
    /// Attempts that failed.
    pub dials_failed: Counter,
    /// Checkouts that found no free server at once.
    pub waits: Counter,
    /// Checkouts given up after `pool.checkout_timeout`.
    pub timeouts: Counter,
    /// Clients that hold a server beyond their transaction, now.
    pub pinned: LabelledGauge<P>,
    /// Pins since the start.
    pub pins: Labelled<P>,
}

impl<P: Label> Default for PoolCounters<P> {
    fn default() -> Self {
        Self {
            dials: Counter::default(),
            dials_failed: Counter::default(),
            waits: Counter::default(),
            timeouts: Counter::default(),
            pinned: LabelledGauge::default(),
            pins: Labelled::default(),
        }
    }
}
