//! What sessions begin with: ALTER ROLE and ALTER DATABASE .. SET, and startup parameters.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::message::Message;
use crate::support::pgdial::{Config, Pgdial};
use crate::support::postgres::Postgres;
use crate::support::process::eventually;
use crate::support::wire::{Client, error};

fn login(pgdial: &Pgdial, database: &str, more: &[(&str, &str)]) -> Client {
    let parameters: Vec<_> = [("user", "app"), ("database", database)].into_iter().chain(more.iter().copied()).collect();
    Client::login(pgdial.addr(), &parameters)
}

/// All of an answer to a login, up to its end.
fn greeting(addr: std::net::SocketAddr, database: &str, more: &[(&str, &str)]) -> Vec<Message> {
    let parameters: Vec<_> = [("user", "app"), ("database", database)].into_iter().chain(more.iter().copied()).collect();
    Client::connect(addr, &parameters).unwrap().until_ready(1)
}

fn reported(greeting: &[Message]) -> Vec<String> {
    let status = |message: &Message| String::from_utf8_lossy(&message.body).trim_end_matches('\0').replace('\0', "=");
    let mut all: Vec<String> = greeting.iter().filter(|message| message.tag == b'S').map(status).collect();
    all.sort();
    all
}

fn said(greeting: &[Message]) -> Vec<Option<String>> {
    let error = error(greeting).expect("the login is refused");
    b"SCM".iter().map(|field| error.field(*field)).collect()
}

#[test]
fn new_clients_get_new_defaults_and_old_ones_keep_theirs() {
    let postgres = Postgres::shared();
    let database = postgres.database("recycled");
    let pgdial =
        Pgdial::start(&Config::new(postgres, &database).pool(3).text("upstream", "url", &postgres.url("postgres", &database)));
    let login = || Client::login(pgdial.addr(), &[("user", "postgres"), ("database", &database)]);
    let (mut before, mut other) = (login(), login());
    assert_eq!(other.value("show work_mem"), "4MB");
    before.rows(&format!("begin; alter database {database} set work_mem = '33MB'"));
    assert_eq!(login().value("show work_mem"), "4MB", "it is not committed");
    before.rows("commit");
    assert_eq!(login().value("show work_mem"), "33MB");
    for _ in 0..4 {
        assert_eq!(before.value("show work_mem"), "4MB");
        assert_eq!(other.value("show work_mem"), "4MB");
    }
    before.rows(&format!("do $$ begin execute 'alter database {database} set work_mem = ''34MB'''; end $$"));
    assert_eq!(login().value("show work_mem"), "34MB");
}

#[test]
fn defaults_that_change_elsewhere_are_noticed() {
    let postgres = Postgres::shared();
    let database = postgres.database("recycled_elsewhere");
    let config = Config::new(postgres, &database).pool(2).text("invalidation", "catalog_check", "200ms");
    let pgdial = Pgdial::start(&config);
    assert_eq!(login(&pgdial, &database, &[]).value("show work_mem"), "4MB");
    // The watcher has looked at least once.
    std::thread::sleep(Duration::from_secs(1));
    postgres.sql(&database, &format!("alter database {database} set work_mem = '35MB'"));
    let limit = Duration::from_secs(10);
    eventually("the new default", limit, || login(&pgdial, &database, &[]).value("show work_mem") == "35MB");
}

#[test]
fn startup_parameters_beyond_the_places_are_settings_of_the_session() {
    let postgres = Postgres::shared();
    let database = postgres.database("startup_sets");
    let pgdial = Pgdial::start(&Config::new(postgres, &database).pool(2).set("pool", "startup_sets", "1"));
    let _first = login(&pgdial, &database, &[("options", "-c work_mem=5MB")]);
    let tenants: Vec<String> =
        (0..5).map(|n| format!("-c my.tenant=t{n} -c search_path=s{n},\\ public --work-mem=8{n}kB")).collect();
    let mut clients: Vec<Client> =
        tenants.iter().map(|options| login(&pgdial, &database, &[("options", options), ("DateStyle", "german")])).collect();
    let all = "select current_setting('my.tenant'), current_setting('search_path'), current_setting('work_mem'), \
        current_setting('DateStyle')";
    let expected = |n: usize| format!("t{n} s{n}, public 8{n}kB German, DMY");
    let shown = |client: &mut Client| client.rows(all)[0].iter().flatten().cloned().collect::<Vec<_>>().join(" ");
    for _ in 0..3 {
        for (n, client) in clients.iter_mut().enumerate() {
            assert_eq!(shown(client), expected(n));
        }
    }
    for (n, client) in clients.iter_mut().enumerate() {
        client.rows("set my.tenant = 'x'; set datestyle = 'ISO'; set work_mem = '9MB'");
        client.rows(["reset all", "discard all", "reset my.tenant; reset datestyle; reset work_mem"][n % 3]);
    }
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(shown(client), expected(n), "set back");
    }
    assert_eq!(login(&pgdial, &database, &[]).value("show work_mem"), "4MB");
    // A server closed to make room for another set of parameters is told so, and leaves in its own time.
    let servers = format!(
        "select 1 from pg_stat_activity where datname = '{database}' and usename = 'app' \
         and backend_type = 'client backend' and application_name not like 'pgdial%'"
    );
    eventually("no more servers than the pool's size", Duration::from_secs(10), || postgres.sql(&database, &servers).len() <= 2);
}

#[test]
fn shared_startup_parameters_are_greeted_and_refused_as_by_postgres() {
    let postgres = Postgres::shared();
    let database = postgres.database("startup_echo");
    let pgdial = Pgdial::start(&Config::new(postgres, &database).pool(2).set("pool", "startup_sets", "1"));
    let _first = login(&pgdial, &database, &[("options", "-c work_mem=5MB")]);
    let good: [&[(&str, &str)]; 4] = [
        &[("client_encoding", "utf-8"), ("DateStyle", "sql,mdy"), ("TimeZone", "utc")],
        &[("client_encoding", "latin1"), ("options", "-c intervalstyle=ISO_8601 -c application_name=x")],
        &[("application_name", "y"), ("options", "-c application_name=x -c standard_conforming_strings=off")],
        &[("options", "-e")],
    ];
    for parameters in good {
        let straight = reported(&greeting(postgres.addr(), &database, parameters));
        for _ in 0..2 {
            assert_eq!(reported(&greeting(pgdial.addr(), &database, parameters)), straight, "{parameters:?}");
        }
    }
    let bad: [&[(&str, &str)]; 4] = [
        &[("client_encoding", "klingon")],
        &[("options", "-c work_mem=much")],
        &[("options", "-c no_such_setting=1")],
        &[("options", "-c work_mem")],
    ];
    for parameters in bad {
        let straight = said(&greeting(postgres.addr(), &database, parameters));
        assert_eq!(said(&greeting(pgdial.addr(), &database, parameters)), straight, "{parameters:?}");
    }
}

/// Whoever looks a name up along a search_path is refused if a schema of it goes at that moment. What pgdial asks a new
/// server looks nothing up, and so nobody's login fails over it.
#[test]
fn schemas_that_come_and_go_fail_no_login() {
    let postgres = Postgres::shared();
    let database = postgres.database("fleeting");
    let schemas: Vec<String> = (0..24).map(|n| format!("s{n}")).collect();
    postgres.sql("postgres", &format!("alter database {database} set search_path = {}, public", schemas.join(", ")));
    let config = Config::new(postgres, &database).pool(2).set("pool", "min_idle", "0").text("pool", "mode", "session");
    let pgdial = Pgdial::start(&config.text("cache", "mode", "on"));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for half in schemas.chunks(12) {
            let (stop, database) = (&stop, &database);
            scope.spawn(move || {
                let mut owner = postgres.client("app", database);
                while !stop.load(Ordering::Relaxed) {
                    for name in half {
                        owner.rows(&format!("create schema {name}"));
                    }
                    for name in half {
                        owner.rows(&format!("drop schema {name}"));
                    }
                }
            });
        }
        // Each has a server that was dialled for it.
        let refused = (64..164).find_map(|n| {
            let options = format!("-c work_mem={n}kB");
            let parameters = [("user", "app"), ("database", database.as_str()), ("options", options.as_str())];
            let answer = Client::connect(pgdial.addr(), &parameters).unwrap().until_ready(1);
            error(&answer).map(|error| format!("{n}: {:?} {:?}", error.field(b'C'), error.field(b'M')))
        });
        stop.store(true, Ordering::Relaxed);
        assert_eq!(refused, None);
    });
}
