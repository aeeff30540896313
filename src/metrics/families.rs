//! Floor 0. Every metric's name, type and meaning, once, and where in [`Stats`] its value is.

use super::stats::{LatencyStats, Pool, Stats, Words};

/// What a metric is, in Prometheus's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets.
    Histogram,
}

impl Type {
    /// The word in `# TYPE`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A labelled value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample<'a> {
    /// Name and value of each label.
    pub labels: Vec<(&'static str, &'a str)>,
    /// The value.
    pub value: u64,
}

/// What a family reads from the figures.
pub enum Value {
    /// One number.
    One(fn(&Stats) -> u64),
    /// Several, by labels.
    Many(fn(&Stats) -> Vec<Sample<'_>>),
    /// A histogram, shown in seconds.
    Latency(fn(&Stats) -> &LatencyStats),
}

/// One metric.
pub struct Family {
    /// Without the `pgdial_` prefix.
    pub name: &'static str,
    /// Counter, gauge, histogram.
    pub kind: Type,
    /// One line.
    pub help: &'static str,
    /// Where the value is.
    pub value: Value,
}

const fn counter(name: &'static str, help: &'static str, value: fn(&Stats) -> u64) -> Family {
    Family { name, kind: Type::Counter, help, value: Value::One(value) }
}

const fn gauge(name: &'static str, help: &'static str, value: fn(&Stats) -> u64) -> Family {
    Family { name, kind: Type::Gauge, help, value: Value::One(value) }
}

const fn counters(name: &'static str, help: &'static str, value: fn(&Stats) -> Vec<Sample<'_>>) -> Family {
    Family { name, kind: Type::Counter, help, value: Value::Many(value) }
}

const fn gauges(name: &'static str, help: &'static str, value: fn(&Stats) -> Vec<Sample<'_>>) -> Family {
    Family { name, kind: Type::Gauge, help, value: Value::Many(value) }
}

const fn latency(name: &'static str, help: &'static str, value: fn(&Stats) -> &LatencyStats) -> Family {
    Family { name, kind: Type::Histogram, help, value: Value::Latency(value) }
}

/// Every metric, in the order of `/metrics`.
pub const FAMILIES: &[Family] = &[
    gauges("info", "Always 1; the version is a label.", |s| vec![Sample { labels: vec![("version", &s.version)], value: 1 }]),
    gauge("uptime_seconds", "Seconds since the start.", |s| s.uptime),
    gauge("draining", "1 while stopping: no new clients are let in.", |s| s.draining.into()),
    gauge("clients_connected", "Client connections now.", |s| s.clients.connected),
    counter("clients_total", "Client connections accepted.", |s| s.clients.total),
    counters("clients_rejected_total", "Clients turned away before a session began.", |s| by("reason", &s.clients.rejected)),
    counter("logins_failed_total", "Wrong user, database or password.", |s| s.clients.logins_failed),
    counter("cancels_total", "Cancel requests received.", |s| s.clients.cancels),
    gauge("clients_replication", "Replication connections now, each with a server of its own.", |s| s.clients.replication),
    counter("queries_total", "Statements executed for clients, wherever they were answered.", |s| s.traffic.queries),
    counter("transactions_total", "Transactions ended, implicit ones included.", |s| s.traffic.transactions),
    counter("batches_local_total", "Batches answered without a server connection.", |s| s.traffic.batches_local),
    counters("bytes_total", "Bytes on the wire, by side and direction as pgdial sees it.", bytes),
    counters("errors_total", "Errors sent to clients by pgdial itself.", |s| by("kind", &s.errors)),
    latency("query_seconds", "From a batch's arrival to the last byte of its reply.", |s| &s.latency.query),
    latency("checkout_wait_seconds", "From asking for a server connection to having it.", |s| &s.latency.checkout),
    counter("cache_hits_total", "Answered from memory.", |s| s.cache.hits),
    counter("cache_misses_total", "Cacheable, but not in memory.", |s| s.cache.misses),
    counter("cache_waits_total", "Joined a query that another client had started.", |s| s.cache.waits),
    counter("cache_fills_total", "Results stored.", |s| s.cache.fills),
    counter("cache_stale_served_total", "Served after their ttl, as a rule allows.", |s| s.cache.stale_served),
    counter("cache_invalidations_total", "Version bumps, by writes, NOTIFY, purges and DDL.", |s| s.cache.invalidations),
    counter("cache_footprint_escapes_total", "Writes that met more than was expected of them.", |s| s.cache.footprint_escapes),
    counters("cache_bypass_total", "Why the cache was not used.", |s| by("reason", &s.cache.bypass)),
    gauge("cache_entries", "Results in memory.", |s| s.cache.entries),
    gauge("cache_bytes", "Bytes they take.", |s| s.cache.bytes),
    gauge("cache_limit_bytes", "Bytes they may take.", |s| s.cache.bytes_limit),
    gauge("cache_unresolved_fences", "Fences whose write has an unknown outcome.", |s| s.cache.unresolved.len() as u64),
    counter("plans_hits_total", "The server already had the statement.", |s| s.plans.hits),
    counter("plans_misses_total", "The statement had to be prepared first.", |s| s.plans.misses),
    counter("plans_prepared_total", "Parse messages sent to servers.", |s| s.plans.prepared),
    counter("plans_promoted_total", "Texts executed as a shared statement.", |s| s.plans.promoted),
    counter("plans_evicted_total", "Statements closed to make room.", |s| s.plans.evicted),
    counter("pool_dials_total", "Connections to Postgres opened.", |s| s.pool.dials),
    counter("pool_dials_failed_total", "Connections to Postgres that failed.", |s| s.pool.dials_failed),
    counter("pool_waits_total", "Checkouts that found no free server at once.", |s| s.pool.waits),
    counter("pool_timeouts_total", "Checkouts given up after pool.checkout_timeout.", |s| s.pool.timeouts),
    gauges("pool_pinned", "Clients that hold a server beyond their transaction.", |s| by("reason", &s.pool.pinned)),
    counters("pool_pins_total", "Pins since the start.", |s| by("reason", &s.pool.pins)),
    gauges("pool_clients", "Clients logged in.", |s| pools(s, |p| p.clients)),
    gauges("pool_servers_active", "Servers that work for a client.", |s| pools(s, |p| p.active)),
    gauges("pool_servers_idle", "Servers that are free.", |s| pools(s, |p| p.idle)),
    gauges("pool_servers_dialing", "Servers being opened.", |s| pools(s, |p| p.dialing)),
    gauges("pool_servers_limit", "Servers there may be.", |s| pools(s, |p| p.size)),
    gauges("pool_clients_waiting", "Clients that wait for a server.", |s| pools(s, |p| p.waiting)),
    gauges("pool_max_wait_microseconds", "How long the first in the queue has waited.", |s| pools(s, |p| p.max_wait_us)),
    counter("shapes_evicted_total", "Query shapes that had to leave the table of /stats.", |s| s.shapes_evicted),
];

fn by<'a>(label: &'static str, words: &'a Words) -> Vec<Sample<'a>> {
    words.iter().map(|(word, value)| Sample { labels: vec![(label, *word)], value: *value }).collect()
}

fn bytes(stats: &Stats) -> Vec<Sample<'_>> {
    let sample = |side, direction, value| Sample { labels: vec![("side", side), ("direction", direction)], value };
    let traffic = &stats.traffic;
    vec![
        sample("client", "in", traffic.client_bytes_in),
        sample("client", "out", traffic.client_bytes_out),
        sample("server", "in", traffic.server_bytes_in),
        sample("server", "out", traffic.server_bytes_out),
    ]
}

fn pools(stats: &Stats, value: fn(&Pool) -> u64) -> Vec<Sample<'_>> {
    let sample = |pool| Sample { labels: pool_labels(pool), value: value(pool) };
    stats.pool.pools.iter().map(sample).collect()
}

fn pool_labels(pool: &Pool) -> Vec<(&'static str, &str)> {
    vec![("database", &pool.database), ("user", &pool.user)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_follow_the_conventions() {
        let mut seen = std::collections::HashSet::new();
        for family in FAMILIES {
            assert!(seen.insert(family.name), "{} twice", family.name);
            assert!(family.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", family.name);
            assert_eq!(family.kind == Type::Counter, family.name.ends_with("_total"), "{}", family.name);
            assert!(family.help.ends_with('.') && !family.help.contains('\n'), "{}", family.name);
        }
    }
}
