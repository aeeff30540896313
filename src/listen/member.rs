//! Floor 1. A client that listens: its mailbox, which is bounded.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::task::Waker;

use parking_lot::Mutex;

use super::{Channel, Hub};
use crate::wire::backend::NotificationResponse;

/// A notification as clients get it, shared by all who do.
#[derive(Debug)]
pub struct Notification {
    message: Vec<u8>,
    channel: Channel,
}

impl Notification {
    /// From the body of the message that Postgres sent. `known_as` gives the process id that clients know the sender by.
    pub(super) fn new(body: &[u8], known_as: impl FnOnce(i32) -> i32) -> Option<Self> {
        let note = NotificationResponse::decode(body).ok()?;
        let mut message = Vec::with_capacity(body.len() + 5);
        NotificationResponse { pid: known_as(note.pid), ..note }.encode(&mut message);
        Some(Self { message, channel: note.channel.into() })
    }

    /// Where it was sent to.
    pub fn channel(&self) -> &[u8] {
        &self.channel
    }

    /// The whole message.
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    fn weight(&self) -> usize {
        self.message.len() + ENTRY
    }
}

/// Why a client cannot go on listening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The shared connection was lost, and with it perhaps notifications.
    Lost,
    /// The client does not fetch what it listens to.
    Full,
    /// It has changed its encoding, and what has come cannot be said in that.
    Encoding,
}

impl Trouble {
    /// The word in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Full => "full",
            Self::Encoding => "encoding",
        }
    }
}

/// One client and its mailbox.
pub struct Member {
    id: u64,
    hub: Arc<Hub>,
    mail: Mutex<Mail>,
    /// All channels it has joined and not left.
    joined: Mutex<HashSet<Channel, foldhash::fast::RandomState>>,
}

#[derive(Default)]
struct Mail {
    notes: VecDeque<Arc<Notification>>,
    bytes: usize,
    trouble: Option<Trouble>,
    waker: Option<Waker>,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        for channel in std::mem::take(&mut *self.joined.lock()) {
            self.hub.leave(self, &channel);
        }
    }
}

impl Member {
    pub(super) fn new(id: u64, hub: Arc<Hub>) -> Self {
        Self { id, hub, mail: Mutex::default(), joined: Mutex::default() }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// See [`Hub::join`].
    pub fn join(self: &Arc<Self>, channels: &[Channel]) -> super::Gate {
        self.joined.lock().extend(channels.iter().cloned());
        self.hub.join(self, channels)
    }

    /// Keeps only the channels that `stays` says yes to, and the mail of those.
    pub fn keep(&self, stays: impl Fn(&[u8]) -> bool) {
        let mut joined = self.joined.lock();
        let gone: Vec<Channel> = joined.extract_if(|channel| !stays(channel)).collect();
        drop(joined);
        gone.iter().for_each(|channel| self.hub.leave(self, channel));
        let mut mail = self.mail.lock();
        mail.notes.retain(|note| stays(note.channel()));
        mail.bytes = mail.notes.iter().map(|note| note.weight()).sum();
    }

    /// Takes the oldest notification that waits.
    pub fn take(&self) -> Option<Arc<Notification>> {
        let mut mail = self.mail.lock();
        let note = mail.notes.pop_front()?;
        mail.bytes = mail.bytes.saturating_sub(note.weight());
        if mail.notes.is_empty() {
            mail.notes = VecDeque::new();
        }
        Some(note)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.mail.lock().notes.is_empty()
    }

    /// Why the client must go.
    pub fn trouble(&self) -> Option<Trouble> {
        self.mail.lock().trouble
    }

    /// Who is to be woken when something comes.
    pub fn set_waker(&self, waker: &Waker) {
        let mut mail = self.mail.lock();
        if !mail.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            mail.waker = Some(waker.clone());
        }
    }

    pub(super) fn post(&self, note: &Arc<Notification>) {
        let mut mail = self.mail.lock();
        if mail.trouble.is_some() {
            return;
        }
        // While more waits, the client is woken by what keeps it from fetching that.
        let first = mail.notes.is_empty();
        mail.bytes += note.weight();
        mail.notes.push_back(Arc::clone(note));
        if mail.bytes > MAIL_MAX {
            mail.trouble = Some(Trouble::Full);
            (mail.notes, mail.bytes) = (VecDeque::new(), 0);
        }
        if first || mail.trouble.is_some() {
            wake(mail.waker.clone());
        }
    }

    /// The client cannot go on listening.
    pub fn fail(&self, trouble: Trouble) {
        let mut mail = self.mail.lock();
        mail.trouble.get_or_insert(trouble);
        wake(mail.waker.clone());
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// What an entry costs besides its bytes.
const ENTRY: usize = 64;
/// What may wait for one client. A message is kept once for all who get it.
pub const MAIL_MAX: usize = 4 * 1024 * 1024;
