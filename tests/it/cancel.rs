//! CancelRequest: it reaches the query of the client whose key it carries, and nobody else's.

use crate::support::door::{Door, Treat};
use crate::support::encode::Out;
use crate::support::pgdial::{Config, Pgdial};
use crate::support::postgres::Postgres;
use crate::support::process::eventually;
use crate::support::wire::{Client, PATIENCE, Received, cancel, sqlstate, tags};
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
    other.send(&Out::new().query("select pg_sleep(3), 'untouched'").0);
    for text in ["select pg_sleep(30)", "select pg_sleep(3), 'untouched'"] {
        Postgres::shared().wait_running(&database, text);
    }
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
    Postgres::shared().wait_running(&database, "select pg_sleep(0.7), 'untouched'");
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
    eventually("it waits", PATIENCE, || pgdial.stat("pool.waiting") == 1);
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
    Postgres::shared().wait_running(&database, "select pg_sleep(0.5)");
    cancel(pgdial.addr(), &key);
    assert_eq!(sqlstate(&busy.until_ready(1)), None);
    assert!(matches!(busy.next(Duration::from_millis(100)), Received::Nothing), "a stray message");
}

/// pgdial with one server, behind a door.
fn behind(treat: Treat) -> (Door, Pgdial, String) {
    let postgres = Postgres::shared();
    let database = postgres.database("cancel");
    let door = Door::open(postgres.addr(), treat);
    let url = format!("postgres://app@127.0.0.1:{}/{database}", door.port());
    let config = Config::new(postgres, &database).pool(1).text("upstream", "url", &url).text("pool", "checkout_timeout", "30s");
    (door, Pgdial::start(&config), database)
}

fn cancel_from_afar(pgdial: &Pgdial, client: &Client) -> std::thread::JoinHandle<()> {
    let (addr, key) = (pgdial.addr(), client.key());
    std::thread::spawn(move || cancel(addr, &key))
}

/// The request reaches Postgres when the query it was for has long ended. Nobody else may have the server until then.
#[test]
fn that_is_held_up_hits_no_innocent() {
    let (door, pgdial, database) = behind(Treat::Delay(Duration::from_millis(2000)));
    for _ in 0..3 {
        let mut guilty = pgdial.client(&database);
        let mut innocent = pgdial.client(&database);
        guilty.send(&Out::new().query("select pg_sleep(0.5)").0);
        Postgres::shared().wait_running(&database, "select pg_sleep(0.5)");
        let request = cancel_from_afar(&pgdial, &guilty);
        std::thread::sleep(Duration::from_millis(50));
        innocent.send(&Out::new().query("select pg_sleep(1), 'untouched'").0);
        assert_eq!(sqlstate(&guilty.until_ready(1)), None, "it ended before the request arrived");
        assert_eq!(sqlstate(&innocent.until_ready(1)), None, "an innocent was hit");
        request.join().unwrap();
    }
    assert_eq!(door.cancels(), (3, 1));
}

/// Who waits for the end of its request, as libpq does, may send the next statement: in a block it has the same server.
#[test]
fn that_is_over_hits_nothing_more() {
    let (door, pgdial, database) = behind(Treat::Delay(Duration::from_millis(1000)));
    let mut client = pgdial.client(&database);
    client.rows("begin");
    for joined in [0, 2] {
        client.send(&Out::new().query("select pg_sleep(0.3)").0);
        Postgres::shared().wait_running(&database, "select pg_sleep(0.3)");
        let others: Vec<_> = (0..joined).map(|_| cancel_from_afar(&pgdial, &client)).collect();
        cancel(pgdial.addr(), &client.key());
        others.into_iter().for_each(|request| request.join().unwrap());
        assert_eq!(sqlstate(&client.until_ready(1)), None, "it ended before the request arrived");
        assert_eq!(client.value("select pg_sleep(1.5)::text || 'untouched'"), "untouched");
    }
    assert!(matches!(door.cancels(), (2 | 3, 1)));
}

#[test]
fn that_never_arrives_costs_the_server() {
    let (door, pgdial, database) = behind(Treat::Swallow);
    let mut guilty = pgdial.client(&database);
    let mut innocent = pgdial.client(&database);
    let pid = guilty.value("select pg_backend_pid()::text");
    guilty.send(&Out::new().query("select pg_sleep(0.5)").0);
    Postgres::shared().wait_running(&database, "select pg_sleep(0.5)");
    let request = cancel_from_afar(&pgdial, &guilty);
    assert_eq!(sqlstate(&guilty.until_ready(1)), None);
    assert_ne!(innocent.value("select pg_backend_pid()::text"), pid, "the request may still come");
    request.join().unwrap();
    assert_eq!(door.cancels().0, 1);
}

#[test]
fn a_storm_is_one_request_at_a_time() {
    let (door, pgdial, database) = behind(Treat::Delay(Duration::from_millis(300)));
    let mut victim = pgdial.client(&database);
    let mut waiting = pgdial.client(&database);
    victim.send(&Out::new().query("select pg_sleep(30)").0);
    Postgres::shared().wait_running(&database, "select pg_sleep(30)");
    waiting.send(&Out::new().query("select 'served'").0);
    let storm: Vec<_> = (0..100).map(|_| cancel_from_afar(&pgdial, &victim)).collect();
    assert_eq!(sqlstate(&victim.until_ready(1)).as_deref(), Some("57014"));
    assert_eq!(sqlstate(&waiting.until_ready(1)), None);
    storm.into_iter().for_each(|request| request.join().unwrap());
    let (all, most) = door.cancels();
    assert!(all <= 3 && most == 1, "{all} requests, {most} at once");
    assert_eq!(victim.value("select 'alive'"), "alive");
}

#[test]
fn of_one_wait_does_not_end_a_later_one() {
    let (pgdial, database) = start(1);
    let mut holder = pgdial.client(&database);
    let mut waiting = pgdial.client(&database);
    for round in 0..30 {
        holder.send(&Out::new().query("select pg_sleep(0.02)").0);
        waiting.send(&Out::new().query(&format!("select 'first {round}'")).0);
        std::thread::sleep(Duration::from_millis(round % 30));
        cancel(pgdial.addr(), &waiting.key());
        let state = sqlstate(&waiting.until_ready(1));
        assert!(state.is_none() || state.as_deref() == Some("57014"), "{state:?}");
        holder.until_ready(1);
        holder.send(&Out::new().query("select pg_sleep(0.02)").0);
        assert_eq!(waiting.value("select 'second'"), "second");
        holder.until_ready(1);
    }
}

#[test]
fn goes_over_tls_where_the_session_does() {
    let postgres = Postgres::start();
    let folder = crate::support::process::TempDir::new("tls");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_string()]).unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    postgres.enable_tls(&cert, &key);
    let database = postgres.database("cancel");
    let door = Door::open(postgres.addr(), Treat::Swallow);
    let url = format!("postgres://app@127.0.0.1:{}/{database}", door.port());
    let config = Config::new(&postgres, &database).pool(1).text("upstream", "url", &url).text("upstream", "tls", "require");
    let pgdial = Pgdial::start(&config);
    let mut client = pgdial.client(&database);
    assert_eq!(client.value("select ssl::text from pg_stat_ssl where pid = pg_backend_pid()"), "true");
    client.send(&Out::new().query("select pg_sleep(30)").0);
    postgres.wait_running(&database, "select pg_sleep(30)");
    let before = door.encrypted();
    cancel(pgdial.addr(), &client.key());
    assert_eq!(sqlstate(&client.until_ready(1)).as_deref(), Some("57014"));
    assert_eq!((door.cancels().0, door.encrypted() - before), (0, 1));
}
