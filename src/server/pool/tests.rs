//! Floor 3. The pool with a fake server: real tasks and real hand-offs, no socket.

mod fake;

use tokio::sync::Barrier;

use fake::{Fake, Server};

use super::*;
use crate::pool::IdleOrder;
use std::sync::atomic::Ordering;

const A: SetId = SetId(0);
const B: SetId = SetId(1);
const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

fn options(size: usize) -> Options {
    let settings = Settings {
        size,
        max_pinned: size / 2,
        min_idle: 0,
        order: IdleOrder::Lifo,
        checkout_timeout: 5 * S,
        idle_timeout: 600 * S,
        check_delay: 30 * S,
    };
    Options { settings, connect_timeout: 5 * S, max_lifetime: 3600 * S }
}

/// Without a janitor: the test calls `tend` with the time it likes.
fn pool(size: usize) -> (ServerPool<Fake>, Arc<Server>) {
    let fake = Fake::default();
    let server = Arc::clone(&fake.0);
    (ServerPool::without_janitor("app@db", fake, options(size)), server)
}

async fn checkout(pool: &ServerPool<Fake>, set: SetId) -> Result<Lease<Fake>> {
    match pool.try_checkout(set) {
        Checkout::Ready(lease) => Ok(lease),
        Checkout::Wait(ticket) => ticket.await,
    }
}

async fn fill(pool: &ServerPool<Fake>, count: usize) {
    let mut leases = Vec::new();
    for _ in 0..count {
        leases.push(checkout(pool, A).await.unwrap());
    }
    leases.into_iter().for_each(|lease| lease.release(Disposition::Reuse));
}

fn wait(pool: &ServerPool<Fake>) -> Ticket<Fake> {
    match pool.try_checkout(A) {
        Checkout::Wait(ticket) => ticket,
        Checkout::Ready(lease) => panic!("{lease:?}"),
    }
}

async fn settled(mut done: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if done() {
            return;
        }
        tokio::time::sleep(MS).await;
    }
    panic!("never happened");
}

/// The time each client took for its rounds; no connection is ever shared.
async fn hammer(tasks: usize, size: usize, rounds: usize) -> Vec<Duration> {
    let (pool, server) = pool(size);
    let start = Arc::new(Barrier::new(tasks));
    let clients = (0..tasks).map(|_| {
        let (pool, server, start) = (pool.clone(), Arc::clone(&server), Arc::clone(&start));
        tokio::spawn(async move {
            start.wait().await;
            let started = Instant::now();
            for _ in 0..rounds {
                let lease = checkout(&pool, A).await.unwrap();
                let id = lease.id;
                server.enter(id);
                tokio::task::yield_now().await;
                server.leave(id);
                lease.release(Disposition::Reuse);
            }
            started.elapsed()
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut times = Vec::new();
    for client in clients {
        times.push(client.await.unwrap());
    }
    assert!(server.most_open.load(Ordering::SeqCst) <= size as u32);
    assert_eq!(pool.snapshot().totals.checkouts, (tasks * rounds) as u64);
    assert_eq!(pool.snapshot().counts.active, 0);
    times
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_threads_never_share_a_connection() {
    hammer(64, 10, 300).await;
}

/// On one thread, so that the pool is measured and not the scheduler.
#[tokio::test]
async fn clients_above_the_size_are_served_alike() {
    let times = hammer(64, 10, 300).await;
    let (least, most) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    assert!(*most < *least * 2, "{least:?}..{most:?}");
}

#[tokio::test]
async fn a_few_more_clients_than_connections_lose_nothing() {
    let started = Instant::now();
    hammer(12, 10, 300).await;
    assert!(started.elapsed() < 4 * S, "the checkout timeout is not part of the way");
}

#[tokio::test]
async fn a_cold_pool_dials_for_all_who_wait_at_once() {
    let (pool, server) = pool(20);
    server.dial_micros.store(50_000, Ordering::SeqCst);
    let started = Instant::now();
    let tickets: Vec<_> = (0..40).map(|_| wait(&pool)).collect();
    let served = tickets.into_iter().map(|ticket| tokio::spawn(async { ticket.await.unwrap().release(Disposition::Reuse) }));
    for client in served.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    assert!(started.elapsed() < 500 * MS, "{:?}", started.elapsed());
    assert_eq!(server.dials.load(Ordering::SeqCst), 20);
}

#[tokio::test]
async fn a_lease_that_is_dropped_is_closed_and_replaced() {
    let (pool, server) = pool(1);
    let lease = checkout(&pool, A).await.unwrap();
    let ticket = wait(&pool);
    drop(lease);
    assert_eq!(ticket.await.unwrap().id, 1);
    assert_eq!(server.open.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn killed_servers_are_replaced_at_checkout_and_at_release() {
    let (pool, server) = pool(5);
    fill(&pool, 5).await;
    server.kill_all();
    let lease = checkout(&pool, A).await.unwrap();
    assert_eq!(lease.id, 5);
    assert_eq!(server.open.load(Ordering::SeqCst), 1);
    server.kill_all();
    lease.release(Disposition::Reuse);
    assert_eq!(pool.snapshot().counts.idle, 0);
    let _ = checkout(&pool, A).await.unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_the_queue_costs_nothing() {
    let (pool, server) = pool(1);
    let lease = checkout(&pool, A).await.unwrap();
    drop(wait(&pool));
    let second = wait(&pool);
    drop(wait(&pool));
    lease.release(Disposition::Reuse);
    assert_eq!(second.await.unwrap().id, 0);
    assert_eq!(server.dials.load(Ordering::SeqCst), 1);
    let totals = pool.snapshot().totals;
    assert_eq!((totals.abandoned, totals.waits), (2, 4));
}

#[tokio::test]
async fn a_connection_sent_to_a_client_that_just_left_is_not_lost() {
    let (pool, server) = pool(1);
    let lease = checkout(&pool, A).await.unwrap();
    let first = wait(&pool);
    let second = wait(&pool);
    lease.release(Disposition::Reuse);
    drop(first);
    let lease = second.await.unwrap();
    assert_eq!((lease.id, server.dials.load(Ordering::SeqCst)), (0, 1), "clean as it is, it is not closed");
}

#[tokio::test]
async fn a_dial_outlives_the_client_that_caused_it() {
    let (pool, server) = pool(1);
    server.dial_micros.store(5_000, Ordering::SeqCst);
    drop(wait(&pool));
    settled(|| pool.snapshot().counts.idle == 1).await;
    assert!(matches!(pool.try_checkout(A), Checkout::Ready(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_come_and_go_leak_nothing() {
    let (pool, server) = pool(4);
    let clients = (0..40u64).map(|client| {
        let pool = pool.clone();
        tokio::spawn(async move {
            for round in 0..100 {
                let hurry = Duration::from_micros((client * 37 + round * 101) % 400);
                let Ok(Ok(lease)) = tokio::time::timeout(hurry, checkout(&pool, SetId(client as u32 % 2))).await else {
                    continue;
                };
                tokio::task::yield_now().await;
                match (client + round) % 9 {
                    0 => lease.release(Disposition::Close),
                    1 => drop(lease),
                    _ => lease.release(Disposition::Reuse),
                }
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    settled(|| pool.snapshot().counts.connecting == 0).await;
    let counts = pool.snapshot().counts;
    assert_eq!((counts.active, counts.waiting), (0, 0));
    assert_eq!(counts.idle as u32, server.open.load(Ordering::SeqCst));
    assert!(server.most_open.load(Ordering::SeqCst) <= 4);
}

#[tokio::test]
async fn a_wait_that_is_too_long_ends_with_an_error_that_helps() {
    let (pool, _) = pool(2);
    let _leases = (checkout(&pool, A).await.unwrap(), checkout(&pool, A).await.unwrap());
    let (first, _second) = (wait(&pool), wait(&pool));
    pool.tend(Instant::now() + 5 * S);
    let error = first.await.unwrap_err();
    assert_eq!(error.kind(), Kind::CheckoutTimeout);
    assert_eq!(error.message(), "no server connection became free within 5s: all 2 of pool app@db are busy (waiting: 2)");
    assert_eq!(error.hint().unwrap(), "raise [pool] size or checkout_timeout, or look for long transactions in /stats");
}

#[tokio::test]
async fn a_wait_beside_failing_dials_says_what_failed() {
    let (pool, server) = pool(2);
    let _lease = checkout(&pool, A).await.unwrap();
    server.down.store(true, Ordering::SeqCst);
    let ticket = wait(&pool);
    settled(|| pool.snapshot().dial_failure.is_some()).await;
    pool.tend(Instant::now() + 5 * S);
    let error = ticket.await.unwrap_err();
    assert_eq!(
        error.message(),
        "no server connection became free within 5s: pool app@db has 1 of 2 busy and cannot get more (waiting: 1): connection refused"
    );
}

#[tokio::test]
async fn with_nothing_live_the_dials_error_is_the_clients() {
    let (pool, server) = pool(3);
    server.down.store(true, Ordering::SeqCst);
    let tickets: Vec<_> = (0..9).map(|_| wait(&pool)).collect();
    for ticket in tickets {
        let error = ticket.await.unwrap_err();
        assert_eq!((error.kind(), error.message(), error.hint()), (Kind::Connect, "connection refused", Some("start it")));
    }
    assert_eq!(server.dials.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_dial_that_hangs_ends_with_the_connect_timeout() {
    let (pool, server) = pool(1);
    pool.reconfigure(Options { connect_timeout: 20 * MS, ..options(1) });
    server.stuck.store(true, Ordering::SeqCst);
    let error = wait(&pool).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (Kind::Connect, "Postgres did not accept a connection within 20ms"));
}

#[tokio::test]
async fn the_pool_is_whole_within_two_seconds_of_postgres_being_back() {
    let fake = Fake::default();
    let server = Arc::clone(&fake.0);
    let mut options = options(8);
    options.settings.min_idle = 4;
    let pool = ServerPool::new("app@db", fake, options);
    settled(|| pool.snapshot().counts.idle == 4).await;
    server.down.store(true, Ordering::SeqCst);
    server.kill_all();
    settled(|| pool.snapshot().counts.idle == 0).await;
    let clients = (0..16).map(|_| {
        let pool = pool.clone();
        tokio::spawn(async move {
            let mut refused = 0;
            loop {
                match checkout(&pool, A).await {
                    Ok(lease) => return (lease.release(Disposition::Reuse), refused).1,
                    Err(error) => assert_eq!(error.kind(), Kind::Connect),
                }
                refused += 1;
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    tokio::time::sleep(1500 * MS).await;
    let dials = server.dials.load(Ordering::SeqCst);
    assert!(dials < 4 + 40, "at most one knock per 100 ms and a burst: {dials}");
    server.down.store(false, Ordering::SeqCst);
    let back = Instant::now();
    for client in clients {
        assert!(client.await.unwrap() > 0, "told at once that Postgres is gone");
    }
    settled(|| pool.snapshot().counts.idle >= 4).await;
    assert!(back.elapsed() < 2 * S, "{:?}", back.elapsed());
}

#[tokio::test]
async fn the_janitor_keeps_connections_warm_and_probes_them() {
    let (pool, server) = pool(4);
    let mut options = options(4);
    options.settings.min_idle = 2;
    pool.reconfigure(options);
    let now = Instant::now();
    pool.tend(now);
    settled(|| pool.snapshot().counts.idle == 2).await;
    pool.tend(now + 31 * S);
    settled(|| server.probes.load(Ordering::SeqCst) == 1 && pool.snapshot().counts.idle == 2).await;
    server.mute.store(true, Ordering::SeqCst);
    pool.tend(now + 62 * S);
    settled(|| pool.snapshot().counts.idle == 1).await;
}

#[tokio::test]
async fn without_a_delay_each_checkout_asks_the_server_first() {
    let (pool, server) = pool(2);
    let mut options = options(2);
    options.settings.check_delay = Duration::ZERO;
    pool.reconfigure(options);
    let probes = || server.probes.load(Ordering::SeqCst);
    fill(&pool, 2).await;
    assert_eq!(probes(), 0, "what has just logged in answers");
    for asked in 1..=3 {
        checkout(&pool, A).await.unwrap().release(Disposition::Reuse);
        assert_eq!(probes(), asked);
    }
    // A client that leaves in between takes nothing along.
    drop(wait(&pool));
    settled(|| pool.snapshot().counts.idle == 2).await;
    let dials = server.dials.load(Ordering::SeqCst);
    server.mute.store(true, Ordering::SeqCst);
    let lease = checkout(&pool, A).await.unwrap();
    assert!(lease.id >= 2 && server.dials.load(Ordering::SeqCst) > dials, "those that do not answer are replaced");
}

#[tokio::test]
async fn another_size_takes_effect_while_in_use() {
    let (pool, server) = pool(1);
    let first = checkout(&pool, A).await.unwrap();
    let second = wait(&pool);
    pool.reconfigure(options(2));
    let second = second.await.unwrap();
    pool.reconfigure(options(1));
    first.release(Disposition::Reuse);
    assert_eq!(server.open.load(Ordering::SeqCst), 1);
    second.release(Disposition::Reuse);
    assert_eq!(pool.snapshot().counts.idle, 1);
}

#[tokio::test]
async fn a_pause_waits_for_leases_and_a_resume_serves_the_queue() {
    let (pool, server) = pool(2);
    let lease = checkout(&pool, A).await.unwrap();
    pool.pause();
    let waiting = wait(&pool);
    assert!(tokio::time::timeout(20 * MS, pool.quiet()).await.is_err());
    lease.release(Disposition::Reuse);
    pool.quiet().await;
    assert_eq!(server.open.load(Ordering::SeqCst), 0);
    pool.resume();
    let _ = waiting.await.unwrap();
}

#[tokio::test]
async fn reconnect_replaces_what_is_idle_and_what_comes_back() {
    let (pool, server) = pool(2);
    fill(&pool, 2).await;
    let lease = checkout(&pool, A).await.unwrap();
    pool.reconnect();
    assert_eq!(server.open.load(Ordering::SeqCst), 1);
    lease.release(Disposition::Reuse);
    assert_eq!(server.open.load(Ordering::SeqCst), 0);
    assert_eq!(checkout(&pool, A).await.unwrap().id, 2);
}

#[tokio::test]
async fn other_parameters_get_a_server_of_their_own() {
    let (pool, server) = pool(1);
    fill(&pool, 1).await;
    let lease = checkout(&pool, B).await.unwrap();
    assert_eq!((lease.set(), lease.id, server.open.load(Ordering::SeqCst)), (B, 1, 1));
}

#[tokio::test]
async fn draining_refuses_the_new_and_waits_for_the_old() {
    let (pool, _) = pool(1);
    let lease = checkout(&pool, A).await.unwrap();
    let waiting = wait(&pool);
    pool.close();
    assert_eq!(waiting.await.unwrap_err().kind(), Kind::Draining);
    assert_eq!(checkout(&pool, A).await.unwrap_err().kind(), Kind::Draining);
    let over = tokio::spawn({
        let pool = pool.clone();
        async move { pool.drained().await }
    });
    tokio::task::yield_now().await;
    assert!(!over.is_finished());
    lease.release(Disposition::Reuse);
    over.await.unwrap();
}

#[tokio::test]
async fn pins_are_counted_until_the_lease_ends() {
    let (pool, _) = pool(2);
    let (mut first, mut second) = (checkout(&pool, A).await.unwrap(), checkout(&pool, A).await.unwrap());
    assert!(first.set_pinned(true) && first.set_pinned(true) && second.set_pinned(true));
    assert_eq!(pool.pinned(), 2);
    first.release(Disposition::Reuse);
    drop(second);
    assert_eq!(pool.pinned(), 0);
}

#[tokio::test]
async fn a_pool_that_nobody_holds_ends_with_its_janitor() {
    let fake = Fake::default();
    let server = Arc::clone(&fake.0);
    let pool = ServerPool::new("app@db", fake, options(2));
    fill(&pool, 1).await;
    drop(pool);
    settled(|| server.open.load(Ordering::SeqCst) == 0).await;
}
