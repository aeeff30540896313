//! Floor 1. LISTEN for many clients over one server connection per database: who listens on what.
//!
//! ```text
//!   client's LISTEN ── Hub::join ──> Work ──> the shared connection LISTENs ──> Hub::done ──> the gate opens,
//!                                                                              and the LISTEN goes to the client's server
//!   NotificationResponse of the shared connection ── Hub::deliver ──> Member (a mailbox) ──> the client, between transactions
//! ```
//! The shared connection listens before the client's LISTEN can commit, so nothing that is committed after it is missed.
//! It alone delivers, so nothing comes twice and the order is that of the commits. What a gate waits for has been seen to
//! by the shared connection *after* the gate was asked for: everything that was committed before has been delivered then.
//!
//! When the shared connection is lost, notifications may be lost: every member is told so ([`Trouble::Lost`]).

mod books;
mod member;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use self::books::Books;

pub use self::books::Work;
pub use self::member::{MAIL_MAX, Member, Notification, Trouble};

/// A channel's name, as Postgres folded it.
pub type Channel = Box<[u8]>;

/// All clients that listen in one database.
#[derive(Default)]
pub struct Hub {
    books: Mutex<Books>,
    due: Notify,
    next: AtomicU64,
}

/// Opens when the shared connection has done what was asked.
#[derive(Debug)]
pub struct Gate(oneshot::Receiver<Passage>);

/// How a gate was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// The shared connection listens, and all that was committed before has been delivered.
    Open,
    /// It could not: the client has to listen for itself.
    Closed,
}

impl Passage {
    /// The word in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

impl Gate {
    /// Waits.
    pub async fn passed(self) -> Passage {
        self.0.await.unwrap_or(Passage::Closed)
    }
}

/// Which client a server's notifications are from. Forgotten with the last handle of the server.
#[derive(Debug)]
pub struct Sender {
    hub: Arc<Hub>,
    server: i32,
    client: Arc<AtomicI32>,
}

impl Sender {
    /// From here on the server's notifications are this client's.
    pub fn set(&self, client: i32) {
        self.client.store(client, Relaxed);
    }

    /// Whose they are; zero = nobody's yet.
    pub fn get(&self) -> i32 {
        self.client.load(Relaxed)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let mut books = self.hub.books.lock();
        // The process id may belong to a newer connection already.
        if books.senders.get(&self.server).is_some_and(|known| Arc::ptr_eq(known, &self.client)) {
            books.senders.remove(&self.server);
        }
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

impl Hub {
    /// A client that is about to listen. It leaves all channels when the last handle is dropped.
    pub fn enter(self: &Arc<Self>) -> Arc<Member> {
        Arc::new(Member::new(self.next.fetch_add(1, Relaxed), Arc::clone(self)))
    }

    /// The shared connection is to listen on these for the client. What is notified after the gate has opened arrives.
    pub fn join(&self, member: &Arc<Member>, channels: &[Channel]) -> Gate {
        let (sender, gate) = oneshot::channel();
        self.books.lock().join(member, channels, sender);
        self.due.notify_one();
        Gate(gate)
    }

    /// Everything that is committed now is to be delivered before the gate opens.
    pub fn catch_up(&self) -> Gate {
        let (sender, gate) = oneshot::channel();
        self.books.lock().wait(sender);
        self.due.notify_one();
        Gate(gate)
    }

    /// The client does not listen on this channel any more, or never did.
    pub fn leave(&self, member: &Member, channel: &[u8]) {
        if self.books.lock().leave(member.id(), channel) {
            self.due.notify_one();
        }
    }

    /// Whose notifications those of the server with this process id are.
    pub fn sender(self: &Arc<Self>, server: i32) -> Sender {
        let client = Arc::new(AtomicI32::new(0));
        self.books.lock().senders.insert(server, Arc::clone(&client));
        Sender { hub: Arc::clone(self), server, client }
    }

    /// The process id that clients know for the sender of a notification.
    pub fn known_as(&self, server: i32) -> i32 {
        self.books.lock().known_as(server)
    }

    /// Returns when [`Hub::work`] may have something. May return early.
    pub async fn is_due(&self) {
        self.due.notified().await;
    }

    /// What the shared connection is to do next; the one before must be done.
    pub fn work(&self) -> Option<Work> {
        self.books.lock().work()
    }

    /// The shared connection has done it, or was refused.
    pub fn done(&self, work: Work, passage: Passage) {
        self.books.lock().done(&work, passage);
        work.tell(passage);
    }

    /// The shared connection has received the NotificationResponse with this body. False: it is malformed.
    pub fn deliver(&self, body: &[u8]) -> bool {
        let mut books = self.books.lock();
        let Some(note) = Notification::new(body, |server| books.known_as(server)) else { return false };
        let note = Arc::new(note);
        let members = books.members(note.channel());
        drop(books);
        members.iter().for_each(|member| member.post(&note));
        true
    }

    /// The shared connection is gone: whoever listened may have missed something. Gives how many that are.
    pub fn lost(&self) -> usize {
        let (members, waiting) = self.books.lock().lost();
        waiting.into_iter().for_each(|work| work.tell(Passage::Closed));
        members.iter().for_each(|member| member.fail(Trouble::Lost));
        members.len()
    }

    /// Channels that are listened on, and the clients that do, each counted once per channel.
    pub fn size(&self) -> (usize, usize) {
        self.books.lock().size()
    }
}
