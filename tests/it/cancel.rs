//! CancelRequest: it reaches the query of the client whose key it carries, and nobody else's.

use crate::support::encode::Out;
use crate::support::pgdial::{Config, Pgdial};
use crate::support::postgres::Postgres;
use crate::support::wire::{Received, cancel, sqlstate, tags};
use std::time::{Duration, Instant};

fn start(pool: usize) -> (Pgdial, String) {
    let postgres = Postgres::shared();
    let database = postgres.database("cancel");
    (Pgdial::start(&Config::new(postgres, &database).pool(pool)), database)
}

#[test]
fn reaches_its_own_query_and_no_other() {
    let (pgdial, database) = start(4);
    let mut victim = pgdial.client(&database);
    let mut other = pgdial.client(&database);
    let began = Instant::now();
    victim.send(&Out::new().query("select pg_sleep(30)").0);
    other.send(&Out::new().query("select pg_sleep(1), 'untouched'").0);
    std::thread::sleep(Duration::from_millis(200));
    cancel(pgdial.addr(), &victim.key());
    let answer = victim.until_ready(1);
    assert_eq!(sqlstate(&answer).as_deref(), Some("57014"), "{}", tags(&answer));
    assert!(began.elapsed() < Duration::from_secs(5), "the cancel took {:?}", began.elapsed());
    let answer = other.until_ready(1);
    assert!(answer.iter().any(|message| message.tag == b'D'), "the other query was hit: {:?}", sqlstate(&answer));
    assert_eq!(victim.value("select 'alive'"), "alive");
}

#[test]
fn of_an_idle_client_hits_nobody() {
    let (pgdial, database) = start(1);
    let mut idle = pgdial.client(&database);
    idle.rows("select 1");
    // The only server was the idle client's a moment ago, and is busy for somebody else now.
    let mut busy = pgdial.client(&database);
    busy.send(&Out::new().query("select pg_sleep(0.7), 'untouched'").0);
    std::thread::sleep(Duration::from_millis(150));
    for _ in 0..5 {
        cancel(pgdial.addr(), &idle.key());
    }
    assert_eq!(sqlstate(&busy.until_ready(1)), None, "the cancel of an idle client hit the server's new user");
    // Nothing may be left for the idle client either: no stray answer shifts its next one.
    assert_eq!(idle.value("select 'next'"), "next");
}

#[test]
fn that_comes_late_hits_nobody() {
    let (pgdial, database) = start(1);
    let mut first = pgdial.client(&database);
    let mut second = pgdial.client(&database);
    for _ in 0..50 {
        first.send(&Out::new().query("select 'first'").0);
        cancel(pgdial.addr(), &first.key());
        // Either the query was quick enough, or it was cancelled; the next user of the server never is.
        let state = sqlstate(&first.until_ready(1));
        assert!(state.is_none() || state.as_deref() == Some("57014"), "{state:?}");
        assert_eq!(second.value("select pg_sleep(0.002)::text || 'second'"), "second");
    }
}

#[test]
fn with_a_wrong_key_does_nothing() {
    let (pgdial, database) = start(2);
    let mut client = pgdial.client(&database);
    client.send(&Out::new().query("select pg_sleep(0.5), 'untouched'").0);
    let (pid, mut secret) = client.key();
    secret[0] ^= 0xff;
    cancel(pgdial.addr(), &(pid, secret.clone()));
    cancel(pgdial.addr(), &(pid.wrapping_add(1), client.key().1));
    assert_eq!(sqlstate(&client.until_ready(1)), None);
}

#[test]
fn reaches_a_client_that_waits_for_a_server() {
    let (pgdial, database) = start(1);
    let mut holder = pgdial.client(&database);
    holder.rows("begin");
    holder.rows("select 1");
    let mut waiting = pgdial.client(&database);
    waiting.send(&Out::new().query("select 'never'").0);
    std::thread::sleep(Duration::from_millis(200));
    cancel(pgdial.addr(), &waiting.key());
    let answer = waiting.until_ready(1);
    assert_eq!(sqlstate(&answer).as_deref(), Some("57014"), "{}", tags(&answer));
    holder.rows("commit");
    assert_eq!(waiting.value("select 'served'"), "served");
}

#[test]
fn of_a_client_that_is_gone_hits_nobody() {
    let (pgdial, database) = start(1);
    let mut gone = pgdial.client(&database);
    gone.rows("select 1");
    let key = gone.key();
    drop(gone);
    let mut busy = pgdial.client(&database);
    busy.send(&Out::new().query("select pg_sleep(0.5)").0);
    std::thread::sleep(Duration::from_millis(100));
    cancel(pgdial.addr(), &key);
    assert_eq!(sqlstate(&busy.until_ready(1)), None);
    assert!(matches!(busy.next(Duration::from_millis(100)), Received::Nothing), "a stray message");
}
