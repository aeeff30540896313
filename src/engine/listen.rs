//! Floor 2. LISTEN in transaction mode: the client's channels follow it, the shared connection delivers.
//!
//! ```text
//!   LISTEN, or what may commit it ── gate: the shared connection listens ── it goes to the server as it is
//!   ReadyForQuery 'I' of a transaction that changed channels ── withheld ── "which channels?" ── mail ── ReadyForQuery
//!   ReadyForQuery 'I' of a listener that may have notified ── gate: the shared connection catches up ── mail ── ReadyForQuery
//! ```
//! Postgres is the judge: the client's LISTEN and UNLISTEN run on its server, savepoints and errors included, and at the
//! end the server says which channels are left. For that it must know those of before: they are listened to on it, in a
//! transaction of their own, before a batch that may change or show them. What the server then delivers itself on such a
//! channel is dropped, since the shared connection brings it; on its way to another client it gets UNLISTEN *.
//!
//! Where the shared connection cannot listen, the client is pinned and its own server delivers.

use std::collections::HashSet;
use std::sync::Arc;

use crate::error::{Error, Kind as ErrorKind};
use crate::listen::{Channel, Gate, MAIL_MAX, Member, Passage, Sender, Trouble};
use crate::pg::TransactionStatus;
use crate::query::{Effects, Kind, Statement};
use crate::session::{Pin, Pins};
use crate::wire::Header;
use crate::wire::frontend::{Bind, Parse, Query, tag};

use super::intake::is_copy_time_message;
use super::ledger::{Ask, Owner};
use super::message::Message;
use super::route::Route;
use super::{Engine, Want};

pub(super) type Channels = HashSet<Channel, foldhash::fast::RandomState>;

/// A client that listens, or is about to.
pub(super) struct Listening {
    pub(super) member: Arc<Member>,
    /// What Postgres has said that it listens on.
    pub(super) channels: Channels,
    /// Named in a LISTEN of the open transaction, the shared connection does not listen yet.
    pub(super) wanted: Channels,
    /// The shared connection listens; whether the client does is open.
    pub(super) joined: Channels,
    /// The transaction may change which channels there are.
    pub(super) changed: bool,
    /// The server knows all channels of before.
    pub(super) mirrored: bool,
    pub(super) asked: Asked,
    /// How often that question was cancelled.
    pub(super) cancelled: u8,
    /// The ReadyForQuery that waits for that answer.
    pub(super) withheld: bool,
    /// It may have notified since the shared connection caught up.
    pub(super) notified: bool,
    /// Somebody else may have notified on this server: those must be told apart from the client's own.
    pub(super) catch_up: bool,
    pub(super) waiting: Option<Waiting>,
}

/// The question to the server which channels it listens on.
pub(super) enum Asked {
    No,
    /// What it has answered so far.
    Open {
        followed: Channels,
        /// It listens on further ones.
        others: bool,
    },
    /// Its answer has been taken, its ReadyForQuery has not.
    Answered,
}

/// What a gate is for.
pub(super) enum Waiting {
    Join(Vec<Channel>),
    CatchUp,
    Ready,
    /// It has opened.
    ReadyNow,
}

impl Listening {
    fn new(member: Arc<Member>) -> Self {
        Self {
            member,
            channels: Channels::default(),
            wanted: Channels::default(),
            joined: Channels::default(),
            changed: false,
            mirrored: true,
            asked: Asked::No,
            cancelled: 0,
            withheld: false,
            // The transaction may have notified before it listens.
            notified: true,
            catch_up: false,
            waiting: None,
        }
    }

    pub(super) fn follows(&self, channel: &[u8]) -> bool {
        self.channels.contains(channel) || self.joined.contains(channel) || self.wanted.contains(channel)
    }

    fn len(&self) -> usize {
        self.channels.len() + self.joined.len() + self.wanted.len()
    }

    pub(super) fn is_over(&self) -> bool {
        self.channels.is_empty() && self.joined.is_empty() && self.wanted.is_empty() && !self.changed && self.waiting.is_none()
    }
}

impl Engine {
    /// What the client is called in notifications.
    pub fn identify(&mut self, pid: i32) {
        self.pid = pid;
    }

    /// The gate of a [`Want::Gate`] has been passed.
    pub fn gate_passed(&mut self, passage: Passage) {
        let Some(listening) = self.listening.as_mut() else { return };
        match listening.waiting.take() {
            Some(Waiting::Join(channels)) if passage == Passage::Open => {
                listening.wanted.retain(|channel| !channels.contains(channel));
                listening.joined.extend(channels);
            }
            Some(Waiting::Join(channels)) => {
                listening.wanted.retain(|channel| !channels.contains(channel));
                let (channels, joined) = (&listening.channels, &listening.joined);
                listening.member.keep(|channel| channels.contains(channel) || joined.contains(channel));
                self.pin(Pin::Listen);
            }
            Some(Waiting::CatchUp) => {
                listening.catch_up = false;
                if let Some(server) = self.server.as_mut() {
                    server.notified = false;
                }
            }
            Some(Waiting::Ready | Waiting::ReadyNow) => listening.waiting = Some(Waiting::ReadyNow),
            None => {}
        }
    }

    /// The client's mailbox, if it listens.
    pub fn mailbox(&self) -> Option<&Arc<Member>> {
        self.listening.as_ref().map(|listening| &listening.member)
    }

    /// Why the client cannot go on: Postgres would have ended its session too.
    pub fn trouble(&self) -> Option<(Trouble, Error)> {
        let trouble = self.listening.as_ref()?.member.trouble()?;
        let error = match trouble {
            Trouble::Lost => {
                Error::new(ErrorKind::ServerLost, "the connection to Postgres that listens for this client was lost")
                    .fatal()
                    .with_hint("Notifications may have been missed: connect again, LISTEN, and read what they announce.")
            }
            Trouble::Encoding => {
                let text = "a notification cannot be converted to the client's encoding";
                Error::new(ErrorKind::Unsupported, text).fatal().with_hint("Set client_encoding before LISTEN, or use UTF8.")
            }
            Trouble::Full => {
                let text = format!("more than {MAIL_MAX} bytes of notifications wait for this client, which does not take them");
                Error::new(ErrorKind::Limit, text).fatal().with_hint("Read notifications, and keep transactions short.")
            }
        };
        Some((trouble, error))
    }

    /// Gives the client what has come, if it is between transactions. True when there was something.
    pub fn deliver_notifications(&mut self, enough: usize) -> bool {
        let between = self.is_quiet_for_client() && self.rest_out.left == 0 && !self.refused;
        let Some(listening) = self.listening.as_ref().filter(|listening| between && matches!(listening.asked, Asked::No)) else {
            return false;
        };
        !listening.member.is_empty() && self.hand_over_mail(enough)
    }

    /// True: there was something.
    pub(super) fn hand_over_mail(&mut self, enough: usize) -> bool {
        let (before, readable) = (self.client_out.len(), self.can_be_followed());
        let Some(listening) = self.listening.as_mut() else { return false };
        while self.client_out.len() < enough
            && let Some(note) = listening.member.take()
        {
            if !readable && !note.message().get(Header::LEN + 4..).unwrap_or_default().is_ascii() {
                listening.member.fail(Trouble::Encoding);
                break;
            }
            self.client_out.extend_from_slice(note.message());
        }
        self.client_out.len() > before
    }

    fn is_quiet_for_client(&self) -> bool {
        !self.busy && !self.open_batch && self.status == TransactionStatus::Idle
    }

    /// A server has been leased.
    pub(super) fn listen_leased(&mut self) {
        let Some(hub) = self.shared.hub.as_ref() else { return };
        let Some(server) = self.server.as_mut() else { return };
        if server.sender.is_none() {
            server.sender = server.key.as_ref().map(|key| hub.sender(key.pid));
        }
        if let Some(listening) = self.listening.as_mut() {
            listening.mirrored = listening.channels.is_empty();
            let foreign = server.sender.as_ref().is_some_and(|sender| sender.get() != self.pid);
            listening.catch_up = server.notified && foreign && !listening.channels.is_empty();
        }
    }

    /// Before the message is sent: whether the shared connection has to do something first. Called again afterwards.
    pub(super) fn must_listen(&mut self, message: &Message<'_>, behind: &[u8], route: &mut Route<'_>) -> Option<Want> {
        self.shared.hub.as_ref()?;
        if self.server.as_ref().is_none_or(|server| server.ledger.is_copy_open() || server.ledger.is_skipping()) {
            return None;
        }
        // They run nothing, and a COPY may be about to begin.
        if is_copy_time_message(message.tag) {
            return None;
        }
        let class = self.class_for_listen(message);
        if self.listening.is_none() {
            let class = class.as_ref().filter(|class| self.begins_to_listen(class))?;
            tracing::trace!(channels = class.listens.len(), "the client begins to listen");
            let hub = self.shared.hub.as_ref()?;
            self.listening = Some(Box::new(Listening::new(hub.enter())));
        }
        if let Some(gate) = self.catch_up_gate() {
            return Some(Want::Gate(gate));
        }
        self.mirror(message, class.as_deref(), behind, route);
        self.join_gate(message, class.as_deref()).map(Want::Gate)
    }

    /// The text that the message is about to run, as far as that matters here.
    fn class_for_listen(&mut self, message: &Message<'_>) -> Option<Arc<Statement>> {
        let text = match message.tag {
            tag::QUERY => Query::decode(message.body).ok()?.text,
            tag::PARSE => Parse::decode(message.body).ok()?.text,
            tag::BIND if self.listening.is_some() || self.may_listen => {
                let name = Bind::decode(message.body).ok()?.statement;
                if name.is_empty() {
                    return self.session.statements.unnamed.as_ref().map(|unnamed| Arc::clone(&unnamed.class));
                }
                return self.session.statements.get(name).map(|plan| Arc::clone(&plan.class));
            }
            _ => return None,
        };
        if self.listening.is_none() && !names_listen(text) {
            return None;
        }
        let class = self.class_of_text(message, text);
        self.may_listen |= message.tag == tag::PARSE && changes_channels(&class);
        // What is only parsed does not run.
        (self.listening.is_some() || message.tag != tag::PARSE).then_some(class)
    }

    fn begins_to_listen(&self, class: &Statement) -> bool {
        (!class.listens.is_empty() && self.can_be_followed()) || (self.session.pins.has(Pin::Listen) && changes_channels(class))
    }

    /// The shared connection speaks UTF-8. Postgres would convert for a client that does not.
    fn can_be_followed(&self) -> bool {
        let [client, server] = ["client_encoding", "server_encoding"].map(|name| self.parameters.get(name));
        match (client, server) {
            (Some("UTF8"), _) | (_, Some("SQL_ASCII")) => true,
            (Some("SQL_ASCII"), Some("UTF8")) => true,
            // Nothing is known of it: tests without a real server.
            (None, _) => true,
            (Some(_), _) => false,
        }
    }

    fn catch_up_gate(&mut self) -> Option<Gate> {
        let listening = self.listening.as_mut().filter(|listening| listening.catch_up)?;
        listening.waiting = Some(Waiting::CatchUp);
        Some(self.shared.hub.as_ref()?.catch_up())
    }

    /// The server listens for the client from here on, so that it can say what becomes of the channels.
    fn mirror(&mut self, message: &Message<'_>, class: Option<&Statement>, behind: &[u8], route: &mut Route<'_>) {
        let at_boundary = !self.open_batch && !self.unsettled && self.status == TransactionStatus::Idle;
        let Some(listening) = self.listening.as_mut().filter(|listening| !listening.mirrored && at_boundary) else { return };
        let needed = class.is_none_or(shows_or_changes_channels) || (message.tag != tag::QUERY && !is_lone(message.tag, behind));
        if listening.channels.is_empty() || !needed {
            return;
        }
        let mut text = Vec::new();
        for channel in &listening.channels {
            text.extend_from_slice(b"LISTEN \"");
            text.extend(channel.iter().flat_map(|&byte| [byte].repeat(if byte == b'"' { 2 } else { 1 })));
            text.extend_from_slice(b"\";");
        }
        listening.mirrored = true;
        route.settle(&mut self.server_out);
        self.ask_own(&text);
        if let Some(server) = self.server.as_mut() {
            server.listens = true;
        }
    }

    pub(super) fn ask_own(&mut self, text: &[u8]) {
        let Some(server) = self.server.as_mut() else { return };
        Query { text }.encode(&mut self.server_out);
        server.ledger.push(Ask::Query, Owner::Own, None);
        server.unnamed = None;
        // When that is answered it is offered again.
        self.release = None;
    }

    /// A LISTEN in a transaction block is asked for when the block may end; any other before it runs.
    fn join_gate(&mut self, message: &Message<'_>, class: Option<&Statement>) -> Option<Gate> {
        let in_block = self.status != TransactionStatus::Idle && !self.unsettled;
        let follow = self.can_be_followed() && !self.session.pins.has(Pin::Listen);
        let follow = follow && self.listening.as_ref().is_some_and(|listening| listening.len() < MAX_CHANNELS);
        let class = class.filter(|_| message.tag != tag::PARSE)?;
        let listening = self.listening.as_mut()?;
        if follow {
            let new = class.listens.iter().map(|name| Channel::from(name.as_bytes()));
            listening.wanted.extend(new.filter(|name| !listening.channels.contains(name) && !listening.joined.contains(name)));
        }
        let may_end = class.transaction.is_some() || class.self_committing || class.kind == Kind::Execute;
        if listening.wanted.is_empty() || (in_block && !may_end) {
            return None;
        }
        let channels: Vec<Channel> = listening.wanted.iter().cloned().collect();
        let gate = listening.member.join(&channels);
        listening.waiting = Some(Waiting::Join(channels));
        Some(gate)
    }

    /// What a statement that is about to run means for channels and for the senders of notifications.
    pub(super) fn note_listening(&mut self, class: &Statement) {
        let Some(server) = self.server.as_mut().filter(|_| self.shared.hub.is_some()) else { return };
        let may_notify = !class.single_read || !class.functions.is_empty();
        if may_notify && let Some(sender) = server.sender.as_ref() {
            sender.set(self.pid);
            server.notified = true;
        }
        let Some(listening) = self.listening.as_mut() else { return };
        listening.notified |= may_notify;
        if changes_channels(class) {
            listening.changed = true;
            server.listens = true;
        }
        let in_block = self.status != TransactionStatus::Idle && !self.unsettled;
        let may_end = !in_block || class.transaction.is_some() || class.self_committing || class.kind == Kind::Execute;
        // Which channels there are is asked before anything else runs, and a ReadyForQuery that waits for notifications must
        // not be overtaken by those of the next batch.
        let waits = listening.changed || (listening.notified && !listening.channels.is_empty());
        self.barrier |= may_end && waits;
    }

    /// Of the pins that a statement brings about, the one for LISTEN is not needed where the channels are followed.
    pub(super) fn without_listen(&self, mut pins: Pins, class: &Statement) -> Pins {
        let followed = |listening: &Listening| class.listens.iter().all(|name| listening.follows(name.as_bytes()));
        if !class.listens.is_empty() && self.listening.as_deref().is_some_and(followed) {
            pins.remove(Pin::Listen);
        }
        pins
    }

    /// Before somebody else gets the server. True: it has been told UNLISTEN.
    pub(super) fn unlisten_server(&mut self) -> bool {
        let Some(server) = self.server.as_mut().filter(|server| server.listens && self.session.pins.is_empty()) else {
            return false;
        };
        server.listens = false;
        if let Some(listening) = self.listening.as_mut() {
            listening.mirrored = listening.channels.is_empty();
        }
        self.ask_own(b"UNLISTEN *");
        true
    }
}

/// A client that wants more is pinned, and its own server keeps them.
const MAX_CHANNELS: usize = 4096;

/// Which client the server's notifications are from.
pub(super) type ServerSender = Option<Sender>;

/// LISTEN, UNLISTEN, DISCARD ALL, or a text that may hold them.
fn changes_channels(class: &Statement) -> bool {
    class.effects.contains(Effects::LISTEN) || matches!(class.kind, Kind::Unlisten | Kind::Discard) || class.kind == Kind::Opaque
}

fn shows_or_changes_channels(class: &Statement) -> bool {
    changes_channels(class) || class.transaction.is_some() || class.sees_session || class.kind == Kind::Execute
}

/// Whether the text may hold LISTEN or UNLISTEN. Written like nobody does (`LiStEn`), the client is pinned instead.
fn names_listen(text: &[u8]) -> bool {
    [&b"isten"[..], b"ISTEN"].iter().any(|word| memchr::memmem::find(text, word).is_some())
}

/// No other statement is parsed or bound in the rest of the batch, and all of it is here.
fn is_lone(first: u8, mut behind: &[u8]) -> bool {
    let mut binds = u8::from(first == tag::BIND);
    while let Ok(Some(header)) = Header::peek(behind) {
        match header.tag {
            tag::SYNC => return true,
            tag::BIND if binds == 0 => binds += 1,
            tag::DESCRIBE | tag::EXECUTE => {}
            _ => return false,
        }
        let Some(rest) = behind.get(header.len..) else { return false };
        behind = rest;
    }
    false
}
