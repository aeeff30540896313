//! Limits and signals: max_clients, checkout_timeout, fair waiting, SIGTERM and SIGHUP.

use crate::support::encode::Out;
use crate::support::pgdial::{Config, Pgdial};
use crate::support::postgres::Postgres;
use crate::support::process::{eventually, signal};
use crate::support::wire::{Client, PATIENCE, Received, deaf, error, tags};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn config(what: &str) -> (Config, String) {
    let postgres = Postgres::shared();
    let database = postgres.database(what);
    (Config::new(postgres, &database), database)
}

/// The ErrorResponse that a login is refused with.
fn refusal(pgdial: &Pgdial, database: &str) -> Option<(String, String)> {
    let mut client = Client::connect(pgdial.addr(), &[("user", "app"), ("database", database)]).ok()?;
    loop {
        match client.next(PATIENCE) {
            Received::Message(message) if message.tag == b'E' => {
                return Some((message.field(b'C').unwrap(), message.field(b'M').unwrap()));
            }
            Received::Message(message) if message.tag != b'Z' => {}
            _ => return None,
        }
    }
}

#[test]
fn one_client_too_many() {
    let (config, database) = config("clients");
    let pgdial = Pgdial::start(&config.pool(2).set("listen", "max_clients", "2"));
    let mut first = pgdial.client(&database);
    let second = pgdial.client(&database);
    let (state, text) = refusal(&pgdial, &database).expect("the third is refused with an error, not a closed socket");
    assert_eq!(state, "53300", "{text}");
    assert!(text.contains("clients") || text.contains("connections"), "the error names the limit: {text}");
    drop(second);
    eventually("a place is free again", PATIENCE, || refusal(&pgdial, &database).is_none());
    assert_eq!(first.value("select 1"), "1");
}

/// As a client may that knows that nobody will ask for its password.
#[test]
fn a_query_in_the_same_write_as_the_login() {
    let (config, database) = config("eager");
    let pgdial = Pgdial::start(&config.pool(2));
    let mut bytes = Out::startup(&[("user", "app"), ("database", &database)]).0;
    bytes.extend(Out::new().query("select 'at once'").0);
    let mut stream = TcpStream::connect(pgdial.addr()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&bytes).unwrap();
    stream.write_all(&Out::new().terminate().0).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.windows(7).any(|window| window == b"at once"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn connections_that_never_log_in_keep_nobody_out() {
    let (config, database) = config("half_open");
    let pgdial = Pgdial::start(&config.pool(2).set("listen", "max_clients", "2"));
    let half_open: Vec<TcpStream> = (0..6).map(|_| TcpStream::connect(pgdial.addr()).unwrap()).collect();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(refusal(&pgdial, &database), None);
    drop(half_open);
}

#[test]
fn a_reader_that_stops_loses_its_server_at_query_timeout() {
    let (config, database) = config("stuck");
    let pgdial = Pgdial::start(&config.pool(1).text("pool", "query_timeout", "2s"));
    let flood = Out::new().query("select repeat('x', 5000000) from generate_series(1, 40)").0;
    let _stuck = deaf(pgdial.addr(), &[("user", "app"), ("database", &database)], &flood);
    eventually("it is sent much", PATIENCE, || pgdial.stat("traffic.client_bytes_out") > 100_000);
    let began = Instant::now();
    assert_eq!(pgdial.client(&database).value("select 1"), "1");
    assert!(began.elapsed() < Duration::from_secs(8), "the server was kept for {:?}", began.elapsed());
    assert!(pgdial.stat("traffic.server_bytes_out") > 50);
}

#[test]
fn no_server_in_time() {
    let (config, database) = config("checkout");
    let pgdial = Pgdial::start(&config.pool(1).text("pool", "checkout_timeout", "300ms"));
    let mut holder = pgdial.client(&database);
    holder.rows("begin");
    holder.rows("select 1");
    let mut waiting = pgdial.client(&database);
    let began = Instant::now();
    let answer = waiting.query("select 'late'");
    let message = error(&answer).unwrap_or_else(|| panic!("no error: {}", tags(&answer)));
    assert_eq!(message.field(b'C').as_deref(), Some("53300"));
    let text = format!("{:?} {:?}", message.field(b'M'), message.field(b'H'));
    assert!(text.contains("pool"), "the error says what to raise: {text}");
    let waited = began.elapsed();
    assert!(waited > Duration::from_millis(250) && waited < Duration::from_secs(3), "waited {waited:?}");
    // The statement is not run later, and its answer never comes.
    holder.rows("commit");
    let mut next = pgdial.client(&database);
    assert_eq!(next.value("select 'next'"), "next");
    if answer.last().is_some_and(|message| message.tag == b'Z') {
        assert_eq!(waiting.value("select 'again'"), "again");
    }
}

#[test]
fn a_few_more_clients_than_servers_all_get_their_turn() {
    let (config, database) = config("fair");
    let pgdial = Pgdial::start(&config.pool(3));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for worker in 0..24 {
            let (pgdial, database) = (&pgdial, &database);
            scope.spawn(move || {
                let mut client = pgdial.client(database);
                for turn in 0..20 {
                    let expected = format!("{worker}/{turn}");
                    assert_eq!(client.value(&format!("select '{expected}' || pg_sleep(0.002)::text")), expected);
                }
            });
        }
    });
    assert!(began.elapsed() < Duration::from_secs(15), "24 clients on 3 servers took {:?}", began.elapsed());
}

#[test]
fn a_cold_pool_grows_with_the_queue() {
    let (config, database) = config("cold");
    let pgdial = Pgdial::start(&config.pool(10).set("pool", "min_idle", "0"));
    let running = format!(
        "select count(*) from pg_stat_activity where query = 'select pg_sleep(4)' and state = 'active' and datname = '{database}'"
    );
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| pgdial.client(&database).rows("select pg_sleep(4)"));
        }
        let mut watch = Postgres::shared().client("postgres", "postgres");
        // Before the first has ended: no ramp of one by one.
        eventually("ten run at once", PATIENCE, || watch.value(&running) == "10");
    });
}

#[test]
fn sigterm_lets_running_work_end() {
    let (config, database) = config("drain");
    let mut pgdial = Pgdial::start(&config.pool(4));
    let mut idle = pgdial.client(&database);
    idle.rows("select 1");
    let mut busy = pgdial.client(&database);
    let mut open = pgdial.client(&database);
    open.rows("create table t (a int)");
    open.rows("begin");
    open.rows("insert into t values (1)");
    busy.send(&Out::new().query("select pg_sleep(3), 'whole'").0);
    Postgres::shared().wait_running(&database, "select pg_sleep(3), 'whole'");
    signal(pgdial.pid(), "TERM");
    eventually("no new clients", PATIENCE, || {
        TcpStream::connect(pgdial.addr()).is_err() || refusal(&pgdial, &database).is_some()
    });
    assert!(idle.closed_within(PATIENCE), "an idle client is let go");
    open.rows("insert into t values (2)");
    open.rows("commit");
    let answer = busy.until_ready(1);
    assert!(answer.iter().any(|message| message.tag == b'D'), "the running query was cut: {}", tags(&answer));
    let status = pgdial.wait_exit(PATIENCE).expect("pgdial ends once the work is done");
    assert!(status.success(), "{status}");
    assert_eq!(Postgres::shared().sql(&database, "select count(*) from t")[0][0].as_deref(), Some("2"));
}

#[test]
fn a_drain_does_not_wait_for_a_client_that_reads_nothing() {
    let (config, database) = config("drain_stuck");
    let mut pgdial = Pgdial::start(&config.pool(2));
    let mut half = pgdial.client(&database);
    half.send(b"Q\0\0\0\x20select");
    let flood = Out::new().query("select repeat('x', 5000000) from generate_series(1, 40)").0;
    let _stuck = deaf(pgdial.addr(), &[("user", "app"), ("database", &database)], &flood);
    std::thread::sleep(Duration::from_millis(500));
    let began = Instant::now();
    signal(pgdial.pid(), "TERM");
    let status = pgdial.wait_exit(Duration::from_secs(20)).expect("pgdial ends");
    assert!(status.success(), "{status}");
    assert!(began.elapsed() < Duration::from_secs(12), "the drain took {:?}", began.elapsed());
    assert!(pgdial.log().contains("neither reads"), "{}", pgdial.log());
}

#[test]
fn sighup_takes_the_new_config_or_leaves_all_as_it_was() {
    let (config, database) = config("reload");
    let config = config.pool(2);
    let pgdial = Pgdial::start(&config.clone().set("listen", "max_clients", "1"));
    let mut first = pgdial.client(&database);
    assert!(refusal(&pgdial, &database).is_some());
    pgdial.reload(&config.clone().set("listen", "max_clients", "3"));
    eventually("the new limit holds", PATIENCE, || refusal(&pgdial, &database).is_none());
    std::fs::write(pgdial.config_file(), "[listen]\nmax_cliens = 1\n").unwrap();
    signal(pgdial.pid(), "HUP");
    eventually("the log says what is wrong", PATIENCE, || pgdial.log().contains("max_cliens"));
    assert_eq!(first.value("select 'still served'"), "still served");
    assert!(refusal(&pgdial, &database).is_none(), "the config from before still holds");
}
