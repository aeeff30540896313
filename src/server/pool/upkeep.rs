//! Floor 3. What the janitor and the operator ask of a pool: upkeep, pause and resume, reload, drain.

use std::sync::Arc;
use std::time::Instant;

use super::{Checkout, Connector, Disposition, Inspection, Options, PooledConn, ServerPool, Waiter, copy, within};
use crate::error::{Error, Kind};
use crate::pool::{CloseReason, Counts, Due, Held, SetId, Settings};

impl<K: Connector> ServerPool<K> {
    /// No connections are given out until `resume`: clients queue up. Leased ones are closed as they come back; `quiet` tells
    /// when the last has.
    pub fn pause(&self) {
        let idle = self.0.ledger.lock().pause();
        self.close_all(idle);
    }

    /// Ends a pause. Those who wait get their full `checkout_timeout` from now on.
    pub fn resume(&self) {
        let now = Instant::now();
        let mut ledger = self.0.ledger.lock();
        ledger.resume(now);
        let due = ledger.due(now);
        drop(ledger);
        self.start(due);
    }

    /// Replaces every connection: idle ones now, leased ones when they come back. For RECONNECT, and for a server or a login
    /// that changed.
    pub fn reconnect(&self) {
        let mut ledger = self.0.ledger.lock();
        let idle = ledger.renew();
        let due = ledger.due(Instant::now());
        drop(ledger);
        self.close_all(idle);
        self.start(due);
    }

    /// Takes over new options while in use.
    pub fn reconfigure(&self, options: Options) {
        let Options { settings, connect_timeout, max_lifetime } = options;
        let mut dialling = self.0.dialling.lock();
        dialling.connect_timeout = connect_timeout;
        dialling.max_lifetime = max_lifetime;
        drop(dialling);
        let mut ledger = self.0.ledger.lock();
        let surplus = ledger.reconfigure(settings);
        let due = ledger.due(Instant::now());
        drop(ledger);
        self.close_all(surplus);
        self.start(due);
    }

    /// Begins the end: new checkouts and those who wait are refused, idle connections closed, leased ones closed when they
    /// come back.
    pub fn close(&self) {
        let (waiters, idle) = self.0.ledger.lock().drain();
        for waiter in waiters {
            // A waiter that has left needs no answer.
            let _ = waiter.send(Err(self.draining()));
        }
        self.close_all(idle);
    }

    /// After `close`: all connections are gone.
    pub async fn drained(&self) {
        self.until(|pool| pool.is_drained()).await;
    }

    /// After `pause`: no connection is in use or on its way.
    pub async fn quiet(&self) {
        self.until(|pool| {
            let counts = pool.0.ledger.lock().counts(Instant::now());
            counts.active + counts.idle + counts.connecting == 0
        })
        .await;
    }

    /// One round of upkeep.
    pub(crate) fn tend(&self, now: Instant) {
        let mut ledger = self.0.ledger.lock();
        let (counts, settings) = (ledger.counts(now), ledger.settings().clone());
        let expired = ledger.expire(now);
        let mut close = ledger.sweep(K::Conn::is_usable);
        close.extend(ledger.reap(now));
        let mut due = ledger.due(now);
        if self.0.connector.is_current(ledger.home()) {
            due.connect.extend(ledger.warm(now));
        }
        // A few at a time: the check of many must not make them all busy at once.
        let checks: Vec<_> = (0..=counts.idle / 64).map_while(|_| ledger.take_for_check(now)).collect();
        drop(ledger);
        self.refuse(expired, &counts, &settings);
        self.close_all(close);
        self.start(due);
        for held in checks {
            self.0.runtime.spawn(self.clone().check(held));
        }
    }

    /// Nobody else holds the pool, and it holds no connection: it can be dropped. Only for who keeps others from taking it
    /// meanwhile.
    pub fn is_unused(&self) -> bool {
        let counts = self.0.ledger.lock().counts(Instant::now());
        Arc::strong_count(&self.0) == 1 && counts.active + counts.idle + counts.connecting == 0
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.0.ledger.lock().is_drained()
    }

    async fn check(self, held: Held<K::Conn>) {
        let mut lease = super::Lease::new(self, held);
        let limit = lease.pool().0.dialling.lock().connect_timeout;
        let found = within(limit, lease.inspect()).await.unwrap_or(Inspection::Dead);
        let pool = lease.pool().clone();
        let Some(held) = lease.into_held() else {
            return;
        };
        match found {
            Inspection::Clean => {}
            Inspection::Dead => return pool.discard(held, CloseReason::Dead),
            Inspection::Unclean(found) => {
                tracing::error!(pool = %pool.0.name, %found, "an idle server has what a client must have left behind: it is closed");
                return pool.discard(held, CloseReason::Unclean);
            }
        }
        let now = Instant::now();
        let mut ledger = pool.0.ledger.lock();
        let given = ledger.restore(held, now);
        let due: Due<K::Conn> = ledger.due(now);
        drop(ledger);
        pool.settle(given, due);
    }

    /// `check_delay` zero: the client gets the connection when it has answered, or else the next one.
    pub(super) async fn check_first(self, held: Held<K::Conn>, set: SetId, waiter: Waiter<K>) {
        let mut lease = super::Lease::new(self, held);
        let limit = lease.pool().0.dialling.lock().connect_timeout;
        let given = if within(limit, lease.probe()).await.unwrap_or(false) {
            Ok(lease)
        } else {
            let pool = lease.pool().clone();
            lease.release(Disposition::Close);
            match pool.try_checkout(set) {
                Checkout::Ready(lease) => Ok(lease),
                Checkout::Wait(ticket) => ticket.await,
            }
        };
        if let Err(Ok(lease)) = waiter.send(given) {
            lease.release(Disposition::Reuse);
        }
    }

    fn refuse(&self, expired: Vec<Waiter<K>>, counts: &Counts, settings: &Settings) {
        if expired.is_empty() {
            return;
        }
        let error = self.checkout_timeout(counts, settings);
        tracing::warn!(pool = %self.0.name, %error, refused = expired.len(), "checkout timed out");
        for waiter in expired {
            // A waiter that has left needs no answer.
            let _ = waiter.send(Err(copy(&error)));
        }
    }

    fn checkout_timeout(&self, counts: &Counts, settings: &Settings) -> Error {
        let after = humantime::format_duration(settings.checkout_timeout);
        let Counts { size, active, waiting, .. } = *counts;
        let name = &self.0.name;
        let failure = self.0.dialling.lock().failure.clone().filter(|_| active < size);
        let (message, hint) = match failure {
            Some(failure) => (
                format!(
                    "no server connection became free within {after}: pool {name} has {active} of {size} busy \
                     and cannot get more (waiting: {waiting}): {failure}"
                ),
                "check that Postgres is up and that its max_connections leaves room for [pool] size",
            ),
            None => (
                format!(
                    "no server connection became free within {after}: {} of pool {name} are busy (waiting: {waiting})",
                    if active >= size { format!("all {size}") } else { format!("{active} of {size}") },
                ),
                "raise [pool] size or checkout_timeout, or look for long transactions in /stats",
            ),
        };
        Error::new(Kind::CheckoutTimeout, message).with_hint(hint)
    }

    pub(super) fn close_all(&self, conns: Vec<K::Conn>) {
        conns.into_iter().for_each(PooledConn::close);
        self.0.closed.notify_waiters();
    }

    async fn until(&self, done: impl Fn(&Self) -> bool) {
        loop {
            let mut changed = std::pin::pin!(self.0.closed.notified());
            // Listening before looking: a change in between is not missed.
            changed.as_mut().enable();
            if done(self) {
                return;
            }
            changed.await;
        }
    }
}
