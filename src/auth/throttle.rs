//! Floor 1. How fast one place may guess passwords.
//!
//! A refused login is answered late, and later the more there were; and only so many proofs for one user from one place are
//! looked at, or being answered late, at a time. So a guesser gets some forty tries a second whatever the number of its
//! connections. A right password is never delayed, it only takes its turn: behind those who guess the same user's password
//! from the same place, who may be no more than an application with an old password. The rest of the world notices nothing.

use lru::LruCache;
use parking_lot::Mutex;
use std::hash::BuildHasher as _;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Where a client comes from, as far as that costs something to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// An IPv4 address, or the /64 of an IPv6 one.
    Address(IpAddr),
    /// The system user behind a Unix socket.
    Local(Option<u32>),
}

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// One per process. Bounded: the place that was quiet for longest is forgotten first.
pub struct Throttle {
    places: Mutex<LruCache<(Origin, Option<u64>), Place, foldhash::fast::RandomState>>,
    names: foldhash::fast::RandomState,
    lines: Mutex<Lines>,
}

struct Place {
    turns: Arc<Semaphore>,
    failures: u32,
    last: Option<Instant>,
    logged: Option<Instant>,
    silent: u64,
}

/// Log lines of this second, of all places together.
struct Lines {
    since: Option<Instant>,
    count: u32,
}

impl Default for Throttle {
    fn default() -> Self {
        let places = LruCache::with_hasher(PLACES, foldhash::fast::RandomState::default());
        Self {
            places: Mutex::new(places),
            names: foldhash::fast::RandomState::default(),
            lines: Mutex::new(Lines { since: None, count: 0 }),
        }
    }
}

impl Throttle {
    /// What to hold while a proof is looked at, and while its refusal waits.
    pub fn turns(&self, origin: Origin, user: &str) -> Arc<Semaphore> {
        Arc::clone(&self.places.lock().get_or_insert_mut(self.key(origin, user), Place::new).turns)
    }

    /// What to hold while Postgres is asked about a user: those who guess names stand in a line of their own.
    pub fn questions(&self, origin: Origin) -> Arc<Semaphore> {
        Arc::clone(&self.places.lock().get_or_insert_mut((origin, None), Place::new).turns)
    }

    /// A login was refused: how long to wait before the client is told.
    pub fn failed(&self, origin: Origin, user: &str, now: Instant) -> Duration {
        let mut places = self.places.lock();
        let place = places.get_or_insert_mut(self.key(origin, user), Place::new);
        let quiet = place.last.map_or(0, |last| now.saturating_duration_since(last).as_secs());
        // One is forgotten each second.
        place.failures = place.failures.saturating_sub(quiet.try_into().unwrap_or(u32::MAX)).saturating_add(1).min(MOST);
        place.last = Some(now);
        SHORTEST * 2_u32.pow(place.failures / 8)
    }

    /// Whether a refusal may have its line in the log, and how many of the same place had none since the last one.
    pub fn line(&self, origin: Origin, now: Instant) -> Option<u64> {
        let mut places = self.places.lock();
        let place = places.get_or_insert_mut((origin, None), Place::new);
        let due = place.logged.is_none_or(|last| now.saturating_duration_since(last) >= BETWEEN_LINES);
        if !due || !self.lines.lock().take(now) {
            place.silent += 1;
            return None;
        }
        place.logged = Some(now);
        Some(std::mem::take(&mut place.silent))
    }

    /// Two names that share a number share their turns, and nothing else.
    fn key(&self, origin: Origin, user: &str) -> (Origin, Option<u64>) {
        (origin, Some(self.names.hash_one(user)))
    }
}

impl Place {
    fn new() -> Self {
        Self { turns: Arc::new(Semaphore::new(TURNS)), failures: 0, last: None, logged: None, silent: 0 }
    }
}

impl Lines {
    fn take(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1)) {
            *self = Self { since: Some(now), count: 0 };
        }
        self.count += 1;
        self.count <= LINES_PER_SECOND
    }
}

const PLACES: NonZeroUsize = match NonZeroUsize::new(4096) {
    Some(places) => places,
    None => NonZeroUsize::MIN,
};
/// Logins of one user from one place whose proof is looked at, or whose refusal waits.
const TURNS: usize = 16;
/// A person that mistypes does not notice; hashing is over by then, so that its length is not seen.
const SHORTEST: Duration = Duration::from_millis(100);
/// At this the delay is 0.4 s.
const MOST: u32 = 16;
const BETWEEN_LINES: Duration = Duration::from_secs(10);
const LINES_PER_SECOND: u32 = 10;
