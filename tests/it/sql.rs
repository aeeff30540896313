//! SQL files through `psql -X -a`, straight and through pgdial in transaction mode: the same bytes, or it is a bug.
//!
//! `PGDIAL_SQL=temp,prepare` runs the files whose names hold one of these words; `PGDIAL_SQL_WORKERS` (3) so many at a time.
//! Each file has a database of its own, of the same name on both sides, and drops the roles it makes.

use crate::support::diff::diff;
use crate::support::encode::Out;
use crate::support::pgdial::{Config, Pgdial};
use crate::support::postgres::Postgres;
use crate::support::process::TempDir;
use crate::support::wire::{Client, Received};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Files that differ today, and why. Each must still differ: whoever mends one takes it off this list.
const KNOWN: &[(&str, &str)] =
    &[("session_misc", STAND_IN), ("guc_role_database", "a setting of ALTER DATABASE does not reach servers that are older")];

const STAND_IN: &str = "what it shows of its session in one of its queries is not yet what Postgres shows";

/// Longer than any file takes on a busy machine.
const LIMIT: &str = "60";

#[test]
fn files_print_the_same_through_pgdial() {
    let files = files();
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(BTreeSet::new()));
    let reports = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..workers() {
            scope.spawn(|| {
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    for (way, text) in differences(file) {
                        failed.lock().unwrap().insert(name(file));
                        reports.lock().unwrap().push(format!("== {} {way}\n{text}", name(file)));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    let known: BTreeSet<String> = KNOWN.iter().map(|(name, _)| (*name).to_owned()).collect();
    let ran: BTreeSet<String> = files.iter().map(|file| name(file)).collect();
    let new: Vec<_> = failed.difference(&known).collect();
    let mended: Vec<_> = known.intersection(&ran).filter(|name| !failed.contains(*name)).collect();
    let reports = reports.into_inner().unwrap();
    let shown = reports.iter().filter(|report| new.iter().any(|name| report.starts_with(&format!("== {name} "))));
    let shown: Vec<_> = shown.map(String::as_str).collect();
    assert!(new.is_empty(), "{} of {} files differ: {new:?}\n{}", new.len(), files.len(), shown.join("\n"));
    assert!(mended.is_empty(), "no longer different, take them off KNOWN: {mended:?}");
}

/// How a file's output through pgdial is not that of Postgres, for each order of taking servers.
fn differences(file: &Path) -> Vec<(&'static str, String)> {
    let postgres = Postgres::shared();
    let database = format!("sql_{}", name(file));
    let straight = {
        let database = Fresh::new(postgres, &database);
        play(file, postgres.addr(), &database.0)
    };
    let ways = [("lifo", false), ("round-robin", true)];
    let through = ways.map(|(order, crowded)| {
        let database = Fresh::new(postgres, &database);
        let pgdial = Pgdial::start(&config(postgres, &database.0, order));
        let stop = AtomicBool::new(false);
        let lines = std::thread::scope(|scope| {
            if crowded {
                scope.spawn(|| crowd(&pgdial, &database.0, &stop));
            }
            let lines = play(file, pgdial.addr(), &database.0);
            stop.store(true, Ordering::Relaxed);
            lines
        });
        drop(pgdial);
        diff(&straight, &lines).map(|text| (order, text))
    });
    let found: Vec<_> = through.into_iter().flatten().collect();
    if found.is_empty() {
        return found;
    }
    // A file whose output changes from run to run judges nobody.
    let database = Fresh::new(postgres, &database);
    let again = diff(&straight, &play(file, postgres.addr(), &database.0));
    again.map_or(found, |text| vec![("straight, a second time: the file is not deterministic", text)])
}

fn config(postgres: &Postgres, database: &str, order: &str) -> Config {
    let config = Config::new(postgres, database).pool(4).text("upstream", "url", &postgres.url("postgres", database));
    config.text("pool", "order", order).text("log", "level", "info")
}

/// Takes the servers in turn, so that no client keeps its own by being alone, and leaves settings of its own behind.
fn crowd(pgdial: &Pgdial, database: &str, stop: &AtomicBool) {
    let login = || {
        Client::try_login(
            pgdial.addr(),
            STARTUP_OF_PSQL.map(|(name, value)| (name, if name == "database" { database } else { value })).as_slice(),
        )
    };
    let (Some(mut plain), Some(mut settings)) = (login(), login()) else {
        return;
    };
    settings.query("set search_path = nowhere; set work_mem = '77MB'; set datestyle = 'German'; set extra_float_digits = -3");
    while !stop.load(Ordering::Relaxed) {
        for client in [&mut plain, &mut settings] {
            client.send(&Out::new().query("select 1").0);
            // A server that was ended by the file's own doing ends this as well.
            while matches!(client.next(Duration::from_secs(5)), Received::Message(message) if message.tag != b'Z') {}
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What libpq sends for psql, in its order: clients with the same parameters share servers.
const STARTUP_OF_PSQL: [(&str, &str); 4] =
    [("user", "postgres"), ("database", ""), ("application_name", "psql"), ("client_encoding", "UTF8")];

fn play(file: &Path, addr: SocketAddr, database: &str) -> Vec<String> {
    let dir = TempDir::new("sql");
    let output = Command::new("timeout")
        .args([LIMIT, "sh", "-c", "exec \"$@\" 2>&1", "sh"])
        .arg(Postgres::shared().bin("psql"))
        .args(["-X", "-a", "-h", "127.0.0.1", "-p", &addr.port().to_string(), "-U", "postgres", "-d", database])
        .stdin(std::fs::File::open(file).unwrap())
        .stderr(Stdio::inherit())
        .current_dir(dir.path())
        .env("PGCLIENTENCODING", "UTF8")
        .env("PGAPPNAME", "psql")
        .env("LC_ALL", "C.UTF-8")
        .env("PSQL", Postgres::shared().bin("psql"))
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", addr.port().to_string())
        .env("PGUSER", "postgres")
        .env("PGDATABASE", database)
        .output()
        .expect("psql can be started");
    let mut lines: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    lines.push(format!("exit {:?}", output.status.code()));
    lines
}

/// A database that goes with its owner.
struct Fresh(String);

impl Fresh {
    fn new(postgres: &Postgres, name: &str) -> Self {
        postgres.sql("postgres", &format!("drop database if exists {name} with (force)"));
        postgres.sql("postgres", &format!("create database {name}"));
        Self(name.to_owned())
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            Postgres::shared().sql("postgres", &format!("drop database if exists {} with (force)", self.0));
        }
    }
}

fn name(file: &Path) -> String {
    file.file_stem().unwrap().to_string_lossy().into_owned()
}

fn files() -> Vec<PathBuf> {
    let wanted = std::env::var("PGDIAL_SQL").unwrap_or_default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sql");
    let all = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let all = all.filter(|path| path.extension().is_some_and(|ending| ending == "sql"));
    let mut files: Vec<PathBuf> = all.filter(|path| wanted.split(',').any(|word| name(path).contains(word.trim()))).collect();
    files.sort();
    assert!(!files.is_empty(), "no file of tests/sql matches PGDIAL_SQL={wanted}");
    files
}

fn workers() -> usize {
    std::env::var("PGDIAL_SQL_WORKERS").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}
