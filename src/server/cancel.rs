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
//! next statement is not hit then, also where it keeps its server. Unless Postgres has not taken the request within ten seconds:
//! then nobody knows when it will.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
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
    /// The number of the last one that got a place in the queue, and of the last that is done with.
    begun: u64,
    done: u64,
    /// So many are on their way: one of the client's, one of its end.
    sent: u8,
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
        match slot.begin() {
            None => {}
            Some(Begun::Joins(holding, number)) => holding.done(number).await,
            Some(Begun::Waits(place)) => {
                let holding = &place.holding;
                let _turn = holding.turn.lock().await;
                // Never closed.
                let _permit = self.permits.acquire().await;
                if let Some(sent) = holding.send(From::Client) {
                    sent.deliver().await;
                }
            }
        }
    }
}

impl Holding {
    /// From here on the server is not given to anybody else. `None`: the client has no use for it any more.
    fn send(self: &Arc<Self>, from: From) -> Option<Sent> {
        let mut requests = self.requests.lock();
        requests.waits &= from == From::End;
        if requests.over {
            return None;
        }
        requests.sent += 1;
        Some(Sent { holding: Arc::clone(self), arrived: false })
    }

    /// Returns when no cancel request is under way. False: one may still arrive, and the server must be closed.
    pub async fn settled(&self) -> bool {
        self.until(|requests| requests.sent == 0).await;
        !self.requests.lock().adrift
    }

    /// Returns when the request of that number is done with.
    async fn done(&self, number: u64) {
        self.until(|requests| requests.done >= number).await;
    }

    async fn until(&self, holds: impl Fn(&Requests) -> bool) {
        loop {
            let notified = self.settled.notified();
            if holds(&self.requests.lock()) {
                return;
            }
            notified.await;
        }
    }
}

/// Who has a server's work cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// The client, by a cancel request.
    Client,
    /// Its end. It waits for no place: the server is given back at once.
    End,
}

/// What becomes of a cancel request.
enum Begun {
    /// It has a place in the server's queue.
    Waits(Place),
    /// The one of this number, which waits already, does what it asks.
    Joins(Arc<Holding>, u64),
}

/// A place in the queue, and the end of it.
struct Place {
    holding: Arc<Holding>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut requests = self.holding.requests.lock();
        // Dropped while it waits, it makes room for another.
        requests.waits &= requests.begun != self.number;
        requests.done = requests.done.max(self.number);
        drop(requests);
        self.holding.settled.notify_waiters();
    }
}

/// A request that is on its way. What is dropped before it has arrived is adrift.
struct Sent {
    holding: Arc<Holding>,
    arrived: bool,
}

impl Sent {
    async fn deliver(mut self) {
        let holding = &self.holding;
        match tokio::time::timeout(LIMIT, cancel(&holding.target, &holding.key, holding.encrypted)).await {
            Ok(Ok(())) => self.arrived = true,
            Ok(Err(error)) => tracing::warn!(%error, "cancel request failed"),
            Err(_) => tracing::warn!("cancel request timed out"),
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        let mut requests = self.holding.requests.lock();
        requests.sent -= 1;
        requests.adrift |= !self.arrived;
        drop(requests);
        self.holding.settled.notify_waiters();
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
        let open = requests.sent > 0 || requests.adrift;
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
        let sent = self.holding().and_then(|(holding, _)| holding.send(From::End));
        async move {
            let Some(sent) = sent else { return };
            let holding = Arc::clone(&sent.holding);
            let _turn = holding.turn.lock().await;
            sent.deliver().await;
        }
    }

    /// The client's server, if a cancel request is of use, and the lock under which it has that.
    fn holding(&self) -> Option<(Arc<Holding>, MutexGuard<'_, Held>)> {
        let held = self.held.lock();
        if held.waiting {
            self.queued_cancel.store(true, Ordering::Release);
            drop(held);
            self.wake();
            return None;
        }
        let holding = held.server.clone()?;
        Some((holding, held))
    }

    /// A place in the queue of the server's cancel requests, if it is of use.
    fn begin(&self) -> Option<Begun> {
        let (holding, _held) = self.holding()?;
        let mut requests = holding.requests.lock();
        if std::mem::replace(&mut requests.waits, true) {
            let number = requests.begun;
            drop(requests);
            return Some(Begun::Joins(holding, number));
        }
        requests.begun += 1;
        let number = requests.begun;
        drop(requests);
        Some(Begun::Waits(Place { holding, number }))
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

#[cfg(test)]
mod tests;
