//! Floor 1. The ledger's rules, one by one. Connections and waiters are numbers; time is what the test says.

mod model;
mod pins;

use std::time::{Duration, Instant};

use super::*;

type Books = Ledger<u32, u32>;

const S: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const A: SetId = SetId(0);
const B: SetId = SetId(1);

fn settings(size: usize) -> Settings {
    Settings {
        size,
        max_pinned: size / 2,
        min_idle: 0,
        order: IdleOrder::Lifo,
        checkout_timeout: 5 * S,
        idle_timeout: 600 * S,
        check_delay: 30 * S,
    }
}

fn books(size: usize) -> (Books, Instant) {
    (Ledger::new(settings(size)), Instant::now())
}

fn take(books: &mut Books, set: SetId) -> Option<Held<u32>> {
    books.take(set, |_| true, &mut Vec::new())
}

/// Dials `conns` for `set` and leaves them idle.
fn fill(books: &mut Books, set: SetId, conns: std::ops::Range<u32>, now: Instant) {
    let leased: Vec<_> = conns.map(|conn| lease_new(books, set, conn, now)).collect();
    for held in leased {
        assert!(matches!(books.give_back(held, now), Given::Idle));
    }
}

fn lease_new(books: &mut Books, set: SetId, conn: u32, now: Instant) -> Held<u32> {
    books.enqueue(set, 1000 + conn, now);
    let permit = only(books.due(now).connect);
    match books.connected(permit, conn, Duration::ZERO, now) {
        Given::HandTo(waiter, held) => {
            assert_eq!(waiter, 1000 + conn);
            held
        }
        other @ (Given::Idle | Given::Close(..)) => panic!("{other:?}"),
    }
}

fn only<T: std::fmt::Debug>(list: Vec<T>) -> T {
    let [one] = <[T; 1]>::try_from(list).unwrap();
    one
}

fn handed(given: Given<u32, u32>) -> (u32, Held<u32>) {
    match given {
        Given::HandTo(waiter, held) => (waiter, held),
        other @ (Given::Idle | Given::Close(..)) => panic!("{other:?}"),
    }
}

fn closed(given: Given<u32, u32>) -> (u32, CloseReason) {
    match given {
        Given::Close(conn, reason) => (conn, reason),
        other @ (Given::Idle | Given::HandTo(..)) => panic!("{other:?}"),
    }
}

fn closes(books: &Books, reason: CloseReason) -> u64 {
    books.totals().closes().find(|(other, _)| *other == reason).unwrap().1
}

#[test]
fn lifo_takes_the_last_and_round_robin_the_first() {
    for (order, expected) in [(IdleOrder::Lifo, 2), (IdleOrder::RoundRobin, 0)] {
        let (mut books, now) = books(3);
        let _ = books.reconfigure(Settings { order, ..settings(3) });
        fill(&mut books, A, 0..3, now);
        assert_eq!(take(&mut books, A).unwrap().conn, expected);
    }
}

#[test]
fn growth_follows_the_queue_without_a_ramp() {
    let (mut books, now) = books(10);
    for waiter in 0..7 {
        books.enqueue(A, waiter, now);
    }
    let first = books.due(now).connect;
    assert_eq!(first.len(), 7);
    assert!(books.due(now).connect.is_empty(), "one dial for each waiter, not more");
    for waiter in 7..44 {
        books.enqueue(A, waiter, now);
    }
    assert_eq!(books.due(now).connect.len(), 3, "as far as there is room");
    assert_eq!(books.counts(now).connecting, 10);
}

#[test]
fn waiters_are_served_in_their_order() {
    let (mut books, now) = books(1);
    let mut held = lease_new(&mut books, A, 0, now);
    for waiter in 0..5 {
        books.enqueue(A, waiter, now);
    }
    for expected in 0..5 {
        let (waiter, next) = handed(books.give_back(held, now));
        assert_eq!(waiter, expected);
        held = next;
    }
    assert!(matches!(books.give_back(held, now), Given::Idle));
}

#[test]
fn who_leaves_the_queue_is_never_called() {
    let (mut books, now) = books(1);
    let mut held = lease_new(&mut books, A, 0, now);
    let ids: Vec<_> = (0..200).map(|waiter| books.enqueue(A, waiter, now)).collect();
    for (waiter, id) in ids.iter().enumerate().filter(|(at, _)| at % 50 != 7) {
        assert_eq!(books.abandon(*id), Some(waiter as u32));
        assert_eq!(books.abandon(*id), None);
    }
    assert_eq!(books.counts(now).waiting, 4);
    for expected in [7, 57, 107, 157] {
        let (waiter, next) = handed(books.give_back(held, now));
        assert_eq!(waiter, expected);
        held = next;
    }
    assert!(matches!(books.give_back(held, now), Given::Idle));
    assert_eq!(books.totals().abandoned, 196);
    assert_eq!(books.abandon(ids[7]), None, "called already");
}

#[test]
fn a_dial_whose_waiter_left_or_was_served_goes_idle() {
    let (mut books, now) = books(2);
    let id = books.enqueue(A, 1, now);
    let permit = only(books.due(now).connect);
    assert_eq!(books.abandon(id), Some(1));
    assert!(matches!(books.connected(permit, 5, Duration::ZERO, now), Given::Idle));
    assert_eq!(take(&mut books, A).unwrap().conn, 5);
}

#[test]
fn dead_idle_connections_are_passed_over_and_their_places_are_free() {
    let (mut books, now) = books(3);
    fill(&mut books, A, 0..3, now);
    let mut dead = Vec::new();
    let held = books.take(A, |conn| *conn == 0, &mut dead).unwrap();
    assert_eq!((held.conn, dead), (0, vec![2, 1]));
    assert_eq!(closes(&books, CloseReason::Dead), 2);
    books.enqueue(A, 1, now);
    books.enqueue(A, 2, now);
    books.enqueue(A, 3, now);
    assert_eq!(books.due(now).connect.len(), 2);
}

#[test]
fn a_closed_lease_makes_room_for_a_dial() {
    let (mut books, now) = books(1);
    let held = lease_new(&mut books, A, 0, now);
    books.enqueue(A, 1, now);
    assert!(books.due(now).connect.is_empty());
    assert_eq!(books.closed(held, CloseReason::Released), 0);
    assert_eq!(only(books.due(now).connect).set(), A);
}

#[test]
fn a_full_pool_gives_up_its_longest_idle_connection_of_another_set() {
    let (mut books, now) = books(3);
    fill(&mut books, A, 0..3, now);
    books.enqueue(B, 1, now);
    let due = books.due(now);
    assert_eq!((only(due.close), only(due.connect).set()), (0, B));
    let again = books.due(now);
    assert!(again.close.is_empty() && again.connect.is_empty(), "one waiter, one place");
}

#[test]
fn the_first_of_another_set_is_passed_over_sixteen_times_at_most() {
    let (mut books, now) = books(1);
    let mut held = lease_new(&mut books, A, 0, now);
    books.enqueue(B, 999, now);
    for waiter in 0..40 {
        books.enqueue(A, waiter, now);
    }
    for expected in 0..16 {
        let (waiter, next) = handed(books.give_back(held, now));
        assert_eq!(waiter, expected);
        held = next;
    }
    assert_eq!(closed(books.give_back(held, now)), (0, CloseReason::OtherSet));
    let permit = only(books.due(now).connect);
    assert_eq!(permit.set(), B);
    let (waiter, mut held) = handed(books.connected(permit, 1, Duration::ZERO, now));
    assert_eq!(waiter, 999);
    // The other way round there is nobody to overtake: the place goes back at once.
    assert!(matches!(books.give_back(held, now), Given::Idle));
    let due = books.due(now);
    assert_eq!((only(due.close), due.connect.len()), (1, 1));
    held = handed(books.connected(only(due.connect), 2, Duration::ZERO, now)).1;
    assert_eq!(held.set(), A);
}

#[test]
fn only_those_whose_time_is_over_are_sent_away() {
    let (mut books, now) = books(1);
    let _held = lease_new(&mut books, A, 0, now);
    books.enqueue(A, 1, now);
    books.enqueue(B, 2, now + S);
    books.enqueue(A, 3, now + 2 * S);
    assert!(books.expire(now + 5 * S - MS).is_empty());
    assert_eq!(books.expire(now + 5 * S), [1]);
    assert_eq!(books.expire(now + 10 * S), [3, 2]);
    assert_eq!((books.totals().timeouts, books.counts(now).waiting), (3, 0));
    let _ = books.reconfigure(Settings { checkout_timeout: Duration::ZERO, ..settings(1) });
    books.enqueue(A, 4, now);
    assert!(books.expire(now + 86_400 * S).is_empty(), "zero is never, not at once");
}

#[test]
fn failed_dials_tell_the_waiters_when_nothing_is_left_to_wait_for() {
    let (mut books, now) = books(5);
    for waiter in 0..3 {
        books.enqueue(A, waiter, now);
    }
    let mut permits = books.due(now).connect;
    assert!(books.connect_failed(permits.pop().unwrap(), now, 0.0).is_empty(), "two dials may still succeed");
    assert!(books.connect_failed(permits.pop().unwrap(), now, 0.0).is_empty());
    assert_eq!(books.connect_failed(permits.pop().unwrap(), now, 0.0), [0, 1, 2]);

    // Somebody new tries at once, but not more often than every 100 ms, and with one dial.
    for waiter in 3..6 {
        books.enqueue(A, waiter, now + 50 * MS);
    }
    assert!(books.due(now + 99 * MS).connect.is_empty());
    let permit = only(books.due(now + 100 * MS).connect);
    assert!(books.due(now + 101 * MS).connect.is_empty());

    // Postgres is back: the rest follows at once.
    assert_eq!(handed(books.connected(permit, 9, Duration::ZERO, now + 102 * MS)).0, 3);
    assert_eq!(books.due(now + 102 * MS).connect.len(), 2);
}

#[test]
fn waiters_keep_waiting_for_a_live_connection_when_dials_fail() {
    let (mut books, now) = books(5);
    let held = lease_new(&mut books, A, 0, now);
    books.enqueue(A, 1, now);
    let permit = only(books.due(now).connect);
    assert!(books.connect_failed(permit, now, 0.0).is_empty());
    assert!(books.due(now + 99 * MS).connect.is_empty());
    assert_eq!(handed(books.give_back(held, now)).0, 1);
}

#[test]
fn one_sets_failure_does_not_stop_another() {
    let (mut books, now) = books(5);
    books.enqueue(B, 1, now);
    let permit = only(books.due(now).connect);
    assert_eq!(books.connect_failed(permit, now, 0.0), [1]);
    books.enqueue(A, 2, now);
    assert_eq!(only(books.due(now).connect).set(), A);
}

#[test]
fn idle_timeout_stops_at_min_idle_but_lifetime_does_not() {
    let (mut books, now) = books(5);
    let _ = books.reconfigure(Settings { min_idle: 2, ..settings(5) });
    for conn in 0..5 {
        books.enqueue(A, conn, now);
    }
    let permits = (0u32..).zip(books.due(now).connect);
    let leased: Vec<_> = permits.map(|(conn, permit)| handed(books.connected(permit, conn, (1000 + conn) * S, now)).1).collect();
    for held in leased {
        assert!(matches!(books.give_back(held, now), Given::Idle));
    }
    assert!(books.reap(now + 599 * S).is_empty());
    assert_eq!(books.reap(now + 600 * S), [0, 1, 2]);
    assert!(books.warm(now + 600 * S).is_empty());
    assert_eq!(books.reap(now + 1003 * S), [3]);
    assert_eq!(books.warm(now + 1003 * S).len(), 1, "min_idle is made up again");
    let held = take(&mut books, A).unwrap();
    assert_eq!(closed(books.give_back(held, now + 1004 * S)), (4, CloseReason::MaxLifetime), "and at release");
}

#[test]
fn min_idle_is_kept_for_the_set_in_use() {
    let (mut books, now) = books(10);
    let _ = books.reconfigure(Settings { min_idle: 2, ..settings(10) });
    assert_eq!(books.warm(now).len(), 2);
    assert!(books.warm(now).is_empty());
    fill(&mut books, B, 0..1, now);
    assert!(take(&mut books, B).is_some());
    let permits = books.warm(now);
    assert_eq!(permits.iter().map(ConnectPermit::set).collect::<Vec<_>>(), [B, B]);
    assert!(books.reap(now + 700 * S).is_empty());
}

#[test]
fn warm_connections_wait_their_turn_behind_clients_and_failures() {
    let (mut books, now) = books(1);
    let _ = books.reconfigure(Settings { min_idle: 1, ..settings(1) });
    let permit = only(books.warm(now));
    let _ = books.connect_failed(permit, now, 0.0);
    assert!(books.warm(now + 99 * MS).is_empty());
    assert_eq!(books.warm(now + 100 * MS).len(), 1);
}

#[test]
fn a_smaller_size_takes_idle_ones_now_and_leased_ones_later() {
    let (mut books, now) = books(4);
    fill(&mut books, A, 0..4, now);
    let leased: Vec<_> = (0..3).map(|_| take(&mut books, A).unwrap()).collect();
    assert_eq!(books.reconfigure(settings(2)), [0]);
    books.enqueue(A, 7, now);
    assert!(books.due(now).connect.is_empty());
    let mut leased = leased.into_iter();
    assert_eq!(closed(books.give_back(leased.next().unwrap(), now)).1, CloseReason::PoolSize);
    assert_eq!(handed(books.give_back(leased.next().unwrap(), now)).0, 7);
    let _ = books.reconfigure(settings(9));
    books.enqueue(A, 8, now);
    assert_eq!(books.due(now).connect.len(), 1);
}

#[test]
fn a_new_generation_replaces_every_connection() {
    let (mut books, now) = books(3);
    fill(&mut books, A, 0..3, now);
    let held = take(&mut books, A).unwrap();
    assert_eq!(books.renew(), [0, 1]);
    books.enqueue(A, 1, now);
    let old = only(books.due(now).connect);
    assert_eq!(books.renew(), [] as [u32; 0]);
    assert_eq!(closed(books.give_back(held, now)).1, CloseReason::Reconnect);
    assert_eq!(closed(books.connected(old, 7, Duration::ZERO, now)), (7, CloseReason::Reconnect));
    let new = only(books.due(now).connect);
    assert_eq!(handed(books.connected(new, 8, Duration::ZERO, now)).0, 1);
}

#[test]
fn an_old_generations_failed_dial_is_no_reason_to_give_up() {
    let (mut books, now) = books(3);
    books.enqueue(A, 1, now);
    let old = only(books.due(now).connect);
    let _ = books.renew();
    assert!(books.connect_failed(old, now, 0.0).is_empty());
    assert_eq!(books.due(now).connect.len(), 1);
}

#[test]
fn a_pause_holds_clients_back_and_costs_nobody_the_turn() {
    let (mut books, now) = books(2);
    fill(&mut books, A, 0..2, now);
    let held = take(&mut books, A).unwrap();
    assert_eq!(books.pause(), [0]);
    assert_eq!(closed(books.give_back(held, now)), (1, CloseReason::Paused));
    assert!(take(&mut books, A).is_none());
    books.enqueue(A, 5, now);
    assert!(books.due(now).connect.is_empty() && books.warm(now).is_empty());
    assert!(books.expire(now + 60 * S).is_empty());
    books.resume(now + 60 * S);
    assert!(books.expire(now + 64 * S).is_empty());
    assert_eq!(books.due(now + 60 * S).connect.len(), 1);
    assert_eq!(books.expire(now + 65 * S), [5]);
}

#[test]
fn draining_ends_when_the_last_connection_is_back() {
    let (mut books, now) = books(3);
    fill(&mut books, A, 0..2, now);
    let held = take(&mut books, A).unwrap();
    books.enqueue(B, 1, now);
    books.enqueue(B, 2, now);
    let permits = books.due(now);
    let (waiters, idle) = books.drain();
    assert_eq!((waiters, idle.len() + permits.close.len()), (vec![1, 2], 1));
    assert_eq!(closed(books.give_back(held, now)).1, CloseReason::Draining);
    assert!(!books.is_drained());
    for permit in permits.connect {
        assert!(books.connect_failed(permit, now, 0.0).is_empty());
    }
    assert!(books.is_drained());
}

#[test]
fn a_check_takes_the_connection_and_keeps_its_idle_time() {
    let (mut books, now) = books(3);
    fill(&mut books, A, 0..2, now);
    assert!(books.take_for_check(now + 29 * S).is_none());
    let (first, second) = (books.take_for_check(now + 30 * S).unwrap(), books.take_for_check(now + 30 * S).unwrap());
    assert!(books.take_for_check(now + 30 * S).is_none());
    assert!(matches!(books.restore(first, now + 31 * S), Given::Idle));
    assert_eq!(books.closed(second, CloseReason::Dead), 1);
    assert!(books.take_for_check(now + 60 * S).is_none());
    assert_eq!(books.reap(now + 600 * S), [0]);
}

#[test]
fn waits_are_measured() {
    let (mut books, now) = books(1);
    let held = lease_new(&mut books, A, 0, now);
    books.enqueue(A, 1, now);
    assert_eq!(books.counts(now + 3 * S).oldest_wait, 3 * S);
    let _ = handed(books.give_back(held, now + 3 * S));
    let totals = books.totals();
    assert_eq!((totals.checkouts, totals.waits, totals.longest_wait, totals.wait_time), (2, 2, 3 * S, 3 * S));
    assert_eq!(totals.wait_buckets.iter().sum::<u64>(), 2);
}
