//! Statements kept on the servers: shared, bounded, and really closed when evicted.

use crate::support::encode::Out;
use crate::support::pgdial::{Config, Pgdial};
use crate::support::postgres::Postgres;
use crate::support::process::eventually;
use crate::support::wire::{Client, rows, sqlstate};
use std::time::Duration;

/// What a backend itself says of its prepared statements: pg_prepared_statements could be answered by pgdial, the memory
/// contexts in the server's log cannot.
fn statements_on(postgres: &Postgres, pid: &str) -> usize {
    let before = postgres.log().len();
    postgres.sql("postgres", &format!("select pg_log_backend_memory_contexts({pid})"));
    let mark = format!("[{pid}] LOG:  Grand total");
    eventually("the backend logs its memory", Duration::from_secs(10), || postgres.log()[before..].contains(&mark));
    let log = postgres.log();
    let own = log[before..].lines().filter(|line| line.contains(&format!("[{pid}]")));
    own.filter(|line| line.contains("CachedPlanSource")).count()
}

fn prepared(client: &mut Client, name: &str, text: &str, value: &str) -> String {
    client.send(&Out::new().bind_text("", name, &[value]).execute("", 0).sync().0);
    let found = rows(&client.until_ready(1), text);
    found[0][0].clone().unwrap()
}

#[test]
fn an_evicted_statement_is_closed_on_the_backend() {
    let postgres = Postgres::start();
    let database = postgres.database("evict");
    let config = Config::new(&postgres, &database).pool(1).set("pool", "min_idle", "1").set("plans", "per_server", "5");
    let pgdial = Pgdial::start(&config);
    let mut client = pgdial.client(&database);
    for number in 0..40 {
        let text = format!("select $1::text || ' of {number}'");
        client.send(&Out::new().parse(&format!("s{number}"), &text, &[]).sync().0);
        client.until_ready(1);
        assert_eq!(prepared(&mut client, &format!("s{number}"), &text, "x"), format!("x of {number}"));
    }
    let pids = postgres
        .sql("postgres", &format!("select pid from pg_stat_activity where datname = '{database}' and query like '%of 39%'"));
    let kept = statements_on(&postgres, pids[0][0].as_deref().unwrap());
    assert!(kept >= 1, "statements are kept on the server");
    assert!(kept <= 8, "{kept} statements on a server that may keep 5");
    // And every one of the forty still works.
    for number in (0..40).rev() {
        assert_eq!(prepared(&mut client, &format!("s{number}"), "", "again"), format!("again of {number}"));
    }
}

#[test]
fn one_text_of_many_clients_is_one_statement() {
    let postgres = Postgres::start();
    let database = postgres.database("share");
    let pgdial = Pgdial::start(&Config::new(&postgres, &database).pool(1));
    let mut clients: Vec<Client> = (0..30).map(|_| pgdial.client(&database)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let name = format!("driver_{number}");
        client.send(&Out::new().parse(&name, "select $1::text, 'shared'", &[]).sync().0);
        client.until_ready(1);
        assert_eq!(prepared(client, &name, "shared", "mine"), "mine");
    }
    let pids = postgres
        .sql("postgres", &format!("select pid from pg_stat_activity where datname = '{database}' and query like '%shared%'"));
    let kept = statements_on(&postgres, pids[0][0].as_deref().unwrap());
    assert!((1..=4).contains(&kept), "{kept} statements for one text");
}

#[test]
fn changed_columns_heal_for_new_statements() {
    let postgres = Postgres::shared();
    let database = postgres.database("ddl");
    let pgdial = Pgdial::start(&Config::new(postgres, &database).pool(2));
    let mut client = pgdial.client(&database);
    client.rows("create table t (a int)");
    client.rows("insert into t values (1)");
    for round in 0..4 {
        let mut fresh = pgdial.client(&database);
        fresh.send(&Out::new().parse("s", "select * from t", &[]).bind("", "s", &[], &[], &[]).execute("", 0).sync().0);
        let answer = fresh.until_ready(1);
        assert_eq!(sqlstate(&answer), None, "round {round}: a new statement must not see an old plan");
        assert_eq!(rows(&answer, "select * from t")[0].len(), round + 1);
        client.rows(&format!("alter table t add column c{round} int default 7"));
    }
}

/// A description that is too long to be read whole stays unknown. Asked for again and again, it hung the client.
#[test]
fn a_statement_that_has_become_too_wide_to_be_described_whole() {
    let postgres = Postgres::shared();
    let database = postgres.database("wide");
    let pgdial = Pgdial::start(&Config::new(postgres, &database).pool(2).text("pool", "order", "round-robin"));
    let mut client = pgdial.client(&database);
    client.rows("create table narrow (a int); create table wide (a int); insert into wide values (1)");
    let column = |at: usize| format!("a_column_with_quite_a_long_name_{at}");
    let add: Vec<String> = (2..=1_600).map(|at| format!("add column {} int", column(at))).collect();
    let columns: Vec<String> = (1..=1_600).map(|at| format!("{at} as {}", column(at))).collect();
    client.send(&Out::new().parse("narrow", "select * from wide", &[]).sync().0);
    client.send(&Out::new().parse("wide", &format!("select {}", columns.join(", ")), &[]).sync().0);
    client.until_ready(2);
    client.rows(&format!("alter table wide {}", add.join(", ")));
    for round in 0..4 {
        // Whichever server it comes to.
        for message in [Out::new().bind("", "narrow", &[], &[], &[]), Out::new().describe(b'S', "narrow")] {
            client.send(&message.sync().0);
            assert_eq!(sqlstate(&client.until_ready(1)).as_deref(), Some("0A000"));
        }
        client.send(&Out::new().describe(b'S', "wide").bind("", "wide", &[], &[], &[]).execute("", 0).sync().0);
        let answer = client.until_ready(1);
        assert_eq!(rows(&answer, "the wide row")[0].len(), 1_600);
        client.rows(&format!("alter table narrow add column b{round} int"));
    }
    client.send(&Out::new().query("execute narrow").0);
    assert_eq!(sqlstate(&client.until_ready(1)).as_deref(), Some("0A000"));
}
