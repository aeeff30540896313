//! Real clients through pgdial, as applications use them: tokio-postgres, psql and pgbench.
//! The drivers of other languages are in tests/drivers.

use crate::support::pgdial::{Config, Pgdial};
use crate::support::postgres::Postgres;
use crate::support::tools::refuses_this_server;
use std::process::{Command, Output};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls};

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the driver logs in");
    tokio::spawn(connection);
    client
}

fn start() -> (Pgdial, String) {
    let postgres = Postgres::shared();
    let database = postgres.database("drivers");
    postgres.sql(&database, "grant all on schema public to public");
    let url = format!("postgres://scram_app:secret@127.0.0.1:{}/{database}", postgres.port());
    let config = Config::new(postgres, &database).pool(10).text("upstream", "url", &url);
    let pgdial = Pgdial::start(&config.text("auth", "method", "scram-sha-256"));
    let url = format!("postgres://scram_app:secret@127.0.0.1:{}/{database}?sslmode=disable", pgdial.port());
    (pgdial, url)
}

#[tokio::test]
async fn tokio_postgres_does_its_work() {
    let (_pgdial, url) = start();
    let mut client = connect(&url).await;
    client.batch_execute("create table t (a int primary key, b text, c bytea, d timestamptz default now())").await.unwrap();
    let insert = client.prepare("insert into t (a, b, c) values ($1, $2, $3)").await.unwrap();
    for number in 0..50_i32 {
        let bytes = vec![number as u8; 10];
        client.execute(&insert, &[&number, &format!("row {number}"), &bytes]).await.unwrap();
    }
    let row = client.query_one("select b, c from t where a = $1", &[&7]).await.unwrap();
    assert_eq!((row.get::<_, String>(0), row.get::<_, Vec<u8>>(1)), ("row 7".to_string(), vec![7; 10]));
    let error = client.execute(&insert, &[&7, &"twice", &Vec::<u8>::new()]).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION));
    let transaction = client.transaction().await.unwrap();
    transaction.execute("delete from t", &[]).await.unwrap();
    let portal = transaction.bind("select i from generate_series(1, 10) i", &[]).await.unwrap();
    assert_eq!(transaction.query_portal(&portal, 4).await.unwrap().len(), 4);
    assert_eq!(transaction.query_portal(&portal, 40).await.unwrap().len(), 6);
    transaction.rollback().await.unwrap();
    let count: i64 = client.query_one("select count(*) from t", &[]).await.unwrap().get(0);
    assert_eq!(count, 50);
}

#[tokio::test]
async fn tokio_postgres_pipelines() {
    let (_pgdial, url) = start();
    let client = connect(&url).await;
    for round in 0..20_i32 {
        let (number, text): ([&(dyn ToSql + Sync); 1], [&(dyn ToSql + Sync); 1]) = ([&round], [&"four"]);
        let (a, b, c, d) = tokio::join!(
            client.query_one("select $1::int4 + 1", &number),
            client.query_one("select 1 / ($1::int4 - $1::int4)", &number),
            client.simple_query("select 'simple'"),
            client.query_one("select $1::text", &text),
        );
        assert_eq!(a.unwrap().get::<_, i32>(0), round + 1);
        assert_eq!(b.unwrap_err().code(), Some(&SqlState::DIVISION_BY_ZERO));
        assert!(c.is_ok());
        assert_eq!(d.unwrap().get::<_, String>(0), "four");
    }
}

#[tokio::test]
async fn sixteen_tasks_on_connections_of_their_own() {
    let (_pgdial, url) = start();
    connect(&url)
        .await
        .batch_execute("create table counts (k int primary key, n int); insert into counts values (1, 0)")
        .await
        .unwrap();
    let tasks: Vec<_> = (0..16_i32)
        .map(|task| {
            let url = url.clone();
            tokio::spawn(async move {
                let mut client = connect(&url).await;
                for round in 0..25 {
                    let transaction = client.transaction().await.unwrap();
                    transaction.execute("update counts set n = n + 1 where k = $1", &[&1_i32]).await.unwrap();
                    let row = transaction.query_one("select $1::int4 * 1000 + $2::int4", &[&task, &round]).await.unwrap();
                    assert_eq!(row.get::<_, i32>(0), task * 1000 + round);
                    transaction.commit().await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let total: i32 = connect(&url).await.query_one("select n from counts", &[]).await.unwrap().get(0);
    assert_eq!(total, 16 * 25);
}

fn output(program: &str, arguments: &[&str], url: &str) -> Output {
    Command::new(Postgres::shared().bin(program)).args(arguments).arg(url).output().expect("it can be started")
}

fn run(program: &str, arguments: &[&str], url: &str) -> String {
    let output = output(program, arguments, url);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{text}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn psql_lists_and_describes() {
    let (pgdial, url) = start();
    let straight = url.replace(&format!(":{}/", pgdial.port()), &format!(":{}/", Postgres::shared().port()));
    assert_ne!(url, straight);
    run("psql", &["-Xq", "-c", "create table shown (a int primary key, b text)", "-d"], &url);
    let text = run("psql", &["-X", "-c", "\\d shown", "-c", "\\dt", "-d"], &url);
    assert!(text.contains("shown") && text.contains("PRIMARY KEY"), "{text}");
    // One by one: of some it depends on the version whether psql gets along with a newer server. Other databases come and go.
    for command in ["\\d shown", "\\d+ shown", "\\dt+", "\\df", "\\dn+", "\\l drivers_none"] {
        let arguments = ["-X", "-c", command, "-d"];
        if !refuses_this_server(Postgres::shared(), "psql", pgdial.port(), |port| {
            output("psql", &arguments, if port == pgdial.port() { &url } else { &straight })
        }) {
            let text = run("psql", &arguments, &url);
            assert_eq!(text, run("psql", &arguments, &straight), "{command}");
        }
    }
}

#[test]
fn pgbench_in_all_its_modes() {
    let (_pgdial, url) = start();
    run("pgbench", &["-i", "-q", "-s", "2"], &url);
    for mode in ["simple", "extended", "prepared"] {
        for script in [&["-S"][..], &[][..]] {
            let arguments = [&["-M", mode, "-c", "64", "-j", "2", "-t", "10", "-n"][..], script].concat();
            let text = run("pgbench", &arguments, &url);
            assert!(text.contains("number of transactions actually processed: 640/640"), "{text}");
            assert!(text.contains("number of failed transactions: 0"), "{text}");
        }
    }
}
