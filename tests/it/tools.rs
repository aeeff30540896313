//! Postgres's own tools through pgdial: pg_dump and pg_restore give the same database again; pg_isready, pgbench.

use crate::support::diff::diff;
use crate::support::pgdial::{Config, Pgdial};
use crate::support::postgres::Postgres;
use crate::support::process::TempDir;
use crate::support::tools::refuses_this_server;
use std::process::{Command, Output};

/// A hundred tables and everything that hangs on them. Large objects have fixed numbers: a dump shows them.
const CONTENTS: &str = r#"
create schema one; create schema two;
create type one.mood as enum ('sad', 'happy'); create domain one.small as int check (value < 1000);
create type two.pair as (l int, r text);
create sequence one.counter start 7 increment 3;
create function one.twice(int) returns int language sql immutable as 'select $1 * 2';
create function one.stamp() returns trigger language plpgsql as $$ begin new.note := coalesce(new.note, 'stamped'); return new; end $$;
create procedure two.proc(inout x int) language plpgsql as $$ begin x := x + 1; end $$;
create aggregate one.product (int) (sfunc = int4mul, stype = int, initcond = '1');
create operator one.<+> (leftarg = int, rightarg = int, function = int4mul);
create collation two.plain from "C";
do $$ begin for i in 1..100 loop
  execute format('create table one.t%s (id serial primary key, ref int, amount one.small default %s, feeling one.mood, note text collate "C", tags text[], doc jsonb, made date default ''2024-01-01'', twice int generated always as (amount * 2) stored, unique (ref, note))', i, i % 1000);
  execute format('insert into one.t%s (ref, feeling, note, tags, doc) select g, (array[''sad'', ''happy'']::one.mood[])[1 + g %% 2], case when g %% 5 = 0 then null else E''line\n\t\\%s'' || g end, array[''a,b'', null, ''"''], jsonb_build_object(''n'', g) from generate_series(1, 20) g', i, i);
  execute format('comment on table one.t%s is ''table number %s; it''''s''', i, i);
  if i % 5 = 0 then execute format('create index on one.t%s (lower(note)) where ref > 3', i); end if;
  if i % 7 = 0 then execute format('create trigger stamp before insert on one.t%s for each row execute function one.stamp()', i); end if;
  if i % 4 = 0 then execute format('grant select, update (note) on one.t%s to app with grant option', i); end if;
  if i % 9 = 0 then execute format('alter table one.t%s add foreign key (ref) references one.t%s', i, i - 1); end if;
  if i % 10 = 0 then execute format('create view two.v%s as select id, one.twice(ref) as r from one.t%s where note is not null', i, i); end if;
end loop; end $$;
create table two.parts (k int, v two.pair) partition by range (k);
create table two.parts_low partition of two.parts for values from (0) to (10);
create table two.parts_rest partition of two.parts default;
insert into two.parts values (1, (1, 'x')), (100, (2, null));
create table two.kid (extra int) inherits (one.t1); insert into two.kid (ref, extra) values (99, 5);
create table two.owned (secret bytea, f float8, ts timestamptz) ; insert into two.owned values ('\xdeadbeef00', 0.1, '2024-03-31 01:30+00'), (null, 'NaN', 'infinity');
alter table two.owned enable row level security; create policy p on two.owned for select to app using (f > 0);
alter table two.owned owner to app;
create materialized view two.mv as select count(*) as n from one.t1;
create rule r as on delete to one.t2 do instead nothing;
create statistics two.st on ref, amount from one.t3;
create publication pub for table one.t1;
alter default privileges in schema two grant select on tables to app;
select nextval('one.counter'), setval('one.t5_id_seq', 500);
select lo_from_bytea(70001, 'first large object'); select lo_from_bytea(70002, decode(repeat('00ff10', 60000), 'hex'));
comment on large object 70001 is 'numbered'; grant select on large object 70002 to app;
comment on function one.twice(int) is 'doubles'; comment on column one.t1.ref is 'a reference';
"#;

fn output(name: &str, port: u16, args: &[&str]) -> Output {
    Command::new(Postgres::shared().bin(name))
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", "postgres"])
        .args(args)
        .env("PGCLIENTENCODING", "UTF8")
        .output()
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn tool(name: &str, port: u16, args: &[&str]) -> String {
    let output = output(name, port, args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {args:?}: {}\n{errors}", output.status);
    assert!(!errors.contains("ERROR") && !errors.contains("error:"), "{name} {args:?}:\n{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// As lines; newer tools open and close a dump with a word that is chance.
fn dump(port: u16, database: &str) -> Vec<String> {
    let text = tool("pg_dump", port, &["-d", database]);
    text.lines().filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict")).map(str::to_owned).collect()
}

fn assert_same(what: &str, straight: &[String], other: &[String]) {
    if let Some(text) = diff(straight, other) {
        let lines: Vec<&str> = text.lines().take(80).collect();
        panic!("{what} differs\n{}", lines.join("\n"));
    }
}

fn in_front_of(postgres: &Postgres, databases: &[String]) -> Pgdial {
    let url = |database: &String| postgres.url("postgres", database);
    let mut config = Config::new(postgres, &databases[0]).pool(8).text("upstream", "url", &url(&databases[0]));
    for database in &databases[1..] {
        config = config.tables(&format!("[[database]]\nname = {database:?}\nurl = {:?}", url(database)));
    }
    Pgdial::start(&config.text("pool", "order", "round-robin").text("log", "level", "info"))
}

#[test]
fn a_database_dumped_and_restored_through_pgdial_dumps_identically() {
    let postgres = Postgres::shared();
    let databases: Vec<String> = ["dump", "dump_psql", "dump_custom", "dump_folder"].map(|name| postgres.database(name)).into();
    let pgdial = in_front_of(postgres, &databases);
    let dir = TempDir::new("dump");
    let file = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let (plain, custom, folder) = (file("plain.sql"), file("custom"), file("folder"));
    std::fs::write(file("make.sql"), CONTENTS).unwrap();
    tool(
        "psql",
        pgdial.port(),
        &["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &databases[0], "-o", "/dev/null", "-f", &file("make.sql")],
    );
    let run = |port| output("pg_dump", port, &["-d", &databases[0]]);
    if refuses_this_server(postgres, "pg_dump", pgdial.port(), run) {
        return;
    }
    let straight = dump(postgres.port(), &databases[0]);
    assert!(straight.len() > 5_000, "the dump is too short to show anything: {} lines", straight.len());
    assert_same("pg_dump through pgdial", &straight, &dump(pgdial.port(), &databases[0]));
    tool("pg_dump", pgdial.port(), &["-d", &databases[0], "-f", &plain]);
    tool("pg_dump", pgdial.port(), &["-d", &databases[0], "-Fc", "-f", &custom]);
    tool("pg_dump", pgdial.port(), &["-d", &databases[0], "-Fd", "-j", "2", "-f", &folder]);
    restore(&pgdial, &databases, [&plain, &custom, &folder]);
    for database in &databases[1..] {
        assert_same(database, &straight, &dump(postgres.port(), database));
    }
}

fn restore(pgdial: &Pgdial, databases: &[String], [plain, custom, folder]: [&str; 3]) {
    tool("psql", pgdial.port(), &["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &databases[1], "-o", "/dev/null", "-f", plain]);
    tool("pg_restore", pgdial.port(), &["-d", &databases[2], "-j", "2", custom]);
    tool("pg_restore", pgdial.port(), &["-d", &databases[3], "--single-transaction", folder]);
}

#[test]
fn ready_and_bench() {
    let postgres = Postgres::shared();
    let databases = [postgres.database("bench")];
    let pgdial = in_front_of(postgres, &databases);
    assert!(tool("pg_isready", pgdial.port(), &[]).contains("accepting connections"));
    tool("pgbench", pgdial.port(), &["-i", "-q", "-s", "1", &databases[0]]);
    for mode in ["simple", "extended", "prepared"] {
        let report = tool("pgbench", pgdial.port(), &["-M", mode, "-c", "4", "-t", "25", "-n", &databases[0]]);
        assert!(report.contains("number of transactions actually processed: 100/100"), "{mode}: {report}");
    }
    let history = postgres
        .sql(&databases[0], "select count(*), (select sum(abalance) from pgbench_accounts) = sum(delta) from pgbench_history");
    assert_eq!(history, [[Some("300".to_owned()), Some("t".to_owned())]]);
}
