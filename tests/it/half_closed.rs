//! Clients that say that nothing more will come, and go on reading: straight and through pgdial they are told the same.

use crate::support::encode::Out;
use crate::support::pgdial::{Config, Pgdial};
use crate::support::postgres::Postgres;
use crate::support::wire::{Client, PATIENCE, Received, tags};
use std::net::SocketAddr;
use std::time::Duration;

/// What the client is told before its connection ends.
fn told(addr: SocketAddr, database: &str, bytes: &[u8], wait: impl FnOnce()) -> String {
    let mut client = Client::login(addr, &[("user", "app"), ("database", database)]);
    client.send(bytes);
    client.half_close();
    wait();
    to_the_end(&mut client)
}

fn to_the_end(client: &mut Client) -> String {
    let mut messages = Vec::new();
    loop {
        match client.next(PATIENCE) {
            Received::Message(message) => messages.push(message),
            Received::Closed => return tags(&messages),
            Received::Nothing => panic!("neither an answer nor an end"),
        }
    }
}

fn cases() -> Vec<(&'static str, Vec<u8>)> {
    let insert = || Out::new().parse("", "insert into t values (1)", &[]).bind_text("", "", &[]).execute("", 0);
    vec![
        ("nothing", Vec::new()),
        ("a query", Out::new().query("insert into t values (1) returning a").0),
        ("a long one", Out::new().query("select pg_sleep(0.1)").0),
        ("several", Out::new().query("insert into t values (1)").query("select pg_sleep(0.1)").query("select 2").0),
        ("a batch", insert().sync().0),
        ("several batches", insert().sync().parse("s", "select 1", &[]).sync().bind_text("", "s", &[]).execute("", 0).sync().0),
        ("an open transaction", Out::new().query("begin").query("insert into t values (1)").0),
        ("a failed one", Out::new().query("begin").query("select 1/0").0),
        ("a batch without its end", insert().0),
        ("half a message", [Out::new().query("select 1").0, b"Q\0\0\0\x20sele".to_vec()].concat()),
        ("half a long message", [Out::new().query("select 1").0, b"Q\0\x10\0\0".to_vec(), vec![b' '; 100_000]].concat()),
        ("a copy without data", Out::new().query("copy t from stdin").0),
        ("a copy", Out::new().query("copy t from stdin").copy_data(b"1\n").copy_done().0),
        ("half a long batch", {
            let half = b"B\0\x10\0\0\0\0\0\0\0\x01\0\x0f\0\0".to_vec();
            [Out::new().query("select pg_sleep(0.1)").0, half, vec![b' '; 100_000]].concat()
        }),
        ("a flush", insert().flush().0),
        ("a description", Out::new().parse("s", "select 1", &[]).describe(b'S', "s").flush().0),
        ("a batch behind a query", Out::new().query("select pg_sleep(0.1)").parse("", "select 1", &[]).0),
        ("a goodbye behind", Out::new().query("insert into t values (1)").terminate().0),
        ("a row every now and then", Out::new().query("select repeat('x', 9000), pg_sleep(0.4) from generate_series(1, 4)").0),
        ("rows that take their time", Out::new().query("select repeat('x', 1000) from generate_series(1, 20000)").0),
    ]
}

#[test]
fn what_was_sent_is_run_and_answered() {
    let postgres = Postgres::shared();
    let databases = [postgres.database("half_closed"), postgres.database("half_closed")];
    for database in &databases {
        postgres.sql(database, "create table t (a int); grant all on t to app");
    }
    let pgdial = Pgdial::start(&Config::new(postgres, &databases[1]).pool(1));
    for (what, bytes) in cases() {
        let straight = told(postgres.addr(), &databases[0], &bytes, || {});
        // That a COPY has ended too early Postgres tells a client that knows it.
        let straight = straight.trim_end_matches('E');
        assert_eq!(told(pgdial.addr(), &databases[1], &bytes, || {}), straight, "{what}");
        // The same while somebody else has the only server.
        let mut other = pgdial.client(&databases[1]);
        other.rows("begin");
        other.rows("select 1");
        let waited = told(pgdial.addr(), &databases[1], &bytes, || {
            std::thread::sleep(Duration::from_millis(100));
            other.rows("commit");
        });
        assert_eq!(waited, straight, "{what}, waiting");
        let count =
            |database: &str| postgres.sql(database, "select count(*) from t")[0][0].clone().unwrap().parse::<i32>().unwrap();
        assert_eq!(count(&databases[1]), 2 * count(&databases[0]), "{what}");
    }
}

#[test]
fn one_that_is_gone_keeps_no_server() {
    let postgres = Postgres::shared();
    let database = postgres.database("gone");
    let pgdial = Pgdial::start(&Config::new(postgres, &database).pool(1).text("pool", "checkout_timeout", "15s"));
    let mut gone = pgdial.client(&database);
    gone.send(&Out::new().query("select pg_sleep(30)").0);
    gone.vanish();
    assert_eq!(pgdial.client(&database).value("select 'served'"), "served");
}

#[test]
fn a_goodbye_in_the_middle_is_taken_as_postgres_takes_it() {
    let postgres = Postgres::shared();
    let database = postgres.database("goodbye");
    postgres.sql(&database, "create table t (a int); grant all on t to app");
    let pgdial = Pgdial::start(&Config::new(postgres, &database).pool(1));
    let copy = || Out::new().query("copy t from stdin").copy_data(b"1\n");
    let cases = [
        // As libpq does it that is told to leave in the middle.
        ("of a copy", copy().terminate().0),
        ("of a copy by batch", {
            let batch = Out::new().parse("", "copy t from stdin", &[]).bind_text("", "", &[]).execute("", 0).sync();
            batch.copy_data(b"1\n").terminate().0
        }),
        ("behind a copy", copy().copy_done().terminate().0),
        ("behind a batch without its end", Out::new().query("select pg_sleep(0.1)").parse("", "select 1", &[]).terminate().0),
        ("behind a flush", Out::new().parse("", "select 1", &[]).flush().terminate().0),
    ];
    for (what, bytes) in cases {
        let told = [postgres.addr(), pgdial.addr()].map(|addr| {
            let mut client = Client::login(addr, &[("user", "app"), ("database", &database)]);
            client.send(&bytes);
            to_the_end(&mut client)
        });
        assert_eq!(told[1], told[0], "{what}");
    }
}
