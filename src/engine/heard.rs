//! Floor 2. What the client's own server says while the client listens: which channels are left, and what is not to be
//! passed on.

use crate::pg::TransactionStatus;
use crate::session::Pin;
use crate::wire::Header;
use crate::wire::backend::{DataRow, NotificationResponse, tag as from_server};

use super::ledger::Owner;
use super::listen::{Asked, Channels, Waiting};
use super::replies::READ_MAX;
use super::route::Route;
use super::{Engine, Sink, Want, synth};

impl Engine {
    /// ReadyForQuery is about to be taken. What the client is to see before it goes out; or something has to be waited for.
    pub(super) fn before_ready(&mut self, message: u8, body: &[u8], route: &mut Route<'_>) -> Option<Want> {
        if message != from_server::READY_FOR_QUERY || self.listening.is_none() {
            return None;
        }
        let server = self.server.as_ref()?;
        let (owner, last) = (server.ledger.owner(), server.ledger.len() == 1);
        let own = !matches!(owner, Some(Owner::Client | Owner::Capture));
        let listening = self.listening.as_mut()?;
        let answered = owner == Some(Owner::Own) && !matches!(listening.asked, Asked::No);
        if body != b"I" || (own && !answered) || (listening.changed && last) {
            return None;
        }
        if answered {
            self.take_answer();
        }
        let listening = self.listening.as_mut()?;
        let elsewhere = matches!(listening.waiting, Some(Waiting::Join(_) | Waiting::CatchUp));
        if listening.notified && !listening.channels.is_empty() && !elsewhere {
            if !matches!(listening.waiting, Some(Waiting::ReadyNow)) {
                listening.waiting = Some(Waiting::Ready);
                return Some(Want::Gate(self.shared.hub.as_ref()?.catch_up()));
            }
            listening.waiting = None;
        }
        if last {
            listening.notified = false;
            if let Some(server) = self.server.as_mut() {
                server.notified = false;
            }
        }
        if answered {
            listening.asked = Asked::No;
        }
        route.settle(&mut self.client_out);
        self.hand_over_mail(usize::MAX);
        if self.listening.as_mut().is_some_and(|listening| std::mem::take(&mut listening.withheld)) {
            synth::ready_for_query(TransactionStatus::Idle, &mut self.client_out);
        }
        None
    }

    /// The server has said which channels it listens on.
    fn take_answer(&mut self) {
        let Some(listening) = self.listening.as_mut() else { return };
        let Asked::Open { followed, others } = std::mem::replace(&mut listening.asked, Asked::Answered) else { return };
        if listening.mirrored {
            listening.channels = followed;
        } else {
            listening.channels.extend(followed);
        }
        listening.cancelled = 0;
        listening.joined.clear();
        listening.wanted.clear();
        let channels = &listening.channels;
        listening.member.keep(|channel| channels.contains(channel));
        if others {
            // It listens for itself, or a function has listened: only this server delivers those.
            self.pin(Pin::Listen);
        } else {
            self.session.pins.remove(Pin::Listen);
        }
    }

    /// Whether the client is to wait for its ReadyForQuery until its channels are known.
    pub(super) fn withholds(&mut self, message: u8, owner: Owner) -> bool {
        let idle = self.status == TransactionStatus::Idle;
        let last = self.server.as_ref().is_some_and(|server| server.ledger.is_empty());
        let Some(listening) = self.listening.as_mut() else { return false };
        let withholds = message == from_server::READY_FOR_QUERY
            && matches!(owner, Owner::Client | Owner::Capture)
            && listening.changed
            && idle
            && last;
        listening.withheld |= withholds;
        withholds
    }

    /// Between transactions: asks the server which channels are left, if that may have changed. True: it has been asked.
    pub(super) fn ask_for_channels(&mut self) -> bool {
        let Some(listening) = self.listening.as_mut() else { return false };
        if !std::mem::take(&mut listening.changed) {
            if listening.is_over() {
                self.listening = None;
            }
            return false;
        }
        listening.asked = Asked::Open { followed: Channels::default(), others: false };
        self.ask_own(b"SELECT pg_catalog.pg_listening_channels()");
        true
    }

    /// The question was cancelled: it is asked once more when the server is ready again. False: often enough.
    pub(super) fn ask_for_channels_again(&mut self) -> bool {
        let Some(listening) = self.listening.as_mut().filter(|listening| listening.cancelled < MAX_CANCELLED) else {
            return false;
        };
        listening.cancelled += 1;
        listening.asked = Asked::No;
        listening.changed = true;
        true
    }

    /// A row of the answer is read whole.
    pub(super) fn is_answer(&self, header: Header) -> bool {
        header.tag == from_server::DATA_ROW && header.len <= READ_MAX && self.is_answering()
    }

    pub(super) fn is_answering(&self) -> bool {
        self.listening.as_ref().is_some_and(|listening| matches!(listening.asked, Asked::Open { .. }))
            && self.server.as_ref().is_some_and(|server| server.ledger.owner() == Some(Owner::Own))
    }

    /// Notes a row of the answer. False: it is none.
    pub(super) fn note_channel(&mut self, body: &[u8]) -> bool {
        if !self.is_answering() {
            return false;
        }
        let channel = DataRow::decode(body).ok().and_then(|row| row.iter().next().flatten());
        let (Some(channel), Some(listening)) = (channel, self.listening.as_mut()) else { return true };
        let known = listening.follows(channel);
        if let Asked::Open { followed, others } = &mut listening.asked {
            *others |= !known;
            // What is not followed is not kept: there may be any number of those.
            if known {
                followed.insert(channel.into());
            }
        }
        true
    }

    /// A notification from the client's own server.
    pub(super) fn own_notification(&mut self, body: &[u8], route: &mut Route<'_>) -> Sink {
        let Some(hub) = self.shared.hub.as_ref() else { return Sink::Client };
        let Ok(note) = NotificationResponse::decode(body) else { return Sink::Client };
        if self.listening.as_ref().is_some_and(|listening| listening.follows(note.channel)) {
            return Sink::Drop;
        }
        if self.session.pins.is_empty() {
            // A function has listened that nobody knew of: the next client is not to hear what this one asked for.
            if let Some(server) = self.server.as_mut() {
                server.dirty = true;
            }
            return Sink::Drop;
        }
        route.settle(&mut self.client_out);
        NotificationResponse { pid: hub.known_as(note.pid), ..note }.encode(&mut self.client_out);
        Sink::Drop
    }
}

/// So often a client's cancel requests may hit the question for its channels before it loses its server.
const MAX_CANCELLED: u8 = 8;
