//! Floor 3. Cancel requests: to the right backend, and to no other.
//!
//! A client cancels with the key that pgdial gave it. The key leads to a [`Slot`], and that to the server that the client
//! holds at this moment. Postgres acts on a cancel request some time after it has arrived, and says so only by closing the
//! connection: until then nobody else may have the server ([`Holding::settled`]), or the next client's query would be hit.
//! One whose request never came to an end is closed.
//!
//! Requests are bounded: per server one is under way and one waits, what comes beyond that asks for the same.
//!
//! A client may rely on it as well that its request has arrived when its connection is closed (libpq's PQcancel waits for that): its
//! next statement is not hit then, also where it keeps its server.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

use crate::pg::BackendKey;
use crate::session::Pins;

use super::card::ClientCard;
use super::dial::{Target, cancel};

/// All clients that may be cancelled, by the key they were given.
pub struct Registry {
    slots: Mutex<HashMap<i32, Arc<Slot>, foldhash::fast::RandomState>>,
    next: AtomicU32,
    /// Cancel connections that may be open at once.
    permits: Semaphore,
}

impl Default for Registry {
    fn default() -> Self {
        Self { slots: Mutex::default(), next: AtomicU32::default(), permits: Semaphore::new(MAX_UNDER_WAY) }
    }
}

/// One client, as a cancel request finds it.
pub struct Slot {
    key: BackendKey,
    held: Mutex<Held>,
    /// The client asked for its query to be cancelled while it waited for a server.
    queued_cancel: AtomicBool,
    /// Finish what is under way and go.
    drain: AtomicBool,
    /// Go at once.
    killed: AtomicBool,
    /// Who the client is.
    card: ClientCard,
    waker: Mutex<Option<Waker>>,
}

#[derive(Default)]
struct Held {
    server: Option<Arc<Holding>>,
    waiting: bool,
    /// When it last asked for a server, or got one.
    since: Option<Instant>,
    pins: Pins,
    pinned_since: Option<Instant>,
}

/// A server, for as long as one client has it.
pub struct Holding {
    target: Arc<Target>,
    key: BackendKey,
    encrypted: bool,
    requests: Mutex<Requests>,
    /// One at a time.
    turn: tokio::sync::Mutex<()>,
    settled: Notify,
}

#[derive(Default)]
struct Requests {
    /// One is in the queue.
    waits: bool,
    /// One is on its way.
    sent: bool,
    /// The client has given the server back.
    over: bool,
    /// One was sent, and nobody knows when it will arrive.
    adrift: bool,
}

/// What a client is doing at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Doing {
    /// The process that works for it.
    pub server: Option<i32>,
    /// It has asked for a server and has none.
    pub waiting: bool,
    /// When it last asked for a server, or got one.
    pub since: Option<Instant>,
    /// Why it keeps its server.
    pub pins: Pins,
    /// Since when.
    pub pinned_since: Option<Instant>,
}

impl Registry {
    /// A place for a client that has logged in. `secret` is random. `own` is the process id of the server that it has for
    /// good: that is what it is called then, unless a client on another machine's server is called so already.
    pub fn register(&self, secret: &[u8], card: ClientCard, own: Option<i32>) -> Arc<Slot> {
        let mut slots = self.slots.lock();
        let own = own.filter(|pid| slots.get(pid).is_none_or(|slot| slot.held.lock().server.is_none()));
        let pid = own.unwrap_or_else(|| {
            loop {
                let pid = VIRTUAL + (self.next.fetch_add(1, Ordering::Relaxed) % VIRTUAL.unsigned_abs()).cast_signed();
                if !slots.contains_key(&pid) {
                    break pid;
                }
            }
        });
        let slot = Arc::new(Slot {
            key: BackendKey { pid, secret: secret.into() },
            held: Mutex::default(),
            queued_cancel: AtomicBool::new(false),
            drain: AtomicBool::new(false),
            killed: AtomicBool::new(false),
            card,
            waker: Mutex::new(None),
        });
        slots.insert(pid, Arc::clone(&slot));
        slot
    }

    /// The client has gone.
    pub fn remove(&self, slot: &Slot) {
        let mut slots = self.slots.lock();
        // In session mode the next client of its server is called the same.
        if slots.get(&slot.key.pid).is_some_and(|known| std::ptr::eq(&**known, slot)) {
            slots.remove(&slot.key.pid);
        }
    }

    /// How many clients there are.
    pub fn len(&self) -> usize {
        self.slots.lock().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All clients.
    pub fn all(&self) -> Vec<Arc<Slot>> {
        self.slots.lock().values().cloned().collect()
    }

    /// The client with this id.
    pub fn get(&self, id: i32) -> Option<Arc<Slot>> {
        self.slots.lock().get(&id).cloned()
    }

    /// Asks every client to go when it has finished what it is doing.
    pub fn drain(&self) {
        for slot in self.all() {
            slot.drain.store(true, Ordering::Release);
            slot.wake();
        }
    }

    /// Carries out a cancel request. Like Postgres, it tells nobody whether the key was right.
    pub async fn cancel(&self, key: &BackendKey) {
        let slot = self.slots.lock().get(&key.pid).filter(|slot| same(&slot.key.secret, &key.secret)).cloned();
        let Some(slot) = slot else {
            return tracing::debug!(pid = key.pid, "cancel request with an unknown key");
        };
        let Some((holding, joins)) = slot.begin() else { return };
        let _turn = holding.turn.lock().await;
        if joins {
            // The turn came behind the one that it has joined: that is done.
            return;
        }
        // Never closed.
        let _permit = self.permits.acquire().await;
        holding.cancel().await;
    }
}

impl Holding {
    /// The client's query is cancelled, if it still has the server.
    async fn cancel(&self) {
        if self.send() {
            self.deliver().await;
        }
    }

    /// After [`Holding::send`] has said that it may be done.
    async fn deliver(&self) {
        let sent = Sent(self);
        match tokio::time::timeout(LIMIT, cancel(&self.target, &self.key, self.encrypted)).await {
            Ok(Ok(())) => sent.arrived(),
            Ok(Err(error)) => tracing::warn!(%error, "cancel request failed"),
            Err(_) => tracing::warn!("cancel request timed out"),
        }
    }

    /// From here on the server is not given to anybody else. False: the client has no use for it any more.
    fn send(&self) -> bool {
        let mut requests = self.requests.lock();
        requests.waits = false;
        requests.sent = !requests.over;
        requests.sent
    }

    /// Returns when no cancel request is under way. False: one may still arrive, and the server must be closed.
    pub async fn settled(&self) -> bool {
        loop {
            let notified = self.settled.notified();
            {
                let requests = self.requests.lock();
                if !requests.sent {
                    return !requests.adrift;
                }
            }
            notified.await;
        }
    }
}

/// A request that is on its way. What is dropped before it has arrived is adrift.
struct Sent<'a>(&'a Holding);

impl Sent<'_> {
    fn arrived(self) {
        self.0.requests.lock().sent = false;
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        let mut requests = self.0.requests.lock();
        requests.adrift |= std::mem::take(&mut requests.sent);
        drop(requests);
        self.0.settled.notify_waiters();
    }
}

impl Slot {
    /// What the client must show to cancel.
    pub fn key(&self) -> &BackendKey {
        &self.key
    }

    /// The client's task, to be woken by cancel and drain.
    pub fn set_waker(&self, waker: &Waker) {
        let mut known = self.waker.lock();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.lock().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// The client holds this server from now on.
    /// `encrypted`: over TLS, and so must a cancel request be.
    pub fn lease(&self, target: &Arc<Target>, key: Option<&BackendKey>, encrypted: bool, now: Instant) {
        let mut held = self.held.lock();
        held.waiting = false;
        held.since = Some(now);
        self.queued_cancel.store(false, Ordering::Release);
        held.server = key.map(|key| {
            Arc::new(Holding {
                target: Arc::clone(target),
                key: key.clone(),
                encrypted,
                requests: Mutex::default(),
                turn: tokio::sync::Mutex::default(),
                settled: Notify::new(),
            })
        });
    }

    /// The client is in the queue for a server, or no longer.
    pub fn set_waiting(&self, waiting: bool) {
        let mut held = self.held.lock();
        held.waiting = waiting;
        // What was asked of an earlier wait must not end this one.
        self.queued_cancel.store(false, Ordering::Release);
    }

    /// The client gives its server back. `Some`: a cancel request for it is under way, and nobody may have it before
    /// [`Holding::settled`].
    pub fn release(&self) -> Option<Arc<Holding>> {
        let holding = self.held.lock().server.take()?;
        let mut requests = holding.requests.lock();
        requests.over = true;
        let open = requests.sent || requests.adrift;
        drop(requests);
        open.then_some(holding)
    }

    /// Whether a cancel request came while the client waited; asked once.
    pub fn take_queued_cancel(&self) -> bool {
        self.queued_cancel.load(Ordering::Acquire) && self.queued_cancel.swap(false, Ordering::AcqRel)
    }

    /// The client has asked for a server, and there is none yet.
    pub fn wait(&self, now: Instant) {
        let mut held = self.held.lock();
        held.waiting = true;
        held.since = Some(now);
    }

    /// The client's pins are these from now on.
    pub fn set_pins(&self, pins: Pins, now: Instant) {
        let mut held = self.held.lock();
        held.pins = pins;
        held.pinned_since = if pins.is_empty() { None } else { held.pinned_since.or(Some(now)) };
    }

    /// Who the client is.
    pub fn card(&self) -> &ClientCard {
        &self.card
    }

    /// What it is doing.
    pub fn doing(&self) -> Doing {
        let held = self.held.lock();
        let server = held.server.as_ref().map(|holding| holding.key.pid);
        Doing { server, waiting: held.waiting, since: held.since, pins: held.pins, pinned_since: held.pinned_since }
    }

    /// Ends the client at once.
    pub fn kill(&self) {
        self.killed.store(true, Ordering::Release);
        self.drain.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether the client is to go at once; those that are, are also draining.
    pub fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    /// Whether the client is to go.
    pub fn is_draining(&self) -> bool {
        self.drain.load(Ordering::Acquire)
    }

    /// Cancels what the client's server is doing, as a request of the client would. Which server that is, is settled by the
    /// call; the future must be run to its end.
    pub fn cancel_own(self: Arc<Self>) -> impl Future<Output = ()> + Send + 'static {
        // A client that is killed gives its server back at once: what it runs there is to end all the same.
        let begun = self.begin().filter(|(holding, joins)| !joins && holding.send());
        async move {
            let Some((holding, _)) = begun else { return };
            let _turn = holding.turn.lock().await;
            holding.deliver().await;
        }
    }

    /// A place in the queue of the server's cancel requests, if it is of use. True: one that waits already does what this one asks.
    fn begin(&self) -> Option<(Arc<Holding>, bool)> {
        let held = self.held.lock();
        if held.waiting {
            self.queued_cancel.store(true, Ordering::Release);
            drop(held);
            self.wake();
            return None;
        }
        let holding = held.server.clone()?;
        let joins = std::mem::replace(&mut holding.requests.lock().waits, true);
        Some((holding, joins))
    }
}

/// In time that does not depend on where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

/// Clients without a server of their own are called by numbers from here on: no process has them, so a
/// `pg_terminate_backend` of one hits nobody, and no process that notifies is taken for a client.
const VIRTUAL: i32 = 0x4000_0000;
const MAX_UNDER_WAY: usize = 64;
const LIMIT: Duration = Duration::from_secs(10);
