//! The texts that random sessions are made of. Qualified names only, and every answer depends on the session alone.

use super::super::encode::Value;
use super::super::rng::Rng;
use super::Mix;

/// Texts for a simple Query or a Parse without parameters; `{s}` is the session's schema.
const PLAIN: &[&str] = &[
    "select 1",
    "select a, b from {s}.t order by a",
    "select * from {s}.t where a = 2",
    "select count(*) from {s}.t",
    "select count(*) from {s}.u",
    "select",
    "select null, '', 'x'::char(3), 1.50, true, date '2026-02-01', '{1,2}'::int[]",
    "select i from generate_series(1, 12) i",
    "select repeat('wide ', 3000) from generate_series(1, 3)",
    "select 1/0",
    "select nope from {s}.t",
    "selec 1",
    "select 10 / (4 - i) from generate_series(1, 6) i",
    "insert into {s}.t values (1, 'twice')",
    "insert into {s}.t values (6, 'six') on conflict (a) do update set b = excluded.b || '!' returning *",
    "insert into {s}.u select a, b from {s}.t",
    "update {s}.t set b = b || '.' where a <= 3",
    "delete from {s}.t where a = 4 returning a",
    "select {s}.f(2)",
    "select {s}.f(i) from generate_series(1, 4) i",
    "values (1, 'one'), (2, null)",
    "with w as (delete from {s}.u returning a) select count(*) from w",
    "explain (costs off) select * from {s}.t where a = 1",
    "show transaction_isolation",
    "show standard_conforming_strings",
    "truncate {s}.u",
    "lock table {s}.t in share mode",
    "do $$ begin raise notice 'from do'; end $$",
    "copy (select a from {s}.t order by a) to stdout",
    "",
    "-- nothing",
    "select a from {s}.t where b = 'it''s' /* comment */ order by a",
    "select * from {s}.t for update",
];

const TRANSACTION: &[&str] = &[
    "begin",
    "commit",
    "rollback",
    "savepoint x",
    "rollback to savepoint x",
    "release savepoint x",
    "begin isolation level repeatable read",
    "begin read only",
    "set transaction isolation level serializable",
    "set local statement_timeout = '33s'",
    "commit and chain",
    "declare c cursor for select a from {s}.t order by a",
    "fetch 2 from c",
    "set constraints all immediate",
];

const DDL: &[&str] = &[
    "alter table {s}.t add column c int default 7",
    "alter table {s}.t drop column c",
    "create table {s}.d (a int)",
    "drop table {s}.d",
    "create index on {s}.u (a)",
    "drop table if exists {s}.d",
];

const SETTINGS: &[&str] = &[
    "set application_name = 'random'",
    "set datestyle = 'German'",
    "reset datestyle",
    "select date '2026-02-01'",
    "set extra_float_digits = -2",
    "select 0.1::float8 + 0.2",
    "show application_name",
    "reset all",
    "set nonsense = 3",
    "select set_config('application_name', 'by function', false)",
];

const PREPARE: &[&str] = &[
    "prepare a as select 'sql a'",
    "prepare b (int) as select $1 + 100",
    "execute a",
    "execute b (5)",
    "deallocate a",
    "deallocate b",
    "deallocate all",
];

/// Texts with parameters and how many; all take small numbers as text.
const WITH_PARAMETERS: &[(&str, usize)] = &[
    ("select $1::int + 1", 1),
    ("select $1::text, $2::text", 2),
    ("select a, b from {s}.t where a = $1", 1),
    ("select a, b from {s}.t where a > $1 order by a limit $2", 2),
    ("select * from {s}.t where a = $1", 1),
    ("select i from generate_series(1, $1::int) i", 1),
    ("insert into {s}.t values ($1, $2) on conflict do nothing", 2),
    ("insert into {s}.u values ($1, $2) returning a, b", 2),
    ("update {s}.t set b = $2 where a = $1", 2),
    ("delete from {s}.u where a = $1", 1),
    ("select 12 / ($1::int - 3)", 1),
    ("select {s}.f($1)", 1),
    ("select repeat('z', 100 * $1::int)", 1),
    ("select $1::int where $2::text is null", 2),
    ("select nope from {s}.t where a = $1", 1),
];

/// A text for a simple Query.
pub(super) fn simple(rng: &mut Rng, mix: Mix, schema: &str) -> String {
    let count = if rng.chance(15) { 2 + rng.below(2) } else { 1 };
    let mut texts: Vec<&str> = (0..count).map(|_| plain(rng, mix)).collect();
    if !mix.everything {
        // Known to differ in a failed transaction, see docs/CONSISTENCY.md: nothing can be prepared ahead of what ends it.
        let end = texts.iter().position(|text| text.starts_with("commit") || *text == "rollback").unwrap_or(count);
        let mut index = 0..;
        texts.retain(|text| index.next() <= Some(end) || !matches!(*text, "deallocate a" | "deallocate b"));
    }
    texts.join("; ").replace("{s}", schema)
}

/// A text for Parse, and how many parameters it takes.
pub(super) fn parsed(rng: &mut Rng, mix: Mix, schema: &str) -> (String, usize) {
    let (text, parameters) = if rng.chance(55) { *rng.pick(WITH_PARAMETERS) } else { (plain(rng, mix), 0) };
    (text.replace("{s}", schema), parameters)
}

/// Values that mostly fit, now and then not.
pub(super) fn values(rng: &mut Rng, parameters: usize) -> Vec<Value> {
    let count = if rng.chance(4) { rng.below(4) } else { parameters };
    let value = |rng: &mut Rng| match rng.below(20) {
        0 => None,
        1 => Some(b"not a number".to_vec()),
        2 => Some(Vec::new()),
        _ => Some(rng.below(9).to_string().into_bytes()),
    };
    (0..count).map(|_| value(rng)).collect()
}

fn plain(rng: &mut Rng, mix: Mix) -> &'static str {
    let texts = match rng.below(100) {
        0..=24 => TRANSACTION,
        25..=29 if mix.ddl => DDL,
        30..=37 if mix.settings => SETTINGS,
        38..=42 if mix.prepare => PREPARE,
        _ => PLAIN,
    };
    texts[rng.below(texts.len())]
}
