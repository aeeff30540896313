//! Floor 1. The ledger against a model: random operations, after each of which every connection, permit and waiter is in exactly
//! one hand; and at the end everybody who still waits is served.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::pool::*;

#[derive(Clone, Debug)]
enum Op {
    Checkout(u32),
    Abandon(usize),
    Release(usize),
    Close(usize),
    Connected(usize),
    ConnectFailed(usize),
    DeadHandOff,
    Wait(u64),
    Check,
    Restore(usize),
    Resize(usize),
    Pause,
    Resume,
    Renew,
    Pin(usize),
    Unpin(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0u32..3).prop_map(Op::Checkout),
        2 => any::<usize>().prop_map(Op::Abandon),
        8 => any::<usize>().prop_map(Op::Release),
        2 => any::<usize>().prop_map(Op::Close),
        6 => any::<usize>().prop_map(Op::Connected),
        1 => any::<usize>().prop_map(Op::ConnectFailed),
        1 => Just(Op::DeadHandOff),
        2 => (0u64..5000).prop_map(Op::Wait),
        1 => Just(Op::Check),
        1 => any::<usize>().prop_map(Op::Restore),
        1 => (1usize..6).prop_map(Op::Resize),
        1 => Just(Op::Pause),
        1 => Just(Op::Resume),
        1 => Just(Op::Renew),
        2 => any::<usize>().prop_map(Op::Pin),
        1 => any::<usize>().prop_map(Op::Unpin),
    ]
}

struct World {
    ledger: Ledger<u32, u32>,
    now: Instant,
    next: u32,
    /// All connections that were made and not closed.
    open: BTreeSet<u32>,
    leased: Vec<Held<u32>>,
    /// Leased too, and not to come back soon.
    pinned: Vec<Held<u32>>,
    checking: Vec<Held<u32>>,
    permits: Vec<ConnectPermit>,
    waiting: BTreeMap<u32, (WaitId, SetId)>,
    /// The next hand-off meets a waiter that has just gone.
    dead_hand_off: bool,
}

fn settings(size: usize) -> Settings {
    Settings {
        size,
        max_pinned: size / 2,
        min_idle: 1,
        order: IdleOrder::Lifo,
        checkout_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(20),
        check_delay: Duration::from_secs(2),
    }
}

impl World {
    fn new(size: usize) -> Self {
        Self {
            ledger: Ledger::new(settings(size)),
            now: Instant::now(),
            next: 0,
            open: BTreeSet::new(),
            leased: Vec::new(),
            pinned: Vec::new(),
            checking: Vec::new(),
            permits: Vec::new(),
            waiting: BTreeMap::new(),
            dead_hand_off: false,
        }
    }

    fn fresh(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Checkout(set) => self.checkout(SetId(set)),
            Op::Abandon(at) => self.abandon(at),
            Op::Release(at) => self.with_lease(at, |world, held| {
                let given = world.ledger.give_back(held, world.now);
                world.given(given);
            }),
            Op::Close(at) => self.with_lease(at, |world, held| {
                let conn = world.ledger.closed(held, CloseReason::Released);
                world.close([conn]);
            }),
            Op::Connected(at) => self.connected(at),
            Op::ConnectFailed(at) => self.connect_failed(at),
            Op::DeadHandOff => self.dead_hand_off = true,
            Op::Wait(ms) => self.wait(ms),
            Op::Check => self.checking.extend(self.ledger.take_for_check(self.now)),
            Op::Restore(at) => self.restore(at),
            Op::Resize(size) => {
                let closed = self.ledger.reconfigure(settings(size));
                self.close(closed);
            }
            Op::Pause => {
                let closed = self.ledger.pause();
                self.close(closed);
            }
            Op::Resume => self.ledger.resume(self.now),
            Op::Renew => {
                let closed = self.ledger.renew();
                self.close(closed);
            }
            Op::Pin(at) => self.with_lease(at, |world, held| {
                let list = if world.ledger.pin() { &mut world.pinned } else { &mut world.leased };
                list.push(held);
            }),
            Op::Unpin(at) => {
                if !self.pinned.is_empty() {
                    let held = self.pinned.remove(at % self.pinned.len());
                    let closed = self.ledger.unpin();
                    self.close(closed);
                    self.leased.push(held);
                }
            }
        }
        self.due();
        self.check();
    }

    fn checkout(&mut self, set: SetId) {
        let mut dead = Vec::new();
        match self.ledger.take(set, |conn| *conn % 7 != 0, &mut dead) {
            Some(held) => {
                assert_eq!(held.set(), set);
                assert!(self.waiting.values().all(|(_, other)| *other != set), "overtaken");
                self.leased.push(held);
            }
            None => {
                let waiter = self.fresh();
                let id = self.ledger.enqueue(set, waiter, self.now);
                self.waiting.insert(waiter, (id, set));
            }
        }
        self.close(dead);
    }

    fn abandon(&mut self, at: usize) {
        let Some(waiter) = self.waiting.keys().copied().nth(at % self.waiting.len().max(1)) else {
            return;
        };
        let (id, _) = self.waiting.remove(&waiter).unwrap();
        assert_eq!(self.ledger.abandon(id), Some(waiter));
    }

    fn with_lease(&mut self, at: usize, then: impl FnOnce(&mut Self, Held<u32>)) {
        if !self.leased.is_empty() {
            let held = self.leased.remove(at % self.leased.len());
            then(self, held);
        }
    }

    fn connected(&mut self, at: usize) {
        if !self.permits.is_empty() {
            let permit = self.permits.remove(at % self.permits.len());
            let conn = self.fresh();
            self.open.insert(conn);
            let given = self.ledger.connected(permit, conn, Duration::from_secs(60), self.now);
            self.given(given);
        }
    }

    fn connect_failed(&mut self, at: usize) {
        if !self.permits.is_empty() {
            let permit = self.permits.remove(at % self.permits.len());
            for waiter in self.ledger.connect_failed(permit, self.now, 0.5) {
                self.waiting.remove(&waiter).expect("told only once");
            }
        }
    }

    fn restore(&mut self, at: usize) {
        if !self.checking.is_empty() {
            let held = self.checking.remove(at % self.checking.len());
            let given = self.ledger.restore(held, self.now);
            self.given(given);
        }
    }

    fn wait(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        for waiter in self.ledger.expire(self.now) {
            self.waiting.remove(&waiter).expect("expired only once");
        }
        let reaped = self.ledger.reap(self.now);
        self.close(reaped);
        let dead = self.ledger.sweep(|conn| *conn % 5 != 0);
        self.close(dead);
        self.permits.extend(self.ledger.warm(self.now));
    }

    fn given(&mut self, given: Given<u32, u32>) {
        match given {
            Given::Idle => {}
            Given::Close(conn, _) => self.close([conn]),
            Given::HandTo(waiter, held) => {
                let (id, set) = self.waiting.remove(&waiter).expect("called only once");
                assert_eq!(set, held.set());
                assert!(self.waiting.values().all(|(other, of)| *of != set || other.seq > id.seq), "first come, first served");
                if std::mem::take(&mut self.dead_hand_off) {
                    let again = self.ledger.give_back(held, self.now);
                    return self.given(again);
                }
                self.leased.push(held);
            }
        }
    }

    fn due(&mut self) {
        let due = self.ledger.due(self.now);
        self.permits.extend(due.connect);
        self.close(due.close);
    }

    fn close(&mut self, conns: impl IntoIterator<Item = u32>) {
        for conn in conns {
            assert!(self.open.remove(&conn), "closed only once");
        }
    }

    fn check(&self) {
        let counts = self.ledger.counts(self.now);
        assert_eq!(counts.active, self.leased.len() + self.checking.len() + self.pinned.len());
        assert_eq!(self.ledger.pinned(), self.pinned.len());
        assert_eq!(counts.connecting, self.permits.len());
        assert_eq!(counts.waiting, self.waiting.len());
        assert_eq!(counts.active + counts.idle, self.open.len(), "no connection is lost");
        let totals = self.ledger.totals();
        let ends = totals.closes().map(|(_, n)| n).sum::<u64>() + totals.dial_failures;
        assert_eq!(totals.dials, ends + (counts.active + counts.idle + counts.connecting) as u64);
    }

    /// Everybody but who is pinned behaves from now on: whoever waits is served, in a bounded number of steps.
    fn everybody_is_served(&mut self) {
        self.apply(&Op::Resume);
        for _ in 0..20 * (self.waiting.len() + 10) {
            if self.waiting.is_empty() {
                return;
            }
            self.now += Duration::from_millis(1);
            for at in [Op::Restore(0), Op::Connected(0), Op::Release(0)] {
                self.apply(&at);
            }
        }
        assert!(self.waiting.is_empty(), "starved: {:?}", self.waiting);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_keeps_the_books(size in 1usize..6, ops in proptest::collection::vec(op(), 0..300)) {
        let mut world = World::new(size);
        for op in &ops {
            world.apply(op);
        }
        // Beyond the longest back-off, short of the checkout timeout for those who came last.
        world.now += Duration::from_millis(1700);
        world.everybody_is_served();
    }
}
