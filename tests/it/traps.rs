//! What went wrong in other result caches: each trap is read through pgdial until it comes from memory, sprung, and read
//! again. The answer must be the one that Postgres itself gives then.

use crate::support::encode::Out;
use crate::support::message::Message;
use crate::support::pgdial::{Config, Pgdial};
use crate::support::postgres::Postgres;
use crate::support::process::eventually;
use crate::support::wire::{Client, rows, sqlstate};
use std::collections::BTreeMap;
use std::time::Duration;

/// `{s}` is a schema of its own. Steps are `client: text`; client `x` is connected to Postgres itself, `r` is the one that
/// reads, and a step may fail.
struct Trap {
    name: &'static str,
    setup: &'static [&'static str],
    read: &'static str,
    memory: Memory,
    steps: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq)]
enum Memory {
    /// Before the steps the read comes from memory: otherwise nothing would be tested.
    Yes,
    /// It never does.
    Never,
}
use Memory::{Never, Yes};

const T: &str = "create table {s}.t (k int primary key, n int); insert into {s}.t select i, 0 from generate_series(1, 3) i";
const U: &str = "create table {s}.u (k int, n int); insert into {s}.u values (1, 0)";
const N: &str = "select k, n from {s}.t order by k";
const UN: &str = "select k, n from {s}.u order by k, n";
/// A table of the same name in the schema that names without one mean, and a function that writes.
const SHADOW: &str = "create table public.{s}_n (k int, n int); insert into public.{s}_n values (1, 0);\
    create table {s}.{s}_n (k int, n int); insert into {s}.{s}_n values (1, 0)";
const SHADOWED: &str = "select n from {s}.{s}_n";
const WRITER: &str = "create function {s}.w() returns int language sql volatile as 'update {s}.u set n = n + 1 returning n'";
const AUDIT: &str = "create function {s}.audit() returns trigger language plpgsql as \
    $$ begin update {s}.u set n = n + 1; return coalesce(new, old); end $$";

const TRAPS: &[Trap] = &[
    Trap { name: "autocommit", setup: &[T], read: N, memory: Yes, steps: &["a: update {s}.t set n = n + 1"] },
    Trap {
        name: "filled_in_an_open_transaction",
        setup: &[T],
        read: N,
        memory: Yes,
        steps: &["a: begin", "a: update {s}.t set n = n + 1", "r: {read}", "b: {read}", "a: commit"],
    },
    Trap {
        name: "failed_transaction",
        setup: &[T],
        read: N,
        memory: Yes,
        steps: &["a: begin", "a: update {s}.t set n = 7", "a: select 1/0", "a: commit", "a: update {s}.t set n = 8"],
    },
    Trap {
        name: "savepoint",
        setup: &[T],
        read: N,
        memory: Yes,
        steps: &[
            "a: begin",
            "a: update {s}.t set n = 1 where k = 1",
            "a: savepoint p",
            "a: update {s}.t set n = 2",
            "a: rollback to p",
            "a: commit",
        ],
    },
    Trap {
        name: "prepared_transaction",
        setup: &[T],
        read: N,
        memory: Yes,
        steps: &["a: begin", "a: update {s}.t set n = 4", "a: prepare transaction '{s}'", "r: {read}", "b: commit prepared '{s}'"],
    },
    Trap {
        name: "trigger",
        setup: &[T, U, AUDIT, "create trigger g after update on {s}.t for each row execute function {s}.audit()"],
        read: UN,
        memory: Yes,
        steps: &["a: update {s}.t set n = 1"],
    },
    Trap {
        name: "deferred_trigger",
        setup: &[
            T,
            U,
            AUDIT,
            "create constraint trigger g after update on {s}.t deferrable initially deferred for each row execute function {s}.audit()",
        ],
        read: UN,
        memory: Yes,
        steps: &["a: begin", "a: update {s}.t set n = 1", "r: {read}", "a: commit"],
    },
    Trap {
        name: "cascade",
        setup: &[T, "create table {s}.u (k int references {s}.t on delete cascade, n int); insert into {s}.u values (1, 1), (2, 2)"],
        read: UN,
        memory: Yes,
        steps: &["a: delete from {s}.t where k = 1"],
    },
    Trap {
        name: "set_null",
        setup: &[
            T,
            "create table {s}.u (k int references {s}.t on delete set null on update cascade, n int); insert into {s}.u values (1, 1), (2, 2)",
        ],
        read: UN,
        memory: Yes,
        steps: &["a: delete from {s}.t where k = 1", "a: update {s}.t set k = 9 where k = 2"],
    },
    Trap {
        name: "rule",
        setup: &[T, U, "create rule g as on update to {s}.t do also update {s}.u set n = n + 1"],
        read: UN,
        memory: Yes,
        steps: &["a: update {s}.t set n = 1"],
    },
    Trap { name: "updatable_view", setup: &[T, "create view {s}.v as select * from {s}.t"], read: N, memory: Yes, steps: &["a: update {s}.v set n = 5"] },
    Trap {
        name: "instead_of_trigger",
        setup: &[T, U, AUDIT, "create view {s}.v as select k, n + 0 as n from {s}.t; create trigger g instead of update on {s}.v for each row execute function {s}.audit()"],
        read: UN,
        memory: Yes,
        steps: &["a: update {s}.v set n = 5"],
    },
    Trap { name: "function", setup: &[U, WRITER], read: UN, memory: Yes, steps: &["a: select {s}.w()"] },
    Trap { name: "function_in_a_view", setup: &[U, WRITER, "create view {s}.v as select {s}.w() as n"], read: UN, memory: Yes, steps: &["a: select * from {s}.v"] },
    Trap {
        name: "function_by_operator",
        setup: &[
            U,
            "create function {s}.o(int, int) returns int language sql volatile as 'update {s}.u set n = n + 1 returning n'; \
             create operator {s}.@@+ (leftarg = int, rightarg = int, function = {s}.o)",
        ],
        read: UN,
        memory: Yes,
        steps: &["a: select 1 operator({s}.@@+) 2"],
    },
    Trap { name: "do_block", setup: &[U], read: UN, memory: Yes, steps: &["a: do $$ begin update {s}.u set n = 5; end $$"] },
    Trap {
        name: "do_with_commit",
        setup: &[U],
        read: UN,
        memory: Yes,
        steps: &["a: do $$ begin update {s}.u set n = 5; commit; raise exception 'half done'; end $$"],
    },
    Trap {
        name: "procedure",
        setup: &[U, "create procedure {s}.p() language plpgsql as $$ begin update {s}.u set n = 5; commit; update {s}.u set n = 6; end $$"],
        read: UN,
        memory: Yes,
        steps: &["a: call {s}.p()"],
    },
    Trap {
        name: "truncate_cascade",
        setup: &[T, "create table {s}.u (k int references {s}.t, n int); insert into {s}.u values (1, 1)"],
        read: UN,
        memory: Yes,
        steps: &["a: truncate {s}.t cascade"],
    },
    Trap { name: "truncate", setup: &[U], read: UN, memory: Yes, steps: &["a: truncate {s}.u"] },
    Trap {
        name: "merge",
        setup: &[T, U],
        read: UN,
        memory: Yes,
        steps: &["a: merge into {s}.u using {s}.t on u.k = t.k when matched then update set n = 3 when not matched then insert values (t.k, 1)"],
    },
    Trap { name: "cte", setup: &[T, U], read: UN, memory: Yes, steps: &["a: with w as (update {s}.u set n = 5 returning k) select * from {s}.t where k in (select k from w)"] },
    Trap { name: "explain_analyze", setup: &[U], read: UN, memory: Yes, steps: &["a: explain analyze update {s}.u set n = 5"] },
    Trap {
        name: "explain_analyze_makes_a_table",
        setup: &[U, "create table {s}.later as select 9 as n", "create schema {s}_first; grant all on schema {s}_first to app"],
        read: UN,
        memory: Yes,
        steps: &["a: explain analyze create table {s}.made as select 1", "a: explain analyze delete from {s}.u"],
    },
    Trap { name: "several_statements", setup: &[T, U], read: UN, memory: Yes, steps: &["a: select 1; update {s}.u set n = 5; select 2"] },
    Trap { name: "half_done_statements", setup: &[U], read: UN, memory: Yes, steps: &["a: begin; update {s}.u set n = 5; commit; select 1/0"] },
    Trap { name: "sql_execute", setup: &[U], read: UN, memory: Yes, steps: &["a: prepare q as update {s}.u set n = 5", "wait", "a: execute q"] },
    Trap {
        name: "cursor_over_a_writer",
        setup: &[U, WRITER],
        read: UN,
        memory: Yes,
        steps: &["a: begin", "a: declare c cursor for select {s}.w()", "a: fetch 1 from c", "r: {read}", "a: commit"],
    },
    Trap {
        name: "leaf_and_root",
        setup: &["create table {s}.t (k int, n int) partition by range (k); create table {s}.t1 partition of {s}.t for values from (0) to (10); insert into {s}.t values (1, 0)"],
        read: N,
        memory: Never,
        steps: &["a: update {s}.t1 set n = 5"],
    },
    Trap {
        name: "detach",
        setup: &["create table {s}.t (k int, n int) partition by range (k); create table {s}.t1 partition of {s}.t for values from (0) to (10); insert into {s}.t values (1, 0)"],
        read: N,
        memory: Never,
        steps: &["a: alter table {s}.t detach partition {s}.t1"],
    },
    Trap {
        name: "a_table_becomes_a_partition",
        setup: &[U, "create table {s}.t (k int, n int) partition by range (k)"],
        read: UN,
        memory: Yes,
        steps: &["a: alter table {s}.t attach partition {s}.u for values from (0) to (10)", "r: {read}", "a: update {s}.t set n = 5"],
    },
    Trap {
        name: "inheritance",
        setup: &[T, "create table {s}.child () inherits ({s}.t); insert into {s}.child values (9, 9)"],
        read: N,
        memory: Never,
        steps: &["a: update {s}.child set n = 5"],
    },
    Trap {
        name: "a_table_gets_a_child",
        setup: &[T],
        read: N,
        memory: Yes,
        steps: &["a: create table {s}.child () inherits ({s}.t)", "r: {read}", "a: insert into {s}.child values (9, 9)"],
    },
    Trap {
        name: "materialized_view",
        setup: &[U, "create materialized view {s}.t as select * from {s}.u"],
        read: N,
        memory: Never,
        steps: &["a: update {s}.u set n = 5", "a: refresh materialized view {s}.t"],
    },
    Trap {
        name: "view_on_view",
        setup: &[U, "create view {s}.v as select * from {s}.u; create view {s}.t as select * from {s}.v"],
        read: N,
        memory: Never,
        steps: &["a: update {s}.u set n = 5", "r: {read}", "a: create or replace view {s}.v as select k, n + 100 as n from {s}.u"],
    },
    Trap { name: "sequence", setup: &["create sequence {s}.q"], read: "select last_value from {s}.q", memory: Never, steps: &["a: select nextval('{s}.q')"] },
    Trap { name: "set_local_search_path", setup: &[SHADOW], read: SHADOWED, memory: Yes, steps: &["a: begin", "a: set local search_path = {s}", "a: update {s}_n set n = 5", "a: commit"] },
    Trap { name: "set_config_local", setup: &[SHADOW], read: SHADOWED, memory: Yes, steps: &["a: begin", "a: select set_config('search_path', '{s}', true)", "a: update {s}_n set n = 5", "a: commit"] },
    Trap { name: "set_local_in_one_text", setup: &[SHADOW], read: SHADOWED, memory: Yes, steps: &["a: begin; set local search_path = {s}; update {s}_n set n = 5; commit"] },
    Trap { name: "set_config_in_one_text", setup: &[SHADOW], read: SHADOWED, memory: Yes, steps: &["a: select set_config('search_path', '{s}', true); update {s}_n set n = 5"] },
    Trap { name: "search_path", setup: &[SHADOW], read: SHADOWED, memory: Yes, steps: &["a: set search_path = {s}", "a: update {s}_n set n = 5"] },
    Trap {
        name: "search_path_set_by_a_function",
        setup: &[SHADOW, "create function {s}.tenant() returns void language sql as $$ select set_config('search_path', '{s}', true) $$"],
        read: SHADOWED,
        memory: Yes,
        steps: &["a: begin", "a: select {s}.tenant()", "a: update {s}_n set n = 5", "a: commit"],
    },
    Trap {
        name: "a_view_of_another_search_path",
        setup: &[U, WRITER, "create table public.{s}_v (n int); create view {s}.{s}_v as select {s}.w() as n"],
        read: UN,
        memory: Yes,
        steps: &["a: set search_path = {s}", "wait", "a: select n from {s}_v"],
    },
    Trap {
        name: "temporary_view",
        setup: &[U, "create table public.{s}_n (k int, n int)"],
        read: UN,
        memory: Yes,
        steps: &["a: create temp view {s}_n as select * from {s}.u", "wait", "a: update {s}_n set n = 5"],
    },
    Trap {
        name: "temporary_table_with_a_trigger",
        setup: &[U, AUDIT, "create table public.{s}_n (k int, n int)"],
        read: UN,
        memory: Yes,
        steps: &[
            "a: create temp table {s}_n (k int, n int)",
            "a: create trigger g after insert on {s}_n for each row execute function {s}.audit()",
            "wait",
            "a: insert into {s}_n values (1, 1)",
        ],
    },
    Trap {
        name: "temporary_table_shadows",
        setup: &["create table public.{s}_n (k int, n int); insert into public.{s}_n values (1, 0)"],
        read: "select k, n from {s}_n",
        memory: Yes,
        steps: &["a: create temp table {s}_n (k int, n int)", "a: insert into {s}_n values (7, 7)", "a: select k, n from {s}_n", "a: drop table {s}_n", "a: update {s}_n set n = 3"],
    },
    Trap { name: "added_column", setup: &[T], read: "select * from {s}.t order by k", memory: Yes, steps: &["a: alter table {s}.t add column c int default 7"] },
    Trap {
        name: "swap_by_rename",
        setup: &[T, "create table {s}.t2 (k int, n int); insert into {s}.t2 values (5, 5)"],
        read: N,
        memory: Yes,
        steps: &["a: begin; alter table {s}.t rename to t3; alter table {s}.t2 rename to t; commit", "wait", "a: update {s}.t set n = 6"],
    },
    Trap {
        name: "dropped_and_made_again",
        setup: &[T],
        read: N,
        memory: Yes,
        steps: &["a: drop table {s}.t", "a: create table {s}.t (k int, n int)", "wait", "a: insert into {s}.t values (8, 8)"],
    },
    Trap { name: "row_security", setup: &[T], read: N, memory: Yes, steps: &["a: alter table {s}.t enable row level security; alter table {s}.t force row level security"] },
    Trap { name: "revoke", setup: &[T], read: N, memory: Yes, steps: &["a: revoke all on {s}.t from app"] },
    Trap { name: "revoked_schema", setup: &[T], read: N, memory: Yes, steps: &["a: revoke all on schema {s} from app"] },
    Trap {
        name: "a_function_comes_to_hide_one",
        setup: &[T],
        read: "select abs(n) from {s}.t order by k",
        memory: Yes,
        steps: &["a: create function public.abs(int) returns int language sql as 'select 77'", "x: drop function public.abs(int)"],
    },
    Trap { name: "copied_in_one_text", setup: &[T, U], read: UN, memory: Yes, steps: &["a: copy {s}.t to '/dev/null'; update {s}.u set n = 4"] },
    Trap { name: "clock", setup: &[T], read: "select count(*) from {s}.t where clock_timestamp() > 'epoch'", memory: Never, steps: &["a: update {s}.t set n = 1"] },
    Trap { name: "user_functions_are_not_kept", setup: &[U, "create function {s}.f() returns bigint language sql immutable as 'select sum(n) from {s}.u'"], read: "select {s}.f() from {s}.u", memory: Never, steps: &["a: update {s}.u set n = 5"] },
    Trap { name: "locking", setup: &[T], read: "select n from (select n from {s}.t where k = 1 for update) x", memory: Never, steps: &["a: update {s}.t set n = 1"] },
    Trap { name: "sampling", setup: &[T], read: "select count(*) from {s}.t tablesample bernoulli (100)", memory: Never, steps: &["a: insert into {s}.t values (7, 7)"] },
    Trap { name: "distinct_on", setup: &[T], read: "select distinct on (n) n, k from {s}.t order by n, k", memory: Yes, steps: &["a: update {s}.t set n = 1 where k = 2"] },
    Trap { name: "with_ties", setup: &[T], read: "select n from {s}.t order by n fetch first 1 row with ties", memory: Yes, steps: &["a: update {s}.t set n = 1 where k = 2"] },
    Trap { name: "only_itself", setup: &[T], read: "select n from only {s}.t order by k", memory: Yes, steps: &["a: update {s}.t set n = 1 where k = 2"] },
];

/// What an answer says, without the positions of object ids.
fn said(answer: &[Message]) -> Vec<String> {
    let mut ids = crate::support::message::Ids::default();
    answer.iter().map(|message| crate::support::message::render(message, &mut ids)).collect()
}

fn unnamed(text: &str) -> Vec<u8> {
    Out::new().parse("", text, &[]).bind_text("", "", &[]).describe(b'P', "").execute("", 0).sync().0
}

fn binary(text: &str) -> Vec<u8> {
    Out::new().parse("", text, &[]).bind("", "", &[], &[], &[1]).describe(b'P', "").execute("", 0).sync().0
}

struct Rig {
    pgdial: Pgdial,
    database: String,
    clients: BTreeMap<String, Client>,
}

impl Rig {
    fn new(what: &str, setup: &[String], more: impl Fn(Config) -> Config) -> Self {
        let postgres = Postgres::shared();
        let database = postgres.database(what);
        let mut owner = postgres.client("app", &database);
        for text in setup {
            rows(&owner.query(text), text);
        }
        let config = Config::new(postgres, &database).pool(6).cached().text("log", "level", "info").text("invalidation", "catalog_check", "1s");
        Self { pgdial: Pgdial::start(&more(config)), database, clients: BTreeMap::new() }
    }

    fn client(&mut self, name: &str) -> &mut Client {
        let (pgdial, database) = (&self.pgdial, &self.database);
        let login = || if name == "x" { Postgres::shared().client("app", database) } else { pgdial.client(database) };
        self.clients.entry(name.to_string()).or_insert_with(login)
    }

    fn hits(&self) -> u64 {
        self.pgdial.stat("cache.hits")
    }

    /// Reads until an answer comes from memory, in each protocol.
    fn warm(&mut self, text: &str) {
        for out in [Out::new().query(text).0, unnamed(text), binary(text)] {
            let before = self.hits();
            let what = format!("{text} comes from memory; {}", self.pgdial.stats()["cache"]);
            eventually(&what, Duration::from_secs(5), || {
                let client = self.client("r");
                client.send(&out);
                client.until_ready(1);
                self.hits() > before
            });
        }
    }

    /// The read, in each protocol, must be what Postgres says.
    fn compare(&mut self, name: &str, text: &str) -> Result<(), String> {
        for (how, out) in [("simple", Out::new().query(text).0), ("unnamed", unnamed(text)), ("binary", binary(text))] {
            let [here, there] = ["r", "x"].map(|who| {
                let client = self.client(who);
                client.send(&out);
                said(&client.until_ready(1))
            });
            if here != there {
                return Err(format!("{name}, {how}: {text}\n  through pgdial {here:?}\n  Postgres       {there:?}"));
            }
        }
        Ok(())
    }

    fn spring(&mut self, trap: &Trap) -> Result<(), String> {
        let fill = |text: &str| text.replace("{read}", trap.read).replace("{s}", trap.name);
        let read = fill(trap.read);
        let before = self.hits();
        match trap.memory {
            Yes => self.warm(&read),
            Never => (0..5).for_each(|_| drop(self.client("r").query(&read))),
        }
        self.compare(trap.name, &read)?;
        for step in trap.steps {
            match step.split_once(": ") {
                Some((who, text)) => drop(self.client(who).query(&fill(text))),
                None => self.warm(&read),
            }
        }
        self.compare(trap.name, &read)?;
        self.compare(trap.name, &read)?;
        if trap.memory == Never && self.hits() > before {
            return Err(format!("{}: came from memory", trap.name));
        }
        for client in ["a", "b"] {
            self.clients.remove(client);
        }
        Ok(())
    }
}

#[test]
fn what_postgres_says_after_each_trap() {
    let mut setup = Vec::new();
    for trap in TRAPS {
        setup.push(format!("create schema {}", trap.name));
        setup.extend(trap.setup.iter().map(|text| text.replace("{s}", trap.name)));
    }
    let mut rig = Rig::new("traps", &setup, |config| config);
    let only = std::env::var("PGDIAL_TRAP").ok();
    let traps = TRAPS.iter().filter(|trap| only.as_deref().is_none_or(|only| only == trap.name));
    let failed: Vec<String> = traps.filter_map(|trap| rig.spring(trap).err()).collect();
    assert!(failed.is_empty(), "{} traps:\n{}", failed.len(), failed.join("\n"));
}

/// One table, read from memory as `app`.
fn one(what: &str, more: impl Fn(Config) -> Config) -> Rig {
    let setup = ["create table t (k int primary key, n int)", "insert into t values (1, 0)", "grant select on t to public"];
    Rig::new(what, &setup.map(String::from), more)
}

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
    let setup = ["create table t (at timestamptz)", "insert into t values (clock_timestamp() + interval '1 second')"];
    let mut rig = Rig::new("words", &setup.map(String::from), |config| config);
    rig.warm("select count(*) from t");
    let mut ask = |value: &str| {
        let out = Out::new().parse("", "select count(*) from t where at > $1", &[]).bind_text("", "", &[value]).execute("", 0).sync();
        let client = rig.client("r");
        client.send(&out.0);
        rows(&client.until_ready(1), value)[0][0].clone()
    };
    for _ in 0..3 {
        assert_eq!(ask("now").as_deref(), Some("1"));
        assert_eq!(ask(" NOW ").as_deref(), Some("1"));
    }
    std::thread::sleep(Duration::from_millis(1300));
    assert_eq!(ask("now").as_deref(), Some("0"), "now is later now");
    assert_eq!(ask(" NOW ").as_deref(), Some("0"));
}

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

/// One who waits for another's read is told by nobody else's answer later on.
#[test]
fn what_was_waited_for_answers_nothing_else() {
    let mut rig = one("joined", |config| config.text("invalidation", "catalog_check", "60s"));
    rig.client("x").rows("create table slow (k int); insert into slow select generate_series(1, 3000)");
    rig.client("a").rows("comment on table t is 'the catalog is read again'");
    let slow = "select count(*) from slow a, slow b where a.k + b.k > 0";
    rig.warm("select n from t");
    rig.client("a").rows("update slow set k = k where k = 1");
    let out = Out::new().query(slow).0;
    for who in ["lead", "r"] {
        rig.client(who).send(&out);
        std::thread::sleep(Duration::from_millis(100));
    }
    // The catalog is lost, and still is when the answer comes.
    let filter = format!("datname = '{}' and application_name = 'pgdial catalog'", rig.database);
    let kill = format!("select pg_terminate_backend(pid) from pg_stat_activity where {filter}");
    for _ in 0..40 {
        Postgres::shared().sql(&rig.database, &kill);
        std::thread::sleep(Duration::from_millis(20));
    }
    for who in ["lead", "r"] {
        assert_eq!(rows(&rig.client(who).until_ready(1), slow)[0][0].as_deref(), Some("9000000"));
    }
    for _ in 0..100 {
        assert_eq!(rig.client("r").value("select n from t"), "0");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(rig.pgdial.stat("cache.waits") > 0, "nobody waited: {}", rig.pgdial.stats()["cache"]);
}

/// A cancel request reaches a client that waits for another's read, and only that client.
#[test]
fn who_waits_for_another_read_can_be_cancelled() {
    let mut rig = one("cancelled", |config| config);
    rig.warm("select n from t");
    let mut blocker = Postgres::shared().client("app", &rig.database);
    blocker.rows("begin");
    blocker.rows("lock table t in access exclusive mode");
    let text = "select n, n from t";
    for who in ["lead", "r"] {
        rig.client(who).send(&Out::new().query(text).0);
        std::thread::sleep(Duration::from_millis(100));
    }
    eventually("it waits", Duration::from_secs(3), || rig.pgdial.stat("cache.waits") == 1);
    let key = rig.client("r").key();
    crate::support::wire::cancel(rig.pgdial.addr(), &key);
    assert_eq!(sqlstate(&rig.client("r").until_ready(1)).as_deref(), Some("57014"));
    blocker.rows("commit");
    assert_eq!(rows(&rig.client("lead").until_ready(1), text)[0][0].as_deref(), Some("0"));
    assert_eq!(rig.client("r").value("select n from t"), "0");
}

/// The one whose read the others wait for does not take its answer.
#[test]
fn a_client_that_does_not_read_holds_up_nobody() {
    let mut rig = one("stalled", |config| config.set("cache", "max_result", "\"16MiB\""));
    rig.client("x").rows("create table wide as select repeat('w', 1000) as w from generate_series(1, 7000)");
    rig.client("a").rows("comment on table t is 'the catalog is read again'");
    rig.warm("select n from t");
    let text = "select w, w from wide where w <> ''";
    let mut lead = std::net::TcpStream::connect(rig.pgdial.addr()).unwrap();
    std::io::Write::write_all(&mut lead, &Out::startup(&[("user", "app"), ("database", &rig.database)]).0).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    std::io::Write::write_all(&mut lead, &Out::new().query(text).0).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    for _ in 0..3 {
        let began = std::time::Instant::now();
        assert_eq!(rig.client("r").rows(text).len(), 7000);
        assert!(began.elapsed() < Duration::from_secs(5), "waited {:?}", began.elapsed());
    }
    let _ = lead.shutdown(std::net::Shutdown::Both);
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

/// COMMIT by a name that only the server knows, without Sync.
#[test]
fn commit_by_a_name_that_only_the_server_knows() {
    let mut rig = one("unseen", |config| config);
    let client = rig.client("a");
    client.send(&Out::new().parse("end", "commit", &[]).sync().0);
    client.until_ready(1);
    client.rows("prepare p as select 1");
    for round in 1..4 {
        rig.warm("select n from t");
        let client = rig.client("a");
        client.rows("begin");
        client.rows(&format!("update t set n = {round}"));
        client.send(&Out::new().bind_text("", "end", &[]).execute("", 0).flush().0);
        let end = std::time::Instant::now() + Duration::from_secs(5);
        while !matches!(client.next(Duration::from_secs(1)), crate::support::wire::Received::Message(message) if message.tag == b'C') {
            assert!(std::time::Instant::now() < end, "no CommandComplete");
        }
        rig.compare("unseen", "select n from t").unwrap();
        let client = rig.client("a");
        client.send(&Out::new().sync().0);
        client.until_ready(1);
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
    rig.pgdial.reload(&config.text("invalidation", "catalog_check", "1s").tables("[[cache.rule]]\ntables = [\"other\"]\nttl = \"1h\""));
    rig.client("x").rows("update t set n = 5");
    eventually("no rule names the table any more", Duration::from_secs(3), || rig.client("r").value("select n from t") == "5");
    let before = rig.hits();
    (0..5).for_each(|_| drop(rig.client("r").rows("select n from t")));
    assert_eq!(rig.hits(), before);
}
