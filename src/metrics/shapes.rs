//! Floor 0. The busiest query shapes, in bounded memory.
//!
//! A shape is looked up once (when its statement is first seen) and its [`ShapeStats`] kept: recording needs no lock. When a shard
//! is full the shape with the fewest recent calls leaves. "Recent" is kept by the shard, not by the recording side: each shape has
//! a mark, heat is calls since the mark, and marks move half the way up with every `capacity` evictions. The newest shapes are
//! spared, so that a burst of one-off texts cannot stop a new hot shape from being listed.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;

use super::counters::Counter;
use super::histogram::SmallHistogram;

/// Text kept of each shape.
const TEXT_LIMIT: usize = 2_000;

/// Table names kept of each shape.
const TABLES_LIMIT: usize = 32;

const SHARDS: usize = 16;

/// What is counted of one shape.
pub struct ShapeStats {
    text: Box<str>,
    tables: Box<[Box<str>]>,
    listed: AtomicBool,
    calls: Counter,
    hits: Counter,
    rows: Counter,
    bytes: Counter,
    latency: SmallHistogram,
}

impl ShapeStats {
    /// Counts one execution. `hit`: it was answered from memory.
    pub fn record(&self, latency: Duration, hit: bool, rows: u64, bytes: u64) {
        self.calls.inc();
        if hit {
            self.hits.inc();
        }
        self.rows.add(rows);
        self.bytes.add(bytes);
        self.latency.record(latency);
    }

    /// False once the shape had to leave the table: who keeps this should look it up again.
    pub fn is_listed(&self) -> bool {
        self.listed.load(Relaxed)
    }

    /// Normalised text, cut at 2,000 bytes.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Executions so far.
    pub fn calls(&self) -> u64 {
        self.calls.get()
    }

    fn new(text: &[u8], tables: impl IntoIterator<Item = Box<str>>) -> Self {
        Self {
            text: shorten(text),
            tables: tables.into_iter().take(TABLES_LIMIT).collect(),
            listed: AtomicBool::new(true),
            calls: Counter::default(),
            hits: Counter::default(),
            rows: Counter::default(),
            bytes: Counter::default(),
            latency: SmallHistogram::default(),
        }
    }

    fn snapshot(&self) -> super::stats::Shape {
        let latency = self.latency.snapshot();
        super::stats::Shape {
            text: self.text.to_string(),
            tables: self.tables.iter().map(ToString::to_string).collect(),
            calls: self.calls.get(),
            hits: self.hits.get(),
            rows: self.rows.get(),
            bytes: self.bytes.get(),
            total_us: latency.sum_us,
            mean_us: latency.mean_us(),
            p50_us: latency.percentile_us(0.5),
            p99_us: latency.percentile_us(0.99),
            max_us: latency.max_us,
        }
    }
}

/// The shapes that are counted one by one.
pub struct ShapeTable {
    shards: Box<[Mutex<Shard>]>,
    hasher: foldhash::quality::RandomState,
    evicted: Counter,
}

impl ShapeTable {
    /// A table of about `capacity` shapes.
    pub fn new(capacity: usize) -> Self {
        let each = capacity.div_ceil(SHARDS).max(4);
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::new(each))).collect(),
            hasher: foldhash::quality::RandomState::default(),
            evicted: Counter::default(),
        }
    }

    /// The counters of a shape; `tables` is asked only when the shape is new.
    pub fn shape<T>(&self, text: &[u8], tables: impl FnOnce() -> T) -> Arc<ShapeStats>
    where
        T: IntoIterator<Item = Box<str>>,
    {
        // The hash stands for the text: two texts that share one are counted as one, which harms nobody but their figures.
        let key = (self.hasher.hash_one(text), text.len());
        let (stats, evicted) = match self.shards.get(key.0 as usize % SHARDS) {
            Some(shard) => shard.lock().shape(key, || ShapeStats::new(text, tables())),
            None => (Arc::new(ShapeStats::new(text, tables())), false),
        };
        if evicted {
            self.evicted.inc();
        }
        stats
    }

    /// Shapes listed now.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().slots.len()).sum()
    }

    /// True before the first shape.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shapes that had to leave.
    pub fn evicted(&self) -> u64 {
        self.evicted.get()
    }

    /// The `limit` shapes on which most time was spent, the most expensive first.
    pub fn top(&self, limit: usize) -> Vec<super::stats::Shape> {
        // Only the list of Arcs is taken under the locks.
        let listed: Vec<_> = self.shards.iter().flat_map(|shard| shard.lock().listed()).collect();
        let mut shapes: Vec<_> = listed.iter().map(|shape| shape.snapshot()).collect();
        shapes.sort_by(|a, b| (b.total_us, b.calls).cmp(&(a.total_us, a.calls)).then_with(|| a.text.cmp(&b.text)));
        shapes.truncate(limit);
        shapes
    }
}

impl Default for ShapeTable {
    fn default() -> Self {
        Self::new(1_000)
    }
}

type Key = (u64, usize);

struct Shard {
    slots: HashMap<Key, Slot, foldhash::fast::RandomState>,
    capacity: usize,
    serial: u64,
    evictions: usize,
}

struct Slot {
    stats: Arc<ShapeStats>,
    mark: u64,
    serial: u64,
}

impl Slot {
    fn heat(&self) -> u64 {
        self.stats.calls().saturating_sub(self.mark)
    }
}

impl Shard {
    fn new(capacity: usize) -> Self {
        Self { slots: HashMap::default(), capacity, serial: 0, evictions: 0 }
    }

    fn listed(&self) -> Vec<Arc<ShapeStats>> {
        self.slots.values().map(|slot| Arc::clone(&slot.stats)).collect()
    }

    fn shape(&mut self, key: Key, new: impl FnOnce() -> ShapeStats) -> (Arc<ShapeStats>, bool) {
        if let Some(slot) = self.slots.get(&key) {
            return (Arc::clone(&slot.stats), false);
        }
        let evicted = self.slots.len() >= self.capacity && self.evict();
        let stats = Arc::new(new());
        self.serial += 1;
        self.slots.insert(key, Slot { stats: Arc::clone(&stats), mark: 0, serial: self.serial });
        (stats, evicted)
    }

    fn evict(&mut self) -> bool {
        let spared = self.serial.saturating_sub(self.capacity as u64 / 4);
        let old = self.slots.iter().filter(|(_, slot)| slot.serial <= spared);
        let Some(victim) = old.min_by_key(|(_, slot)| (slot.heat(), slot.serial)).map(|(key, _)| *key) else {
            return false;
        };
        if let Some(slot) = self.slots.remove(&victim) {
            slot.stats.listed.store(false, Relaxed);
        }
        self.cool();
        true
    }

    fn cool(&mut self) {
        self.evictions += 1;
        if self.evictions >= self.capacity {
            self.evictions = 0;
            for slot in self.slots.values_mut() {
                slot.mark += slot.heat().div_ceil(2);
            }
        }
    }
}

/// The text, cut at a character's edge; bytes that are not UTF-8 are replaced.
fn shorten(text: &[u8]) -> Box<str> {
    match text.get(..TEXT_LIMIT) {
        None => String::from_utf8_lossy(text).into(),
        Some(head) => {
            let head = head.utf8_chunks().map(|chunk| chunk.valid()).collect::<String>();
            format!("{head}…").into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> [Box<str>; 0] {
        []
    }

    #[test]
    fn the_same_text_is_the_same_shape() {
        let table = ShapeTable::new(100);
        let first = table.shape(b"select $1", || ["public.t".into()]);
        let again = table.shape(b"select $1", || -> [Box<str>; 0] { panic!("asked for tables of a known shape") });
        assert!(Arc::ptr_eq(&first, &again));
        first.record(Duration::from_millis(3), false, 10, 400);
        first.record(Duration::from_micros(20), true, 10, 400);
        let top = table.top(10);
        assert_eq!(top.len(), 1);
        let shape = &top[0];
        assert_eq!((shape.calls, shape.hits, shape.rows, shape.bytes, shape.max_us), (2, 1, 20, 800, 3_000));
        assert_eq!((shape.text.as_str(), shape.tables.as_slice()), ("select $1", &["public.t".to_owned()][..]));
    }

    #[test]
    fn a_flood_of_one_off_shapes_is_bounded_and_leaves_the_hot_one() {
        let table = ShapeTable::new(160);
        let hot = table.shape(b"hot", none);
        for i in 0..5_000 {
            hot.record(Duration::from_micros(10), false, 1, 1);
            table.shape(format!("one-off {i}").as_bytes(), none).record(Duration::from_micros(1), false, 1, 1);
        }
        assert!(hot.is_listed());
        assert!(table.len() <= 160 + SHARDS);
        assert_eq!(table.top(1)[0].text, "hot");
        assert!(table.evicted() > 4_000);
    }

    #[test]
    fn a_shape_that_was_hot_once_leaves_in_the_end() {
        let table = ShapeTable::new(64);
        let once = table.shape(b"once hot", none);
        for _ in 0..1_000 {
            once.record(Duration::from_micros(10), false, 1, 1);
        }
        for i in 0..5_000 {
            let other = table.shape(format!("shape {i}").as_bytes(), none);
            (0..3).for_each(|_| other.record(Duration::from_micros(1), false, 1, 1));
        }
        assert!(!once.is_listed());
    }

    #[test]
    fn long_and_broken_text_is_cut_at_a_character() {
        let table = ShapeTable::new(16);
        let long = "é".repeat(5_000);
        let stats = table.shape(&long.as_bytes()[1..], none);
        assert!(stats.text().len() < TEXT_LIMIT + 10);
        assert!(stats.text().ends_with("é…"));
    }
}
