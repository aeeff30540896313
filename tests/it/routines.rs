//! What functions leave behind in sessions, read from a real catalog.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use pgdial::catalog::{RoutineWatcher, load_routines};
use pgdial::query::{Classifier, Effects, Routines, Traces};
use tokio::sync::Notify;

use crate::support::postgres::Postgres;
use crate::support::process::eventually;

const OBJECTS: &str = r#"
    create function plain(a int) returns int language sql as 'select a + 1';
    create function sets(a text) returns text language plpgsql as $$ begin return set_config('app.tenant', a, false); end $$;
    create function sets_local(a text) returns text language sql as $$ select set_config('app.tenant', a, true) $$;
    create function around(a text) returns text language sql as 'select sets(a)';
    create procedure proc() language plpgsql as $$ begin perform around('x'); end $$;
    create function dynamic(a text) returns void language plpgsql as $$ begin execute a; end $$;
    create function standard() returns text begin atomic; select sets('x'); end;
    create function standard_own() returns text return set_config('app.own', 'x', false);
    create function bounded(a text) returns text language sql set work_mem = '8MB' as 'select a';
    create function with_default(a text default set_config('app.default', 'x', false)) returns text language sql as 'select a';
    create function step(a text, b text) returns text language sql as 'select sets(b)';
    create aggregate total(text) (sfunc = step, stype = text);
    create function is_pair(a int, b int) returns bool language plpgsql as $$ begin set app.pair = 1; return true; end $$;
    create operator <~~> (leftarg = int, rightarg = int, function = is_pair);
    create table base (a int, b text);
    create view v as select a, sets(b) as b from base;
    create view vv as select * from v;
    create view direct as select set_config('app.view', 'x', false) as s;
    create view by_operator as select a <~~> a as p from base;
    create view harmless as select a from base;
    create materialized view mat as select sets('x') as s;
    create function audit() returns trigger language plpgsql as $$ begin perform pg_advisory_lock(1); return new; end $$;
    create function quiet() returns trigger language plpgsql as $$ begin new.b := 'x'; return new; end $$;
    create table audited (a int primary key, b text);
    create trigger t after insert or update or delete on audited for each row execute function audit();
    create view over_audited as select * from audited;
    create table parent (a int primary key);
    create table child (a int references parent on delete cascade);
    create trigger t after delete on child for each row execute function audit();
    create table restricted (a int references parent);
    create trigger t before insert on restricted for each row execute function quiet();
    create table off (a int);
    create trigger t after insert on off for each row execute function audit();
    alter table off disable trigger t;
    create table parts (a int) partition by range (a);
    create table part_1 partition of parts for values from (0) to (10);
    create trigger t after insert on part_1 for each row execute function audit();
    create table defaulted (a serial, b text default sets('x'));
    create table serial (a serial, b int generated always as identity);
    create table set_default (a text default set_config('app.column', 'x', false));
    create table checked (a text check (sets(a) <> ''));
    create table secured (a int);
    alter table secured enable row level security;
    create policy p on secured using (sets('x') <> '');
    create table ruled (a int);
    create rule r as on insert to ruled do also insert into audited values (new.a, '');
    create function writes_v() returns void language plpgsql as $$ begin insert into audited values (1, ''); end $$;
    create function reads_vv() returns int language sql as 'select a from vv limit 1';
    create function of_base(base) returns text language sql as $$ select sets('x') $$;
"#;

const CASES: &[(&str, &str)] = &[
    ("select plain(1), bounded('x'), now()", ""),
    // The value goes with the transaction, the name stays known.
    ("select sets_local('x')", "app.tenant setting"),
    ("select sets('x')", "app.tenant setting"),
    ("select public.around('x')", "app.tenant setting"),
    ("call proc()", "app.tenant setting"),
    ("select standard()", "app.tenant setting"),
    ("select standard_own()", "app.own setting"),
    ("select with_default()", "app.default setting"),
    ("select total(b) from base", "app.tenant setting"),
    ("select 1 <~~> 2", "app.pair setting"),
    ("select a from base where b like 'x'", ""),
    ("select base.of_base from base", "app.tenant setting"),
    ("select * from v", "app.tenant setting"),
    ("select * from vv", "app.tenant setting"),
    ("select * from direct", "app.view setting"),
    ("select * from by_operator", "app.pair setting"),
    ("select * from harmless", ""),
    ("select * from mat", ""),
    ("select * from audited", ""),
    ("insert into audited values (1)", "advisory_lock"),
    ("update over_audited set b = 'x'", "advisory_lock"),
    ("select * from over_audited", ""),
    ("delete from parent", "advisory_lock"),
    ("insert into restricted values (1)", ""),
    ("insert into off values (1)", ""),
    ("insert into parts values (1)", "advisory_lock"),
    ("insert into defaulted (b) values ('x')", "app.tenant setting"),
    ("insert into serial default values", ""),
    ("insert into set_default default values", "app.column setting"),
    ("insert into checked values ('x')", "app.tenant setting"),
    ("select * from checked", ""),
    ("select * from secured", "app.tenant setting"),
    ("insert into ruled values (1)", "advisory_lock"),
    ("select writes_v()", "advisory_lock sequence"),
    ("select reads_vv()", "app.tenant setting"),
];

fn shown(traces: &Traces) -> String {
    let names = traces.settings.iter().map(ToString::to_string);
    names.chain(traces.effects.words().map(str::to_owned)).collect::<Vec<_>>().join(" ")
}

fn traces(routines: &Routines, sql: &str) -> Traces {
    routines.traces(&Classifier::default().classify(sql.as_bytes(), true))
}

fn config(postgres: &Postgres, database: &str) -> tokio_postgres::Config {
    postgres.url("app", database).parse().unwrap()
}

#[tokio::test]
async fn what_a_statement_leaves_behind_is_found_wherever_it_hides() {
    let postgres = Postgres::shared();
    let database = postgres.database("routines");
    postgres.sql(&database, OBJECTS);
    let (client, link) = config(postgres, &database).connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(link);
    let (_, rows) = load_routines(&client).await.unwrap();
    let routines = Routines::build(1, &rows);
    for (sql, expected) in CASES {
        assert_eq!(shown(&traces(&routines, sql)), *expected, "{sql}");
    }
    assert!(traces(&routines, "select dynamic('x')").effects.contains(Effects::OPAQUE));
    let known = |name| routines.knows(&pgdial::query::FunctionName::new(None, name), true);
    assert!(known("sets") && known("count") && known("total") && !known("no_such_function"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_follows_the_catalog_and_comes_back() {
    let postgres = Postgres::shared();
    let database = postgres.database("routines");
    let routines = Arc::new(ArcSwapOption::<Routines>::empty());
    let (generation, wanted) = (Arc::new(AtomicU64::new(5)), Arc::new(Notify::new()));
    let counted = Arc::clone(&generation);
    let mut config = config(postgres, &database);
    config.application_name("routines under test");
    let _watcher = RoutineWatcher::spawn(
        config,
        None,
        Duration::from_millis(200),
        Arc::new(move || counted.load(Ordering::SeqCst)),
        Arc::default(),
        Arc::clone(&wanted),
        Arc::clone(&routines),
    );
    let now = || routines.load_full();
    let limit = Duration::from_secs(20);
    eventually("the first load", limit, || now().is_some_and(|found| found.generation == 5));
    let first = now().unwrap();
    assert!(traces(&first, "select f()").is_empty());

    // Nobody has announced it.
    postgres.sql(&database, "create function f() returns void language sql as 'listen x'");
    eventually("the drift", limit, || now().is_some_and(|found| !traces(&found, "select f()").is_empty()));

    // Nothing has changed: the same routines, known to be current.
    let before = postgres.sql(&database, "select count(*) from pg_proc");
    generation.store(6, Ordering::SeqCst);
    wanted.notify_one();
    eventually("the new generation", limit, || now().is_some_and(|found| found.generation == 6));
    assert_eq!(postgres.sql(&database, "select count(*) from pg_proc"), before);

    postgres.sql(&database, "create or replace function f() returns void language sql as 'select'");
    eventually("another body", limit, || now().is_some_and(|found| traces(&found, "select f()").is_empty()));

    let kill = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'routines under test'";
    postgres.sql(&database, kill);
    eventually("the withdrawal", limit, || now().is_none());
    eventually("the return", limit, || now().is_some());
}
