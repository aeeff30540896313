//! Floor 3. Cancel requests: to the right backend, and to no other.
//!
//! A client cancels with the key that pgdial gave it. The key leads to a [`Slot`], and that to the server that the client
//! holds at this moment. Postgres acts on a cancel request some time after it has arrived, and says so only by closing the
//! connection: until then the server is [`Slot::settled`] for nobody, or the next client's query would be hit.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Waker;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::pg::BackendKey;

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
    /// pgdial stops: finish what is under way and go.
    drain: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

#[derive(Default)]
struct Held {
    server: Option<(Arc<Target>, BackendKey)>,
    waiting: bool,
    cancelling: u32,
}

impl Registry {
    /// A place for a client that has logged in. `secret` is random.
    pub fn register(&self, secret: &[u8]) -> Arc<Slot> {
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

    /// Asks every client to go when it has finished what it is doing.
    pub fn drain(&self) {
        let slots: Vec<_> = self.slots.lock().values().cloned().collect();
        for slot in slots {
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
    pub fn lease(&self, target: &Arc<Target>, key: Option<&BackendKey>) {
        let mut held = self.held.lock();
        held.waiting = false;
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

    /// Whether the client is to go.
    pub fn is_draining(&self) -> bool {
        self.drain.load(Ordering::Acquire)
    }

    /// Cancels what the client's server is doing, as a request of the client would.
    pub async fn cancel_own(self: Arc<Self>) {
        let Some((target, server)) = self.begin() else { return };
        let outcome = tokio::time::timeout(LIMIT, cancel(&target, &server)).await;
        self.end();
        if !matches!(outcome, Ok(Ok(()))) {
            tracing::warn!("a statement over query_timeout could not be cancelled");
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
