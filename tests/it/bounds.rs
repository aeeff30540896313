//! Limits of databases and users, periods that end a wait or a session, and statement mode.

use crate::support::encode::Out;
use crate::support::pgdial::{Config, Pgdial};
use crate::support::postgres::Postgres;
use crate::support::process::eventually;
use crate::support::wire::{Client, PATIENCE, Received, error, sqlstate, tags};
use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn config(what: &str) -> (Config, String) {
    let postgres = Postgres::shared();
    let database = postgres.database(what);
    (Config::new(postgres, &database), database)
}

/// What a client is told that is let in or not.
fn login(pgdial: &Pgdial, user: &str, database: &str) -> Result<Client, (String, String)> {
    let mut client = Client::connect(pgdial.addr(), &[("user", user), ("database", database)]).unwrap();
    loop {
        match client.next(PATIENCE) {
            Received::Message(message) if message.tag == b'E' => {
                return Err((message.field(b'C').unwrap(), message.field(b'M').unwrap()));
            }
            Received::Message(message) if message.tag == b'Z' => return Ok(client),
            Received::Message(_) => {}
            Received::Closed | Received::Nothing => panic!("no word"),
        }
    }
}

/// The FATAL that ends an idle client.
fn farewell(client: &mut Client) -> (String, String) {
    let Received::Message(message) = client.next(PATIENCE) else { panic!("no word") };
    assert_eq!(message.tag, b'E');
    assert!(client.closed_within(PATIENCE));
    (message.field(b'C').unwrap(), message.field(b'M').unwrap())
}

/// Server processes that work for `count` clients at the same time.
fn servers_for(pgdial: &Pgdial, database: &str, count: usize) -> usize {
    let mut clients: Vec<_> = (0..count).map(|_| pgdial.client(database)).collect();
    clients.iter_mut().for_each(|client| client.send(&Out::new().query("select pg_backend_pid(), pg_sleep(0.2)").0));
    let answers = clients.iter_mut().map(|client| client.until_ready(1));
    let pids = answers.map(|answer| answer.iter().find(|message| message.tag == b'D').unwrap().columns()[0].clone());
    pids.collect::<std::collections::BTreeSet<_>>().len()
}

#[test]
fn a_user_has_a_limit_of_its_own() {
    let (config, database) = config("user_limit");
    let pgdial = Pgdial::start(&config.pool(2).tables("[[user]]\nname = \"app\"\nmax_clients = 2\n"));
    let (first, _second) = (login(&pgdial, "app", &database).unwrap(), login(&pgdial, "app", &database).unwrap());
    let (state, text) = login(&pgdial, "app", &database).err().expect("the third is refused");
    assert_eq!(state, "53300");
    assert!(text.starts_with("too many connections for role \"app\"") && text.contains(&database), "{text}");
    drop(first);
    eventually("a place is free again", PATIENCE, || login(&pgdial, "app", &database).is_ok());
    // The console is no database of the user's.
    assert!(login(&pgdial, "app", "pgdial").is_ok());
}

#[test]
fn pools_of_one_database_and_of_one_user_have_sizes_of_their_own() {
    let postgres = Postgres::shared();
    let (config, first) = config("sizes");
    let second = postgres.database("sizes");
    let database = format!("[[database]]\nurl = \"{}\"\npool_size = 1\n", postgres.url("app", &second));
    let pgdial = Pgdial::start(&config.clone().pool(3).tables(&database));
    assert_eq!((servers_for(&pgdial, &first, 5), servers_for(&pgdial, &second, 5)), (3, 1));
    let user = "[[user]]\nname = \"app\"\npool_size = 2\n";
    pgdial.reload(&config.pool(3).tables(&format!("{database}{user}")));
    eventually("the new size holds", PATIENCE, || servers_for(&pgdial, &first, 5) == 2);
    assert_eq!(servers_for(&pgdial, &second, 5), 2, "a user's own size goes before the database's");
}

#[test]
fn a_statement_over_query_timeout_is_cancelled_and_the_session_goes_on() {
    let (config, database) = config("query_timeout");
    let pgdial = Pgdial::start(&config.pool(1).text("pool", "query_timeout", "400ms"));
    let mut client = pgdial.client(&database);
    let began = Instant::now();
    assert_eq!(sqlstate(&client.query("select pg_sleep(30)")).as_deref(), Some("57014"));
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(400) && took < Duration::from_secs(3), "{took:?}");
    assert_eq!(client.value("select 'goes on'"), "goes on");
    client.rows("begin");
    assert_eq!(sqlstate(&client.query("select pg_sleep(30)")).as_deref(), Some("57014"));
    client.rows("rollback");
}

#[test]
fn an_idle_transaction_is_ended_and_rolled_back() {
    let (config, database) = config("idle_block");
    let pgdial = Pgdial::start(&config.pool(1).text("pool", "idle_in_transaction_timeout", "2s"));
    let mut client = pgdial.client(&database);
    client.rows("create table t (a int)");
    client.rows("begin");
    client.rows("insert into t values (1)");
    let (state, text) = farewell(&mut client);
    assert_eq!(state, "25P03");
    assert!(text.contains("idle-in-transaction"), "{text}");
    assert!(text.contains("app") && text.contains(&database) && text.contains("2s"), "to whom, and the limit: {text}");
    assert_eq!(pgdial.client(&database).value("select count(*) from t"), "0");
}

#[test]
fn an_idle_client_is_ended_and_a_busy_one_is_not() {
    let (config, database) = config("idle_client");
    let pgdial = Pgdial::start(&config.pool(1).text("listen", "client_idle_timeout", "2s"));
    let (mut idle, mut busy) = (pgdial.client(&database), pgdial.client(&database));
    assert_eq!(busy.value("select 'long' || pg_sleep(3)::text"), "long", "a client that waits for its answer is not idle");
    let (state, text) = farewell(&mut idle);
    assert_eq!(state, "57P05");
    assert!(text.contains("app") && text.contains(&database) && text.contains("2s"), "{text}");
}

#[test]
fn who_never_logs_in_is_dropped() {
    let (config, _) = config("login_timeout");
    let pgdial = Pgdial::start(&config.text("listen", "login_timeout", "400ms"));
    let began = Instant::now();
    let mut silent = TcpStream::connect(pgdial.addr()).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(silent.read(&mut [0; 10]).unwrap(), 0);
    assert!(began.elapsed() >= Duration::from_millis(350), "{:?}", began.elapsed());
}

#[test]
fn statement_mode_has_no_blocks() {
    let (config, database) = config("statement_mode");
    let pgdial = Pgdial::start(&config.pool(1).text("pool", "mode", "statement"));
    let mut client = pgdial.client(&database);
    for text in ["begin", "START TRANSACTION READ ONLY", "/* x */ begin;"] {
        let answer = client.query(text);
        assert_eq!((tags(&answer).as_str(), sqlstate(&answer).as_deref()), ("EZ", Some("0A000")), "{text}");
        assert!(error(&answer).unwrap().field(b'M').unwrap().contains("statement pooling mode"));
    }
    assert_eq!(client.value("select 'goes on'"), "goes on");
    // Answers of what came before come first, and the batch ends at its Sync.
    client.send(
        &Out::new().query("select 1").parse("", "begin", &[]).bind_text("", "", &[]).execute("", 0).sync().query("select 2").0,
    );
    let answer = client.until_ready(3);
    assert_eq!((tags(&answer).as_str(), sqlstate(&answer).as_deref()), ("TDCZEZTDCZ", Some("0A000")));
    client.send(&Out::new().parse("", "select 1", &[]).bind_text("", "", &[]).execute("", 0).parse("", "begin", &[]).sync().0);
    assert_eq!(tags(&client.until_ready(1)), "12DCEZ");
    // As in PgBouncer: a block that is closed again in the same text is nobody's business.
    assert_eq!(sqlstate(&client.query("begin; select 1; commit")), None);
    client.send(&Out::new().query("begin; select 1").0);
    let mut last = None;
    while let Received::Message(message) = client.next(PATIENCE) {
        last = Some(message);
    }
    let last = last.expect("the client is told");
    assert_eq!((last.tag, last.field(b'C').as_deref()), (b'E', Some("0A000")));
    assert_eq!(pgdial.client(&database).value("select 'a clean server'"), "a clean server");
}

#[test]
fn nothing_more_is_run_of_a_session_that_has_ended() {
    let (config, database) = config("ended");
    let pgdial = Pgdial::start(&config.pool(3).text("pool", "mode", "statement"));
    let others: Vec<_> = (0..3).map(|_| pgdial.client(&database)).collect();
    for mut other in others {
        other.send(&Out::new().query("select pg_sleep(0.2)").0);
    }
    pgdial.client(&database).rows("create table ended (a int)");
    let mut client = pgdial.client(&database);
    // What stands behind DEALLOCATE ALL waits for its outcome.
    client.send(&Out::new().query("deallocate all; begin").query("insert into ended values (1)").0);
    assert_eq!(tags(&client.until_ready(1)), "CCE");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(pgdial.client(&database).value("select count(*) from ended"), "0");
}

#[test]
fn an_error_of_ours_stands_behind_the_rows_of_before() {
    let (config, database) = config("behind_rows");
    let pgdial = Pgdial::start(&config.pool(1).text("pool", "mode", "statement"));
    for length in [10_000, 50_000, 300_000] {
        let mut client = pgdial.client(&database);
        client.send(&Out::new().query(&format!("select repeat('x', {length}); begin")).0);
        let answer = client.until_ready(1);
        assert_eq!((tags(&answer).as_str(), sqlstate(&answer).as_deref()), ("TDCCE", Some("0A000")), "{length}");
    }
}
