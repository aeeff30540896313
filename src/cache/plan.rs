//! Floor 1. Read plans: what a read depends on and how long its answer is fresh.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use lru::LruCache;
use parking_lot::Mutex;

use super::database::Database;
use super::lookup::Columns;
use super::policy::Reading;
use super::reason::NoCache;
use super::store::Entry;
use super::versions::{Dependencies, Stamp};
use crate::config::Ttl;
use crate::pg::RelationId;

/// A read that may be answered from memory. It is good for one catalog version and may be kept and shared.
#[derive(Clone, Debug)]
pub struct ReadPlan {
    /// What it reads, in order of id.
    pub relations: Arc<[RelationId]>,
    /// Fresh for so long.
    pub ttl: Ttl,
    /// The same for an answer without rows.
    pub empty_ttl: Ttl,
    pub(super) deps: Dependencies,
    /// The catalog version of the snapshot it was made from.
    pub(super) catalog: u64,
}

impl ReadPlan {
    /// Ties a reading to the versions of its database.
    pub fn new(database: &Database, reading: Reading) -> Self {
        let Reading { relations, ttl, empty_ttl, catalog } = reading;
        Self { deps: database.dependencies(&relations), relations: relations.into(), ttl, empty_ttl, catalog }
    }

    /// The versions now. The catalog's is compared once more: it may have moved since the plan was let in, and an entry
    /// with the new version and the relations of the old one would be missed by writes.
    pub(super) fn stamp(&self) -> Result<Stamp, NoCache> {
        let stamp = self.deps.stamp().ok_or(NoCache::Fence)?;
        if stamp.catalog() == Some(self.catalog) { Ok(stamp) } else { Err(NoCache::CatalogUnknown) }
    }

    /// Whether an entry whose versions are current suits this read.
    pub(super) fn takes(&self, entry: &Entry, columns: Columns, now: Instant) -> bool {
        (columns == Columns::NotNeeded || entry.columns.is_some()) && self.is_fresh(entry, now)
    }

    /// The ttl is that of the rules now, not of those at the time of the fill.
    pub(super) fn is_fresh(&self, entry: &Entry, now: Instant) -> bool {
        entry.is_fresh(if entry.row_count == 0 { self.empty_ttl } else { self.ttl }, now)
    }
}

/// Read plans by what they were made from; bounded. `K` holds the statement, search_path, role, and the catalog's and the
/// rules' versions.
pub struct PlanMemo<K> {
    plans: Mutex<LruCache<K, Result<Arc<ReadPlan>, NoCache>>>,
}

impl<K: std::hash::Hash + Eq> PlanMemo<K> {
    /// A memo of so many plans.
    pub fn new(capacity: NonZeroUsize) -> Self {
        Self { plans: Mutex::new(LruCache::new(capacity)) }
    }

    /// The plan of `key`, made at most once while it is remembered. Refusals are remembered as well.
    pub fn get_or_make(&self, key: K, make: impl FnOnce() -> Result<ReadPlan, NoCache>) -> Result<Arc<ReadPlan>, NoCache> {
        if let Some(known) = self.plans.lock().get(&key) {
            return known.clone();
        }
        // Made without the lock: two may make the same plan, and either is right.
        let made = make().map(Arc::new);
        self.plans.lock().put(key, made.clone());
        made
    }
}
