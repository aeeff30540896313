//! The console: the database `pgdial` over the same port, its tables, its orders, and who may use it.

use crate::support::encode::Out;
use crate::support::pgdial::{Config, Pgdial};
use crate::support::postgres::Postgres;
use crate::support::process::{eventually, signal};
use crate::support::wire::{Client, PATIENCE, Received, cancel, error, sqlstate};
use std::time::{Duration, Instant};

fn start(what: &str) -> (Pgdial, String) {
    let postgres = Postgres::shared();
    let database = postgres.database(what);
    (Pgdial::start(&Config::new(postgres, &database).pool(2)), database)
}

/// The one row that begins with `first`.
fn row(console: &mut Client, text: &str, first: &str) -> Vec<String> {
    let rows = console.rows(text);
    let found = rows.iter().find(|row| row[0].as_deref() == Some(first));
    let row = found.unwrap_or_else(|| panic!("{text}: no row {first}: {rows:?}"));
    row.iter().map(|field| field.clone().unwrap_or_default()).collect()
}

fn refused(client: &mut Client, text: &str) -> (String, String) {
    let answer = client.query(text);
    let error = error(&answer).unwrap_or_else(|| panic!("{text}: no error"));
    (error.field(b'C').unwrap(), error.field(b'M').unwrap())
}

#[test]
fn tables_tell_what_happens() {
    let (pgdial, database) = start("console");
    let mut client = Client::login(pgdial.addr(), &[("user", "app"), ("database", &database), ("application_name", "shop")]);
    client.rows("select 1");
    client.rows("begin");
    client.rows("select 1");
    let mut console = pgdial.client("pgdial");
    let pool = row(&mut console, "show pools", &database);
    assert_eq!((pool[1].as_str(), pool[2].as_str(), pool[6].as_str(), pool[15].as_str()), ("app", "1", "1", "transaction"));
    let stats = row(&mut console, "show stats", &database);
    assert_eq!((stats[2].as_str(), stats[3].as_str(), stats[12].as_str()), ("1", "3", "1"), "{stats:?}");
    let clients = console.rows("show clients");
    let own = clients.iter().find(|row| row[2].as_deref() == Some(database.as_str())).unwrap();
    let (state, link, application, id) = (own[4].clone(), own[15].clone(), own[18].clone(), own[20].clone().unwrap());
    assert_eq!((state.as_deref(), application.as_deref()), (Some("active"), Some("shop")));
    assert_eq!(id, client.key().0.to_string());
    let servers = console.rows("show servers");
    let busy = servers.iter().find(|row| row[4].as_deref() == Some("active")).unwrap();
    assert_eq!((&busy[14], busy[15].as_deref()), (&link, Some(format!("c{id}").as_str())));
    let pid = client.value("select pg_backend_pid()");
    assert_eq!(busy[16].as_deref(), Some(pid.as_str()));
    client.rows("create temp table t (a int)");
    client.rows("commit");
    let pins = console.rows("show pins");
    assert_eq!((pins.len(), pins[0][5].as_deref(), pins[0][7].as_deref()), (1, Some("temp_table"), Some(pid.as_str())));
    client.rows("discard all");
    eventually("the pin is gone", PATIENCE, || console.rows("show pins").is_empty());
    assert_eq!(row(&mut console, "show databases", &database)[15..], ["0", "0"]);
    assert_eq!(row(&mut console, "show config", "pool.size")[1..], ["2", "20", "yes"]);
    assert_eq!(row(&mut console, "show lists", "used_clients")[1], "2");
    assert_eq!(console.value("show version"), format!("pgdial {}", env!("CARGO_PKG_VERSION")));
    assert_eq!(row(&mut console, "show shapes", "2").last().map(String::as_str), Some("select ?"));
}

#[test]
fn pause_waits_for_transactions_and_queries_wait_for_resume() {
    let (pgdial, database) = start("pause");
    let (mut client, mut other) = (pgdial.client(&database), pgdial.client(&database));
    other.rows("select 1");
    client.rows("begin");
    client.rows("select 1");
    let (mut console, mut second) = (pgdial.client("pgdial"), pgdial.client("pgdial"));
    console.send(&Out::new().query(&format!("pause {database}")).0);
    assert!(matches!(console.next(Duration::from_millis(300)), Received::Nothing), "a transaction is open");
    assert_eq!(client.value("select 'goes on'"), "goes on");
    other.send(&Out::new().query("select 'later'").0);
    assert!(matches!(other.next(Duration::from_millis(300)), Received::Nothing), "nothing new begins");
    assert_eq!(refused(&mut second, "pause").0, "55000");
    client.rows("commit");
    assert_eq!(sqlstate(&console.until_ready(1)), None);
    let pool = row(&mut second, "show pools", &database);
    assert_eq!((pool[3].as_str(), pool[6].as_str(), pool[9].as_str()), ("1", "0", "0"), "no server is left");
    assert_eq!(row(&mut second, "show state", "paused")[1], "yes");
    assert!(matches!(other.next(Duration::from_millis(300)), Received::Nothing));
    second.rows("resume");
    assert_eq!(other.until_ready(1).iter().filter(|message| message.tag == b'D').count(), 1);
    assert_eq!(refused(&mut second, "resume").0, "55000");
}

#[test]
fn nobodys_wait_runs_out_in_a_pause() {
    let postgres = Postgres::shared();
    let database = postgres.database("paused_wait");
    let pgdial = Pgdial::start(&Config::new(postgres, &database).pool(2).text("pool", "checkout_timeout", "300ms"));
    let mut console = pgdial.client("pgdial");
    let mut client = pgdial.client(&database);
    console.rows("pause");
    client.send(&Out::new().query("select 'patient'").0);
    std::thread::sleep(Duration::from_millis(900));
    console.rows("resume");
    assert_eq!(sqlstate(&client.until_ready(1)), None);
}

#[test]
fn a_cancelled_pause_is_taken_back() {
    let (pgdial, database) = start("pause_cancel");
    let mut client = pgdial.client(&database);
    client.rows("begin");
    client.rows("select 1");
    let mut console = pgdial.client("pgdial");
    console.send(&Out::new().query("pause").0);
    let mut second = pgdial.client("pgdial");
    eventually("it is paused", PATIENCE, || row(&mut second, "show state", "paused")[1] == "yes");
    cancel(pgdial.addr(), &console.key());
    assert_eq!(sqlstate(&console.until_ready(1)).as_deref(), Some("57014"));
    assert_eq!(pgdial.client(&database).value("select 'not paused'"), "not paused");
    // The same when the operator goes away.
    let mut gone = pgdial.client("pgdial");
    gone.send(&Out::new().query("pause").0);
    eventually("it is paused again", PATIENCE, || row(&mut second, "show state", "paused")[1] == "yes");
    gone.vanish();
    eventually("the pause ended with its operator", PATIENCE, || row(&mut console, "show state", "paused")[1] == "no");
}

#[test]
fn reconnect_replaces_servers_as_they_come_back() {
    let (pgdial, database) = start("reconnect");
    let mut client = pgdial.client(&database);
    client.rows("begin");
    let pid = client.value("select pg_backend_pid()");
    let mut console = pgdial.client("pgdial");
    console.rows(&format!("reconnect {database}"));
    assert_eq!(client.value("select pg_backend_pid()"), pid, "a transaction keeps its server");
    let marked = console.rows("show servers").into_iter().filter(|row| row[13].as_deref() == Some("1")).count();
    assert_eq!(marked, 1);
    console.send(&Out::new().query("wait_close").0);
    assert!(matches!(console.next(Duration::from_millis(200)), Received::Nothing));
    client.rows("commit");
    assert_eq!(sqlstate(&console.until_ready(1)), None);
    assert_ne!(client.value("select pg_backend_pid()"), pid);
}

#[test]
fn kill_drops_clients_and_their_queries() {
    let (pgdial, database) = start("kill");
    let (mut busy, mut idle) = (pgdial.client(&database), pgdial.client(&database));
    idle.rows("select 1");
    busy.send(&Out::new().query("select pg_sleep(60)").0);
    Postgres::shared().wait_running(&database, "select pg_sleep(60)");
    let mut console = pgdial.client("pgdial");
    console.rows(&format!("kill {database}"));
    for client in [&mut busy, &mut idle] {
        let Received::Message(message) = client.next(PATIENCE) else { panic!("no word") };
        assert_eq!((message.tag, message.field(b'C').as_deref()), (b'E', Some("57P01")));
        assert!(client.closed_within(PATIENCE));
    }
    // Other tests sleep on the same server, in databases of their own.
    let running = "select count(*) from pg_stat_activity where state = 'active' and query = 'select pg_sleep(60)' and datname = current_database()";
    eventually("the query has ended too", PATIENCE, || Postgres::shared().sql(&database, running)[0][0].as_deref() == Some("0"));
    // New clients wait until RESUME.
    let mut late = pgdial.client(&database);
    late.send(&Out::new().query("select 'late'").0);
    assert!(matches!(late.next(Duration::from_millis(300)), Received::Nothing));
    console.rows(&format!("resume {database}"));
    assert_eq!(sqlstate(&late.until_ready(1)), None);
    console.rows(&format!("kill_client {}", late.key().0));
    assert!(late.closed_within(PATIENCE));
    assert_eq!(refused(&mut console, &format!("kill_client {}", late.key().0)).0, "42704");
}

/// An order that ends the session of the one who gave it is answered before.
#[test]
fn whoever_sends_himself_away_is_answered_first() {
    let (pgdial, _) = start("kill_self");
    for _ in 0..20 {
        let mut console = pgdial.client("pgdial");
        let own = console.key().0;
        console.rows(&format!("kill_client {own}"));
        let Received::Message(message) = console.next(PATIENCE) else { panic!("no word") };
        assert_eq!((message.tag, message.field(b'C').as_deref()), (b'E', Some("57P01")));
        assert!(console.closed_within(PATIENCE));
    }
}

#[test]
fn an_operator_that_reads_nothing_can_be_sent_away() {
    let (mut pgdial, _) = start("console_deaf");
    let (mut deaf, mut second) = (pgdial.client("pgdial"), pgdial.client("pgdial"));
    let much = "show config;".repeat(5_000);
    deaf.send(&Out::new().query(&much).0);
    second.send(&Out::new().query(&much).0);
    let mut console = pgdial.client("pgdial");
    assert_eq!(row(&mut console, "show lists", "used_clients")[1], "3");
    console.rows(&format!("kill_client {}", deaf.key().0));
    eventually("it is gone", PATIENCE, || row(&mut console, "show lists", "used_clients")[1] == "2");
    // The other one does not keep pgdial from ending.
    console.send(&Out::new().query("shutdown wait_for_servers").0);
    assert!(pgdial.wait_exit(PATIENCE).expect("it ends").success());
}

#[test]
fn disabled_databases_take_no_new_clients() {
    let (pgdial, database) = start("disable");
    let mut client = pgdial.client(&database);
    let mut console = pgdial.client("pgdial");
    console.rows(&format!("disable {database}"));
    assert!(Client::try_login(pgdial.addr(), &[("user", "app"), ("database", &database)]).is_none());
    assert_eq!(client.value("select 'stays'"), "stays");
    console.rows(&format!("enable {database}"));
    assert_eq!(pgdial.client(&database).value("select 'again'"), "again");
    assert_eq!(refused(&mut console, "disable nix").0, "3D000");
    assert_eq!(refused(&mut console, "disable pgdial").0, "42501");
}

#[test]
fn shutdown_in_its_three_forms() {
    let (mut pgdial, _) = start("shutdown");
    pgdial.client("pgdial").send(&Out::new().query("shutdown").0);
    assert!(pgdial.wait_exit(PATIENCE).expect("it ends at once").success());

    let (mut pgdial, database) = start("shutdown_servers");
    let mut client = pgdial.client(&database);
    client.rows("begin");
    client.rows("select 1");
    pgdial.client("pgdial").rows("shutdown wait_for_servers");
    assert!(pgdial.wait_exit(Duration::from_millis(500)).is_none(), "a transaction is open");
    client.rows("commit");
    assert!(pgdial.wait_exit(PATIENCE).expect("it ends after the transaction").success());

    let (mut pgdial, database) = start("shutdown_clients");
    let mut client = pgdial.client(&database);
    pgdial.client("pgdial").rows("shutdown wait_for_clients");
    assert!(pgdial.wait_exit(Duration::from_millis(500)).is_none());
    assert_eq!(client.value("select 'as long as I like'"), "as long as I like");
    drop(client);
    assert!(pgdial.wait_exit(PATIENCE).expect("it ends after its last client").success());

    let (mut pgdial, database) = start("shutdown_hurry");
    let _client = pgdial.client(&database);
    pgdial.client("pgdial").rows("shutdown wait_for_clients");
    signal(pgdial.pid(), "TERM");
    assert!(pgdial.wait_exit(PATIENCE).expect("SIGTERM goes before").success());
}

#[test]
fn only_console_users_get_in_and_always_find_room() {
    let postgres = Postgres::shared();
    let database = postgres.database("console_users");
    let config = Config::new(postgres, &database).set("listen", "max_clients", "1").tables("[[user]]\nname = \"carol\"\n");
    let pgdial = Pgdial::start(&config);
    let _only = pgdial.client(&database);
    assert!(Client::try_login(pgdial.addr(), &[("user", "app"), ("database", &database)]).is_none(), "all places are taken");
    assert_eq!(pgdial.client("pgdial").rows("show pools").len(), 2);
    let login = |user: &str| Client::try_login(pgdial.addr(), &[("user", user), ("database", "pgdial")]);
    assert!(login("carol").is_none());
    pgdial.reload(&config.set("auth", "console_users", "[\"carol\"]"));
    eventually("carol is an operator now", PATIENCE, || login("carol").is_some());
    assert!(login("app").is_none());
}

#[test]
fn it_answers_while_postgres_is_down() {
    let postgres = Postgres::start();
    let database = postgres.database("down");
    let pgdial = Pgdial::start(&Config::new(&postgres, &database));
    postgres.stop();
    let began = Instant::now();
    let mut console = pgdial.client("pgdial");
    assert_eq!(console.rows("show databases").len(), 2);
    console.rows("pause");
    postgres.start_again();
    console.rows("resume");
    assert!(began.elapsed() < PATIENCE);
    eventually("clients are served again", PATIENCE, || {
        Client::try_login(pgdial.addr(), &[("user", "app"), ("database", &database)]).is_some()
    });
}

#[test]
fn purge_and_reload() {
    let postgres = Postgres::shared();
    let database = postgres.database("console_purge");
    postgres.sql(&database, "create table t (a int); grant select on t to app");
    let config = Config::new(postgres, &database).cached();
    let pgdial = Pgdial::start(&config);
    let mut console = pgdial.client("pgdial");
    assert_eq!(console.rows("show rules")[0][0].as_deref(), Some("*"));
    eventually("the catalog is known", PATIENCE, || sqlstate(&console.query("purge table public.t")).is_none());
    assert_eq!(refused(&mut console, "purge table nowhere").0, "42P01");
    let mut client = pgdial.client(&database);
    eventually("it is cached", PATIENCE, || {
        client.rows("select a from t");
        row(&mut console, "show cache", "entries")[1] != "0"
    });
    console.rows("purge all");
    assert_eq!(row(&mut console, "show cache", "entries")[1], "0");
    std::fs::write(pgdial.config_file(), "[listen]\nmax_cliens = 1\n").unwrap();
    let (state, text) = refused(&mut console, "reload");
    assert!(state == "F0000" && text.contains("max_cliens"), "{state} {text}");
}

#[tokio::test]
async fn tokio_postgres_reads_tables_in_binary() {
    let (pgdial, _) = start("console_driver");
    let url = format!("postgres://app@127.0.0.1:{}/pgdial?sslmode=disable", pgdial.port());
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let rows = client.query("SHOW LISTS", &[]).await.unwrap();
    let databases: (&str, i32) = (rows[0].get(0), rows[0].get(1));
    assert_eq!(databases, ("databases", 2));
    assert_eq!(client.simple_query("SHOW POOLS").await.unwrap().len(), 4);
    let error = client.query("select * from t", &[]).await.unwrap_err();
    assert_eq!(error.code(), Some(&tokio_postgres::error::SqlState::SYNTAX_ERROR));
}
