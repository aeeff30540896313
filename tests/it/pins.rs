//! Pins: what ties a client to its server, and what must not.

use crate::support::pgdial::{Config, Pgdial};
use crate::support::postgres::Postgres;
use crate::support::process::eventually;

/// Clients that do what drivers do all day must share one server: a pin would starve the others.
#[test]
fn everyday_statements_pin_nobody() {
    let postgres = Postgres::shared();
    let database = postgres.database("pins");
    postgres
        .client("app", &database)
        .rows("create table t (a int, b text); create sequence s; create table numbered (id serial, b text)");
    let config = Config::new(postgres, &database).pool(1).text("pool", "checkout_timeout", "2s");
    let pgdial = Pgdial::start(&config);
    let bulk: Vec<String> = (0..20_000).map(|n| format!("({n}, 'row {n}')")).collect();
    let bulk = format!("insert into t values {}", bulk.join(", "));
    let everyday = [
        "selec nonsense",
        "select 1 from",
        "reset all",
        "select pg_advisory_unlock_all(); close all; unlisten *; reset all",
        "deallocate all",
        "begin; set local work_mem = '8MB'; select 1; commit",
        "select nextval('s'), setval('s', 7)",
        "insert into numbered (b) values ('x'), ('y')",
        "update numbered set id = default",
        "do $$ begin perform nextval('s'); end $$",
        "discard all",
        &bulk,
    ];
    let mut clients: Vec<_> = (0..4).map(|_| pgdial.client(&database)).collect();
    for text in everyday {
        for client in &mut clients {
            client.send(&crate::support::encode::Out::new().query(text).0);
            let answer = client.until_ready(1);
            let refused = answer.iter().any(|message| message.tag == b'E' && message.body.windows(5).any(|w| w == b"53300"));
            assert!(!refused, "{} starved the others", &text[..text.len().min(60)]);
        }
    }
}

/// A function that nobody made through pgdial, called before pgdial has looked: what it sets is its client's alone.
#[test]
fn a_function_made_elsewhere_leaves_nothing_to_others() {
    let postgres = Postgres::shared();
    let database = postgres.database("elsewhere");
    let config = Config::new(postgres, &database).pool(1).text("pool", "checkout_timeout", "10s");
    let pgdial = Pgdial::start(&config);
    let (mut one, mut two) = (pgdial.client(&database), pgdial.client(&database));
    one.rows("select 1");
    // The functions have been read by now.
    std::thread::sleep(std::time::Duration::from_millis(500));
    let init = "create function init() returns text language plpgsql as \
                $$ begin return set_config('elsewhere.app', 'mine', false); end $$";
    postgres.sql(&database, init);
    one.rows("select init()");
    assert_eq!(two.rows("select current_setting('elsewhere.app', true) is null"), [[Some("t".to_owned())]]);
    assert_eq!(one.rows("select current_setting('elsewhere.app', true)"), [[Some("mine".to_owned())]]);
}

/// Each pin beyond the share is made up for by an extra server; the client that would need one too many is told why.
#[test]
fn pinned_clients_leave_room_for_the_others() {
    let postgres = Postgres::shared();
    let database = postgres.database("max_pinned");
    let config = Config::new(postgres, &database).pool(2).text("pool", "checkout_timeout", "3s");
    let pgdial = Pgdial::start(&config.set("pool", "max_pinned", "0.5"));
    let mut pinned: Vec<_> = (0..9).map(|_| pgdial.client(&database)).collect();
    for client in &mut pinned {
        client.rows("create temp table mine (a int)");
    }
    eventually("the pins are counted", LIMIT, || pgdial.stats()["pool"]["pinned"]["temp_table"] == 9);
    let mut others: Vec<_> = (0..4).map(|_| pgdial.client(&database)).collect();
    for other in &mut others {
        assert_eq!(other.value("select 1"), "1", "one place is left");
    }
    let mut straw = pgdial.client(&database);
    straw.rows("set search_path = pg_catalog");
    straw.send(&crate::support::encode::Out::new().query("select pg_advisory_lock(1)").0);
    let mut last = straw.until_ready(1);
    while let crate::support::wire::Received::Message(message) = straw.next(LIMIT) {
        last.push(message);
    }
    let error = crate::support::wire::error(&last).expect("there is no room for one more");
    let said = |field| error.field(field).unwrap_or_default();
    assert_eq!(said(b'C'), "53300");
    assert!(said(b'M').contains("advisory_lock") && said(b'H').contains("[pool] max_pinned"), "{} {}", said(b'M'), said(b'H'));
    for client in &mut pinned {
        assert_eq!(client.value("select count(*) from mine"), "0");
        client.rows("drop table mine");
    }
    eventually("the pins are gone", LIMIT, || pgdial.stats()["pool"]["pinned"]["temp_table"].as_u64().unwrap_or(0) == 0);
    eventually("so are the extra servers", LIMIT, || {
        let pool = &pgdial.stats()["pool"]["pools"][0];
        pool["idle"].as_u64().unwrap() + pool["active"].as_u64().unwrap() <= 2
    });
    assert_eq!(others[0].value("select 1"), "1");
}

const LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

/// Nobody can tell from the catalog what this function does. The server that it leaves a lock on is found while it is idle.
#[test]
fn an_idle_server_with_something_left_on_it_is_closed() {
    let postgres = Postgres::shared();
    let database = postgres.database("unclean");
    let lying = "create function lying(bigint) returns void language internal stable strict as 'pg_advisory_lock_int8'";
    postgres.sql(&database, lying);
    let config = Config::new(postgres, &database).pool(1).text("pool", "check_delay", "300ms");
    let pgdial = Pgdial::start(&config);
    let mut client = pgdial.client(&database);
    client.rows("set work_mem = '1MB'; create temp table t (); drop table t");
    let backend = |client: &mut crate::support::wire::Client| client.rows("select pg_backend_pid()");
    let clean = backend(&mut client);
    std::thread::sleep(std::time::Duration::from_millis(1000));
    assert_eq!(backend(&mut client), clean, "what is followed is as it should be");
    client.rows("select lying(4711)");
    let locks = "select count(*) from pg_locks where locktype = 'advisory' and objid = 4711";
    eventually("the server is closed", std::time::Duration::from_secs(10), || {
        postgres.client("postgres", &database).rows(locks) == [[Some("0".to_owned())]]
    });
    assert_eq!(client.rows("show work_mem"), [[Some("1MB".to_owned())]]);
}

/// SET LOCAL ends with the transaction, but the name stays known to the server, and the random numbers stay what they became.
#[test]
fn what_outlives_set_local_is_nobody_elses() {
    let postgres = Postgres::shared();
    let database = postgres.database("outlives");
    let functions = "create function f_local() returns text language plpgsql as $$ begin return set_config('x.a', 'v', true); end $$; \
        create function f_set() returns int language plpgsql as $$ begin set local x.b = 1; return 1; end $$; \
        create function f_clause() returns int language plpgsql set x.c = 1 as $$ begin return 1; end $$; \
        create function f_seed() returns text language plpgsql as $$ begin return set_config('seed', '0.5', true); end $$";
    postgres.sql(&database, functions);
    let config = Config::new(postgres, &database).pool(1).text("pool", "checkout_timeout", "10s");
    let pgdial = Pgdial::start(&config);
    let known = "select current_setting('x.a', true) is null and current_setting('x.b', true) is null \
        and current_setting('x.c', true) is null and current_setting('x.d', true) is null";
    for text in ["select f_local()", "select f_set()", "select f_clause()", "select set_config('x.' || 'd', 'v', true)"] {
        let (mut one, mut two) = (pgdial.client(&database), pgdial.client(&database));
        one.rows(text);
        assert_eq!(two.rows(known), [[Some("t".to_owned())]], "{text}");
    }
    let mut straight = postgres.client("postgres", &database);
    straight.rows("select setseed(0.5)");
    let seeded = straight.rows("select random()");
    for text in [
        "select f_seed()",
        "set local seed = 0.5",
        "select set_config('seed', '0.5', true)",
        "select set_config('seed', '0.5', false)",
    ] {
        let (mut one, mut two) = (pgdial.client(&database), pgdial.client(&database));
        one.rows(text);
        assert_ne!(two.rows("select random()"), seeded, "{text}");
    }
}

/// The unnamed statement outlives its transaction, and is given to another server as it was meant.
#[test]
fn an_unnamed_statement_is_parsed_elsewhere_under_the_settings_of_then() {
    let postgres = Postgres::shared();
    let database = postgres.database("unnamed");
    let config = Config::new(postgres, &database).pool(2).text("pool", "checkout_timeout", "10s");
    let pgdial = Pgdial::start(&config);
    let (mut one, mut two) = (pgdial.client(&database), pgdial.client(&database));
    one.rows("set datestyle = 'SQL, DMY'");
    let out = || crate::support::encode::Out::new();
    one.send(&out().parse("", "select extract(month from '01/02/2026'::date)", &[]).sync().0);
    one.until_ready(1);
    // By name: a simple Query would drop it.
    one.send(&out().parse("s", "set datestyle = 'SQL, MDY'", &[]).bind_text("", "s", &[]).execute("", 0).sync().0);
    one.until_ready(1);
    // The server that was used last.
    two.rows("begin; select 1");
    one.send(&out().bind_text("p", "", &[]).execute("p", 0).sync().0);
    assert_eq!(crate::support::wire::rows(&one.until_ready(1), "execute"), [[Some("2".to_owned())]]);
}

/// The name of a setting that comes as a parameter: whatever it is, it is followed, or the server is nobody else's.
#[test]
fn names_of_settings_that_are_parameters() {
    let postgres = Postgres::shared();
    let database = postgres.database("bound");
    let config = Config::new(postgres, &database).pool(1).text("pool", "checkout_timeout", "10s");
    let pgdial = Pgdial::start(&config);
    let mut straight = postgres.client("postgres", &database);
    straight.rows("select setseed(0.5)");
    let seeded = straight.rows("select random()");
    // Too long to be looked at.
    let long = "x".repeat(100_000);
    for (name, value) in [("seed", "0.5"), ("y.long", &*long)] {
        let (mut one, mut two) = (pgdial.client(&database), pgdial.client(&database));
        let text = "select length(set_config($1, $2, false))";
        let out = crate::support::encode::Out::new().parse("", text, &[25, 25]).bind_text("", "", &[name, value]);
        one.send(&out.execute("", 0).sync().0);
        crate::support::wire::rows(&one.until_ready(1), name);
        assert_ne!(two.rows("select random()"), seeded, "{name}");
        drop(one);
        assert_eq!(two.rows("select current_setting('y.long', true) is null"), [[Some("t".to_owned())]]);
        assert_eq!(pgdial.client(&database).rows("select current_setting('y.long', true) is null"), [[Some("t".to_owned())]]);
    }
}

/// PREPARE and EXECUTE in one text: what is set by a parameter's name is not left to the next client.
#[test]
fn prepared_and_executed_in_one_text() {
    let postgres = Postgres::shared();
    let database = postgres.database("one_text");
    let config = Config::new(postgres, &database).pool(1).text("pool", "checkout_timeout", "10s");
    let pgdial = Pgdial::start(&config);
    let prepare = "prepare p (text) as select set_config($1, '1MB', false)";
    for texts in [
        &[&*format!("{prepare}; execute p('work_mem'); deallocate p")][..],
        &[&format!("select 1; {prepare}"), "execute p('work_mem')", "deallocate p"],
    ] {
        let mut one = pgdial.client(&database);
        texts.iter().for_each(|text| drop(one.rows(text)));
        assert_eq!(pgdial.client(&database).rows("show work_mem"), [[Some("4MB".to_owned())]], "{texts:?}");
        assert_eq!(one.rows("show work_mem"), [[Some("1MB".to_owned())]], "{texts:?}");
    }
}

/// What one text makes, calls and drops again nobody else ever sees: what it has set is still not the next client's.
#[test]
fn a_function_made_called_and_dropped_in_one_text() {
    let postgres = Postgres::shared();
    let database = postgres.database("made");
    let config = Config::new(postgres, &database).pool(1).text("pool", "checkout_timeout", "10s");
    let pgdial = Pgdial::start(&config);
    let made = "create or replace function nf() returns int language plpgsql as $$ begin set app.y = '1'; set work_mem = '1MB'; return 1; end $$";
    for text in [format!("{made}; select nf(); drop function nf"), format!("{made}; select nf()"), format!("{made}; select nf()")]
    {
        pgdial.client(&database).rows(&text);
        let seen = pgdial.client(&database).rows("select current_setting('app.y', true), current_setting('work_mem')");
        assert_eq!(seen, [[None, Some("4MB".to_owned())]], "{text}");
    }
}
