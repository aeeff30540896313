//! Replication through pgdial: base backups, the log as files, logical changes; refused, limited, cancelled and drained.

use crate::support::pgdial::{Config, Pgdial};
use crate::support::postgres::Postgres;
use crate::support::process::{self, TempDir, eventually};
use crate::support::tools::refuses_this_server;
use crate::support::wire::{Client, PATIENCE, Received, cancel, error, sqlstate};
use std::process::{Command, Output};
use std::time::Duration;

fn logical_postgres() -> Postgres {
    Postgres::start_with(&[("wal_level", "logical"), ("max_wal_senders", "10"), ("max_replication_slots", "10")])
}

fn in_front_of(postgres: &Postgres, database: &str) -> Pgdial {
    let config = Config::new(postgres, database).pool(2).text("upstream", "url", &postgres.url("postgres", database));
    Pgdial::start(&config.tables("[[user]]\nname = \"app\""))
}

fn output(postgres: &Postgres, name: &str, port: u16, args: &[&str]) -> Output {
    Command::new("timeout")
        .arg("60")
        .arg(postgres.bin(name))
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", "postgres"])
        .args(args)
        .output()
        .expect("`timeout` can be started")
}

fn tool(postgres: &Postgres, name: &str, port: u16, args: &[&str]) -> String {
    let output = output(postgres, name, port, args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {args:?}: {}\n{errors}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn base_backup_and_log_files() {
    let postgres = logical_postgres();
    let database = postgres.database("physical");
    let pgdial = in_front_of(&postgres, &database);
    postgres.sql(&database, "create table t as select g, repeat('x', 500) as pad from generate_series(1, 5000) g");
    let dir = TempDir::new("backup");
    let (backup, log) = (dir.path().join("backup"), dir.path().join("log"));
    std::fs::create_dir(&log).unwrap();
    let arguments = ["-D", &backup.to_string_lossy(), "-X", "stream", "-c", "fast"];
    let run = |port| output(&postgres, "pg_basebackup", port, &arguments);
    if refuses_this_server(&postgres, "pg_basebackup", pgdial.port(), run) {
        return;
    }
    tool(&postgres, "pg_basebackup", pgdial.port(), &arguments);
    let verified = Command::new(postgres.bin("pg_verifybackup")).arg(&backup).output().unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    postgres.sql("postgres", "select pg_create_physical_replication_slot('files', true)");
    let before = &postgres.sql("postgres", "select pg_walfile_name(pg_current_wal_lsn())")[0][0].clone().unwrap();
    postgres.sql(&database, "insert into t select g, 'more' from generate_series(1, 1000) g");
    let end = postgres.sql("postgres", "select pg_current_wal_flush_lsn()")[0][0].clone().unwrap();
    postgres.sql("postgres", "select pg_switch_wal(); checkpoint");
    tool(
        &postgres,
        "pg_receivewal",
        pgdial.port(),
        &["-D", &log.to_string_lossy(), "-S", "files", "--no-loop", "--endpos", &end],
    );
    let names: Vec<String> =
        std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    assert!(names.iter().any(|name| name.starts_with(before.as_str())), "{before} is not among {names:?}");
    eventually("their connections are counted no more", PATIENCE, || pgdial.stat("clients.replication") == 0);
    assert!(pgdial.stat("traffic.server_bytes_in") > 10_000_000, "the backup has passed through pgdial");
}

#[test]
fn logical_changes() {
    let postgres = logical_postgres();
    let database = postgres.database("logical");
    let pgdial = in_front_of(&postgres, &database);
    postgres.client("app", &database).rows("create table t (a int primary key, b text)");
    let slots = [("straight", postgres.port()), ("through", pgdial.port())];
    for (slot, port) in slots {
        tool(&postgres, "pg_recvlogical", port, &["-d", &database, "-S", slot, "--create-slot", "-P", "test_decoding"]);
    }
    let mut client = pgdial.client(&database);
    client.rows("insert into t select g, repeat('é', g % 300) from generate_series(1, 3000) g");
    client.rows("update t set b = 'changed' where a % 100 = 0; delete from t where a > 2990");
    let end = postgres.sql(&database, "select pg_current_wal_flush_lsn()")[0][0].clone().unwrap();
    let changes = slots.map(|(slot, port)| {
        let args = ["-d", &database, "-S", slot, "--start", "--no-loop", "--endpos", &end, "-f", "-", "-o", "include-xids=0"];
        tool(&postgres, "pg_recvlogical", port, &args)
    });
    assert!(changes[0].lines().count() > 3_000, "{}", changes[0].len());
    assert!(changes[0] == changes[1], "the changes through pgdial are not those of Postgres");
    for (slot, port) in slots {
        tool(&postgres, "pg_recvlogical", port, &["-d", &database, "-S", slot, "--drop-slot"]);
    }
}

#[test]
fn refused_limited_cancelled_and_drained() {
    let postgres = logical_postgres();
    let database = postgres.database("walsender");
    let mut pgdial = in_front_of(&postgres, &database);
    let login = |user, replication| {
        let parameters = [("user", user), ("database", database.as_str()), ("replication", replication)];
        Client::connect(pgdial.addr(), &parameters).unwrap()
    };
    let refused = login("app", "database").until_ready(1);
    assert_eq!(
        sqlstate(&refused).as_deref(),
        Some("42501"),
        "Postgres's own refusal: {:?}",
        error(&refused).map(|e| e.field(b'M'))
    );
    let mut clients = [login("postgres", "database"), login("postgres", "true")];
    for client in &mut clients {
        client.until_ready(1);
        assert_eq!(client.rows("IDENTIFY_SYSTEM").len(), 1);
    }
    assert_eq!(pgdial.stat("clients.replication"), 2);
    let third = login("postgres", "database").until_ready(1);
    assert_eq!(sqlstate(&third).as_deref(), Some("53300"), "the pool has two servers, so two may replicate");
    assert_eq!(pgdial.client(&database).value("select 1"), "1", "the pool itself is free");

    let [mut sql, mut physical] = clients;
    sql.send(&crate::support::encode::Out::new().query("select pg_sleep(30)").0);
    assert!(matches!(sql.next(Duration::from_millis(300)), Received::Nothing));
    cancel(pgdial.addr(), &sql.key());
    assert_eq!(sqlstate(&sql.until_ready(1)).as_deref(), Some("57014"));
    drop(sql);
    eventually("the one that left is counted no more", PATIENCE, || pgdial.stat("clients.replication") == 1);

    process::signal(pgdial.pid(), "TERM");
    assert!(physical.closed_within(PATIENCE), "a drain ends a replication connection");
    assert!(pgdial.wait_exit(PATIENCE).is_some_and(|status| status.success()));
    eventually("Postgres has no walsender left", PATIENCE, || {
        postgres.sql("postgres", "select count(*) from pg_stat_replication")[0][0].as_deref() == Some("0")
    });
}
