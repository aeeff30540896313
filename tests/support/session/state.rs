//! What a random session establishes and asks after: everything that Postgres keeps per connection.
//!
//! Each answer depends on the session alone: `{s}` is its schema, `{k}` a number no other session has.

use super::super::rng::Rng;

/// Texts that belong together; a session takes some of one group in their order, and comes back to groups later.
const GROUPS: &[&[&str]] = &[
    &[
        "create temp table tmp (a int, b text)",
        "insert into tmp values (1, 'x'), (2, 'y')",
        "select * from tmp order by a",
        "copy tmp to stdout",
        "drop table tmp",
        "select * from tmp order by a",
    ],
    &[
        "create temp table gone on commit drop as select 1 as a",
        "begin; create temp table gone (a int) on commit drop; insert into gone values (5); select * from gone",
        "table gone",
        "commit",
        "drop table if exists gone",
    ],
    &[
        "select a, b into temp picked from {s}.t order by a",
        "select count(*) from picked",
        "create temp view tv as select a from {s}.t where a < 3",
        "select * from tv order by a",
        "drop view if exists tv; drop table if exists picked",
    ],
    &["create temp table t (a text)", "insert into t values ('mine')", "set search_path = {s}", "table t", "discard temp"],
    &["create temp sequence ts start 5", "select nextval('ts')", "select currval('ts')", "drop sequence ts"],
    &[
        "declare h cursor with hold for select a, b from {s}.t order by a",
        "fetch 2 from h",
        "fetch all from h",
        "move 1 from h",
        "close h",
        "fetch 1 from h",
    ],
    &[
        "declare hs scroll cursor with hold for select i from generate_series(1, 9) i",
        "fetch last from hs",
        "fetch prior from hs",
        "fetch absolute 3 from hs",
        "select name, is_holdable, is_scrollable from pg_cursors where name like 'h%' order by name",
        "close all",
    ],
    &[
        "prepare ins (int, text) as insert into {s}.u values ($1, $2) returning *",
        "execute ins (5, 'prepared')",
        "execute ins ('x', 'y')",
        "deallocate ins",
        "execute ins (6, 'gone')",
    ],
    &[
        "prepare sel as select a, b from {s}.t order by a limit 2",
        "execute sel",
        "explain (costs off) execute sel",
        "select name, statement, parameter_types from pg_prepared_statements where from_sql order by name",
        "deallocate prepare sel",
        "deallocate all",
    ],
    &[
        "listen chan_{k}",
        "notify chan_{k}, 'one'",
        "begin; notify chan_{k}; select pg_notify('chan_{k}', 'two'); commit",
        "select pg_listening_channels()",
        "unlisten chan_{k}",
        "notify chan_{k}, 'unheard'",
    ],
    &["listen chan_{k}", "notify chan_{k}, 'rolled'; select 1/0", "unlisten *", "select count(*) from pg_listening_channels()"],
    &[
        "select pg_advisory_lock({k})",
        "select pg_try_advisory_lock({k}), pg_try_advisory_lock_shared(7, {k})",
        "select mode, objid from pg_locks where locktype = 'advisory' and pid = pg_backend_pid() order by objid, mode, objsubid",
        "select pg_advisory_unlock({k})",
        "select pg_advisory_unlock_all()",
        "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()",
    ],
    &[
        "select pg_advisory_xact_lock({k})",
        "begin; select pg_advisory_xact_lock({k})",
        "select {s}.lock({k})",
        "select pg_advisory_unlock({k})",
    ],
    &[
        "select nextval('{s}.sq')",
        "select currval('{s}.sq')",
        "select setval('{s}.sq', 40)",
        "select lastval()",
        "discard sequences",
        "select currval('{s}.sq')",
    ],
    &[
        "insert into {s}.v (b) values ('serial') returning id",
        "select currval('{s}.v_id_seq')",
        "select lastval()",
        "select id, b from {s}.v order by id",
    ],
    &["set search_path = {s}, public", "select a from t order by a", "show search_path", "reset search_path", "select a from t"],
    &[
        "set local search_path = {s}",
        "begin; set local search_path = {s}",
        "select count(*) from u",
        "rollback",
        "show search_path",
    ],
    &["set timezone = 'Asia/Tokyo'", "select timestamptz '2026-02-01 00:00+00'", "show timezone", "reset timezone"],
    &["set datestyle = 'SQL, DMY'", "select date '2026-02-01', '03/02/2026'::date", "set datestyle to default", "show datestyle"],
    &[
        "set bytea_output = escape",
        "select '\\x00ff'::bytea",
        "set intervalstyle = iso_8601",
        "select interval '1 day 2 hours'",
        "reset all",
    ],
    &[
        "set statement_timeout = '44s'",
        "show statement_timeout",
        "begin; set local statement_timeout = '45s'; show statement_timeout",
        "commit",
        "show statement_timeout",
    ],
    &[
        "begin; set work_mem = '5MB'; savepoint s; set work_mem = '6MB'",
        "show work_mem",
        "rollback to s",
        "show work_mem",
        "commit",
        "show work_mem",
    ],
    &[
        "begin; set work_mem = '7MB'; select 1/0",
        "rollback",
        "show work_mem",
        "set work_mem = nonsense",
        "set work_mem = '8MB'; show work_mem",
        "reset work_mem",
    ],
    &[
        "select set_config('work_mem', '9MB', false)",
        "show work_mem",
        "select set_config('work_mem', '10MB', true)",
        "show work_mem",
        "set work_mem from current",
    ],
    &[
        "set my.app = 'v{k}'",
        "select current_setting('my.app', true)",
        "begin; set local my.app = 'inner'; select current_setting('my.app')",
        "rollback",
        "reset my.app",
    ],
    &[
        "select {s}.init('by function {k}')",
        "select current_setting('my.app', true)",
        "do $$ begin perform set_config('my.app', 'by do', false); end $$",
        "show my.app",
    ],
    &[
        "set role random_role",
        "select current_user, session_user",
        "select count(*) from {s}.t",
        "insert into {s}.u values (1, 'denied?')",
        "reset role",
        "select current_user",
    ],
    &[
        "begin; set local role random_role; select current_user",
        "commit",
        "set session authorization app",
        "set role none",
        "set role nobody_has_this",
        "select current_user",
    ],
    &[
        "set session characteristics as transaction read only",
        "insert into {s}.u values (3, 'read only?')",
        "set session characteristics as transaction read write",
    ],
    &[
        "set default_transaction_isolation = 'repeatable read'",
        "begin; show transaction_isolation",
        "commit",
        "reset default_transaction_isolation",
    ],
    &[
        "set client_min_messages = error",
        "select {s}.f(1)",
        "do $$ begin raise notice 'heard?'; end $$",
        "reset client_min_messages",
        "select {s}.f(1)",
    ],
    &[
        "select setseed(0.5); select random()",
        "set extra_float_digits = -5",
        "select setseed(0.25)",
        "select random() < 0; select 1.0::float8 / 3",
    ],
    &[
        "set client_encoding = 'LATIN1'",
        "show client_encoding",
        "set names 'UTF8'",
        "set application_name = 'state {k}'",
        "show application_name",
    ],
    &["discard plans", "discard all", "reset all", "reset session authorization"],
];

/// Not yet the same through pgdial, so left out unless asked for. Empty is what it is to stay.
const LATER: &[&str] = &[];

/// Startup parameters a client may bring along.
const STARTUP: &[(&str, &str)] = &[
    ("application_name", "a program"),
    ("datestyle", "German"),
    ("timezone", "America/New_York"),
    ("options", "-c statement_timeout=55s -c extra_float_digits=-3"),
    ("client_encoding", "latin1"),
    ("search_path", "pg_catalog"),
];

/// Some texts of one group, in their order.
pub(super) fn texts(rng: &mut Rng, schema: &str, key: u64, everything: bool) -> Vec<String> {
    let group = rng.pick(GROUPS);
    let taken: Vec<&str> = group.iter().filter(|_| rng.chance(65)).copied().collect();
    let wanted = |text: &&&str| everything || !LATER.iter().any(|later| text.contains(later));
    taken.iter().filter(wanted).map(|text| text.replace("{s}", schema).replace("{k}", &key.to_string())).collect()
}

/// What the session of a seed says at login.
pub(super) fn startup(rng: &mut Rng) -> Vec<(&'static str, &'static str)> {
    if rng.chance(70) { Vec::new() } else { vec![*rng.pick(STARTUP)] }
}
