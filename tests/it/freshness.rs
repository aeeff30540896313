//! Results from memory: served when they may be, and never behind a write that was acknowledged before the read began.
//!
//! `PGDIAL_WRITES` (1,000) is the number of writes per protocol; the long run takes 100000.

use crate::support::encode::Out;
use crate::support::pgdial::{Config, Pgdial};
use crate::support::postgres::Postgres;
use crate::support::process::eventually;
use crate::support::wire::{Client, PATIENCE, rows};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const READ: &str = "select n from c where k = 1";
const READ_PARAMETER: &str = "select n from c where k = $1";

/// How a client asks.
#[derive(Clone, Copy)]
enum Protocol {
    Simple,
    Unnamed,
    Named,
    Binary,
}

impl Protocol {
    fn prepare(self, client: &mut Client) {
        if matches!(self, Self::Named | Self::Binary) {
            client.send(&Out::new().parse("r", READ_PARAMETER, &[23]).sync().0);
            client.until_ready(1);
        }
    }

    fn read(self, client: &mut Client) -> u64 {
        let key = [Some(1_i32.to_be_bytes().to_vec())];
        let out = match self {
            Self::Simple => Out::new().query(READ),
            Self::Unnamed => {
                let out = Out::new().parse("", READ_PARAMETER, &[23]).bind_text("", "", &["1"]);
                out.describe(b'P', "").execute("", 0).sync()
            }
            Self::Named => Out::new().bind_text("", "r", &["1"]).execute("", 0).sync(),
            Self::Binary => Out::new().bind("", "r", &[1], &key, &[1]).execute("", 0).sync(),
        };
        client.send(&out.0);
        let answer = client.until_ready(1);
        let row = answer.iter().find(|message| message.tag == b'D');
        let row = row.unwrap_or_else(|| panic!("no row: {:?}", rows(&answer, READ)));
        match self {
            Self::Binary => u64::from_be_bytes(row.body[row.body.len() - 8..].try_into().unwrap()),
            _ => row.columns()[0].as_deref().unwrap().parse().unwrap(),
        }
    }

    fn write(self, client: &mut Client) {
        let out = match self {
            Self::Simple => Out::new().query("update c set n = n + 1 where k = 1"),
            Self::Unnamed => {
                let text = "update c set n = n + 1 where k = $1";
                Out::new().parse("", text, &[]).bind_text("", "", &["1"]).execute("", 0).sync()
            }
            Self::Named => Out::new().query("begin; update c set n = n + 1 where k = 1; commit"),
            Self::Binary => {
                let text = "insert into c values ($1, 0) on conflict (k) do update set n = c.n + 1";
                Out::new().parse("", text, &[]).bind_text("", "", &["1"]).execute("", 0).sync()
            }
        };
        client.send(&out.0);
        rows(&client.until_ready(1), "write");
    }
}

fn start(what: &str, more: fn(Config) -> Config) -> (Pgdial, String) {
    let postgres = Postgres::shared();
    let database = postgres.database(what);
    let mut admin = postgres.client("app", &database);
    admin.rows("create table c (k int primary key, n bigint not null)");
    admin.rows("insert into c values (1, 0)");
    let config = Config::new(postgres, &database).pool(4).cached().text("log", "level", "info");
    // Roles that other tests create are changes of the catalog, and nothing from before one comes from memory.
    (Pgdial::start(&more(config.text("invalidation", "catalog_check", "60s"))), database)
}

fn writes() -> u64 {
    std::env::var("PGDIAL_WRITES").ok().map_or(1_000, |text| text.parse().expect("PGDIAL_WRITES is a number"))
}

/// Two readers hammer the key and must never see it go back; after each write the very next read of another
/// connection must see it.
fn next_read_sees_each_write(protocol: Protocol) {
    let (pgdial, database) = start("fresh", |config| config);
    let mut first = pgdial.client(&database);
    protocol.prepare(&mut first);
    warm(&pgdial, &mut first, protocol);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = pgdial.client(&database);
                protocol.prepare(&mut client);
                let mut last = 0;
                while !stop.load(Ordering::Relaxed) {
                    let seen = protocol.read(&mut client);
                    assert!(seen >= last, "a read went back from {last} to {seen}");
                    last = seen;
                }
            });
        }
        let outcome = std::panic::catch_unwind(|| {
            let mut writer = pgdial.client(&database);
            let mut reader = pgdial.client(&database);
            protocol.prepare(&mut reader);
            for count in 1..=writes() {
                protocol.write(&mut writer);
                let seen = protocol.read(&mut reader);
                assert_eq!(seen, count, "the write was acknowledged, and the next read does not see it");
            }
        });
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
    assert!(pgdial.stat("cache.hits") > 0, "nothing was answered from memory, so nothing was tested: {}", pgdial.stats());
}

#[test]
fn next_read_sees_each_write_simple() {
    next_read_sees_each_write(Protocol::Simple);
}

#[test]
fn next_read_sees_each_write_unnamed() {
    next_read_sees_each_write(Protocol::Unnamed);
}

#[test]
fn next_read_sees_each_write_named() {
    next_read_sees_each_write(Protocol::Named);
}

#[test]
fn next_read_sees_each_write_binary() {
    next_read_sees_each_write(Protocol::Binary);
}

/// Reads until the answer comes from memory; panics if it never does.
fn warm(pgdial: &Pgdial, client: &mut Client, protocol: Protocol) {
    let before = pgdial.stat("cache.hits");
    eventually("a repeated read is answered from memory", PATIENCE, || {
        protocol.read(client);
        pgdial.stat("cache.hits") > before
    });
}

#[test]
fn a_repeated_read_needs_no_server() {
    let (pgdial, database) = start("hit", |config| config.pool(1));
    let mut holder = pgdial.client(&database);
    let mut reader = pgdial.client(&database);
    warm(&pgdial, &mut reader, Protocol::Simple);
    // The only server is taken: what is answered now is answered from memory.
    holder.rows("begin");
    holder.rows("select pg_backend_pid()");
    let began = Instant::now();
    for _ in 0..100 {
        assert_eq!(Protocol::Simple.read(&mut reader), 0);
    }
    assert!(began.elapsed() < Duration::from_secs(2), "100 reads from memory took {:?}", began.elapsed());
    holder.rows("commit");
}

#[test]
fn protocols_share_what_one_of_them_has_read() {
    let (pgdial, database) = start("shared", |config| config);
    let mut clients = [Protocol::Unnamed, Protocol::Named].map(|protocol| {
        let mut client = pgdial.client(&database);
        protocol.prepare(&mut client);
        (protocol, client)
    });
    let (protocol, client) = &mut clients[0];
    warm(&pgdial, client, *protocol);
    let fills = pgdial.stat("cache.fills");
    let (protocol, client) = &mut clients[1];
    assert_eq!(protocol.read(client), 0);
    assert_eq!(pgdial.stat("cache.fills"), fills, "the same read by another kind of statement went to Postgres again");
}

#[test]
fn an_open_transaction_shows_nobody_its_writes() {
    let (pgdial, database) = start("open", |config| config);
    let mut reader = pgdial.client(&database);
    warm(&pgdial, &mut reader, Protocol::Simple);
    let mut writer = pgdial.client(&database);
    writer.rows("begin");
    writer.rows("update c set n = 5 where k = 1");
    assert_eq!(Protocol::Simple.read(&mut writer), 5, "its own write, in its own transaction");
    assert_eq!(Protocol::Simple.read(&mut reader), 0, "uncommitted");
    writer.rows("rollback");
    assert_eq!(Protocol::Simple.read(&mut reader), 0);
    assert_eq!(Protocol::Simple.read(&mut writer), 0, "what was rolled back is gone");
}

#[test]
fn purge_empties() {
    let (pgdial, database) = start("purge", |config| config);
    let mut reader = pgdial.client(&database);
    warm(&pgdial, &mut reader, Protocol::Simple);
    Postgres::shared().sql(&database, "update c set n = 9");
    for body in [r#"{"table":"public.c"}"#, r#"{"all":true}"#] {
        let (status, answer) = pgdial.http("POST", "/cache/purge", body).unwrap();
        assert_eq!(status, 200, "{answer}");
        assert_eq!(Protocol::Simple.read(&mut reader), 9);
    }
}

#[test]
fn a_notification_from_elsewhere_invalidates() {
    let (pgdial, database) = start("notify", |config| config);
    let mut reader = pgdial.client(&database);
    for (number, payload) in [(1, "public.c"), (2, "*"), (3, "public.c")] {
        warm(&pgdial, &mut reader, Protocol::Simple);
        let mut elsewhere = Postgres::shared().client("app", &database);
        elsewhere.rows(&format!("update c set n = {number}"));
        assert_eq!(Protocol::Simple.read(&mut reader), number - 1, "from memory: nobody has told pgdial yet");
        elsewhere.rows(&format!("notify pgdial, '{payload}'"));
        eventually("the notification has arrived", PATIENCE, || Protocol::Simple.read(&mut reader) == number);
    }
}

#[test]
fn losing_the_listener_flushes() {
    let (pgdial, database) = start("listener", |config| config);
    let postgres = Postgres::shared();
    let mut reader = pgdial.client(&database);
    for number in 1..=3 {
        warm(&pgdial, &mut reader, Protocol::Simple);
        postgres.sql(&database, &format!("update c set n = {number}"));
        let filter = format!("datname = '{database}' and application_name = 'pgdial feed'");
        let hit = postgres.sql("postgres", &format!("select pg_terminate_backend(pid) from pg_stat_activity where {filter}"));
        assert!(!hit.is_empty(), "a connection listens on the channel");
        eventually("nothing from before the loss is served", PATIENCE, || Protocol::Simple.read(&mut reader) == number);
    }
}

/// Servers that were dialled at the same time read with the same eyes: whichever of them brings an answer, it is kept.
#[test]
fn an_answer_is_kept_whichever_server_brings_it() {
    let (pgdial, database) = start("twins", |config| config.set("pool", "min_idle", "4").text("pool", "order", "round-robin"));
    let mut reader = pgdial.client(&database);
    eventually("all are dialled", PATIENCE, || pgdial.stat("pool.idle") == 4);
    warm(&pgdial, &mut reader, Protocol::Simple);
    let before = pgdial.stat("cache.fills");
    for n in 0..12 {
        reader.rows(&format!("select n + {n} from c where k = 1"));
    }
    assert_eq!(pgdial.stat("cache.fills"), before + 12, "{}", pgdial.stats()["cache"]);
}
