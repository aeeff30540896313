//! The traps that can be written as texts: what there is, what is read, what happens then.

/// `{s}` is a schema of its own. Steps are `client: text`; client `x` is connected to Postgres itself, `r` is the one that
/// reads, and a step may fail.
pub(super) struct Trap {
    pub(super) name: &'static str,
    pub(super) setup: &'static [&'static str],
    pub(super) read: &'static str,
    pub(super) memory: Memory,
    pub(super) steps: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Memory {
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

pub(super) const TRAPS: &[Trap] = &[
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
        steps: &[
            "a: begin",
            "a: update {s}.t set n = 4",
            "a: prepare transaction '{s}'",
            "r: {read}",
            "b: commit prepared '{s}'",
        ],
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
        setup: &[
            T,
            "create table {s}.u (k int references {s}.t on delete cascade, n int); insert into {s}.u values (1, 1), (2, 2)",
        ],
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
    Trap {
        name: "updatable_view",
        setup: &[T, "create view {s}.v as select * from {s}.t"],
        read: N,
        memory: Yes,
        steps: &["a: update {s}.v set n = 5"],
    },
    Trap {
        name: "instead_of_trigger",
        setup: &[
            T,
            U,
            AUDIT,
            "create view {s}.v as select k, n + 0 as n from {s}.t; create trigger g instead of update on {s}.v for each row execute function {s}.audit()",
        ],
        read: UN,
        memory: Yes,
        steps: &["a: update {s}.v set n = 5"],
    },
    Trap { name: "function", setup: &[U, WRITER], read: UN, memory: Yes, steps: &["a: select {s}.w()"] },
    Trap {
        name: "function_in_a_view",
        setup: &[U, WRITER, "create view {s}.v as select {s}.w() as n"],
        read: UN,
        memory: Yes,
        steps: &["a: select * from {s}.v"],
    },
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
        setup: &[
            U,
            "create procedure {s}.p() language plpgsql as $$ begin update {s}.u set n = 5; commit; update {s}.u set n = 6; end $$",
        ],
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
        steps: &[
            "a: merge into {s}.u using {s}.t on u.k = t.k when matched then update set n = 3 when not matched then insert values (t.k, 1)",
        ],
    },
    Trap {
        name: "cte",
        setup: &[T, U],
        read: UN,
        memory: Yes,
        steps: &["a: with w as (update {s}.u set n = 5 returning k) select * from {s}.t where k in (select k from w)"],
    },
    Trap { name: "explain_analyze", setup: &[U], read: UN, memory: Yes, steps: &["a: explain analyze update {s}.u set n = 5"] },
    Trap {
        name: "explain_analyze_makes_a_table",
        setup: &[U, "create table {s}.later as select 9 as n", "create schema {s}_first; grant all on schema {s}_first to app"],
        read: UN,
        memory: Yes,
        steps: &["a: explain analyze create table {s}.made as select 1", "a: explain analyze delete from {s}.u"],
    },
    Trap {
        name: "several_statements",
        setup: &[T, U],
        read: UN,
        memory: Yes,
        steps: &["a: select 1; update {s}.u set n = 5; select 2"],
    },
    Trap {
        name: "half_done_statements",
        setup: &[U],
        read: UN,
        memory: Yes,
        steps: &["a: begin; update {s}.u set n = 5; commit; select 1/0"],
    },
    Trap {
        name: "sql_execute",
        setup: &[U],
        read: UN,
        memory: Yes,
        steps: &["a: prepare q as update {s}.u set n = 5", "wait", "a: execute q"],
    },
    Trap {
        name: "cursor_over_a_writer",
        setup: &[U, WRITER],
        read: UN,
        memory: Yes,
        steps: &["a: begin", "a: declare c cursor for select {s}.w()", "a: fetch 1 from c", "r: {read}", "a: commit"],
    },
    Trap {
        name: "leaf_and_root",
        setup: &[
            "create table {s}.t (k int, n int) partition by range (k); create table {s}.t1 partition of {s}.t for values from (0) to (10); insert into {s}.t values (1, 0)",
        ],
        read: N,
        memory: Never,
        steps: &["a: update {s}.t1 set n = 5"],
    },
    Trap {
        name: "detach",
        setup: &[
            "create table {s}.t (k int, n int) partition by range (k); create table {s}.t1 partition of {s}.t for values from (0) to (10); insert into {s}.t values (1, 0)",
        ],
        read: N,
        memory: Never,
        steps: &["a: alter table {s}.t detach partition {s}.t1"],
    },
    Trap {
        name: "a_table_becomes_a_partition",
        setup: &[U, "create table {s}.t (k int, n int) partition by range (k)"],
        read: UN,
        memory: Yes,
        steps: &[
            "a: alter table {s}.t attach partition {s}.u for values from (0) to (10)",
            "r: {read}",
            "a: update {s}.t set n = 5",
        ],
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
        steps: &[
            "a: update {s}.u set n = 5",
            "r: {read}",
            "a: create or replace view {s}.v as select k, n + 100 as n from {s}.u",
        ],
    },
    Trap {
        name: "sequence",
        setup: &["create sequence {s}.q"],
        read: "select last_value from {s}.q",
        memory: Never,
        steps: &["a: select nextval('{s}.q')"],
    },
    Trap {
        name: "set_local_search_path",
        setup: &[SHADOW],
        read: SHADOWED,
        memory: Yes,
        steps: &["a: begin", "a: set local search_path = {s}", "a: update {s}_n set n = 5", "a: commit"],
    },
    Trap {
        name: "set_config_local",
        setup: &[SHADOW],
        read: SHADOWED,
        memory: Yes,
        steps: &["a: begin", "a: select set_config('search_path', '{s}', true)", "a: update {s}_n set n = 5", "a: commit"],
    },
    Trap {
        name: "set_local_in_one_text",
        setup: &[SHADOW],
        read: SHADOWED,
        memory: Yes,
        steps: &["a: begin; set local search_path = {s}; update {s}_n set n = 5; commit"],
    },
    Trap {
        name: "set_config_in_one_text",
        setup: &[SHADOW],
        read: SHADOWED,
        memory: Yes,
        steps: &["a: select set_config('search_path', '{s}', true); update {s}_n set n = 5"],
    },
    Trap {
        name: "search_path",
        setup: &[SHADOW],
        read: SHADOWED,
        memory: Yes,
        steps: &["a: set search_path = {s}", "a: update {s}_n set n = 5"],
    },
    Trap {
        name: "search_path_set_by_a_function",
        setup: &[
            SHADOW,
            "create function {s}.tenant() returns void language sql as $$ select set_config('search_path', '{s}', true) $$",
        ],
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
        steps: &[
            "a: create temp table {s}_n (k int, n int)",
            "a: insert into {s}_n values (7, 7)",
            "a: select k, n from {s}_n",
            "a: drop table {s}_n",
            "a: update {s}_n set n = 3",
        ],
    },
    Trap {
        name: "added_column",
        setup: &[T],
        read: "select * from {s}.t order by k",
        memory: Yes,
        steps: &["a: alter table {s}.t add column c int default 7"],
    },
    Trap {
        name: "swap_by_rename",
        setup: &[T, "create table {s}.t2 (k int, n int); insert into {s}.t2 values (5, 5)"],
        read: N,
        memory: Yes,
        steps: &[
            "a: begin; alter table {s}.t rename to t3; alter table {s}.t2 rename to t; commit",
            "wait",
            "a: update {s}.t set n = 6",
        ],
    },
    Trap {
        name: "dropped_and_made_again",
        setup: &[T],
        read: N,
        memory: Yes,
        steps: &["a: drop table {s}.t", "a: create table {s}.t (k int, n int)", "wait", "a: insert into {s}.t values (8, 8)"],
    },
    Trap {
        name: "row_security",
        setup: &[T],
        read: N,
        memory: Yes,
        steps: &["a: alter table {s}.t enable row level security; alter table {s}.t force row level security"],
    },
    Trap { name: "revoke", setup: &[T], read: N, memory: Yes, steps: &["a: revoke all on {s}.t from app"] },
    Trap { name: "revoked_schema", setup: &[T], read: N, memory: Yes, steps: &["a: revoke all on schema {s} from app"] },
    Trap {
        name: "a_function_comes_to_hide_one",
        setup: &[T],
        read: "select abs(n) from {s}.t order by k",
        memory: Yes,
        steps: &[
            "a: create function public.abs(int) returns int language sql as 'select 77'",
            "x: drop function public.abs(int)",
        ],
    },
    Trap {
        name: "copied_in_one_text",
        setup: &[T, U],
        read: UN,
        memory: Yes,
        steps: &["a: copy {s}.t to '/dev/null'; update {s}.u set n = 4"],
    },
    Trap {
        name: "clock",
        setup: &[T],
        read: "select count(*) from {s}.t where clock_timestamp() > 'epoch'",
        memory: Never,
        steps: &["a: update {s}.t set n = 1"],
    },
    Trap {
        name: "user_functions_are_not_kept",
        setup: &[U, "create function {s}.f() returns bigint language sql immutable as 'select sum(n) from {s}.u'"],
        read: "select {s}.f() from {s}.u",
        memory: Never,
        steps: &["a: update {s}.u set n = 5"],
    },
    Trap {
        name: "locking",
        setup: &[T],
        read: "select n from (select n from {s}.t where k = 1 for update) x",
        memory: Never,
        steps: &["a: update {s}.t set n = 1"],
    },
    Trap {
        name: "sampling",
        setup: &[T],
        read: "select count(*) from {s}.t tablesample bernoulli (100)",
        memory: Never,
        steps: &["a: insert into {s}.t values (7, 7)"],
    },
    Trap {
        name: "distinct_on",
        setup: &[T],
        read: "select distinct on (n) n, k from {s}.t order by n, k",
        memory: Yes,
        steps: &["a: update {s}.t set n = 1 where k = 2"],
    },
    Trap {
        name: "with_ties",
        setup: &[T],
        read: "select n from {s}.t order by n fetch first 1 row with ties",
        memory: Yes,
        steps: &["a: update {s}.t set n = 1 where k = 2"],
    },
    Trap {
        name: "only_itself",
        setup: &[T],
        read: "select n from only {s}.t order by k",
        memory: Yes,
        steps: &["a: update {s}.t set n = 1 where k = 2"],
    },
];
