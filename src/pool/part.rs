//! Floor 1. What a pool holds for one set of startup parameters: idle connections, the queue, dials under way.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::IdleOrder;
use super::backoff::Backoff;

/// A set of client startup parameters that servers are dialled with; connections of different sets are not interchangeable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SetId(pub u32);

/// The right to dial one connection. It is part of the pool's size: hand it back with `connected` or `connect_failed`.
#[must_use = "a permit that is not handed back shrinks the pool for good"]
#[derive(Debug)]
pub struct ConnectPermit {
    pub(super) set: SetId,
    pub(super) generation: u64,
    pub(super) granted: Instant,
}

impl ConnectPermit {
    /// The set to dial with.
    pub fn set(&self) -> SetId {
        self.set
    }
}

/// What the ledger must know of a connection to take it back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tag {
    pub(super) set: SetId,
    pub(super) generation: u64,
    pub(super) expires: Option<Instant>,
    pub(super) idle_since: Instant,
    pub(super) checked: Instant,
}

/// A connection with its place in the ledger; hand it back with `give_back`, `restore` or `closed`.
#[must_use = "a connection that is not handed back shrinks the pool for good"]
#[derive(Debug)]
pub struct Held<C> {
    /// The connection.
    pub conn: C,
    pub(super) tag: Tag,
}

impl<C> Held<C> {
    /// The set it was dialled with.
    pub fn set(&self) -> SetId {
        self.tag.set
    }
}

/// A place in the queue, to leave it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitId {
    pub(super) set: SetId,
    pub(super) seq: u64,
}

/// A waiter that left keeps its place as a tombstone: leaving costs a binary search, not a shift of the queue.
#[derive(Debug)]
struct Place<W> {
    seq: u64,
    since: Instant,
    waiter: Option<W>,
}

#[derive(Debug)]
pub(super) struct Part<C, W> {
    pub(super) set: SetId,
    /// Longest idle in front.
    pub(super) idle: VecDeque<Held<C>>,
    /// First come in front; neither end is a tombstone.
    queue: VecDeque<Place<W>>,
    waiting: usize,
    /// How often the head saw a connection go to another set's waiter that came later.
    pub(super) passed_over: u32,
    pub(super) connecting: usize,
    /// Idle and leased.
    pub(super) live: usize,
    pub(super) backoff: Backoff,
}

impl<C, W> Part<C, W> {
    pub(super) fn new(set: SetId) -> Self {
        Self {
            set,
            idle: VecDeque::new(),
            queue: VecDeque::new(),
            waiting: 0,
            passed_over: 0,
            connecting: 0,
            live: 0,
            backoff: Backoff::default(),
        }
    }

    pub(super) fn is_unused(&self) -> bool {
        self.live == 0 && self.connecting == 0 && self.waiting == 0 && !self.backoff.is_failing()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Number of waiters for whom no dial is under way.
    pub(super) fn unserved(&self) -> usize {
        self.waiting.saturating_sub(self.connecting)
    }

    /// Would a permit, granted now, lead to a dial?
    pub(super) fn may_dial(&self, now: Instant) -> bool {
        let urgent = self.live == 0 && self.waiting > 0;
        self.backoff.allows(now, urgent, self.connecting)
    }

    pub(super) fn head_since(&self) -> Option<Instant> {
        self.queue.front().map(|place| place.since)
    }

    /// The first waiter for whom no dial is under way. Tombstones may make it look later than it is, which only matters for the
    /// order between sets.
    pub(super) fn first_unserved(&self) -> Option<u64> {
        let place = self.queue.get(self.connecting).or_else(|| self.queue.back());
        place.map(|place| place.seq)
    }

    pub(super) fn enqueue(&mut self, seq: u64, since: Instant, waiter: W) {
        self.queue.push_back(Place { seq, since, waiter: Some(waiter) });
        self.waiting += 1;
    }

    pub(super) fn abandon(&mut self, seq: u64) -> Option<W> {
        let at = self.queue.binary_search_by_key(&seq, |place| place.seq).ok()?;
        let waiter = self.queue.get_mut(at)?.waiter.take()?;
        self.waiting -= 1;
        if at == 0 {
            self.passed_over = 0;
        }
        self.bury();
        Some(waiter)
    }

    pub(super) fn next_waiter(&mut self) -> Option<(W, Instant)> {
        let place = self.queue.pop_front()?;
        let waiter = place.waiter?;
        self.waiting -= 1;
        self.passed_over = 0;
        self.bury();
        Some((waiter, place.since))
    }

    /// Waiters are in order of arrival, so the first that may stay ends the search.
    pub(super) fn next_expired(&mut self, came_before: Instant) -> Option<W> {
        let since = self.head_since()?;
        (since <= came_before).then(|| self.next_waiter())?.map(|(waiter, _)| waiter)
    }

    /// Takes tombstones off both ends; and all of them once they are the greater part, so that a first waiter who is patient
    /// does not make the queue grow for ever.
    fn bury(&mut self) {
        while self.queue.front().is_some_and(|place| place.waiter.is_none()) {
            self.queue.pop_front();
        }
        while self.queue.back().is_some_and(|place| place.waiter.is_none()) {
            self.queue.pop_back();
        }
        if self.queue.len() > 2 * self.waiting + 32 {
            self.queue.retain(|place| place.waiter.is_some());
        }
    }

    pub(super) fn take_idle(&mut self, order: IdleOrder) -> Option<Held<C>> {
        match order {
            IdleOrder::Lifo => self.idle.pop_back(),
            IdleOrder::RoundRobin => self.idle.pop_front(),
        }
    }

    /// A connection that comes back from a check keeps its age, so it is not always the last.
    pub(super) fn put_idle(&mut self, held: Held<C>) {
        let behind = |other: &Held<C>| other.tag.idle_since > held.tag.idle_since;
        let later = self.idle.iter().rev().take_while(|other| behind(other)).count();
        self.idle.insert(self.idle.len() - later, held);
    }

    pub(super) fn longest_idle(&self) -> Option<Instant> {
        self.idle.front().map(|held| held.tag.idle_since)
    }

    pub(super) fn idle_before(&self, limit: Instant) -> bool {
        self.longest_idle().is_some_and(|since| since <= limit)
    }

    pub(super) fn take_unchecked(&mut self, now: Instant, check_delay: Duration) -> Option<Held<C>> {
        let due = |held: &Held<C>| now.saturating_duration_since(held.tag.checked) >= check_delay;
        let at = self.idle.iter().position(due)?;
        self.idle.remove(at)
    }

    pub(super) fn take_idle_if(&mut self, mut unwanted: impl FnMut(&mut Held<C>) -> bool) -> Option<Held<C>> {
        let at = self.idle.iter_mut().position(&mut unwanted)?;
        self.idle.remove(at)
    }
}
