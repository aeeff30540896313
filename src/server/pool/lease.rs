//! Floor 3. The values a client holds: a lease of a connection, or a ticket for one.

use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::{Connector, ServerPool};
use crate::error::{Error, Kind, Result};
use crate::pool::{CloseReason, Held, SetId, WaitId};

/// The answer to `try_checkout`.
#[must_use]
#[derive(Debug)]
pub enum Checkout<K: Connector> {
    /// Here it is.
    Ready(Lease<K>),
    /// All are busy: await the ticket, or drop it to leave the queue.
    Wait(Ticket<K>),
}

/// What becomes of a connection after its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Clean and idle at the protocol level: the next client may have it.
    Reuse,
    /// Anything else.
    Close,
}

/// The right to use one connection. Dropped without `release` the connection is closed: its state is then not known.
#[must_use]
pub struct Lease<K: Connector> {
    /// `Some` until released, which takes the lease by value.
    held: Option<Held<K::Conn>>,
    pool: ServerPool<K>,
    pinned: bool,
}

impl<K: Connector> Lease<K> {
    pub(super) fn new(pool: ServerPool<K>, held: Held<K::Conn>) -> Self {
        Self { held: Some(held), pool, pinned: false }
    }

    /// Ends the lease.
    pub fn release(mut self, disposition: Disposition) {
        self.set_pinned(false);
        let Some(held) = self.held.take() else { return };
        match disposition {
            Disposition::Reuse => self.pool.take_back(held),
            Disposition::Close => self.pool.discard(held, CloseReason::Released),
        }
    }

    /// Counts this lease as pinned, or no longer. False: there are too many of those, and it must end.
    pub fn set_pinned(&mut self, pinned: bool) -> bool {
        if pinned && !self.pinned {
            self.pinned = self.pool.pin();
            return self.pinned;
        }
        if !pinned && std::mem::take(&mut self.pinned) {
            self.pool.unpin();
        }
        true
    }

    /// Whether it is counted as pinned.
    pub fn is_pinned(&self) -> bool {
        self.pinned
    }

    /// The set of startup parameters it was dialled with.
    pub fn set(&self) -> SetId {
        self.held.as_ref().map_or_else(SetId::default, Held::set)
    }

    /// It is of another set from here on.
    pub fn move_to(&mut self, set: SetId) {
        if let Some(held) = self.held.as_mut() {
            self.pool.0.ledger.lock().move_to(held, set);
        }
    }

    /// The pool it belongs to.
    pub fn pool(&self) -> &ServerPool<K> {
        &self.pool
    }

    pub(super) fn into_held(mut self) -> Option<Held<K::Conn>> {
        self.held.take()
    }
}

impl<K: Connector> Deref for Lease<K> {
    type Target = K::Conn;

    #[expect(clippy::expect_used, reason = "only release, into_held and drop take the connection, and they own the lease")]
    fn deref(&self) -> &K::Conn {
        &self.held.as_ref().expect("a lease that can still be used holds its connection").conn
    }
}

impl<K: Connector> DerefMut for Lease<K> {
    #[expect(clippy::expect_used, reason = "only release, into_held and drop take the connection, and they own the lease")]
    fn deref_mut(&mut self) -> &mut K::Conn {
        &mut self.held.as_mut().expect("a lease that can still be used holds its connection").conn
    }
}

impl<K: Connector> Drop for Lease<K> {
    fn drop(&mut self) {
        self.set_pinned(false);
        if let Some(held) = self.held.take() {
            self.pool.discard(held, CloseReason::Released);
        }
    }
}

impl<K: Connector> fmt::Debug for Lease<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("pool", &self.pool.name()).field("set", &self.set()).finish_non_exhaustive()
    }
}

/// A place in the queue: a future of the lease. Safe to poll in a `select` by reference; dropping it leaves the queue.
#[must_use]
pub struct Ticket<K: Connector> {
    pool: ServerPool<K>,
    state: Waiting<K>,
}

enum Waiting<K: Connector> {
    /// Without a number: for a connection that is being checked.
    Queued(oneshot::Receiver<Result<Lease<K>>>, Option<WaitId>),
    Refused(Error),
    Done,
}

impl<K: Connector> Ticket<K> {
    pub(super) fn new(pool: ServerPool<K>, answer: oneshot::Receiver<Result<Lease<K>>>, id: WaitId) -> Self {
        Self { pool, state: Waiting::Queued(answer, Some(id)) }
    }

    pub(super) fn checking(pool: ServerPool<K>, answer: oneshot::Receiver<Result<Lease<K>>>) -> Self {
        Self { pool, state: Waiting::Queued(answer, None) }
    }

    pub(super) fn refused(pool: ServerPool<K>, error: Error) -> Self {
        Self { pool, state: Waiting::Refused(error) }
    }
}

impl<K: Connector> Future for Ticket<K> {
    type Output = Result<Lease<K>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Waiting::Queued(answer, _) = &mut self.state {
            let Poll::Ready(answer) = Pin::new(answer).poll(cx) else {
                return Poll::Pending;
            };
            self.state = Waiting::Done;
            return Poll::Ready(answer.unwrap_or_else(|_| Err(lost())));
        }
        match std::mem::replace(&mut self.state, Waiting::Done) {
            Waiting::Refused(error) => Poll::Ready(Err(error)),
            Waiting::Queued(..) | Waiting::Done => Poll::Ready(Err(lost())),
        }
    }
}

impl<K: Connector> Unpin for Ticket<K> {}

impl<K: Connector> Drop for Ticket<K> {
    fn drop(&mut self) {
        let Waiting::Queued(answer, id) = &mut self.state else {
            return;
        };
        let left = id.and_then(|id| self.pool.0.ledger.lock().abandon(id));
        if left.is_some() {
            return;
        }
        // Called already: what was sent before the channel closed comes back here, what is sent later to its sender.
        answer.close();
        if let Ok(Ok(lease)) = answer.try_recv() {
            lease.release(Disposition::Reuse);
        }
    }
}

impl<K: Connector> fmt::Debug for Ticket<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("pool", &self.pool.name()).finish_non_exhaustive()
    }
}

fn lost() -> Error {
    Error::new(Kind::Internal, "the place in the queue was lost")
}
