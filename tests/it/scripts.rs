//! tests/scripts/*.wire, each played straight against Postgres and through pgdial: the transcripts must be equal.
//!
//! `PGDIAL_SCRIPT=b07` plays only scripts whose name contains that; `PGDIAL_SCRIPT_SHOW=1` prints the straight transcript.

use crate::support::diff::diff;
use crate::support::encode::Out;
use crate::support::pgdial::{Config, Pgdial};
use crate::support::play::play;
use crate::support::postgres::Postgres;
use crate::support::script::Script;
use crate::support::wire::Client;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, OnceLock};

const WORKERS: usize = 3;

type Transcripts = BTreeMap<String, Vec<String>>;

/// Scripts play through `config`; `spoil` first leaves traces of another client on every server.
struct Door {
    name: &'static str,
    config: fn(Config) -> Config,
    spoil: Option<fn(&mut Client)>,
}

#[test]
fn straight_twice_is_equal() {
    let again = play_all("straight", None);
    let names: Vec<&String> = straight().keys().collect();
    assert!(names.len() >= 45 || filter().is_some(), "only {} scripts", names.len());
    compare("straight, a second time", &again);
    if std::env::var_os("PGDIAL_SCRIPT_SHOW").is_some() {
        for (name, transcript) in &again {
            println!("=== {name}\n{}", transcript.join("\n"));
        }
    }
}

#[test]
fn through_pgdial() {
    through(&Door { name: "plain", config: |config| config.pool(2), spoil: None });
}

#[test]
fn through_pgdial_on_used_servers() {
    through(&Door { name: "used", config: |config| config.pool(2), spoil: Some(leave_traces) });
}

#[test]
fn through_pgdial_on_servers_with_foreign_settings() {
    through(&Door { name: "settings", config: |config| config.pool(4), spoil: Some(leave_settings) });
}

#[test]
fn through_pgdial_on_alternating_servers() {
    let config = |config: Config| config.pool(2).text("pool", "order", "round-robin");
    through(&Door { name: "robin", config, spoil: None });
}

#[test]
fn through_pgdial_with_tiny_plan_cache() {
    let config = |config: Config| config.pool(2).set("plans", "per_server", "2");
    through(&Door { name: "tiny", config, spoil: Some(leave_traces) });
}

#[test]
fn through_pgdial_with_results_cached() {
    through(&Door { name: "cached", config: |config| config.pool(2).cached(), spoil: None });
}

#[test]
fn through_pgdial_in_session_mode() {
    let config = |config: Config| config.pool(4).text("pool", "mode", "session");
    through(&Door { name: "session", config, spoil: None });
}

fn through(door: &Door) {
    let transcripts = play_all(door.name, Some(door));
    compare(&format!("through pgdial ({})", door.name), &transcripts);
}

/// The reference, played once for all tests.
fn straight() -> &'static Transcripts {
    static STRAIGHT: OnceLock<Transcripts> = OnceLock::new();
    STRAIGHT.get_or_init(|| play_all("straight", None))
}

fn filter() -> Option<String> {
    std::env::var("PGDIAL_SCRIPT").ok()
}

fn scripts() -> Vec<Script> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("tests/scripts").map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "wire"));
    files.sort();
    let named = files.iter().map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), path));
    let wanted = named.filter(|(name, _)| filter().is_none_or(|part| name.contains(&part)));
    wanted.map(|(name, path)| Script::parse(&name, &std::fs::read_to_string(path).unwrap())).collect()
}

/// Plays every script at one door, a few at a time, each worker with a database (and pgdial) of its own.
fn play_all(door_name: &str, door: Option<&Door>) -> Transcripts {
    let postgres = Postgres::shared();
    let queue = Mutex::new(scripts());
    queue.lock().unwrap().retain(|script| script.only.is_empty() || script.only.iter().any(|name| name == door_name));
    queue.lock().unwrap().reverse();
    let done = Mutex::new(Transcripts::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let database = postgres.database("scripts");
                let pgdial = door.map(|door| Pgdial::start(&(door.config)(Config::new(postgres, &database))));
                let addr = pgdial.as_ref().map_or_else(|| postgres.addr(), Pgdial::addr);
                loop {
                    let Some(script) = queue.lock().unwrap().pop() else {
                        break;
                    };
                    clean(postgres, &database);
                    let _others = door.and_then(|door| door.spoil).map(|spoil| others(addr, &database, spoil));
                    let transcript = play(&script, addr, &database);
                    done.lock().unwrap().insert(script.name, transcript);
                }
            });
        }
    });
    done.into_inner().unwrap()
}

fn compare(what: &str, transcripts: &Transcripts) {
    let mut failed = Vec::new();
    for (name, transcript) in transcripts {
        let Some(expected) = straight().get(name) else { panic!("{name} has no straight transcript") };
        if let Some(text) = diff(expected, transcript) {
            println!("=== {name}.wire {what} (PGDIAL_SCRIPT={name} plays it alone; - straight, + {what})\n{text}");
            failed.push(name.as_str());
        }
    }
    assert!(failed.is_empty(), "{} of {} scripts differ {what}: {}", failed.len(), transcripts.len(), failed.join(" "));
}

/// An empty schema again, for the next script of this worker.
fn clean(postgres: &Postgres, database: &str) {
    let mut admin = postgres.client("postgres", database);
    admin.rows("set client_min_messages = warning");
    admin.rows("set lock_timeout = '10s'");
    admin.rows("drop schema public cascade");
    admin.rows("create schema public");
    admin.rows("grant all on schema public to public");
}

/// Two clients, each on a server of its own while both are in a transaction, that did something and are idle now.
fn others(addr: SocketAddr, database: &str, spoil: fn(&mut Client)) -> [Client; 2] {
    let mut clients = [(); 2].map(|()| Client::login(addr, &[("user", "app"), ("database", database)]));
    clients.iter_mut().for_each(|client| drop(client.rows("begin; select 1")));
    clients.iter_mut().for_each(|client| drop(client.rows("commit")));
    clients.iter_mut().for_each(spoil);
    clients.iter_mut().for_each(|client| drop(client.rows("begin; select 2")));
    clients.iter_mut().for_each(|client| drop(client.rows("commit")));
    clients
}

/// Statements under the names that scripts use, errors, a failed COPY, and a client that is gone in mid-batch.
fn leave_traces(client: &mut Client) {
    for name in ["", "s", "s1", "s2", "q", "p"] {
        let text = format!("select 'of another client', '{name}'");
        client.send(&Out::new().parse(name, &text, &[]).bind("", name, &[], &[], &[]).execute("", 0).sync().0);
        client.until_ready(1);
    }
    client.query("select 1/0");
    client.send(&Out::new().parse("broken", "select nope", &[]).sync().parse("q2", "select 7", &[]).sync().0);
    client.until_ready(2);
    client.query("begin");
    client.query("create table gone (a int)");
    client.send(&Out::new().query("copy gone from stdin").copy_fail("not now").0);
    client.until_ready(1);
    client.query("rollback");
    client.send(&Out::new().parse("late", "select 1", &[]).bind("", "late", &[], &[], &[]).flush().sync().0);
    client.until_ready(1);
}

fn leave_settings(client: &mut Client) {
    client.rows("set datestyle = 'German, DMY'");
    client.rows("set extra_float_digits = -3");
    client.rows("set bytea_output = 'escape'");
    client.rows("set application_name = 'somebody else'");
    client.rows("set search_path = pg_catalog");
    client.rows("set timezone = 'Asia/Tokyo'");
}
