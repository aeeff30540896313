//! Whose answer it is: users, names, settings, parameters, rules.

use super::{Rig, binary, one, said, unnamed};
use crate::support::encode::Out;
use crate::support::pgdial::{Config, Pgdial};
use crate::support::postgres::Postgres;
use crate::support::process::eventually;
use crate::support::wire::{Client, PATIENCE, rows, sqlstate};
use std::time::Duration;

#[test]
fn a_user_is_not_shown_what_another_may_read() {
    Postgres::shared().sql("postgres", "create role stranger login");
    let setup = ["create table t (k int primary key, n int)", "insert into t values (1, 0)"];
    let mut rig = Rig::new("roles", &setup.map(String::from), |config| config.tables("[[user]]\nname = \"stranger\""));
    let text = "select n from t";
    rig.warm(text);
    let as_user = |addr| Client::login(addr, &[("user", "stranger"), ("database", &rig.database)]);
    let mut other = as_user(rig.pgdial.addr());
    for out in [Out::new().query(text).0, unnamed(text), binary(text)] {
        other.send(&out);
        let answer = other.until_ready(1);
        assert_eq!(sqlstate(&answer).as_deref(), Some("42501"), "{:?}", said(&answer));
    }
}

#[test]
fn a_name_means_the_table_of_its_user() {
    Postgres::shared().sql("postgres", "create role neighbour login");
    let setup = [
        "create schema app; create schema neighbour; grant all on schema neighbour to neighbour",
        "create table app.t (n int); insert into app.t values (1); create table neighbour.t (n int); insert into neighbour.t values (100)",
        "grant all on neighbour.t to neighbour",
    ];
    let mut rig = Rig::new("names", &setup.map(String::from), |config| config.tables("[[user]]\nname = \"neighbour\""));
    let mut other = Client::login(rig.pgdial.addr(), &[("user", "neighbour"), ("database", &rig.database)]);
    for round in 0..5 {
        rig.warm("select n from t");
        for _ in 0..3 {
            assert_eq!(other.value("select n from t"), (100 + round).to_string());
        }
        other.rows("update t set n = n + 1");
        rig.client("a").rows("update t set n = n + 1");
        rig.compare("names", "select n from t").unwrap();
    }
}

#[test]
fn words_for_the_present_in_parameters() {
    let setup = ["create table t (at timestamptz)"];
    let mut rig = Rig::new("words", &setup.map(String::from), |config| config);
    rig.warm("select count(*) from t");
    rig.client("a").rows("insert into t values (clock_timestamp() + interval '3 seconds')");
    let mut ask = |value: &str| {
        let out =
            Out::new().parse("", "select count(*) from t where at > $1", &[]).bind_text("", "", &[value]).execute("", 0).sync();
        let client = rig.client("r");
        client.send(&out.0);
        rows(&client.until_ready(1), value)[0][0].clone()
    };
    for _ in 0..3 {
        assert_eq!(ask("now").as_deref(), Some("1"));
        assert_eq!(ask(" NOW ").as_deref(), Some("1"));
    }
    std::thread::sleep(Duration::from_millis(3100));
    assert_eq!(ask("now").as_deref(), Some("0"), "now is later now");
    assert_eq!(ask(" NOW ").as_deref(), Some("0"));
}

/// `\'` ends no string where backslashes escape.
#[test]
fn strings_with_backslashes() {
    let mut rig = one("strings", |config| config);
    rig.client("x").rows("create table log (a text, b text)");
    rig.client("b").rows("comment on table t is 'the catalog is read again'");
    let text = "select n from t";
    let login = [("user", "app"), ("database", &rig.database), ("standard_conforming_strings", "off")];
    let mut writer = Client::login(rig.pgdial.addr(), &login);
    for round in 1..4 {
        rig.warm(text);
        // To who takes the backslash for itself: one row of one long string.
        let hidden = format!(r"insert into log values ('\'', ''); update t set n = {round} --')");
        writer.rows(&hidden);
        rig.compare("strings", text).unwrap();
    }
}

#[test]
fn one_database_under_two_names() {
    let postgres = Postgres::shared();
    let mut rig = one("names", |config| config);
    let url = postgres.url("app", &rig.database);
    let config = Config::new(postgres, &rig.database).cached().text("log", "level", "info");
    rig.pgdial = Pgdial::start(&config.tables(&format!("[[database]]\nname = \"again\"\nurl = {url:?}")));
    rig.clients.clear();
    let mut writer = rig.pgdial.client("again");
    for round in 1..4 {
        rig.warm("select n from t");
        writer.rows(&format!("update t set n = {round}"));
        rig.compare("two names", "select n from t").unwrap();
        assert_eq!(writer.value("select n from t"), round.to_string());
    }
}

#[test]
fn rules_follow_a_reload() {
    let mut rig = one("reload", |config| config);
    rig.warm("select n from t");
    let config = Config::new(Postgres::shared(), &rig.database).pool(6).text("cache", "mode", "on").text("log", "level", "info");
    rig.pgdial
        .reload(&config.text("invalidation", "catalog_check", "1s").tables("[[cache.rule]]\ntables = [\"other\"]\nttl = \"1h\""));
    rig.client("x").rows("update t set n = 5");
    eventually("no rule names the table any more", PATIENCE, || rig.client("r").value("select n from t") == "5");
    let before = rig.hits();
    (0..5).for_each(|_| drop(rig.client("r").rows("select n from t")));
    assert_eq!(rig.hits(), before);
}

#[test]
fn settings_left_behind_by_a_function_in_session_mode() {
    let setup = [
        "create schema other; create table other.t (n int); insert into other.t values (100)",
        "create table t (n int); insert into t values (1)",
        "create function tenant() returns void language sql as $$ select set_config('search_path', 'other', false) $$",
    ];
    let mut rig = Rig::new("tenants", &setup.map(String::from), |config| config.text("pool", "mode", "session"));
    let before = rig.hits();
    eventually("it comes from memory", PATIENCE, || {
        rig.client("r").rows("select n from t");
        rig.hits() > before
    });
    let client = rig.client("a");
    client.rows("select public.tenant()");
    for round in 100..103 {
        assert_eq!(client.value("select n from t"), round.to_string());
        client.rows("update t set n = n + 1");
    }
    rig.compare("tenants", "select n from t").unwrap();
}
