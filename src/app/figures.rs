//! Floor 5. What the stats endpoint shows and does.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::admin::console::{Operator as _, PinView, Shutdown};
use crate::admin::{Purge, Source as AdminSource};
use crate::cache::{Database, Totals};
use crate::client::Gate;
use crate::client::login::LoginContext;
use crate::invalidation::Change;
use crate::metrics::{Fence, Pinned, Pool, Stats, TrafficStats};
use crate::source::Source;

use super::cached::Handles;
use super::periods::Periods;

/// Answers the endpoint's questions from the state of the process.
pub(super) struct Figures {
    pub(super) gate: Arc<Gate>,
    context: Arc<ArcSwap<LoginContext>>,
    pub(super) caches: Handles,
    pub(super) periods: Periods,
    shutdown: watch::Sender<Option<Shutdown>>,
    source: Option<Source>,
    began: Instant,
    stop: watch::Sender<bool>,
}

impl Figures {
    pub(super) fn new(gate: Arc<Gate>, context: Arc<ArcSwap<LoginContext>>, caches: Handles, source: Option<Source>) -> Self {
        let (began, stop, shutdown) = (Instant::now(), watch::Sender::new(false), watch::Sender::new(None));
        Self { gate, context, caches, periods: Periods::new(began), shutdown, source, began, stop }
    }

    /// Turns true when the endpoint is to close: after the drain.
    pub(super) fn stopped(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// SHUTDOWN was given on the console.
    pub(super) fn ask_shutdown(&self, how: Shutdown) {
        self.shutdown.send_replace(Some(how));
    }

    /// Returns when it was.
    pub(super) async fn shutdown_asked(&self) -> Shutdown {
        let mut asked = self.shutdown.subscribe();
        match asked.wait_for(Option::is_some).await {
            Ok(how) => how.unwrap_or(Shutdown::Now),
            // The sender lives as long as this.
            Err(_) => std::future::pending().await,
        }
    }

    pub(super) fn reload_now(&self) -> Result<Vec<String>, String> {
        let Some(source) = &self.source else { return Err("there is no configuration to read again".into()) };
        let config = source.load().map_err(|error| error.to_string())?;
        super::apply(config, &self.gate, &self.context).map_err(|error| error.to_string())
    }

    fn add_cache(&self, stats: &mut Stats) {
        let config = self.gate.config();
        stats.cache.mode = config.cache.mode.as_str();
        stats.cache.bytes_limit = config.cache.memory;
        if let Some(cache) = &self.caches.cache {
            stats.cache.entries = cache.entries();
            stats.cache.bytes = cache.bytes();
        }
        for cached in &self.caches.open {
            add_totals(stats, &cached.database.totals());
            stats.cache.unresolved.extend(unresolved(&cached.database));
        }
    }

    fn add_pools(&self, stats: &mut Stats) {
        for database in self.gate.databases() {
            for (user, pool) in database.pools() {
                let snapshot = pool.snapshot();
                let counts = &snapshot.counts;
                stats.pool.dials += snapshot.totals.dials;
                stats.pool.dials_failed += snapshot.totals.dial_failures;
                stats.pool.timeouts += snapshot.totals.timeouts;
                stats.pool.pools.push(Pool {
                    database: database.name.clone(),
                    user,
                    clients: pool.connector().clients() as u64,
                    active: counts.active as u64,
                    idle: counts.idle as u64,
                    waiting: counts.waiting as u64,
                    dialing: counts.connecting as u64,
                    size: counts.size as u64,
                    max_wait_us: counts.oldest_wait.as_micros().try_into().unwrap_or(u64::MAX),
                });
            }
        }
        stats.pool.sum_pools();
    }
}

impl AdminSource for Figures {
    fn stats(&self) -> Stats {
        let mut stats = self.gate.counts.stats();
        stats.traffic = TrafficStats::sum(self.gate.databases().map(|database| database.traffic.stats()));
        stats.pool.pinned_clients = self.pins().into_iter().take(TOP_PINS).flat_map(pinned).collect();
        stats.uptime = self.began.elapsed().as_secs();
        stats.draining = self.gate.is_closed();
        stats.plans.mode = self.gate.config().plans.mode.as_str();
        self.add_cache(&mut stats);
        self.add_pools(&mut stats);
        stats
    }

    fn ready(&self) -> Result<(), String> {
        if self.gate.is_closed() {
            return Err("draining".into());
        }
        let config = self.gate.config();
        for database in self.gate.databases() {
            // Of other users' pools any client could spoil one, by a role that Postgres does not let in.
            let own = config.database(&database.name).map(|section| section.upstream.user.as_str());
            for (_, pool) in database.pools().into_iter().filter(|(user, _)| Some(user.as_str()) == own) {
                if let Some(failure) = pool.snapshot().dial_failure {
                    return Err(format!("{}: {failure}", pool.name()));
                }
            }
        }
        Ok(())
    }

    fn purge(&self, purge: Purge) -> Result<u64, String> {
        if self.caches.cache.is_none() {
            return Err("the cache is off".into());
        }
        let before = self.caches.cache.as_ref().map_or(0, crate::cache::Cache::entries);
        match purge {
            Purge::All => {
                self.caches.open.iter().for_each(|cached| cached.database.bump_everything());
                if let Some(cache) = &self.caches.cache {
                    cache.clear();
                }
                Ok(before)
            }
            Purge::Table(name) => self.purge_table(&name),
            Purge::Tag(_) => Err("purging by tag is not built yet".into()),
        }
    }

    fn reload(&self) -> Result<Vec<String>, String> {
        self.reload_now()
    }
}

impl Figures {
    /// Every database that has the table. Entries are counted as relations here: invalidation does not visit entries.
    fn purge_table(&self, name: &str) -> Result<u64, String> {
        let (schema, table) = name.split_once('.').unwrap_or(("public", name));
        let mut purged = 0;
        for cached in &self.caches.open {
            let snapshot = cached.snapshot().ok_or("the catalog is not known at the moment")?;
            if let Some(relation) = snapshot.relation(schema, table) {
                cached.database.apply(&Change::Relations(vec![relation.id]));
                purged += 1;
            }
        }
        if purged == 0 { Err(format!("there is no table {schema}.{table}")) } else { Ok(purged) }
    }
}

/// A line for each reason.
fn pinned(view: PinView) -> impl Iterator<Item = Pinned> {
    let line = move |reason| Pinned {
        client: view.address.clone(),
        database: view.database.clone(),
        user: view.user.clone(),
        application: view.application.clone(),
        reason,
        age: view.age.as_secs(),
    };
    view.reasons.clone().into_iter().map(line)
}

const TOP_PINS: usize = 100;

fn add_totals(stats: &mut Stats, totals: &Totals) {
    let cache = &mut stats.cache;
    cache.hits += totals.hits;
    cache.misses += totals.misses;
    cache.waits += totals.waits;
    cache.fills += totals.fills;
    cache.invalidations += totals.invalidations;
    for (reason, count) in &totals.bypass {
        *cache.bypass.entry(reason.as_str()).or_default() += count;
    }
}

fn unresolved(database: &Database) -> Vec<Fence> {
    let shown = |open: crate::cache::Unresolved| Fence {
        database: database.name().to_owned(),
        pid: open.origin.pid,
        footprint: open.footprint.as_str().to_owned(),
        reason: open.open.as_str().to_owned(),
        age: open.origin.since.elapsed().as_secs(),
    };
    database.unresolved().into_iter().map(shown).collect()
}
