//! Floor 3. A card for each client and each server connection: what the console and the statistics say of them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use crate::net::{Peer, Stream};

/// Who a client is.
#[derive(Clone, Debug)]
pub struct ClientCard {
    /// The role it has proven to be.
    pub user: Box<str>,
    /// As it calls it.
    pub database: Box<str>,
    /// `application_name` of its startup packet.
    pub application: Box<str>,
    /// Where it comes from.
    pub peer: Peer,
    /// Where it arrived; None on a Unix socket.
    pub local: Option<SocketAddr>,
    /// Over TLS.
    pub tls: bool,
    /// Since when.
    pub since: SystemTime,
}

/// One server connection, from login to close.
pub struct ServerCard {
    /// Number within its pool.
    pub id: u64,
    /// Postgres's process.
    pub pid: i32,
    /// Our end; None over a Unix socket.
    pub local: Option<SocketAddr>,
    /// The other end.
    pub peer: Option<SocketAddr>,
    /// Over TLS.
    pub tls: bool,
    /// Since when.
    pub since: SystemTime,
    opened: Instant,
    client: AtomicI32,
    leased_us: AtomicU64,
    close_needed: AtomicBool,
    statements: AtomicU32,
}

impl ServerCard {
    /// It works for this client from now on.
    pub fn lease(&self, client: i32, now: Instant) {
        let since = now.saturating_duration_since(self.opened);
        self.leased_us.store(u64::try_from(since.as_micros()).unwrap_or(u64::MAX), Relaxed);
        self.client.store(client, Relaxed);
    }

    /// It has come back, and so many statements are prepared on it.
    pub fn release(&self, statements: usize) {
        self.statements.store(u32::try_from(statements).unwrap_or(u32::MAX), Relaxed);
        self.client.store(0, Relaxed);
    }

    /// The client that it works for.
    pub fn client(&self) -> Option<i32> {
        Some(self.client.load(Relaxed)).filter(|client| *client != 0)
    }

    /// When it was leased last; when it was opened, if never.
    pub fn leased_at(&self) -> SystemTime {
        self.since + Duration::from_micros(self.leased_us.load(Relaxed))
    }

    /// RECONNECT was asked for: it is closed when it comes back.
    pub fn close_needed(&self) -> bool {
        self.close_needed.load(Relaxed)
    }

    /// Statements prepared, as of the last release.
    pub fn statements(&self) -> u32 {
        self.statements.load(Relaxed)
    }
}

/// The cards of a pool's connections.
#[derive(Default)]
pub struct Cards {
    cards: Mutex<HashMap<u64, Arc<ServerCard>>>,
    last: AtomicU64,
}

/// A connection's place among the cards, given back when the connection is dropped.
pub struct Place {
    card: Arc<ServerCard>,
    cards: Arc<Cards>,
}

impl Cards {
    /// A card for a connection that has just logged in.
    pub fn add(self: &Arc<Self>, stream: &Stream, pid: i32, now: Instant) -> Place {
        let card = Arc::new(ServerCard {
            id: self.last.fetch_add(1, Relaxed) + 1,
            pid,
            local: stream.local_address(),
            peer: stream.peer_address(),
            tls: stream.is_tls(),
            since: SystemTime::now(),
            opened: now,
            client: AtomicI32::new(0),
            leased_us: AtomicU64::new(0),
            close_needed: AtomicBool::new(false),
            statements: AtomicU32::new(0),
        });
        self.cards.lock().insert(card.id, Arc::clone(&card));
        Place { card, cards: Arc::clone(self) }
    }

    /// All that there are, in the order of their ages.
    pub fn list(&self) -> Vec<Arc<ServerCard>> {
        let mut cards: Vec<_> = self.cards.lock().values().cloned().collect();
        cards.sort_by_key(|card| card.id);
        cards
    }

    /// Marks all that there are as to be closed.
    pub fn mark(&self) {
        self.cards.lock().values().for_each(|card| card.close_needed.store(true, Relaxed));
    }

    /// Whether a marked one is left.
    pub fn any_marked(&self) -> bool {
        self.cards.lock().values().any(|card| card.close_needed())
    }
}

impl std::ops::Deref for Place {
    type Target = ServerCard;

    fn deref(&self) -> &ServerCard {
        &self.card
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.cards.cards.lock().remove(&self.card.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn stream() -> Stream {
        let (stream, _) = tokio::net::UnixStream::pair().unwrap();
        Stream::Unix(stream)
    }

    #[tokio::test]
    async fn a_card_lives_as_long_as_its_connection() {
        let cards = Arc::new(Cards::default());
        let now = Instant::now();
        let (first, second) = (cards.add(&stream().await, 11, now), cards.add(&stream().await, 12, now));
        first.lease(7, now + Duration::from_secs(3));
        assert_eq!((first.client(), second.client()), (Some(7), None));
        assert_eq!(first.leased_at(), first.since + Duration::from_secs(3));
        cards.mark();
        let third = cards.add(&stream().await, 13, now);
        assert!(first.close_needed() && second.close_needed() && !third.close_needed());
        drop((first, second));
        assert!(!cards.any_marked());
        assert_eq!(cards.list().iter().map(|card| card.pid).collect::<Vec<_>>(), [13]);
    }
}
