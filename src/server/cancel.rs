//! Floor 3. Cancel requests: to the right backend, and to no other.
//!
//! A client cancels with the key that pgdial gave it. The key leads to a [`Slot`], and that to the server that the client
//! holds at this moment. Postgres acts on a cancel request some time after it has arrived, and says so only by closing the
//! connection: until then the server is [`Slot::settled`] for nobody, or the next client's query would be hit.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::pg::BackendKey;
use crate::session::Pins;

use super::card::ClientCard;
use super::dial::{Target, cancel};

/// All clients that may be cancelled, by the key they were given.
#[derive(Default)]
pub struct Registry {
    slots: Mutex<HashMap<i32, Arc<Slot>, foldhash::fast::RandomState>>,
    next: AtomicU32,
    under_way: AtomicU32,
}

/// One client, as a cancel request finds it.
pub struct Slot {
    key: BackendKey,
    held: Mutex<Held>,
    settled: Notify,
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
    server: Option<(Arc<Target>, BackendKey)>,
    waiting: bool,
    /// When it last asked for a server, or got one.
    since: Option<Instant>,
    pins: Pins,
    pinned_since: Option<Instant>,
    cancelling: u32,
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
    /// A place for a client that has logged in. `secret` is random.
    pub fn register(&self, secret: &[u8], card: ClientCard) -> Arc<Slot> {
        let mut slots = self.slots.lock();
        let pid = loop {
            // Positive and not zero, as a process id is.
            let pid = (self.next.fetch_add(1, Ordering::Relaxed) % 0x7fff_fffe) as i32 + 1;
            if !slots.contains_key(&pid) {
                break pid;
            }
        };
        let slot = Arc::new(Slot {
            key: BackendKey { pid, secret: secret.into() },
            held: Mutex::default(),
            settled: Notify::new(),
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
        self.slots.lock().remove(&slot.key.pid);
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
        let Some((target, server)) = slot.begin() else { return };
        let _done = Cancelling { registry: self, slot: &slot };
        if self.under_way.fetch_add(1, Ordering::AcqRel) >= MAX_UNDER_WAY {
            return tracing::warn!("too many cancel requests at once: one is dropped");
        }
        match tokio::time::timeout(LIMIT, cancel(&target, &server)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "cancel request failed"),
            Err(_) => tracing::warn!("cancel request timed out"),
        }
    }
}

struct Cancelling<'a> {
    registry: &'a Registry,
    slot: &'a Slot,
}

impl Drop for Cancelling<'_> {
    fn drop(&mut self) {
        self.registry.under_way.fetch_sub(1, Ordering::AcqRel);
        self.slot.end();
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
    pub fn lease(&self, target: &Arc<Target>, key: Option<&BackendKey>, now: Instant) {
        let mut held = self.held.lock();
        held.waiting = false;
        held.since = Some(now);
        held.server = key.map(|key| (Arc::clone(target), key.clone()));
    }

    /// The client is in the queue for a server, or no longer.
    pub fn set_waiting(&self, waiting: bool) {
        self.held.lock().waiting = waiting;
    }

    /// The client gives its server back. False: a cancel request for it is under way, see [`Slot::settled`].
    pub fn release(&self) -> bool {
        let mut held = self.held.lock();
        held.server = None;
        held.cancelling == 0
    }

    /// Returns when no cancel request is under way.
    pub async fn settled(&self) {
        loop {
            let notified = self.settled.notified();
            if self.held.lock().cancelling == 0 {
                return;
            }
            notified.await;
        }
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
        let server = held.server.as_ref().map(|(_, key)| key.pid);
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
        let begun = self.begin();
        async move {
            let Some((target, server)) = begun else { return };
            let outcome = tokio::time::timeout(LIMIT, cancel(&target, &server)).await;
            self.end();
            if !matches!(outcome, Ok(Ok(()))) {
                tracing::warn!(pid = server.pid, "a statement over query_timeout, or of a killed client, could not be cancelled");
            }
        }
    }

    fn begin(&self) -> Option<(Arc<Target>, BackendKey)> {
        let mut held = self.held.lock();
        if held.waiting {
            self.queued_cancel.store(true, Ordering::Release);
            drop(held);
            self.wake();
            return None;
        }
        let server = held.server.clone()?;
        held.cancelling += 1;
        Some(server)
    }

    fn end(&self) {
        let mut held = self.held.lock();
        held.cancelling = held.cancelling.saturating_sub(1);
        drop(held);
        self.settled.notify_waiters();
    }
}

/// In time that does not depend on where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

const MAX_UNDER_WAY: u32 = 64;
const LIMIT: Duration = Duration::from_secs(10);
