//! Floor 5. What passed in the last period: PgBouncer's averages, over one to two minutes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::admin::console::{Traffic, TrafficView};
use crate::client::Database;

/// PgBouncer's stats_period.
pub(super) const PERIOD: Duration = Duration::from_secs(60);

/// The totals as they were at the last two ends of a period.
pub(super) struct Periods(Mutex<[Mark; 2]>);

#[derive(Clone)]
struct Mark {
    at: Instant,
    totals: HashMap<String, Traffic>,
}

impl Periods {
    pub(super) fn new(now: Instant) -> Self {
        let mark = Mark { at: now, totals: HashMap::new() };
        Self(Mutex::new([mark.clone(), mark]))
    }

    /// The end of a period.
    pub(super) fn turn(&self, databases: &[Arc<Database>], now: Instant) {
        let totals = databases.iter().map(|database| (database.name.clone(), totals(database))).collect();
        let mut marks = self.0.lock();
        let [older, newer] = &mut *marks;
        *older = std::mem::replace(newer, Mark { at: now, totals });
    }

    pub(super) fn views(&self, databases: &[Arc<Database>]) -> Vec<TrafficView> {
        let [older, _] = self.0.lock().clone();
        let view = |database: &Arc<Database>| {
            let total = totals(database);
            let before = older.totals.get(&database.name).copied().unwrap_or_default();
            TrafficView { database: database.name.clone(), total, recent: total.since(&before), period: older.at.elapsed() }
        };
        databases.iter().map(view).collect()
    }
}

fn totals(database: &Database) -> Traffic {
    let mut traffic = Traffic { passed: database.traffic.stats(), ..Traffic::default() };
    for (_, pool) in database.pools() {
        let totals = pool.snapshot().totals;
        traffic.checkouts += totals.checkouts;
        traffic.wait_us += u64::try_from(totals.wait_time.as_micros()).unwrap_or(u64::MAX);
    }
    traffic
}
