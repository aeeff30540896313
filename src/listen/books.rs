//! Floor 1. The books of the hub: channels, their members, and what the shared connection still has to do.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use tokio::sync::oneshot;

use super::{Channel, Member, Passage};

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

#[derive(Default)]
pub(super) struct Books {
    channels: Map<Channel, Listeners>,
    /// To be done in the next round.
    next: Work,
    /// Which client uses a server, by the server's process id.
    pub(super) senders: Map<i32, Arc<AtomicI32>>,
}

#[derive(Default)]
struct Listeners {
    members: Map<u64, Listener>,
}

struct Listener {
    member: Weak<Member>,
    /// The gate has opened: what comes from now on is for it.
    active: bool,
}

/// One round of the shared connection: a text to run, and who waits for it.
#[derive(Debug, Default)]
pub struct Work {
    listen: Vec<Channel>,
    unlisten: Vec<Channel>,
    joining: Vec<(u64, Channel)>,
    waiting: Vec<oneshot::Sender<Passage>>,
}

impl Work {
    /// Nothing but a sign of life.
    pub fn is_empty(&self) -> bool {
        self.listen.is_empty() && self.unlisten.is_empty() && self.waiting.is_empty()
    }

    /// What to run. An empty text does as well: Postgres delivers what is there before it says ReadyForQuery.
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for (verb, channels) in [(&b"UNLISTEN \""[..], &self.unlisten), (b"LISTEN \"", &self.listen)] {
            for channel in channels {
                text.extend_from_slice(verb);
                quote(channel, &mut text);
                text.extend_from_slice(b"\";");
            }
        }
        text
    }

    pub(super) fn tell(self, passage: Passage) {
        for waiting in self.waiting {
            // Who does not wait any more need not know.
            let _ = waiting.send(passage);
        }
    }
}

/// The inside of a quoted identifier.
fn quote(name: &[u8], out: &mut Vec<u8>) {
    for &byte in name {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
}

impl Books {
    pub(super) fn join(&mut self, member: &Arc<Member>, channels: &[Channel], gate: oneshot::Sender<Passage>) {
        for channel in channels {
            let listeners = self.channels.entry(channel.clone()).or_insert_with(|| {
                // It may be on the list of those to be left: the text leaves first and listens then.
                self.next.listen.push(channel.clone());
                Listeners::default()
            });
            let new = || Listener { member: Arc::downgrade(member), active: false };
            listeners.members.entry(member.id()).or_insert_with(new);
            self.next.joining.push((member.id(), channel.clone()));
        }
        self.wait(gate);
    }

    pub(super) fn wait(&mut self, gate: oneshot::Sender<Passage>) {
        self.next.waiting.push(gate);
    }

    /// True: the shared connection has something to do.
    pub(super) fn leave(&mut self, member: u64, channel: &[u8]) -> bool {
        let Some(listeners) = self.channels.get_mut(channel) else { return false };
        listeners.members.remove(&member);
        if !listeners.members.is_empty() {
            return false;
        }
        self.channels.remove(channel);
        match self.next.listen.iter().position(|wanted| **wanted == *channel) {
            // Nobody has been told of it yet.
            Some(at) => {
                self.next.listen.swap_remove(at);
            }
            None => self.next.unlisten.push(channel.into()),
        }
        true
    }

    pub(super) fn work(&mut self) -> Option<Work> {
        (!self.next.is_empty()).then(|| std::mem::take(&mut self.next))
    }

    pub(super) fn done(&mut self, work: &Work, passage: Passage) {
        if passage == Passage::Closed {
            // None of the text has been done. Those who have come for these channels since are in the next round, which does
            // not say LISTEN for them: it has to.
            let again: Vec<Channel> = work.listen.iter().filter(|channel| self.next_joins(channel)).cloned().collect();
            self.next.listen.extend(again);
            // A channel that could not be left is heard for nobody: that does no harm.
        }
        for (member, channel) in &work.joining {
            let Some(listeners) = self.channels.get_mut(channel) else { continue };
            match passage {
                Passage::Open => {
                    if let Some(listener) = listeners.members.get_mut(member) {
                        listener.active = true;
                    }
                }
                Passage::Closed => {
                    listeners.members.retain(|id, listener| id != member || listener.active);
                    if listeners.members.is_empty() {
                        self.channels.remove(channel);
                    }
                }
            }
        }
    }

    fn next_joins(&self, channel: &[u8]) -> bool {
        self.next.joining.iter().any(|(_, wanted)| **wanted == *channel)
    }

    pub(super) fn members(&mut self, channel: &[u8]) -> Vec<Arc<Member>> {
        let Some(listeners) = self.channels.get(channel) else { return Vec::new() };
        listeners.members.values().filter(|listener| listener.active).filter_map(|listener| listener.member.upgrade()).collect()
    }

    pub(super) fn known_as(&self, server: i32) -> i32 {
        let client = self.senders.get(&server).map_or(0, |client| client.load(Relaxed));
        if client == 0 { server } else { client }
    }

    /// Empties the books. Those who only wait are not among the members.
    pub(super) fn lost(&mut self) -> (Vec<Arc<Member>>, Option<Work>) {
        let mut members: Map<u64, Arc<Member>> = Map::default();
        for (_, listeners) in self.channels.drain() {
            let active = listeners.members.into_iter().filter(|(_, listener)| listener.active);
            members.extend(active.filter_map(|(id, listener)| Some((id, listener.member.upgrade()?))));
        }
        (members.into_values().collect(), self.work())
    }

    pub(super) fn size(&self) -> (usize, usize) {
        (self.channels.len(), self.channels.values().map(|listeners| listeners.members.len()).sum())
    }
}
