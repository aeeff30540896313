//! Floor 1. The store: entries by key within one budget of bytes, for all databases of the process.
//!
//! The store knows nothing of freshness: whoever takes an entry out compares its stamp. Invalidation therefore costs
//! nothing here, and a dead entry goes when it is looked up next or when its place is needed.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use quick_cache::sync::{Cache as QuickCache, DefaultLifecycle};
use quick_cache::{Equivalent, OptionsBuilder, Weighter};

use super::key::{Key, OwnedKey};
use super::versions::{Currency, Dependencies, Stamp};
use crate::config::Ttl;

/// One answer, ready to be written to a client.
#[derive(Debug)]
pub struct Entry {
    /// The whole RowDescription message; `None` when the read that filled the entry did not ask for it.
    pub columns: Option<Bytes>,
    /// All DataRow messages.
    pub rows: Bytes,
    /// The whole CommandComplete message.
    pub tag: Bytes,
    /// How many rows.
    pub row_count: u64,
    /// When the read was sent: its data is at most this old.
    pub(super) read_at: Instant,
    pub(super) deps: Dependencies,
    pub(super) stamp: Stamp,
}

/// An answer as the server gave it. It is copied into one allocation of its exact size.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The whole RowDescription message, when the read asked for it.
    pub columns: Option<&'a [u8]>,
    /// All DataRow messages.
    pub rows: &'a [u8],
    /// The whole CommandComplete message.
    pub tag: &'a [u8],
    /// How many rows.
    pub row_count: u64,
}

/// Where entries are kept. One implementation today; the interface is what a size-aware one needs as well.
pub(super) trait Store: Send + Sync {
    fn get(&self, key: &Key<'_>) -> Option<Arc<Entry>>;
    fn insert(&self, key: OwnedKey, entry: Arc<Entry>);
    /// Takes this very entry out; one that has come in its place stays.
    fn remove(&self, key: &Key<'_>, entry: &Arc<Entry>);
    fn clear(&self);
    fn entries(&self) -> u64;
    fn bytes(&self) -> u64;
}

impl Answer<'_> {
    /// The bytes of its messages.
    pub fn size(&self) -> u64 {
        let columns = self.columns.map_or(0, <[u8]>::len);
        (columns as u64).saturating_add(self.rows.len() as u64).saturating_add(self.tag.len() as u64)
    }
}

impl Entry {
    pub(super) fn new(answer: &Answer<'_>, deps: Dependencies, stamp: Stamp, read_at: Instant) -> Self {
        let columns = answer.columns.unwrap_or_default();
        let mut whole = Vec::with_capacity(columns.len() + answer.rows.len() + answer.tag.len());
        whole.extend_from_slice(columns);
        whole.extend_from_slice(answer.rows);
        whole.extend_from_slice(answer.tag);
        let mut rest = Bytes::from(whole);
        let columns = answer.columns.map(|columns| rest.split_to(columns.len()));
        let rows = rest.split_to(answer.rows.len());
        Self { columns, rows, tag: rest, row_count: answer.row_count, read_at, deps, stamp }
    }

    /// Whether a write came since the read was sent.
    pub(super) fn currency(&self) -> Currency {
        self.deps.compare(&self.stamp)
    }

    /// Whether the entry is younger than `ttl`. A clock that went back gives age zero: `Instant` does not go back.
    pub(super) fn is_fresh(&self, ttl: Ttl, now: Instant) -> bool {
        match ttl {
            Ttl::For(period) => now.saturating_duration_since(self.read_at) < period,
            Ttl::Forever => true,
        }
    }

    fn weight(&self) -> u64 {
        let messages = self.columns.as_ref().map_or(0, Bytes::len) + self.rows.len() + self.tag.len();
        // The dependency vector is shared with the plan and the stamp is not; both are counted, on the safe side.
        let vectors = self.deps.len() * (size_of::<usize>() + size_of::<u64>());
        (messages + vectors) as u64
    }
}

/// quick_cache: S3-FIFO like, sharded, exact weights, 50 ns a look-up.
pub(super) struct QuickStore {
    cache: QuickCache<OwnedKey, Arc<Entry>, Bytewise, KeyHash>,
}

impl QuickStore {
    /// A store for `budget` bytes whose largest entry has about `max_entry`.
    pub(super) fn new(budget: u64, max_entry: u64) -> Self {
        // The budget is cut into equal shards, and an entry must fit its shard with room to spare.
        let shards = (budget / max_entry.max(1) / 4).clamp(1, 64);
        let shards = 1usize << shards.ilog2();
        let items = usize::try_from(budget / 2048).unwrap_or(usize::MAX).clamp(64 * shards, 1 << 20);
        let options = OptionsBuilder::new()
            .weight_capacity(budget)
            .estimated_items_capacity(items)
            .shards(shards)
            .build()
            .unwrap_or_else(|_| unreachable!("both capacities are set"));
        Self { cache: QuickCache::with_options(options, Bytewise, KeyHash, DefaultLifecycle::default()) }
    }
}

impl Store for QuickStore {
    fn get(&self, key: &Key<'_>) -> Option<Arc<Entry>> {
        self.cache.get(key)
    }

    fn insert(&self, key: OwnedKey, entry: Arc<Entry>) {
        self.cache.insert(key, entry);
    }

    fn remove(&self, key: &Key<'_>, entry: &Arc<Entry>) {
        self.cache.remove_if(key, |found| Arc::ptr_eq(found, entry));
    }

    fn clear(&self) {
        self.cache.clear();
    }

    fn entries(&self) -> u64 {
        self.cache.len() as u64
    }

    fn bytes(&self) -> u64 {
        self.cache.weight()
    }
}

/// What an entry takes beside its own bytes: the structs, their reference counts, three allocations rounded up by the
/// allocator (about 16 bytes each), and the container's slot, table and ghost (111 bytes measured at 48 bytes payload).
const OVERHEAD: u64 = (size_of::<Entry>() + size_of::<OwnedKey>()) as u64 + 48 + 64 + 64;

/// Weighs an entry in bytes.
#[derive(Clone, Debug)]
struct Bytewise;

impl Weighter<OwnedKey, Arc<Entry>> for Bytewise {
    fn weight(&self, key: &OwnedKey, entry: &Arc<Entry>) -> u64 {
        entry.weight().saturating_add(key.len() as u64).saturating_add(OVERHEAD)
    }
}

impl Equivalent<OwnedKey> for Key<'_> {
    fn equivalent(&self, key: &OwnedKey) -> bool {
        self.same_as(key)
    }
}

/// A key brings its hash along; this hands it on.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyHash;

/// The hasher of [`KeyHash`].
#[derive(Debug, Default)]
pub(super) struct Given(u64);

impl BuildHasher for KeyHash {
    type Hasher = Given;

    fn build_hasher(&self) -> Given {
        Given(0)
    }
}

impl Hasher for Given {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
