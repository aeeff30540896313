//! What pgdial cannot see for a while: the catalog, the feed, Postgres itself.

use super::one;
use crate::support::pgdial::{Config, Pgdial};
use crate::support::postgres::Postgres;
use crate::support::process::eventually;
use crate::support::wire::{Client, PATIENCE};
use std::time::Duration;

/// The table is made anew elsewhere while the catalog cannot be read: under the version of before its name meant another.
#[test]
fn the_catalog_changes_while_nobody_looks() {
    let mut rig = one("blind", |config| config.text("invalidation", "catalog_check", "60s"));
    let text = "select n from t";
    for round in 1..=3 {
        rig.warm(text);
        let filter = format!("datname = '{}' and application_name = 'pgdial catalog'", rig.database);
        let kill = format!("select count(pg_terminate_backend(pid)) from pg_stat_activity where {filter}");
        let killed = Postgres::shared().sql(&rig.database, &kill);
        assert_eq!(killed[0][0].as_deref(), Some("1"));
        std::thread::sleep(Duration::from_millis(60));
        rig.client("x").rows("drop table t; create table t (k int, n int); insert into t values (1, 0)");
        rig.warm(text);
        // A statement that was not seen under the old catalog.
        rig.client("a").rows(&format!("update t set n = {round} where k = 1 and n <> -{round}"));
        rig.compare("blind", text).unwrap();
    }
}

/// Writes made elsewhere, each when the listener has just been killed: unseen writes are never covered up by memory.
#[test]
fn nothing_from_memory_while_the_feed_is_down() {
    let mut rig = one("deaf", |config| config);
    let text = "select n from t";
    let filter = format!("datname = '{}' and application_name = 'pgdial feed'", rig.database);
    let kill = format!("select count(pg_terminate_backend(pid)) from pg_stat_activity where {filter}");
    for round in 1..=10 {
        rig.warm(text);
        rig.client("x").rows(&format!("update t set n = {round}"));
        let before = rig.pgdial.log().matches("feed lost").count();
        eventually("somebody listens", PATIENCE, || Postgres::shared().sql("postgres", &kill)[0][0].as_deref() == Some("1"));
        eventually("the loss is noticed", PATIENCE, || rig.pgdial.log().matches("feed lost").count() > before);
        rig.compare("deaf", text).unwrap();
    }
}

/// Postgres is gone for a while and comes back with other rows.
#[test]
fn a_restart_of_postgres() {
    let postgres = Postgres::start();
    let database = postgres.database("restarted");
    postgres.client("app", &database).rows("create table t (n int); insert into t values (0)");
    let pgdial = Pgdial::start(&Config::new(&postgres, &database).pool(3).cached().text("log", "level", "info"));
    let mut waiting = pgdial.client(&database);
    for round in 1..=2 {
        let before = pgdial.stat("cache.hits");
        eventually("it comes from memory", PATIENCE, || {
            if waiting.query("select n from t").iter().all(|message| message.tag != b'D') {
                waiting = pgdial.client(&database);
            }
            pgdial.stat("cache.hits") > before
        });
        postgres.stop();
        std::thread::sleep(Duration::from_millis(200));
        let hits = pgdial.stat("cache.hits");
        drop(
            Client::try_login(pgdial.addr(), &[("user", "app"), ("database", &database)])
                .map(|mut client| client.query("select n from t")),
        );
        assert_eq!(pgdial.stat("cache.hits"), hits, "from memory while Postgres is gone");
        postgres.start_again();
        postgres.client("app", &database).rows(&format!("update t set n = {round}"));
        let end = std::time::Instant::now() + Duration::from_secs(20);
        loop {
            let mut client = pgdial.client(&database);
            if let Some(row) = client.query("select n from t").iter().find(|message| message.tag == b'D') {
                assert_eq!(row.columns()[0].as_deref(), Some(round.to_string().as_str()));
                break;
            }
            assert!(std::time::Instant::now() < end, "nothing is answered after the restart");
        }
    }
}
