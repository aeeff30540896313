//! Floor 1. What look-ups came to, counted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::lookup::Lookup;
use super::reason::NoCache;

/// Running figures of one database.
#[derive(Debug)]
pub(super) struct Counters {
    hits: AtomicU64,
    waits: AtomicU64,
    misses: AtomicU64,
    fills: AtomicU64,
    invalidations: AtomicU64,
    bypass: [AtomicU64; NoCache::ALL.len()],
}

/// The figures at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Totals {
    /// Answered from memory.
    pub hits: u64,
    /// Joined a flight.
    pub waits: u64,
    /// Went to Postgres with a permit.
    pub misses: u64,
    /// Of those, how many answers were kept.
    pub fills: u64,
    /// Versions moved, by writes, changes made elsewhere and purges.
    pub invalidations: u64,
    /// Went to Postgres without a permit, by reason; answers that were not kept are here as well. Zeros are left out.
    pub bypass: Vec<(NoCache, u64)>,
}

impl Default for Counters {
    fn default() -> Self {
        let zero = AtomicU64::default;
        Self {
            hits: zero(),
            waits: zero(),
            misses: zero(),
            fills: zero(),
            invalidations: zero(),
            bypass: std::array::from_fn(|_| zero()),
        }
    }
}

impl Counters {
    pub(super) fn count(&self, found: &Lookup) {
        let counter = match found {
            Lookup::Hit(_) => &self.hits,
            Lookup::Wait(_) => &self.waits,
            Lookup::Fill(_) => &self.misses,
            Lookup::Bypass(reason) => return self.bypassed(*reason),
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn bypassed(&self, reason: NoCache) {
        if let Some(counter) = self.bypass.get(reason.index()) {
            counter.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn filled(&self) {
        self.fills.fetch_add(1, Relaxed);
    }

    pub(super) fn invalidated(&self, versions: u64) {
        self.invalidations.fetch_add(versions, Relaxed);
    }

    pub(super) fn totals(&self) -> Totals {
        let bypass = NoCache::ALL.iter().zip(&self.bypass).map(|(reason, n)| (*reason, n.load(Relaxed)));
        Totals {
            hits: self.hits.load(Relaxed),
            waits: self.waits.load(Relaxed),
            misses: self.misses.load(Relaxed),
            fills: self.fills.load(Relaxed),
            invalidations: self.invalidations.load(Relaxed),
            bypass: bypass.filter(|(_, n)| *n > 0).collect(),
        }
    }
}
