//! Floor 1. Flights: one read per key and versions goes to Postgres, the others wait for it.
//!
//! A flight may be joined only while the versions noted before it started are still the current ones and no fence is up.
//! A read that joins then began after every write that was acknowledged before, and the flight's own read was sent after
//! those too: what the flight brings is fresh for the one who joined, even if versions move while it is on its way. It is
//! only not kept then.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::database::Database;
use super::key::{Key, OwnedKey};
use super::reason::NoCache;
use super::store::{Answer, Entry, KeyHash};
use super::versions::{Currency, Dependencies, Stamp};

/// What a flight has come to.
type Landing = Option<Joined>;

/// How a flight ended for one who waited.
#[derive(Clone, Debug)]
pub enum Joined {
    /// The answer.
    Entry(Arc<Entry>),
    /// No answer that can be shared: ask Postgres yourself.
    Alone,
}

/// A place in a flight that somebody else pays for. Dropping it leaves the flight.
#[derive(Debug)]
pub struct Join {
    receiver: watch::Receiver<Landing>,
}

/// The right, and the duty, to bring the answer of one key. Dropping it tells those who wait to go on their own.
#[must_use = "readers of the same key wait for it"]
pub struct FillPermit {
    database: Database,
    key: OwnedKey,
    flight: Option<Flight>,
    deps: Dependencies,
    stamp: Stamp,
    read_at: Instant,
    /// How long a result that is too large is remembered.
    memory: Duration,
    landed: bool,
}

/// What became of an answer that was offered.
#[derive(Debug)]
pub enum Published {
    /// It is in the store.
    Stored(Arc<Entry>),
    /// It is not; the client's own reply is unaffected.
    Refused(NoCache),
}

/// A flight in the table.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    id: u64,
    stamp: Stamp,
    deps: Dependencies,
    /// Whether the answer will hold a RowDescription.
    columns: bool,
    sender: Arc<watch::Sender<Landing>>,
}

/// All flights of one database.
#[derive(Debug)]
pub(super) struct Flights {
    shards: Box<[Mutex<HashMap<OwnedKey, Flight, KeyHash>>]>,
    next_id: AtomicU64,
}

/// How a read found the table.
pub(super) enum Boarding {
    Join(Join),
    Lead(Flight),
    /// The table is full, or holds a flight that does not suit: read without one.
    Solo,
}

impl Join {
    /// Waits until the flight is over.
    pub async fn landed(mut self) -> Joined {
        match self.receiver.wait_for(Option::is_some).await {
            Ok(landing) => landing.clone().unwrap_or(Joined::Alone),
            Err(_leader_gone) => Joined::Alone,
        }
    }

    /// The outcome, if the flight is over.
    pub fn try_landed(&self) -> Option<Joined> {
        let gone = self.receiver.has_changed().is_err();
        let landing = self.receiver.borrow().clone();
        landing.or(if gone { Some(Joined::Alone) } else { None })
    }
}

impl FillPermit {
    pub(super) fn new(database: Database, key: OwnedKey, flight: Option<Flight>, start: Start, memory: Duration) -> Self {
        let Start { deps, stamp, read_at } = start;
        Self { database, key, flight, deps, stamp, read_at, memory, landed: false }
    }

    /// More bytes than this are not kept: capturing can stop, see [`FillPermit::too_large`].
    pub fn max_bytes(&self) -> u64 {
        self.database.max_result()
    }

    /// Whether publishing would still be of use to anybody.
    pub fn is_current(&self) -> bool {
        self.deps.compare(&self.stamp) == Currency::Current
    }

    /// At CommandComplete: keeps the answer if nothing was written since the read was sent, and gives it to those who wait.
    pub fn publish(mut self, answer: &Answer<'_>, now: Instant) -> Published {
        if answer.size() > self.max_bytes() {
            return self.refuse_large(now);
        }
        // The check may be overtaken by a write before the insert. The entry carries the older stamp, so no look-up
        // would take it: the check saves room, the stamp keeps the promise.
        let refused = self.database.refuses(&self.deps, &self.stamp);
        let entry = Arc::new(Entry::new(answer, self.deps.clone(), self.stamp.clone(), self.read_at));
        if refused.is_none() {
            self.database.store().insert(self.key.clone(), Arc::clone(&entry));
        }
        // Into the store first, out of the table second: a look-up that finds no flight looks into the store once more.
        self.land(Joined::Entry(Arc::clone(&entry)));
        match refused {
            None => {
                self.database.counters().filled();
                Published::Stored(entry)
            }
            Some(reason) => self.refuse(reason),
        }
    }

    /// The one who brings the answer has been held up by its own client: those who wait are not to wait for that.
    pub fn let_go(&mut self) {
        self.land(Joined::Alone);
    }

    /// The result outgrew [`FillPermit::max_bytes`]: its key is not tried again for a while.
    pub fn too_large(mut self, now: Instant) -> Published {
        self.refuse_large(now)
    }

    fn refuse_large(&mut self, now: Instant) -> Published {
        self.database.remember_large(&self.key, now, self.memory);
        self.land(Joined::Alone);
        self.refuse(NoCache::TooLarge)
    }

    fn refuse(&self, reason: NoCache) -> Published {
        self.database.counters().bypassed(reason);
        Published::Refused(reason)
    }

    fn land(&mut self, outcome: Joined) {
        self.landed = true;
        if let Some(flight) = self.flight.take() {
            self.database.flights().remove(&self.key, flight.id);
            flight.sender.send_replace(Some(outcome));
        }
    }
}

impl Drop for FillPermit {
    fn drop(&mut self) {
        if !self.landed {
            self.land(Joined::Alone);
            self.database.counters().bypassed(NoCache::Failed);
        }
    }
}

impl std::fmt::Debug for FillPermit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FillPermit").field("shared", &self.flight.is_some()).finish_non_exhaustive()
    }
}

/// What is noted before the first byte of a read is sent.
pub(super) struct Start {
    pub(super) deps: Dependencies,
    pub(super) stamp: Stamp,
    pub(super) read_at: Instant,
}

impl Flights {
    pub(super) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::new(HashMap::with_hasher(KeyHash))).collect();
        Self { shards, next_id: AtomicU64::new(0) }
    }

    /// Joins the flight of the key, or starts one. `landed` is asked under the lock when there is none: one may have
    /// landed since the store was looked at.
    pub(super) fn board<T>(
        &self,
        key: &Key<'_>,
        start: &Start,
        columns: bool,
        landed: impl FnOnce() -> Option<T>,
    ) -> Result<Boarding, T> {
        let Some(shard) = self.shard(key.hash_value()) else {
            return Ok(Boarding::Solo);
        };
        let mut flights = shard.lock();
        // A borrowed key cannot be looked up in std's map; the copy is needed anyway where this read leads.
        let owned = key.to_owned_key();
        match flights.get(&owned) {
            Some(flight) if flight.is_current() => {
                return Ok(if columns && !flight.columns { Boarding::Solo } else { Boarding::Join(flight.join()) });
            }
            // Outdated: its leader lands it for those who joined in time, and finds its place taken.
            Some(_) => {}
            None => {
                if let Some(entry) = landed() {
                    return Err(entry);
                }
                if flights.len() >= MAX_PER_SHARD {
                    return Ok(Boarding::Solo);
                }
            }
        }
        let flight = Flight {
            id: self.next_id.fetch_add(1, Relaxed),
            stamp: start.stamp.clone(),
            deps: start.deps.clone(),
            columns,
            sender: Arc::new(watch::Sender::new(None)),
        };
        flights.insert(owned, flight.clone());
        Ok(Boarding::Lead(flight))
    }

    /// Whether a flight of the key could be joined now.
    pub(super) fn is_joinable(&self, key: &Key<'_>) -> bool {
        let Some(shard) = self.shard(key.hash_value()) else {
            return false;
        };
        shard.lock().get(&key.to_owned_key()).is_some_and(Flight::is_current)
    }

    /// How many are in the air.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    fn remove(&self, key: &OwnedKey, id: u64) {
        let Some(shard) = self.shard(key.as_key().hash_value()) else {
            return;
        };
        let mut flights = shard.lock();
        if flights.get(key).is_some_and(|flight| flight.id == id) {
            flights.remove(key);
        }
    }

    fn shard(&self, hash: u64) -> Option<&Mutex<HashMap<OwnedKey, Flight, KeyHash>>> {
        // The map inside takes its bits from both ends of the hash; these are from the middle.
        self.shards.get((hash >> 24) as usize % SHARDS)
    }
}

impl Flight {
    fn is_current(&self) -> bool {
        self.deps.compare(&self.stamp) == Currency::Current
    }

    fn join(&self) -> Join {
        Join { receiver: self.sender.subscribe() }
    }
}

const SHARDS: usize = 16;
/// Beyond this a read is not shared. Flights are bounded by the clients anyway; this bounds them whatever the clients do.
const MAX_PER_SHARD: usize = 4096;
