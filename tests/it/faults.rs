//! What breaks: a backend killed in mid-query, Postgres restarted under load, clients that vanish or stop reading.

use crate::support::encode::Out;
use crate::support::pgdial::{Config, Pgdial};
use crate::support::postgres::Postgres;
use crate::support::process::{eventually, rss_bytes, signal};
use crate::support::wire::{Client, PATIENCE, Received, error, sqlstate, tags};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How soon all must be well again once Postgres is.
const WHOLE: Duration = Duration::from_secs(2);

/// The pid of the backend that runs a query with this word in it.
fn backend(postgres: &Postgres, word: &str) -> u32 {
    let mut found = None;
    let text =
        format!("select pid from pg_stat_activity where query like '%{word}%' and state = 'active' and pid <> pg_backend_pid()");
    eventually("the query runs", PATIENCE, || {
        found = postgres.sql("postgres", &text).first().and_then(|row| row[0].clone());
        found.is_some()
    });
    found.unwrap().parse().unwrap()
}

fn served(pgdial: &Pgdial, database: &str) -> bool {
    let login = [("user", "app"), ("database", database)];
    let Some(mut client) = Client::try_login(pgdial.addr(), &login) else {
        return false;
    };
    client.query("select 1").iter().any(|message| message.tag == b'D')
}

/// Every server of the pool works: as many transactions at once as it is large.
fn whole(pgdial: &Pgdial, database: &str, size: usize) {
    let mut clients: Vec<Client> = (0..size).map(|_| pgdial.client(database)).collect();
    for client in &mut clients {
        client.rows("begin");
        client.rows("select 1");
    }
    clients.iter_mut().for_each(|client| drop(client.rows("commit")));
}

#[test]
fn a_backend_terminated_in_mid_query() {
    let postgres = Postgres::shared();
    let database = postgres.database("terminated");
    let pgdial = Pgdial::start(&Config::new(postgres, &database).pool(3));
    let mut victim = pgdial.client(&database);
    let mut other = pgdial.client(&database);
    victim.send(&Out::new().query("select pg_sleep(30), 'terminate me'").0);
    other.send(&Out::new().query("select pg_sleep(1)").0);
    signal(backend(postgres, "terminate me"), "TERM");
    let answer = victim.until_ready(1);
    assert_eq!(answer.iter().filter(|message| message.tag == b'E').count(), 1, "one error, no more: {}", tags(&answer));
    let state = sqlstate(&answer).unwrap();
    assert!(state.starts_with("57P") || state.starts_with("08"), "{state}");
    assert_eq!(sqlstate(&other.until_ready(1)), None, "another client's query was hit");
    whole(&pgdial, &database, 3);
}

#[test]
fn a_backend_killed_in_mid_query() {
    let postgres = Postgres::start();
    let database = postgres.database("killed");
    let pgdial = Pgdial::start(&Config::new(&postgres, &database).pool(4));
    let mut victim = pgdial.client(&database);
    let mut bystander = pgdial.client(&database);
    bystander.rows("select 1");
    victim.send(&Out::new().query("select pg_sleep(30), 'kill me'").0);
    signal(backend(&postgres, "kill me"), "KILL");
    let answer = victim.until_ready(1);
    let message = error(&answer).unwrap_or_else(|| panic!("no error, only {:?}", tags(&answer)));
    let state = message.field(b'C').unwrap();
    assert!(state.starts_with("57P") || state.starts_with("08"), "{state} {:?}", message.field(b'M'));
    assert!(message.field(b'M').unwrap().len() > 10, "the error says what happened");
    // Postgres takes all its backends down and recovers; from then on the clock runs.
    eventually("postgres is back", PATIENCE, || {
        Client::try_login(postgres.addr(), &[("user", "app"), ("database", &database)]).is_some()
    });
    eventually("pgdial serves again", WHOLE, || served(&pgdial, &database));
    whole(&pgdial, &database, 4);
}

#[test]
fn postgres_restarted_under_load() {
    let postgres = Postgres::start();
    let database = postgres.database("restarted");
    postgres.sql(
        &database,
        "create table t as select i as a, 'row ' || i as b from generate_series(1, 1000) i; grant all on t to app",
    );
    let pgdial = Pgdial::start(&Config::new(&postgres, &database).pool(4));
    let (stop, good) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let (stop, good, pgdial, database) = (&stop, &good, &pgdial, database.as_str());
            scope.spawn(move || load(worker, stop, good, pgdial, database));
        }
        std::thread::sleep(Duration::from_millis(700));
        postgres.restart();
        let back = Instant::now();
        while !served(&pgdial, &database) {
            assert!(back.elapsed() < WHOLE, "not served {WHOLE:?} after the restart");
        }
        let before = good.load(Ordering::Relaxed);
        eventually("the load goes on", WHOLE, || good.load(Ordering::Relaxed) > before + 50);
        stop.store(true, Ordering::Relaxed);
    });
    whole(&pgdial, &database, 4);
}

/// Reads rows whose value is known: errors are allowed while Postgres is away, wrong rows never.
fn load(worker: usize, stop: &AtomicBool, good: &AtomicU64, pgdial: &Pgdial, database: &str) {
    let mut number = worker;
    while !stop.load(Ordering::Relaxed) {
        let login = [("user", "app"), ("database", database)];
        let Some(mut client) = Client::try_login(pgdial.addr(), &login) else {
            continue;
        };
        client.send(&Out::new().parse("s", "select b from t where a = $1", &[23]).sync().0);
        if client.until_ready(1).last().is_none_or(|message| message.tag != b'Z') {
            continue;
        }
        while !stop.load(Ordering::Relaxed) {
            number = number % 1000 + 1;
            client.send(&Out::new().bind_text("", "s", &[&number.to_string()]).execute("", 0).sync().0);
            let answer = client.until_ready(1);
            for row in answer.iter().filter(|message| message.tag == b'D') {
                assert_eq!(row.columns(), [Some(format!("row {number}"))], "a wrong row");
            }
            if error(&answer).is_some() || answer.last().is_none_or(|message| message.tag != b'Z') {
                break;
            }
            good.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn a_client_that_vanishes_in_mid_result() {
    let postgres = Postgres::shared();
    let database = postgres.database("vanish");
    let pgdial = Pgdial::start(&Config::new(postgres, &database).pool(1));
    for _ in 0..5 {
        let mut stream = logged_in(&pgdial, &database);
        stream.write_all(&Out::new().query("select repeat('x', 10000) from generate_series(1, 20000)").0).unwrap();
        stream.read_exact(&mut [0; 50_000]).unwrap();
        drop(stream);
        let began = Instant::now();
        assert_eq!(pgdial.client(&database).value("select 'mine'"), "mine");
        assert!(began.elapsed() < WHOLE, "the only server was away for {:?}", began.elapsed());
    }
}

#[test]
fn a_client_that_vanishes_in_a_transaction() {
    let postgres = Postgres::shared();
    let database = postgres.database("vanish");
    let pgdial = Pgdial::start(&Config::new(postgres, &database).pool(1));
    pgdial.client(&database).rows("create table t (a int)");
    for _ in 0..5 {
        let mut client = pgdial.client(&database);
        client.rows("begin");
        client.rows("insert into t values (1)");
        client.vanish();
        assert_eq!(pgdial.client(&database).value("select count(*) from t"), "0");
    }
}

#[test]
fn half_a_message_keeps_no_server() {
    let postgres = Postgres::shared();
    let database = postgres.database("half");
    let pgdial = Pgdial::start(&Config::new(postgres, &database).pool(1));
    let next = Out::new().query("select 2").0;
    for at in 1..next.len() {
        let mut slow = pgdial.client(&database);
        slow.send(&[&Out::new().query("select 1").0, &next[..at]].concat());
        slow.until_ready(1);
        whole(&pgdial, &database, 1);
        slow.send(&next[at..]);
        assert_eq!(sqlstate(&slow.until_ready(1)), None);
    }
}

#[test]
fn a_reader_that_stops_reading() {
    let postgres = Postgres::shared();
    let database = postgres.database("slow");
    let pgdial = Pgdial::start(&Config::new(postgres, &database).pool(3).text("log", "level", "info"));
    whole(&pgdial, &database, 3);
    let before = rss_bytes(pgdial.pid());
    let mut streams = [logged_in(&pgdial, &database), logged_in(&pgdial, &database)];
    for stream in &mut streams {
        stream.write_all(&Out::new().query("select repeat('x', 5000000) from generate_series(1, 40)").0).unwrap();
    }
    let mut peak = 0;
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(100));
        peak = peak.max(rss_bytes(pgdial.pid()));
        assert_eq!(pgdial.client(&database).value("select 'others are served'"), "others are served");
    }
    // When they read on, they get all of it.
    for stream in &mut streams {
        let (mut total, mut buffer) = (0, vec![0; 1 << 20]);
        while total < 40 * 5_000_000 {
            total += stream.read(&mut buffer).unwrap();
            peak = peak.max(rss_bytes(pgdial.pid()));
        }
    }
    let grown = peak.saturating_sub(before);
    assert!(grown < 24 << 20, "memory grew by {} KiB with two readers that do not read", grown >> 10);
}

#[test]
fn a_writer_that_does_not_read() {
    // Both directions full: pgdial must read from the server while it waits to write, or all three wait for ever.
    let postgres = Postgres::shared();
    let database = postgres.database("duplex");
    let pgdial = Pgdial::start(&Config::new(postgres, &database).pool(1));
    let mut client = pgdial.client(&database);
    let mut out = Out::new();
    for _ in 0..2_000 {
        out = out.parse("", "select $1::text", &[]).bind_text("", "", &["y".repeat(5_000).as_str()]).execute("", 0).sync();
    }
    client.send(&out.0);
    let answer = client.until_ready(2_000);
    assert_eq!(answer.iter().filter(|message| message.tag == b'D').count(), 2_000);
}

#[test]
fn postgres_away_at_the_start_and_back_later() {
    let postgres = Postgres::start();
    let database = postgres.database("away");
    let config = Config::new(&postgres, &database).pool(2).text("pool", "checkout_timeout", "1s");
    postgres.stop();
    let mut pgdial = Pgdial::launch(&config);
    eventually("pgdial listens", PATIENCE, || TcpStream::connect(pgdial.addr()).is_ok());
    let mut client = Client::connect(pgdial.addr(), &[("user", "app"), ("database", &database)]).unwrap();
    let message = loop {
        match client.next(PATIENCE) {
            Received::Message(message) if message.tag == b'E' => break message,
            Received::Message(message) if message.tag == b'Z' => client.send(&Out::new().query("select 1").0),
            Received::Message(_) => {}
            Received::Closed | Received::Nothing => {
                panic!("no error that says that Postgres is away")
            }
        }
    };
    let state = message.field(b'C').unwrap();
    assert!(state.starts_with("08") || state.starts_with("57P") || state.starts_with("53"), "{state}");
    assert!(pgdial.wait_exit(Duration::ZERO).is_none(), "pgdial ended because Postgres is away");
    postgres.start_again();
    eventually("pgdial serves", WHOLE, || served(&pgdial, &database));
}

/// A bare socket, logged in and read up to ReadyForQuery, on which nothing is read but what the test reads.
fn logged_in(pgdial: &Pgdial, database: &str) -> TcpStream {
    let mut stream = TcpStream::connect(pgdial.addr()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&Out::startup(&[("user", "app"), ("database", database)]).0).unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"Z\0\0\0\x05I") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
    stream
}
