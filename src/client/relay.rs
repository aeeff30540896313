//! Floor 4. The loop of one client: read what is there, hand it to the engine, write what it says.
//!
//! One task polls both sockets. Nothing is read from a side while the other side's bytes pile up, so memory is bounded
//! whatever the size of a row, and both directions can always move. A client that idles holds no buffer.

mod end;
mod input;
mod limits;
mod notify;
mod pins;
mod sort;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use crate::cache::Joined;
use crate::engine::{Engine, Release};
use crate::error::{Error, Kind, SqlState};
use crate::listen::Passage;
use crate::net::Stream;
use crate::server::{Dialer, Disposition, Guest, Lease, ServerPool, Set, Slot, Target, Ticket};
use crate::session::Settings;

use super::buffers::Buffers;
use super::meter::Meter;
use super::pipe::{self, HIGH_WATER};

use self::limits::{Overdue, overdue};

pub use self::limits::Limits;

/// A client that has logged in.
pub(super) struct Relay {
    engine: Engine,
    stream: Stream,
    pool: ServerPool<Dialer>,
    target: Arc<Target>,
    set: Arc<Set>,
    /// Settings of a server of which it was seen that they fit the set.
    settings: Arc<Settings>,
    /// And whether it had a temporary schema.
    temporary: bool,
    slot: Arc<Slot>,
    lease: Option<Lease<Dialer>>,
    wait: Wait,
    /// Bytes of the client that the engine has not taken yet.
    inbox: Vec<u8>,
    /// Bytes of the server that the engine has not taken yet: the head of a message.
    server_inbox: Vec<u8>,
    buffers: Arc<Buffers>,
    meter: Meter,
    limits: Limits,
    timer: Option<Pin<Box<Sleep>>>,
    /// Nothing can be written to the client.
    client_eof: bool,
    /// Nothing more comes from the client: how long it is answered what it has sent.
    half_closed: Option<Pin<Box<Sleep>>>,
    /// While pgdial drains: since when the client stands still.
    stalled: Option<Instant>,
    /// How often in a row the server was kept because there was more to do.
    kept: u8,
    ending: Option<End>,
    /// The statement has run too long, and Postgres has been asked to cancel it.
    cancelled: bool,
    /// What the server has sent stays where it is until this gate opens.
    hold: Option<Opening>,
    _guest: Guest,
}

/// A gate that is waited for.
type Opening = Pin<Box<dyn Future<Output = Passage> + Send>>;

enum Wait {
    /// For bytes of the client.
    Input {
        room: usize,
    },
    Server(Ticket<Dialer>),
    Replies,
    Flight(Pin<Box<dyn Future<Output = Joined> + Send>>),
    Gate(Opening),
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client said Terminate.
    Goodbye,
    /// The client's connection ended or broke.
    ClientGone,
    /// The client was told why.
    Refused,
    /// pgdial stops.
    Drained,
    /// KILL or KILL_CLIENT on the console.
    Killed,
}

impl End {
    /// The word in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Goodbye => "goodbye",
            Self::ClientGone => "client_gone",
            Self::Refused => "refused",
            Self::Drained => "drained",
            Self::Killed => "killed",
        }
    }
}

/// What a relay is made from.
pub(super) struct Parts {
    /// The protocol.
    pub(super) engine: Engine,
    /// The client.
    pub(super) stream: Stream,
    /// Where servers come from.
    pub(super) pool: ServerPool<Dialer>,
    /// Which of them.
    pub(super) set: Arc<Set>,
    /// How a cancel request finds the client.
    pub(super) slot: Arc<Slot>,
    /// Read buffers, shared by all clients.
    pub(super) buffers: Arc<Buffers>,
    /// Statistics.
    pub(super) meter: Meter,
    /// Periods.
    pub(super) limits: Limits,
    /// What the client had sent behind its login.
    pub(super) inbox: Vec<u8>,
    /// Its place among the pool's clients.
    pub(super) guest: Guest,
}

impl Relay {
    /// Ready to be run.
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { engine, stream, pool, set, slot, buffers, meter, limits, inbox, guest } = parts;
        let target = Arc::new(pool.connector().target().clone());
        let timer = limits.tick().map(|tick| Box::pin(tokio::time::sleep(tick)));
        Self {
            settings: Arc::default(),
            temporary: false,
            engine,
            stream,
            pool,
            target,
            set,
            slot,
            lease: None,
            wait: Wait::Input { room: 0 },
            inbox,
            server_inbox: Vec::new(),
            buffers,
            meter,
            limits,
            timer,
            client_eof: false,
            half_closed: None,
            stalled: None,
            kept: 0,
            ending: None,
            cancelled: false,
            hold: None,
            _guest: guest,
        }
    }

    /// A server that the client has for good, as in session mode.
    pub(super) fn adopt(&mut self, mut lease: Lease<Dialer>) {
        self.hand_over(&mut lease);
        self.lease = Some(lease);
    }

    /// Until the client goes. How it ended, and how many batches were answered.
    pub(super) async fn run(mut self) -> (End, u64) {
        let mut begun = false;
        let end = std::future::poll_fn(|cx| {
            // What came with the last message of the login does not wake anybody.
            if !std::mem::replace(&mut begun, true) && !self.inbox.is_empty() {
                let now = Instant::now();
                self.meter.now(now);
                self.meter.client_sent(self.inbox.len());
                self.feed_inbox(cx, now);
            }
            self.poll(cx)
        })
        .await;
        Box::pin(self.finish()).await;
        (end, self.meter.queries)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.slot.set_waker(cx.waker());
        let mut buffer = self.buffers.take();
        let polled = self.turn(cx, &mut buffer);
        self.buffers.put(buffer);
        polled
    }

    /// Does all that can be done now.
    fn turn(&mut self, cx: &mut Context<'_>, buffer: &mut Vec<u8>) -> Poll<End> {
        let now = Instant::now();
        self.meter.now(now);
        // A client that keeps both sockets busy must let others run: the runtime's own budget ends the reads.
        loop {
            let mut moved = self.server_turn(cx, buffer, now);
            moved |= self.wait_turn(cx, now);
            moved |= self.client_turn(cx, buffer, now);
            moved |= self.notify_turn(cx);
            // Room that has come up lets the other side be read again, and nobody would wake us for that.
            moved |= self.flush(cx);
            self.leave_if_answered(cx);
            self.meter.take(&mut self.engine);
            self.count_pins();
            if let Some(end) = self.ending {
                return Poll::Ready(end);
            }
            if !moved {
                break;
            }
        }
        self.on_signals(cx, now);
        self.on_timer(cx, now);
        self.flush(cx);
        // A client that reads nothing must not keep its server: what it is still to be told is said behind that.
        self.ending.map_or(Poll::Pending, Poll::Ready)
    }

    fn server_turn(&mut self, cx: &mut Context<'_>, buffer: &mut Vec<u8>, now: Instant) -> bool {
        if self.ending.is_some() || self.engine.client_out.len() >= HIGH_WATER {
            self.engine.client_stalls();
            return false;
        }
        if self.hold.is_some() {
            return self.hold_turn(cx, now);
        }
        let Some(lease) = self.lease.as_mut() else { return false };
        match pipe::poll_read(&mut lease.stream, cx, buffer) {
            Poll::Pending => false,
            Poll::Ready(Ok(n)) if n > 0 => {
                self.meter.server_sent(n);
                self.feed_server(buffer, cx, now);
                true
            }
            Poll::Ready(outcome) => {
                let error = Error::new(Kind::ServerLost, "the connection to Postgres was lost");
                self.lose_server(match outcome {
                    Err(io) => error.with_source(io),
                    Ok(_) => error,
                });
                if self.ending.is_none() && matches!(self.wait, Wait::Replies) {
                    // What waited for that server's answers goes to another one.
                    self.feed_inbox(cx, now);
                }
                true
            }
        }
    }

    fn feed_server(&mut self, fresh: &mut Vec<u8>, cx: &mut Context<'_>, now: Instant) {
        if !self.server_inbox.is_empty() {
            self.server_inbox.append(fresh);
            std::mem::swap(&mut self.server_inbox, fresh);
        }
        match self.engine.on_server(fresh, now) {
            Ok(taken) => {
                self.hold_at(taken.want);
                let relay = fresh.get(taken.relay).unwrap_or_default();
                let written = pipe::write_on(&mut self.stream, cx, &mut self.engine.client_out, relay);
                self.client_got(written);
                self.server_inbox.clear();
                self.server_inbox.extend_from_slice(fresh.get(taken.consumed..).unwrap_or_default());
            }
            Err(error) => self.lose_server(error),
        }
        if self.server_inbox.is_empty() && self.server_inbox.capacity() > 0 {
            self.server_inbox = Vec::new();
        }
        if !self.engine.server_out.is_empty() {
            self.flush_server(cx);
        }
        // Of a session that has just ended nothing more is run.
        // What waits for something else than the server is not offered again before that is there.
        let elsewhere = matches!(self.wait, Wait::Gate(_) | Wait::Flight(_));
        let has_more = self.engine.wants_release() && !self.inbox.is_empty() && !elsewhere;
        self.kept = self.kept.saturating_add(u8::from(has_more));
        if self.kept > KEEP_MAX {
            self.maybe_release();
        }
        if (has_more || matches!(self.wait, Wait::Replies)) && self.ending.is_none() {
            self.feed_inbox(cx, now);
        }
        self.maybe_release();
    }

    /// Gives the server back. What may be left of the client's input is half a message, and the other half may never come.
    fn maybe_release(&mut self) {
        if self.engine.wants_release() && self.engine.server_out.is_empty() {
            self.kept = 0;
            self.release();
        }
    }

    fn release(&mut self) {
        let Some((state, release)) = self.engine.take_release() else { return };
        let Some(mut lease) = self.lease.take() else { return };
        lease.card.release(state.plans.len());
        lease.state = Some(state);
        self.server_inbox = Vec::new();
        let release = self.sort(&mut lease, release);
        let disposition = match release {
            Release::Reuse => Disposition::Reuse,
            Release::Close => Disposition::Close,
        };
        let Some(holding) = self.slot.release() else { return lease.release(disposition) };
        // A cancel request for this server is on its way: nobody may have it before that is over.
        tokio::spawn(async move {
            let arrived = holding.settled().await;
            lease.release(if arrived { disposition } else { Disposition::Close });
        });
    }

    fn lose_server(&mut self, error: Error) {
        tracing::debug!(client = self.slot.key().pid, %error, "server lost");
        match self.engine.server_lost(error) {
            Some(error) => self.refuse(&error),
            None if self.engine.is_over() => drop(self.ending.get_or_insert(End::Refused)),
            // Nothing tied the client to that server.
            None => {}
        }
        self.release();
    }

    fn refuse(&mut self, error: &Error) {
        self.meter.refused(error);
        tracing::info!(client = self.slot.key().pid, %error, "session ended by an error");
        self.engine.refuse(error);
        self.ending.get_or_insert(End::Refused);
    }

    fn wait_turn(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        match &mut self.wait {
            Wait::Input { .. } | Wait::Replies => false,
            Wait::Gate(_) => self.gate_turn(cx, now),
            Wait::Flight(landed) => {
                let Poll::Ready(outcome) = landed.as_mut().poll(cx) else { return false };
                self.slot.set_waiting(false);
                self.engine.joined(outcome);
                self.wait = Wait::Input { room: 0 };
                self.feed_inbox(cx, now);
                true
            }
            Wait::Server(ticket) => {
                let Poll::Ready(outcome) = Pin::new(ticket).poll(cx) else { return false };
                self.meter.waited(now);
                match outcome {
                    Ok(lease) if self.slot.take_queued_cancel() => {
                        lease.release(Disposition::Reuse);
                        self.refuse_batch(&cancelled(), cx, now);
                    }
                    Ok(lease) => {
                        self.adopt(lease);
                        self.feed_inbox(cx, now);
                        self.maybe_release();
                    }
                    Err(error) => self.refuse_batch(&error, cx, now),
                }
                true
            }
        }
    }

    /// No server for this batch: the client is told, and its session goes on if its protocol allows that.
    fn refuse_batch(&mut self, error: &Error, cx: &mut Context<'_>, now: Instant) {
        self.slot.set_waiting(false);
        self.wait = Wait::Input { room: 0 };
        self.meter.refused(error);
        if self.engine.refuse_batch(error, &self.inbox) {
            self.feed_inbox(cx, now);
        } else {
            self.ending.get_or_insert(End::Refused);
        }
    }

    /// Writes what it can. True: one of the outboxes has room again.
    fn flush(&mut self, cx: &mut Context<'_>) -> bool {
        let full = (self.engine.client_out.len() >= HIGH_WATER, self.engine.server_out.len() >= HIGH_WATER);
        match pipe::flush(&mut self.stream, cx, &mut self.engine.client_out) {
            Some(written) => self.client_got(written),
            None => {
                self.client_eof = true;
                self.ending = Some(End::ClientGone);
            }
        }
        self.flush_server(cx);
        let room = (self.engine.client_out.len() < HIGH_WATER, self.engine.server_out.len() < HIGH_WATER);
        (full.0 && room.0) || (full.1 && room.1)
    }

    fn client_got(&mut self, written: usize) {
        self.meter.client_got(written);
        if written > 0 {
            self.stalled = None;
            self.still_reads();
        }
    }

    fn flush_server(&mut self, cx: &mut Context<'_>) {
        let Some(lease) = self.lease.as_mut() else { return };
        // A write that fails is not the end: what the server had to say before it closed is still to be read.
        let written = pipe::flush(&mut lease.stream, cx, &mut self.engine.server_out);
        self.meter.server_got(written.unwrap_or(0));
    }

    fn on_signals(&mut self, cx: &mut Context<'_>, now: Instant) {
        if matches!(self.wait, Wait::Server(_) | Wait::Flight(_)) && self.slot.take_queued_cancel() {
            if matches!(self.wait, Wait::Server(_)) {
                self.meter.waited(now);
            }
            self.refuse_batch(&cancelled(), cx, now);
            // What it waits for now has not been polled yet.
            cx.waker().wake_by_ref();
        }
        if self.slot.is_killed() && self.ending.is_none() {
            let text = "terminating connection due to administrator command";
            self.engine.refuse(&Error::new(Kind::Draining, text).with_hint("KILL was given on the pgdial console."));
            self.ending = Some(End::Killed);
        }
        if self.slot.is_draining() && self.ending.is_none() && self.engine.is_quiet() && self.inbox.is_empty() {
            self.engine.refuse(&Error::new(Kind::Draining, "terminating connection due to administrator command"));
            self.ending = Some(End::Drained);
        }
        if self.slot.is_draining() && self.ending.is_none() {
            self.watch_for_stall(now);
        }
    }

    /// pgdial drains, and waits for a client that takes nothing, or does not end the message it has begun.
    fn watch_for_stall(&mut self, now: Instant) {
        if self.engine.client_out.is_empty() && !self.engine.is_quiet() {
            self.stalled = None;
            return;
        }
        let since = *self.stalled.get_or_insert(now);
        if now.saturating_duration_since(since) >= STALL_LIMIT {
            tracing::info!(client = self.slot.key().pid, "drain: a client that neither reads nor writes is cut off");
            // There is no telling it why.
            (self.client_eof, self.ending) = (true, Some(End::Drained));
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, now: Instant) {
        let Some(timer) = self.timer.as_mut() else { return };
        while timer.as_mut().poll(cx).is_ready() {
            let tick = self.limits.tick().unwrap_or(Duration::from_secs(1));
            timer.as_mut().reset(tokio::time::Instant::from_std(now + tick));
            match overdue(&self.limits, &self.engine, &self.meter, now) {
                Some(Overdue::Cancel) if !self.cancelled => {
                    self.cancelled = true;
                    tokio::spawn(Arc::clone(&self.slot).cancel_own());
                }
                Some(Overdue::Cancel) => {}
                Some(Overdue::End(error)) => {
                    self.refuse(&error);
                    return;
                }
                None => self.cancelled = false,
            }
        }
    }
}

/// The client has cancelled what it was waiting for: in Postgres's words.
fn cancelled() -> Error {
    Error::new(Kind::CheckoutTimeout, "canceling statement due to user request").with_sqlstate(SqlState(*b"57014"))
}

/// A drain does not wait longer for a client that stands still.
const STALL_LIMIT: Duration = Duration::from_secs(5);

/// A client with more to do keeps its server over so many transactions in a row.
const KEEP_MAX: u8 = 16;
