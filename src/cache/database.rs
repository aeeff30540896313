//! Floor 1. All cache state of one database: words, suspension, flights, fences, and the store it shares with the others.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::time::Instant;

use parking_lot::{Mutex, RwLock};
use quick_cache::sync::Cache as QuickCache;

use super::counters::{Counters, Totals};
use super::fence::Book;
use super::flight::Flights;
use super::key::KeyBuilder;
use super::reason::NoCache;
use super::store::{QuickStore, Store};
use super::versions::{Counter, Currency, Dependencies, Slot, Stamp, Word};
use crate::invalidation::{Change, Footprint};
use crate::pg::RelationId;
use crate::query::Snapshot;

/// The result cache of the process: one store, one budget, any number of databases.
#[derive(Clone)]
pub struct Cache(Arc<Shared>);

/// What a cache is built with.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bytes for all entries, keys and overhead included.
    pub memory: u64,
    /// Larger answers are not kept.
    pub max_result: u64,
    /// Look-ups count what they would have answered, and answer nothing.
    pub observe: bool,
}

/// The cache state of one database. Cloning is cheap.
#[derive(Clone)]
pub struct Database(pub(super) Arc<Inner>);

/// Why nothing of a database is answered from memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspension {
    /// Writes made elsewhere would not be seen.
    FeedLost = 1,
    /// The catalog cannot be read.
    CatalogUnknown = 2,
    /// Postgres cannot be reached, or was restarted.
    ServerLost = 4,
    /// An operator said so.
    Paused = 8,
}

struct Shared {
    counter: Counter,
    store: Box<dyn Store>,
    /// Keys whose results were too large, by hash alone: a collision costs a hit, never a wrong answer.
    large: QuickCache<u64, Instant>,
    max_result: u64,
    observe: bool,
    state: foldhash::quality::RandomState,
}

pub(super) struct Inner {
    name: Box<str>,
    shared: Cache,
    everything: Slot,
    catalog: Slot,
    slots: RwLock<Slots>,
    suspended: AtomicU8,
    flights: Flights,
    book: Mutex<Book>,
    counters: Counters,
}

#[derive(Default)]
struct Slots {
    by_relation: HashMap<RelationId, Slot, foldhash::fast::RandomState>,
    prune_at: usize,
}

impl Cache {
    /// A cache. The counter is the process's only one.
    pub fn new(settings: Settings, counter: Counter) -> Self {
        // An entry must leave room for others: no result above a sixteenth of the budget.
        let max_result = settings.max_result.min(settings.memory / 16);
        Self(Arc::new(Shared {
            counter,
            store: Box::new(QuickStore::new(settings.memory, max_result)),
            large: QuickCache::new(MAX_LARGE),
            max_result,
            observe: settings.observe,
            state: foldhash::quality::RandomState::default(),
        }))
    }

    /// The state of one more database. It starts out unsuspended; see [`Database::suspend`].
    pub fn database(&self, name: &str) -> Database {
        let word = || Arc::new(Word::new(&self.0.counter));
        Database(Arc::new(Inner {
            name: name.into(),
            shared: self.clone(),
            everything: word(),
            catalog: word(),
            slots: RwLock::default(),
            suspended: AtomicU8::new(0),
            flights: Flights::new(),
            book: Mutex::default(),
            counters: Counters::default(),
        }))
    }

    /// Entries in the store, dead ones that nobody has asked for included.
    pub fn entries(&self) -> u64 {
        self.0.store.entries()
    }

    /// Bytes in the store.
    pub fn bytes(&self) -> u64 {
        self.0.store.bytes()
    }

    /// Gives the memory back. Freshness never needs it: see [`Database::bump_everything`].
    pub fn clear(&self) {
        self.0.store.clear();
        self.0.large.clear();
    }
}

impl Database {
    /// Counts a read that never came to a look-up. [`Database::lookup`] counts its own.
    pub fn count_bypass(&self, reason: NoCache) {
        self.0.counters.bypassed(reason);
    }

    /// The figures of this database.
    pub fn totals(&self) -> Totals {
        self.0.counters.totals()
    }

    /// Reads on their way to fill an entry.
    pub fn flights_in_air(&self) -> usize {
        self.0.flights.len()
    }

    /// Its name, the first part of its keys.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// A builder of keys that begin with the database name.
    pub fn key_builder(&self) -> KeyBuilder {
        KeyBuilder::new(&self.0.name, self.0.shared.0.state.clone())
    }

    /// Nothing is answered from memory until [`Database::resume`], and nothing that is on its way now is kept.
    pub fn suspend(&self, why: Suspension) {
        // The mark before the bump: see `is_open`.
        self.0.suspended.fetch_or(why as u8, SeqCst);
        self.bump_everything();
    }

    /// The cause is gone: everything older is dead first, then memory answers again (if nothing else suspends it).
    pub fn resume(&self, why: Suspension) {
        self.bump_everything();
        self.0.suspended.fetch_and(!(why as u8), SeqCst);
    }

    /// Whether this is among the reasons for which nothing is answered from memory.
    pub fn is_suspended(&self, why: Suspension) -> bool {
        self.0.suspended.load(SeqCst) & why as u8 != 0
    }

    /// Why nothing is answered from memory, if so.
    pub fn suspension(&self) -> Option<NoCache> {
        Suspension::first(self.0.suspended.load(SeqCst))
    }

    /// Every entry of this database is dead.
    pub fn bump_everything(&self) {
        self.0.everything.bump(self.fresh());
        self.0.counters.invalidated(1);
    }

    /// The catalog has changed, or may have: every entry, plan and footprint of before is dead.
    pub fn bump_catalog(&self) {
        // Catalog first: a plan that is still let in has older versions than the bump of everything that follows.
        self.0.catalog.bump(self.fresh());
        self.bump_everything();
    }

    /// Whether a snapshot is of the current catalog: names looked up in another may mean other relations.
    pub fn is_current(&self, snapshot: &Snapshot) -> bool {
        self.0.catalog.unfenced() == Some(snapshot.version)
    }

    /// Entries that read one of these relations are dead.
    pub fn bump_relations(&self, relations: &[RelationId]) {
        let slots = self.0.slots.read();
        let fresh = self.fresh();
        for relation in relations {
            // Without a word nothing was ever read from it.
            if let Some(slot) = slots.by_relation.get(relation) {
                slot.bump(fresh);
            }
        }
        drop(slots);
        self.0.counters.invalidated(relations.len() as u64);
    }

    /// Changes that were made elsewhere, all of one moment, under one bump each.
    pub fn apply(&self, change: &Change) {
        match change {
            Change::Nothing => {}
            Change::Relations(relations) => self.bump_relations(relations),
            Change::Everything => self.bump_everything(),
            Change::Catalog => self.bump_catalog(),
        }
    }

    /// The dependency vector of a read of `relations`.
    pub(super) fn dependencies(&self, relations: &[RelationId]) -> Dependencies {
        let slots: Vec<Slot> = relations.iter().map(|relation| self.slot(*relation)).collect();
        Dependencies::new(Arc::clone(&self.0.everything), Arc::clone(&self.0.catalog), slots)
    }

    /// The words a fence over `footprint` holds.
    pub(super) fn words(&self, footprint: &Footprint) -> Vec<Slot> {
        match footprint {
            Footprint::Nothing => Vec::new(),
            Footprint::Relations(relations) => relations.ids().iter().map(|relation| self.slot(*relation)).collect(),
            Footprint::Everything => vec![Arc::clone(&self.0.everything)],
            Footprint::Catalog => vec![Arc::clone(&self.0.everything), Arc::clone(&self.0.catalog)],
        }
    }

    fn slot(&self, relation: RelationId) -> Slot {
        if let Some(slot) = self.0.slots.read().by_relation.get(&relation) {
            return Arc::clone(slot);
        }
        let mut slots = self.0.slots.write();
        slots.prune();
        let new = || Arc::new(Word::new(&self.0.shared.0.counter));
        Arc::clone(slots.by_relation.entry(relation).or_insert_with(new))
    }

    /// Why an entry is not stored, if so.
    pub(super) fn refuses(&self, deps: &Dependencies, stamp: &Stamp) -> Option<NoCache> {
        if let Some(reason) = self.suspension() {
            return Some(reason);
        }
        match deps.compare(stamp) {
            Currency::Current => None,
            Currency::Fenced => Some(NoCache::Fence),
            Currency::Moved => Some(NoCache::Moved),
        }
    }

    pub(super) fn count_invalidations(&self, footprint: &Footprint) {
        let relations = match footprint {
            Footprint::Nothing => 0,
            Footprint::Relations(relations) => relations.ids().len() as u64,
            Footprint::Everything | Footprint::Catalog => 1,
        };
        self.0.counters.invalidated(relations);
    }

    pub(super) fn large(&self) -> &QuickCache<u64, Instant> {
        &self.0.shared.0.large
    }

    pub(super) fn observes(&self) -> bool {
        self.0.shared.0.observe
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.0.counters
    }

    pub(super) fn fresh(&self) -> Option<u64> {
        self.0.shared.0.counter.fresh()
    }

    pub(super) fn store(&self) -> &dyn Store {
        &*self.0.shared.0.store
    }

    pub(super) fn flights(&self) -> &Flights {
        &self.0.flights
    }

    pub(super) fn max_result(&self) -> u64 {
        self.0.shared.0.max_result
    }

    pub(super) fn book(&self) -> &Mutex<Book> {
        &self.0.book
    }

    pub(super) fn catalog_word(&self) -> &Word {
        &self.0.catalog
    }
}

impl Slots {
    /// Tables come and go; their words must not pile up. A word that only this table holds is in no entry, plan or fence,
    /// and one made anew for the same relation has a version that no stamp holds.
    fn prune(&mut self) {
        if self.by_relation.len() >= self.prune_at {
            self.by_relation.retain(|_, slot| Arc::strong_count(slot) > 1);
            self.prune_at = MIN_PRUNE.max(self.by_relation.len() * 2);
        }
    }
}

impl Suspension {
    fn first(marks: u8) -> Option<NoCache> {
        let all = [Self::FeedLost, Self::CatalogUnknown, Self::ServerLost, Self::Paused];
        all.into_iter().find(|why| marks & (*why as u8) != 0).map(Self::reason)
    }

    fn reason(self) -> NoCache {
        match self {
            Self::FeedLost => NoCache::FeedLost,
            Self::CatalogUnknown => NoCache::CatalogUnknown,
            Self::ServerLost | Self::Paused => NoCache::Suspended,
        }
    }
}

/// So many keys are remembered as too large.
const MAX_LARGE: usize = 8192;
/// Below this no words are looked for that nobody holds.
const MIN_PRUNE: usize = 1024;

#[cfg(test)]
impl Inner {
    pub(super) fn shared_entries(&self) -> u64 {
        self.shared.entries()
    }

    pub(super) fn shared_bytes(&self) -> u64 {
        self.shared.bytes()
    }

    pub(super) fn slot_count(&self) -> usize {
        self.slots.read().by_relation.len()
    }
}
