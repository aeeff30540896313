//! Floor 4. The client's bytes on their way to the engine, and what the engine wants next.

use std::future::Future;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::engine::Want;
use crate::server::{Checkout, Dialer, Lease, Ticket};

use super::super::buffers::CHUNK;
use super::super::pipe::{self, HIGH_WATER};
use super::{End, Relay, Wait};

enum Offer {
    Leased,
    Answered(usize),
    Queued(Ticket<Dialer>),
}

impl Relay {
    pub(super) fn client_turn(&mut self, cx: &mut Context<'_>, buffer: &mut Vec<u8>, now: Instant) -> bool {
        if self.ending.is_some() || self.half_closed.is_some() || self.engine.server_out.len() >= HIGH_WATER {
            return false;
        }
        // It is read while it waits for something else too, so that one that goes away is noticed; but only so much.
        if self.inbox.len() >= self.wanted().unwrap_or(0).max(CHUNK) {
            return false;
        }
        match pipe::poll_read(&mut self.stream, cx, buffer) {
            Poll::Pending => false,
            Poll::Ready(Ok(n)) if n > 0 => {
                self.meter.client_sent(n);
                let wanted = self.wanted();
                if self.inbox.is_empty() && wanted.is_some() {
                    self.feed(buffer, cx, now);
                } else {
                    self.inbox.append(buffer);
                    // A long message that comes byte by byte is not looked at for each of them.
                    if wanted.is_some_and(|room| self.inbox.len() >= room) {
                        self.feed_inbox(cx, now);
                    }
                }
                self.maybe_release();
                true
            }
            // Who ends TLS does not read on.
            Poll::Ready(Ok(_)) if !self.stream.is_tls() => {
                self.half_closed = Some(Box::pin(sleep(LINGER)));
                true
            }
            Poll::Ready(_) => {
                self.client_eof = true;
                self.ending = Some(End::ClientGone);
                true
            }
        }
    }

    /// A client may close its direction and still read: what it has sent is run and answered, as by Postgres. One that is
    /// gone altogether looks the same, and must not keep its server, or its place in the queue, for long.
    pub(super) fn leave_if_answered(&mut self, cx: &mut Context<'_>) {
        let Some(linger) = self.half_closed.as_mut() else { return };
        let is_over = linger.as_mut().poll(cx).is_ready();
        let is_owed = match self.wait {
            Wait::Input { .. } => self.hold.is_some() || self.engine.awaits_answers(),
            Wait::Server(_) | Wait::Replies | Wait::Flight(_) | Wait::Gate(_) => true,
        };
        if is_over || (!is_owed && self.engine.client_out.is_empty()) {
            self.client_eof |= is_over;
            self.ending.get_or_insert(End::ClientGone);
        }
    }

    /// It has taken some of its answers: who is gone is found out by that.
    pub(super) fn still_reads(&mut self) {
        if let Some(linger) = self.half_closed.as_mut() {
            linger.as_mut().reset(tokio::time::Instant::now() + LINGER);
        }
    }

    /// How many bytes of the client the engine waits for, if it waits for any.
    fn wanted(&self) -> Option<usize> {
        match self.wait {
            Wait::Input { room } => Some(room),
            Wait::Server(_) | Wait::Replies | Wait::Flight(_) | Wait::Gate(_) => None,
        }
    }

    pub(super) fn feed_inbox(&mut self, cx: &mut Context<'_>, now: Instant) {
        let mut input = std::mem::take(&mut self.inbox);
        self.feed(&mut input, cx, now);
    }

    /// Hands bytes of the client to the engine until it wants something else. What is left goes to the inbox.
    fn feed(&mut self, input: &mut Vec<u8>, cx: &mut Context<'_>, now: Instant) {
        let mut at = 0;
        loop {
            let taken = match self.engine.on_client(input.get(at..).unwrap_or_default(), now) {
                Ok(taken) => taken,
                Err(error) => {
                    self.refuse(&error);
                    break;
                }
            };
            let relay = input.get(at + taken.relay.start..at + taken.relay.end).unwrap_or_default();
            self.forward(cx, relay);
            at += taken.consumed;
            let want = match taken.want {
                Want::Server => match self.checkout(input.get(at..).unwrap_or_default()) {
                    Offer::Leased => continue,
                    Offer::Answered(len) => {
                        at += len;
                        continue;
                    }
                    Offer::Queued(ticket) => {
                        self.queue(ticket);
                        break;
                    }
                },
                other @ (Want::Input { .. } | Want::Replies | Want::Flight(_) | Want::Gate(_) | Want::Goodbye) => other,
            };
            self.follow(want);
            break;
        }
        if at < input.len() {
            self.inbox = input.split_off(at);
        }
    }

    fn forward(&mut self, cx: &mut Context<'_>, relay: &[u8]) {
        match self.lease.as_mut() {
            Some(lease) => {
                let written = pipe::write_on(&mut lease.stream, cx, &mut self.engine.server_out, relay);
                self.meter.server_got(written);
            }
            None => debug_assert!(relay.is_empty() && self.engine.server_out.is_empty()),
        }
    }

    /// A server at once, an answer without one, or a place in the queue.
    fn checkout(&mut self, input: &[u8]) -> Offer {
        match self.pool.try_checkout(self.set.id) {
            Checkout::Ready(lease) => {
                self.adopt(lease);
                Offer::Leased
            }
            Checkout::Wait(ticket) => match self.engine.prepare_without_server(input, self.set.id.0) {
                Some(len) => {
                    self.engine.tally.client_parses += 1;
                    Offer::Answered(len)
                }
                None => Offer::Queued(ticket),
            },
        }
    }

    fn queue(&mut self, ticket: Ticket<Dialer>) {
        self.slot.wait(self.meter.moment());
        self.meter.waits();
        self.wait = Wait::Server(ticket);
    }

    fn follow(&mut self, want: Want) {
        match want {
            Want::Input { room } => self.wait = Wait::Input { room },
            Want::Replies | Want::Server => self.wait = Wait::Replies,
            Want::Flight(join) => {
                self.release();
                self.slot.set_waiting(true);
                self.wait = Wait::Flight(Box::pin(join.landed()));
            }
            Want::Gate(gate) => self.wait = Wait::Gate(Box::pin(gate.passed())),
            Want::Goodbye => {
                self.ending.get_or_insert(End::Goodbye);
            }
        }
    }

    pub(super) fn hand_over(&mut self, lease: &mut Lease<Dialer>) {
        let Some(state) = lease.state.take() else { return };
        let now = self.meter.moment();
        self.slot.lease(&self.target, state.key.as_ref(), lease.stream.is_tls(), now);
        lease.card.lease(self.slot.key().pid, now);
        self.engine.lease(state);
        self.wait = Wait::Input { room: 0 };
    }
}

/// For the answers to what a client had sent before it closed its direction. One that is gone altogether looks the same, and its
/// server is wanted by others.
const LINGER: Duration = Duration::from_secs(1);
