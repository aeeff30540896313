//! Floor 3. The pool of one (database, user): `pool::Ledger` behind a lock, with dials, hand-off and errors around it.
//!
//! The hot path is one short lock to check out and one to release; a connection that somebody waits for goes straight to the
//! first in the queue. The lock is never held over an await, a dial, a close or a wake-up, so it is a plain mutex.
//!
//! Races considered: a client that leaves while a connection is on its way to it gives it back unused (`Ticket::drop`, or the
//! failed hand-off, whichever comes second); a dial belongs to the pool and not to the client that caused it, so its
//! connection goes to whoever is first when it is ready.

mod lease;
mod upkeep;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};

use super::janitor;
use crate::config;
use crate::error::{Error, Kind, Result};
use crate::pool::{CloseReason, ConnectPermit, Counts, Due, Given, Held, Ledger, SetId, Settings, State, Totals};

pub use lease::{Checkout, Disposition, Lease, Ticket};

/// Makes connections.
pub trait Connector: Send + Sync + 'static {
    /// What it makes. It is moved at each checkout and release: box it if it is large.
    type Conn: PooledConn;

    /// Dials and logs in with the startup parameters of `set`. An error's message is shown to the clients that wait.
    fn connect(&self, set: SetId) -> impl Future<Output = Result<Self::Conn>> + Send;

    /// Whether clients to come may get connections of `set`: of others none is dialled before somebody waits for it.
    fn is_current(&self, _set: SetId) -> bool {
        true
    }
}

/// A connection as the pool sees it.
pub trait PooledConn: Send + 'static {
    /// May it be leased? Asked under the pool's lock: no system call unless something has happened on the socket.
    fn is_usable(&mut self) -> bool;

    /// Does the server still answer? May be dropped half-way, and then the connection is closed.
    fn probe(&mut self) -> impl Future<Output = bool> + Send;

    /// The same, and is it as the next client expects it?
    fn inspect(&mut self) -> impl Future<Output = Inspection> + Send;

    /// Says Terminate if that is possible at once, and closes. Never blocks.
    fn close(self);
}

/// What was found of an idle connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inspection {
    /// It is as it should be, as far as it told.
    Clean,
    /// It does not answer.
    Dead,
    /// It has what a client must have left behind, in words.
    Unclean(String),
}

/// What `[pool]` says of one pool. Durations: zero = never; `check_delay` zero = before each use.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Sizes and times of the ledger.
    pub settings: Settings,
    /// How long a dial, or the check of an idle server, may take.
    pub connect_timeout: Duration,
    /// How old a connection may become; each gets up to a tenth less, so that they do not all end at once.
    pub max_lifetime: Duration,
}

/// A pool as it stands, for stats.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Connections and clients now.
    pub counts: Counts,
    /// What was done so far.
    pub totals: Totals,
    /// Open, paused, draining.
    pub state: State,
    /// Leases marked as pinned.
    pub pinned: usize,
    /// What the last dial said, if it failed.
    pub dial_failure: Option<Box<str>>,
}

impl From<&config::Pool> for Options {
    fn from(pool: &config::Pool) -> Self {
        let settings = Settings {
            size: pool.size,
            max_pinned: pool.pinned_of(pool.size),
            min_idle: pool.min_idle,
            order: pool.order,
            checkout_timeout: pool.checkout_timeout,
            idle_timeout: pool.idle_timeout,
            check_delay: pool.check_delay,
        };
        Self { settings, connect_timeout: pool.connect_timeout, max_lifetime: pool.max_lifetime }
    }
}

type Waiter<K> = oneshot::Sender<Result<Lease<K>>>;
type Books<K> = Ledger<<K as Connector>::Conn, Waiter<K>>;

/// A cheap handle to the pool.
pub struct ServerPool<K: Connector>(Arc<Inner<K>>);

/// Does not keep the pool alive.
pub(super) struct WeakPool<K: Connector>(Weak<Inner<K>>);

struct Inner<K: Connector> {
    /// `user@database`, for errors and logs.
    name: Box<str>,
    connector: K,
    ledger: Mutex<Books<K>>,
    /// Read once per dial.
    dialling: Mutex<Dialling>,
    /// Something was closed: whoever waits for the pool to be empty looks again.
    closed: Notify,
    runtime: Handle,
}

struct Dialling {
    connect_timeout: Duration,
    max_lifetime: Duration,
    failure: Option<Box<str>>,
}

impl<K: Connector> Clone for ServerPool<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Connector> WeakPool<K> {
    pub(super) fn upgrade(&self) -> Option<ServerPool<K>> {
        self.0.upgrade().map(ServerPool)
    }
}

impl<K: Connector> ServerPool<K> {
    /// An open pool with its janitor; `min_idle` connections are dialled at once. Must be called inside the runtime.
    pub fn new(name: &str, connector: K, options: Options) -> Self {
        let pool = Self::without_janitor(name, connector, options);
        let weak = WeakPool(Arc::downgrade(&pool.0));
        pool.0.runtime.spawn(janitor::run(weak));
        pool
    }

    fn without_janitor(name: &str, connector: K, options: Options) -> Self {
        let Options { settings, connect_timeout, max_lifetime } = options;
        Self(Arc::new(Inner {
            name: name.into(),
            connector,
            ledger: Mutex::new(Ledger::new(settings)),
            dialling: Mutex::new(Dialling { connect_timeout, max_lifetime, failure: None }),
            closed: Notify::new(),
            runtime: Handle::current(),
        }))
    }

    /// `user@database`.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What makes this pool's connections.
    pub fn connector(&self) -> &K {
        &self.0.connector
    }

    /// A connection of `set` at once, or a place in the queue.
    pub fn try_checkout(&self, set: SetId) -> Checkout<K> {
        let mut dead = Vec::new();
        let mut ledger = self.0.ledger.lock();
        let taken = ledger.take(set, K::Conn::is_usable, &mut dead);
        let checkout = match taken {
            Some(held) if ledger.settings().check_delay.is_zero() => {
                drop(ledger);
                let (waiter, answer) = oneshot::channel();
                self.0.runtime.spawn(self.clone().check_first(held, set, waiter));
                Checkout::Wait(Ticket::checking(self.clone(), answer))
            }
            Some(held) => {
                drop(ledger);
                Checkout::Ready(Lease::new(self.clone(), held))
            }
            None if ledger.state() == State::Draining => {
                drop(ledger);
                Checkout::Wait(Ticket::refused(self.clone(), self.draining()))
            }
            None => {
                let now = Instant::now();
                let (waiter, answer) = oneshot::channel();
                let id = ledger.enqueue(set, waiter, now);
                let due = ledger.due(now);
                drop(ledger);
                self.start(due);
                Checkout::Wait(Ticket::new(self.clone(), answer, id))
            }
        };
        dead.into_iter().for_each(PooledConn::close);
        checkout
    }

    /// How the pool stands.
    pub fn snapshot(&self) -> Snapshot {
        let dial_failure = self.0.dialling.lock().failure.clone();
        let ledger = self.0.ledger.lock();
        Snapshot {
            counts: ledger.counts(Instant::now()),
            totals: ledger.totals().clone(),
            state: ledger.state(),
            pinned: ledger.pinned(),
            dial_failure,
        }
    }

    /// Leases marked as pinned.
    pub fn pinned(&self) -> usize {
        self.0.ledger.lock().pinned()
    }

    /// One more lease stays with its client. False: there are too many of those.
    fn pin(&self) -> bool {
        let mut ledger = self.0.ledger.lock();
        let pinned = ledger.pin();
        let due = ledger.due(Instant::now());
        drop(ledger);
        self.start(due);
        pinned
    }

    fn unpin(&self) {
        let surplus = self.0.ledger.lock().unpin();
        self.close_all(surplus);
    }

    fn take_back(&self, mut held: Held<K::Conn>) {
        if !held.conn.is_usable() {
            return self.discard(held, CloseReason::Dead);
        }
        let now = Instant::now();
        let mut ledger = self.0.ledger.lock();
        let given = ledger.give_back(held, now);
        let due = ledger.due(now);
        drop(ledger);
        self.settle(given, due);
    }

    fn discard(&self, held: Held<K::Conn>, reason: CloseReason) {
        let mut ledger = self.0.ledger.lock();
        let conn = ledger.closed(held, reason);
        let due = ledger.due(Instant::now());
        drop(ledger);
        tracing::debug!(pool = %self.0.name, reason = reason.as_str(), "server closed");
        conn.close();
        self.0.closed.notify_waiters();
        self.start(due);
    }

    fn settle(&self, given: Given<K::Conn, Waiter<K>>, due: Due<K::Conn>) {
        self.start(due);
        let mut next = Some(given);
        while let Some(given) = next {
            next = self.settle_once(given);
        }
    }

    /// `Some`: the waiter had just left, and this is what becomes of its connection.
    fn settle_once(&self, given: Given<K::Conn, Waiter<K>>) -> Option<Given<K::Conn, Waiter<K>>> {
        match given {
            Given::Idle => None,
            Given::Close(conn, reason) => {
                tracing::debug!(pool = %self.0.name, reason = reason.as_str(), "server closed");
                conn.close();
                self.0.closed.notify_waiters();
                None
            }
            Given::HandTo(waiter, held) => {
                let Err(Ok(lease)) = waiter.send(Ok(Lease::new(self.clone(), held))) else {
                    return None;
                };
                let held = lease.into_held()?;
                let now = Instant::now();
                let mut ledger = self.0.ledger.lock();
                let given = ledger.give_back(held, now);
                let due = ledger.due(now);
                drop(ledger);
                self.start(due);
                Some(given)
            }
        }
    }

    fn start(&self, due: Due<K::Conn>) {
        if !due.close.is_empty() {
            due.close.into_iter().for_each(PooledConn::close);
            self.0.closed.notify_waiters();
        }
        for permit in due.connect {
            self.0.runtime.spawn(self.clone().dial(permit));
        }
    }

    async fn dial(self, permit: ConnectPermit) {
        let set = permit.set();
        let mut held = HeldPermit { pool: self, permit: Some(permit) };
        let limit = held.pool.0.dialling.lock().connect_timeout;
        let dialled = match within(limit, held.pool.0.connector.connect(set)).await {
            Some(dialled) => dialled,
            None => Err(Error::new(Kind::Connect, dial_timeout(limit))),
        };
        let Some(permit) = held.permit.take() else {
            return;
        };
        match dialled {
            Ok(conn) => held.pool.dialled(permit, conn),
            Err(error) => held.pool.dial_failed(permit, &error),
        }
    }

    fn dialled(&self, permit: ConnectPermit, conn: K::Conn) {
        let mut dialling = self.0.dialling.lock();
        dialling.failure = None;
        let max_lifetime = dialling.max_lifetime.mul_f64(1.0 - 0.1 * jitter());
        drop(dialling);
        let now = Instant::now();
        let mut ledger = self.0.ledger.lock();
        let given = ledger.connected(permit, conn, max_lifetime, now);
        let due = ledger.due(now);
        drop(ledger);
        self.settle(given, due);
    }

    fn dial_failed(&self, permit: ConnectPermit, error: &Error) {
        self.0.dialling.lock().failure = Some(error.message().into());
        let now = Instant::now();
        let mut ledger = self.0.ledger.lock();
        let told = ledger.connect_failed(permit, now, jitter());
        let due = ledger.due(now);
        drop(ledger);
        tracing::warn!(pool = %self.0.name, %error, told = told.len(), "dial failed");
        for waiter in told {
            // A waiter that has left needs no answer.
            let _ = waiter.send(Err(copy(error)));
        }
        self.0.closed.notify_waiters();
        self.start(due);
    }

    fn draining(&self) -> Error {
        Error::new(Kind::Draining, "pgdial is stopping: no new transactions")
    }
}

/// Gives the permit back whatever becomes of the dial's task: a place that is lost stays lost until a restart.
struct HeldPermit<K: Connector> {
    pool: ServerPool<K>,
    permit: Option<ConnectPermit>,
}

impl<K: Connector> Drop for HeldPermit<K> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.pool.dial_failed(permit, &Error::new(Kind::Internal, "the dial was given up"));
        }
    }
}

/// `None`: it took longer than `limit`; zero = no limit.
async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    if limit.is_zero() {
        return Some(work.await);
    }
    tokio::time::timeout(limit, work).await.ok()
}

fn dial_timeout(limit: Duration) -> String {
    format!("Postgres did not accept a connection within {}", humantime::format_duration(limit))
}

/// What the client is told, once for each; the source stays with the one that is logged.
fn copy(error: &Error) -> Error {
    let copy = Error::new(error.kind(), error.message().to_owned()).with_sqlstate(error.sqlstate());
    match error.hint() {
        Some(hint) => copy.with_hint(hint.to_owned()),
        None => copy,
    }
}

/// Spreads times; not a secret. In 0..1.
fn jitter() -> f64 {
    let bits = RandomState::new().hash_one(0u8) >> 32;
    f64::from(u32::try_from(bits).unwrap_or(0)) / f64::from(u32::MAX)
}
