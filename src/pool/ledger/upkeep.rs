//! Floor 1. The ledger's upkeep: what time, the janitor and the operator ask of it.

use std::time::Instant;

use super::{CloseReason, ConnectPermit, Held, Ledger, Settings, State};

/// Empty parts above this number are dropped; below it they keep their allocations.
const SPARE_PARTS: usize = 8;

impl<C, W> Ledger<C, W> {
    /// Waiters that have waited for `checkout_timeout`. Nobody's wait runs out during a pause.
    pub fn expire(&mut self, now: Instant) -> Vec<W> {
        let timeout = self.settings.checkout_timeout;
        if self.waiting == 0 || timeout.is_zero() || self.state == State::Paused {
            return Vec::new();
        }
        let grace = self.resumed.is_some_and(|resumed| now.saturating_duration_since(resumed) < timeout);
        let Some(came_before) = now.checked_sub(timeout).filter(|_| !grace) else {
            return Vec::new();
        };
        let mut expired = Vec::new();
        for part in self.parts.values_mut() {
            expired.extend(std::iter::from_fn(|| part.next_expired(came_before)));
        }
        self.waiting -= expired.len();
        self.totals.timeouts += expired.len() as u64;
        self.check();
        expired
    }

    /// Idle connections whose time is over. `idle_timeout` alone never goes below `min_idle` of the set asked for last;
    /// `max_lifetime` does, and `warm` makes up for it.
    pub fn reap(&mut self, now: Instant) -> Vec<C> {
        let too_old = |held: &mut Held<C>| held.tag.expires.is_some_and(|expires| expires <= now);
        let mut reaped = self.take_idle_if(too_old, CloseReason::MaxLifetime);
        if !self.settings.idle_timeout.is_zero() {
            self.reap_idle(now, &mut reaped);
        }
        self.drop_spare_parts();
        self.check();
        reaped
    }

    /// Idle connections found not `usable`.
    pub fn sweep(&mut self, mut usable: impl FnMut(&mut C) -> bool) -> Vec<C> {
        let dead = self.take_idle_if(|held| !usable(&mut held.conn), CloseReason::Dead);
        self.check();
        dead
    }

    /// Dials that keep `min_idle` connections ready for the set asked for last. Never ahead of a waiter, and never by closing
    /// another connection.
    pub fn warm(&mut self, now: Instant) -> Vec<ConnectPermit> {
        let mut permits = Vec::new();
        if self.state != State::Open || self.waiting > 0 {
            return permits;
        }
        let home = self.home;
        while self.total() < self.capacity() {
            let wanted = self.settings.min_idle;
            let part = self.part_mut(home);
            if part.idle.len() + part.connecting >= wanted || !part.may_dial(now) {
                break;
            }
            permits.push(self.permit(home, now));
        }
        self.check();
        permits
    }

    /// An idle connection that nobody has heard of for `check_delay`: probe it, then `restore` it or report it `closed`.
    pub fn take_for_check(&mut self, now: Instant) -> Option<Held<C>> {
        let delay = self.settings.check_delay;
        if delay.is_zero() || self.state != State::Open {
            return None;
        }
        let held = self.parts.values_mut().find_map(|part| part.take_unchecked(now, delay))?;
        self.idle -= 1;
        self.leased += 1;
        self.check();
        Some(held)
    }

    /// Stops giving out connections. Idle ones are returned for closing, leased ones are closed when they come back.
    pub fn pause(&mut self) -> Vec<C> {
        if self.state != State::Open {
            return Vec::new();
        }
        self.state = State::Paused;
        let closed = self.take_idle_if(|_| true, CloseReason::Paused);
        self.check();
        closed
    }

    /// Ends a pause. Ask `due` next.
    pub fn resume(&mut self, now: Instant) {
        if self.state == State::Paused {
            self.state = State::Open;
            self.resumed = Some(now);
        }
    }

    /// Ends the pool: the waiters, to be told, and the idle connections, to be closed. Leased ones are closed when they come back.
    pub fn drain(&mut self) -> (Vec<W>, Vec<C>) {
        self.state = State::Draining;
        let mut waiters = Vec::new();
        for part in self.parts.values_mut() {
            waiters.extend(std::iter::from_fn(|| part.next_waiter()).map(|(waiter, _)| waiter));
        }
        self.waiting -= waiters.len();
        let idle = self.take_idle_if(|_| true, CloseReason::Draining);
        self.check();
        (waiters, idle)
    }

    /// After `drain`: are all connections gone?
    pub fn is_drained(&self) -> bool {
        self.state == State::Draining && self.total() == 0
    }

    /// The server is another one now, or must be treated so. Idle connections are returned for closing; leased ones and those
    /// being dialled are closed when they come back. What was learnt from failed dials is forgotten.
    pub fn renew(&mut self) -> Vec<C> {
        self.generation += 1;
        for part in self.parts.values_mut() {
            part.backoff.succeed();
        }
        let closed = self.take_idle_if(|_| true, CloseReason::Reconnect);
        self.check();
        closed
    }

    /// New settings from a reload: idle connections above a smaller size are returned for closing. Ask `due` next.
    pub fn reconfigure(&mut self, settings: Settings) -> Vec<C> {
        self.settings = settings;
        self.shrink()
    }

    /// The capacity is another one.
    pub(super) fn shrink(&mut self) -> Vec<C> {
        let mut surplus = Vec::new();
        while self.total() > self.capacity() {
            match self.evict_longest_idle(CloseReason::PoolSize) {
                Some(conn) => surplus.push(conn),
                None => break,
            }
        }
        self.ceiling = self.total().max(self.capacity());
        self.check();
        surplus
    }

    fn reap_idle(&mut self, now: Instant, reaped: &mut Vec<C>) {
        let Some(limit) = now.checked_sub(self.settings.idle_timeout) else {
            return;
        };
        for part in self.parts.values_mut() {
            let keep = if part.set == self.home { self.settings.min_idle } else { 0 };
            while part.idle.len() > keep && part.idle_before(limit) {
                let Some(held) = part.idle.pop_front() else {
                    break;
                };
                part.live -= 1;
                self.idle -= 1;
                self.totals.closed(CloseReason::IdleTimeout);
                reaped.push(held.conn);
            }
        }
    }

    fn take_idle_if(&mut self, mut unwanted: impl FnMut(&mut Held<C>) -> bool, reason: CloseReason) -> Vec<C> {
        let mut taken = Vec::new();
        for part in self.parts.values_mut() {
            while let Some(held) = part.take_idle_if(&mut unwanted) {
                part.live -= 1;
                self.idle -= 1;
                self.totals.closed(reason);
                taken.push(held.conn);
            }
        }
        taken
    }

    fn drop_spare_parts(&mut self) {
        if self.parts.len() > SPARE_PARTS {
            self.parts.retain(|_, part| !part.is_unused());
        }
    }

    pub(super) fn check(&mut self) {
        if !cfg!(debug_assertions) {
            return;
        }
        let sum = |count: fn(&super::Part<C, W>) -> usize| self.parts.values().map(count).sum::<usize>();
        debug_assert_eq!(self.idle, sum(|part| part.idle.len()), "every idle connection is in one part");
        debug_assert_eq!(self.idle + self.leased, sum(|part| part.live), "every connection is idle or leased");
        debug_assert_eq!(self.connecting, sum(|part| part.connecting), "every dial belongs to a part");
        debug_assert_eq!(self.waiting, sum(super::Part::waiting), "every waiter is in one queue");
        debug_assert!(self.total() <= self.ceiling, "leased + idle + connecting <= capacity");
        self.ceiling = self.total().max(self.capacity());
        let overtaken = self.parts.values().any(|part| part.waiting() > 0 && !part.idle.is_empty());
        debug_assert!(!overtaken, "a waiter and a connection that fits it never coexist");
    }
}
