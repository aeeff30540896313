//! Floor 1. The ledger of one pool: every operation of the pool, as pure bookkeeping.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::part::{Part, Tag};
use super::{CloseReason, ConnectPermit, Counts, Held, IdleOrder, SetId, Totals, WaitId};

mod upkeep;

/// The most extra connections, as a multiple of the size: enough for an application that pins with every client it has, and
/// Postgres is not flooded.
const EXTRA: usize = 4;

/// So often may a connection go to a later waiter of its own set before the first waiter of all gets its place.
const MAX_PASSED_OVER: u32 = 16;

/// What `[pool]` says of this pool. Durations: zero = never.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The most connections, leased, idle and being dialled.
    pub size: usize,
    /// So many of them may stay with their clients; each above that number has one more connection opened in its stead, up to
    /// four times `size` more.
    pub max_pinned: usize,
    /// Idle connections kept for the set that was asked for last.
    pub min_idle: usize,
    /// Which idle connection is next.
    pub order: IdleOrder,
    /// How long a client waits.
    pub checkout_timeout: Duration,
    /// How long a connection above `min_idle` may be idle.
    pub idle_timeout: Duration,
    /// An idle connection is checked after this long.
    pub check_delay: Duration,
}

/// Whether connections are given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Yes.
    Open,
    /// No: clients queue up, and nobody's wait runs out.
    Paused,
    /// Never again.
    Draining,
}

impl State {
    /// Metric label, log field, doc row.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Paused => "paused",
            Self::Draining => "draining",
        }
    }
}

/// What becomes of a connection that was given back.
#[must_use]
#[derive(Debug)]
pub enum Given<C, W> {
    /// It is leased to this waiter. If the waiter is gone, give it back once more.
    HandTo(W, Held<C>),
    /// Nobody waits for it.
    Idle,
    /// Close it; the ledger has forgotten it.
    Close(C, CloseReason),
}

/// Work that became possible.
#[must_use]
#[derive(Debug)]
pub struct Due<C> {
    /// Dials to start, one for each.
    pub connect: Vec<ConnectPermit>,
    /// Connections to close.
    pub close: Vec<C>,
}

/// The counts and queues of one pool. `C` = connection, `W` = how to reach a waiter.
#[derive(Debug)]
pub struct Ledger<C, W> {
    settings: Settings,
    state: State,
    /// Few: one per set of startup parameters in use.
    parts: BTreeMap<SetId, Part<C, W>>,
    /// The set asked for last: the one to keep warm.
    home: SetId,
    leased: usize,
    idle: usize,
    connecting: usize,
    /// Leased ones that stay with their clients.
    pinned: usize,
    waiting: usize,
    generation: u64,
    next_seq: u64,
    /// Waits are counted from here if they began earlier, so that a pause costs no client its turn.
    resumed: Option<Instant>,
    totals: Totals,
    /// The capacity, or after it has shrunk what is left above it.
    ceiling: usize,
}

impl<C, W> Ledger<C, W> {
    /// An open pool without connections.
    pub fn new(settings: Settings) -> Self {
        Self {
            ceiling: settings.size,
            settings,
            state: State::Open,
            parts: BTreeMap::new(),
            home: SetId::default(),
            leased: 0,
            idle: 0,
            connecting: 0,
            pinned: 0,
            waiting: 0,
            generation: 0,
            next_seq: 0,
            resumed: None,
            totals: Totals::default(),
        }
    }

    /// An idle connection of `set`. Those found not `usable` on the way are forgotten and put into `dead`: close them.
    /// `None`: join the queue.
    pub fn take(&mut self, set: SetId, mut usable: impl FnMut(&mut C) -> bool, dead: &mut Vec<C>) -> Option<Held<C>> {
        self.home = set;
        if self.state != State::Open {
            return None;
        }
        let order = self.settings.order;
        let part = self.parts.get_mut(&set)?;
        while let Some(mut held) = part.take_idle(order) {
            self.idle -= 1;
            if usable(&mut held.conn) {
                self.leased += 1;
                self.totals.checkouts += 1;
                self.check();
                return Some(held);
            }
            part.live -= 1;
            self.totals.closed(CloseReason::Dead);
            dead.push(held.conn);
        }
        None
    }

    /// Joins the queue, after `take` had nothing. Ask `due` next.
    pub fn enqueue(&mut self, set: SetId, waiter: W, now: Instant) -> WaitId {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.waiting += 1;
        self.totals.waits += 1;
        self.part_mut(set).enqueue(seq, now, waiter);
        self.check();
        WaitId { set, seq }
    }

    /// Leaves the queue. `None`: no longer in it, so a connection or an error is on its way.
    pub fn abandon(&mut self, id: WaitId) -> Option<W> {
        let part = self.parts.get_mut(&id.set)?;
        let waiter = part.abandon(id.seq)?;
        self.waiting -= 1;
        self.totals.abandoned += 1;
        self.check();
        Some(waiter)
    }

    /// A leased connection in a clean state comes back.
    pub fn give_back(&mut self, mut held: Held<C>, now: Instant) -> Given<C, W> {
        held.tag.idle_since = now;
        self.restore(held, now)
    }

    /// A connection comes back from `take_for_check`, found well: its idle time goes on.
    pub fn restore(&mut self, mut held: Held<C>, now: Instant) -> Given<C, W> {
        self.leased -= 1;
        held.tag.checked = now;
        self.settle(held, now)
    }

    /// A leased connection is of another set from here on.
    pub fn move_to(&mut self, held: &mut Held<C>, set: SetId) {
        if held.tag.set == set {
            return;
        }
        if let Some(part) = self.parts.get_mut(&held.tag.set) {
            part.live -= 1;
        }
        held.tag.set = set;
        self.part_mut(set).live += 1;
        self.check();
    }

    /// A leased connection was closed. Its place is free: ask `due` next.
    pub fn closed(&mut self, held: Held<C>, reason: CloseReason) -> C {
        self.leased -= 1;
        let conn = self.forget(held, reason);
        self.check();
        conn
    }

    /// A leased connection stays with its client from here on: others may need one in its stead, so ask `due` next. False:
    /// there are as many extra ones as there may be, and it must be closed.
    #[must_use]
    pub fn pin(&mut self) -> bool {
        if self.pinned >= self.settings.max_pinned + EXTRA * self.settings.size {
            return false;
        }
        self.pinned += 1;
        self.ceiling = self.ceiling.max(self.capacity());
        true
    }

    /// It does not any more. Idle connections that are too many now are returned for closing.
    pub fn unpin(&mut self) -> Vec<C> {
        self.pinned -= 1;
        self.shrink()
    }

    /// Connections that stay with their clients.
    pub fn pinned(&self) -> usize {
        self.pinned
    }

    /// A dial succeeded. `max_lifetime` is this connection's own, jitter included; zero = for ever.
    #[expect(clippy::needless_pass_by_value, reason = "a permit is spent here")]
    pub fn connected(&mut self, permit: ConnectPermit, conn: C, max_lifetime: Duration, now: Instant) -> Given<C, W> {
        let ConnectPermit { set, generation, .. } = permit;
        let expires = (!max_lifetime.is_zero()).then(|| now.checked_add(max_lifetime)).flatten();
        self.connecting -= 1;
        let part = self.part_mut(set);
        part.connecting -= 1;
        part.live += 1;
        part.backoff.succeed();
        let tag = Tag { set, generation, expires, idle_since: now, checked: now };
        self.settle(Held { conn, tag }, now)
    }

    /// A dial failed. Returned are those who must be told: the waiters of its set, if there is nothing they could wait for.
    #[expect(clippy::needless_pass_by_value, reason = "a permit is spent here")]
    pub fn connect_failed(&mut self, permit: ConnectPermit, now: Instant, jitter: f64) -> Vec<W> {
        let ConnectPermit { set, generation, granted } = permit;
        let current = generation == self.generation && self.state == State::Open;
        self.connecting -= 1;
        self.totals.dial_failures += 1;
        let part = self.part_mut(set);
        part.connecting -= 1;
        let mut told = Vec::new();
        if current {
            part.backoff.fail(granted, now, jitter);
            if part.live == 0 && part.connecting == 0 {
                told.extend(std::iter::from_fn(|| part.next_waiter()).map(|(waiter, _)| waiter));
            }
        }
        self.waiting -= told.len();
        self.check();
        told
    }

    /// Dials to start for those who wait, and what must be closed to make room for them. Growth follows the queue: as many
    /// dials at once as there are waiters, without a ramp.
    pub fn due(&mut self, now: Instant) -> Due<C> {
        let mut due = Due { connect: Vec::new(), close: Vec::new() };
        if self.waiting == 0 || self.state != State::Open {
            return due;
        }
        while let Some(set) = self.next_to_grow(now) {
            if self.total() >= self.capacity() {
                // The invariant makes every idle connection one that this waiter cannot use.
                match self.evict_longest_idle(CloseReason::OtherSet) {
                    Some(conn) => due.close.push(conn),
                    None => break,
                }
            }
            due.connect.push(self.permit(set, now));
        }
        self.check();
        due
    }

    /// How the pool stands.
    pub fn counts(&self, now: Instant) -> Counts {
        let oldest = self.parts.values().filter_map(Part::head_since).min();
        Counts {
            size: self.settings.size,
            active: self.leased,
            idle: self.idle,
            connecting: self.connecting,
            waiting: self.waiting,
            oldest_wait: oldest.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)),
        }
    }

    /// What the pool has done.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Whether connections are given out.
    pub fn state(&self) -> State {
        self.state
    }

    /// The set asked for last.
    pub fn home(&self) -> SetId {
        self.home
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A connection that is in no list at the moment: to a waiter, to the idle ones, or out.
    fn settle(&mut self, held: Held<C>, now: Instant) -> Given<C, W> {
        let given = match self.unfit(&held.tag, now) {
            Some(reason) => Given::Close(self.forget(held, reason), reason),
            None => self.place(held, now),
        };
        self.check();
        given
    }

    fn unfit(&self, tag: &Tag, now: Instant) -> Option<CloseReason> {
        match self.state {
            State::Draining => return Some(CloseReason::Draining),
            State::Paused => return Some(CloseReason::Paused),
            State::Open => {}
        }
        if tag.generation != self.generation {
            return Some(CloseReason::Reconnect);
        }
        if self.total() >= self.capacity() {
            return Some(CloseReason::PoolSize);
        }
        tag.expires.filter(|expires| *expires <= now).map(|_| CloseReason::MaxLifetime)
    }

    fn place(&mut self, held: Held<C>, now: Instant) -> Given<C, W> {
        let set = held.tag.set;
        if self.part_mut(set).waiting() > 0 && self.pass_over(set, now) {
            return Given::Close(self.forget(held, CloseReason::OtherSet), CloseReason::OtherSet);
        }
        if let Some((waiter, since)) = self.part_mut(set).next_waiter() {
            self.waiting -= 1;
            self.leased += 1;
            self.totals.served(now.saturating_duration_since(since));
            return Given::HandTo(waiter, held);
        }
        self.idle += 1;
        self.part_mut(set).put_idle(held);
        Given::Idle
    }

    /// Notes that a connection of `set` is about to go past the first waiter of all, if that is one of another set who needs a
    /// dial. True: it has been passed over too often and must have this place.
    fn pass_over(&mut self, set: SetId, now: Instant) -> bool {
        if self.parts.len() < 2 {
            return false;
        }
        let needy = self.parts.values_mut().filter(|part| part.set == set || (part.unserved() > 0 && part.may_dial(now)));
        let Some(head) = needy.min_by_key(|part| part.first_unserved()).filter(|head| head.set != set) else {
            return false;
        };
        let starving = head.passed_over >= MAX_PASSED_OVER;
        head.passed_over = if starving { 0 } else { head.passed_over + 1 };
        starving
    }

    fn next_to_grow(&self, now: Instant) -> Option<SetId> {
        let growing = self.parts.values().filter(|part| part.unserved() > 0 && part.may_dial(now));
        growing.min_by_key(|part| part.first_unserved()).map(|part| part.set)
    }

    fn permit(&mut self, set: SetId, now: Instant) -> ConnectPermit {
        self.part_mut(set).connecting += 1;
        self.connecting += 1;
        self.totals.dials += 1;
        ConnectPermit { set, generation: self.generation, granted: now }
    }

    fn evict_longest_idle(&mut self, reason: CloseReason) -> Option<C> {
        let filled = self.parts.values_mut().filter(|part| !part.idle.is_empty());
        let part = filled.min_by_key(|part| part.longest_idle())?;
        let held = part.idle.pop_front()?;
        self.idle -= 1;
        Some(self.forget(held, reason))
    }

    /// `held` is in no list any more, and now out of the count of its set too.
    fn forget(&mut self, held: Held<C>, reason: CloseReason) -> C {
        self.part_mut(held.tag.set).live -= 1;
        self.totals.closed(reason);
        held.conn
    }

    /// `size`, and one for each pin above `max_pinned`: clients without a pin share `size - max_pinned`, whatever others do.
    fn capacity(&self) -> usize {
        self.settings.size + self.pinned.saturating_sub(self.settings.max_pinned)
    }

    fn total(&self) -> usize {
        self.leased + self.idle + self.connecting
    }

    fn part_mut(&mut self, set: SetId) -> &mut Part<C, W> {
        self.parts.entry(set).or_insert_with(|| Part::new(set))
    }
}
