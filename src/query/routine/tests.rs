//! Floor 1. What is found in bodies, and how far it spreads.

use super::*;
use crate::query::Classifier;

/// Settings and words that a body leaves, `!` for everything.
fn left(source: &str, language: &str) -> String {
    shown(&scan_body(source.as_bytes(), language).traces)
}

fn shown(traces: &Traces) -> String {
    if *traces == Traces::everything() {
        return "!".into();
    }
    let names = traces.settings.iter().map(|name| format!("={name}"));
    let bare = |word: &&str| !traces.settings.is_empty() && *word == "setting";
    let words = traces.effects.words().filter(|word| !bare(word)).map(str::to_owned);
    names.chain(words).collect::<Vec<_>>().join(" ")
}

fn check(language: &str, cases: &[(&str, &str)]) {
    for (source, expected) in cases {
        assert_eq!(left(source, language), *expected, "{source}");
    }
}

#[test]
fn settings_in_plpgsql() {
    check(
        "plpgsql",
        &[
            ("BEGIN PERFORM set_config('app.tenant', x, false); END", "=app.tenant"),
            ("BEGIN PERFORM set_config('App.Tenant'::text, x, is_local => false); END", "=app.tenant"),
            ("BEGIN PERFORM set_config('work_mem', x, true); SET LOCAL work_mem = 1; END", ""),
            ("BEGIN PERFORM set_config('seed', '0', true); END", "setseed"),
            ("BEGIN SET LOCAL seed = 0; END", "setseed"),
            ("BEGIN PERFORM set_config('a.' || x, x, true); END", "opaque_setting"),
            // The name stays known.
            ("BEGIN PERFORM pg_catalog.set_config('a.b', x, true); END", "=a.b"),
            ("BEGIN PERFORM set_config('a.b', f(1, 2), is_local => TRUE); END", "=a.b"),
            ("BEGIN PERFORM set_config('a.b', x, is_local := 't'::boolean); END", "=a.b"),
            ("BEGIN PERFORM set_config(is_local => true, setting_name => 'a.b', new_value => 'c'); END", "=a.b"),
            ("BEGIN PERFORM set_config('a.b', x, local); END", "=a.b"),
            ("BEGIN PERFORM set_config('a.b', x, not true); END", "=a.b"),
            ("BEGIN PERFORM set_config('a.b', x, true and y); END", "=a.b"),
            ("BEGIN PERFORM set_config(name, x, false); END", "setting role opaque_setting"),
            ("BEGIN PERFORM set_config('app.' || name, x, false); END", "setting role opaque_setting"),
            ("BEGIN PERFORM set_config('a.b', x, false", "setting role opaque_setting"),
            ("BEGIN PERFORM set_config(E'a\\x2eb', x, false); END", "setting role opaque_setting"),
            ("BEGIN PERFORM \"set_config\" /* ( */ ('a.b', x, false); END", "=a.b"),
            ("BEGIN PERFORM other.set_config('a.b', x, false); END", ""),
            ("BEGIN PERFORM set_config('role', 'r', false); END", "=role role"),
            ("BEGIN PERFORM set_config('seed', '0', false); END", "=seed setseed"),
            ("BEGIN PERFORM set_config('search_path', 'pg_temp', true); END", "temp"),
            ("BEGIN SET a.b = 1; SET SESSION work_mem TO '1MB'; SET LOCAL c.d = 1; END", "=a.b =c.d =work_mem"),
            ("BEGIN IF x THEN SET a = 1; ELSE SET b = 1; END IF; LOOP SET c = 1; END LOOP; <<l>> SET d = 1; END", "=a =b =c =d"),
            ("BEGIN SET ROLE r; END", "=role role"),
            ("BEGIN SET SESSION AUTHORIZATION r; END", "=role =session_authorization role"),
            ("BEGIN SET TIME ZONE 'UTC'; SET NAMES 'UTF8'; SET SCHEMA 's'; END", "=client_encoding =search_path =timezone"),
            (
                "BEGIN SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY; END",
                "=default_transaction_deferrable =default_transaction_isolation =default_transaction_read_only",
            ),
            (
                "BEGIN SET TRANSACTION READ ONLY; SET CONSTRAINTS ALL DEFERRED; SET transaction_isolation = 'serializable'; END",
                "",
            ),
            ("BEGIN RESET a.b; END", "=a.b"),
            ("BEGIN RESET SESSION AUTHORIZATION; END", "=role =session_authorization role"),
            ("BEGIN UPDATE ONLY pg_catalog.pg_settings SET setting = 'x'; END", "setting role opaque_setting"),
            ("BEGIN SELECT setting INTO x FROM pg_settings; END", ""),
            ("BEGIN RESET ALL; END", "setting opaque_setting"),
        ],
    );
}

#[test]
fn what_only_looks_like_a_setting() {
    check(
        "plpgsql",
        &[
            ("BEGIN UPDATE t SET a = 1; END", ""),
            ("BEGIN INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET b = 2; END", "sequence"),
            ("BEGIN MERGE INTO t USING s ON true WHEN MATCHED THEN UPDATE SET a = 1; END", "sequence"),
            ("BEGIN -- SET a = 1\n /* ; SET a = 1; /* nested */ SET b = 1 */ x := 'set'; END", ""),
            ("BEGIN x := $q$; SET a = 1;$q$; y := '; SET a = 1'; z := '''; SET a = 1'; END", ""),
            ("BEGIN x := $a$ $b$ ; SET a = 1; $b$ $a$; END", ""),
            ("DECLARE set int; load int; BEGIN set := 1; set = 1; load := 2; reset[1] := 3; listen.x := 4; END", ""),
            ("BEGIN ALTER TABLE t SET (fillfactor = 50); ALTER ROLE r SET a = 1; END", "defaults"),
            ("BEGIN x := CASE WHEN a THEN reset ELSE load END; END", ""),
            ("BEGIN RAISE NOTICE 'set_config(%)', x; END", ""),
            ("BEGIN x := a.set_config; END", ""),
        ],
    );
}

#[test]
fn what_else_is_left_behind() {
    check(
        "plpgsql",
        &[
            ("BEGIN CREATE TEMP TABLE t (a int); END", "temp"),
            ("BEGIN CREATE OR REPLACE TEMPORARY VIEW v AS SELECT 1; END", "temp"),
            ("BEGIN CREATE LOCAL TEMP TABLE t AS SELECT 1; END", "temp"),
            ("BEGIN CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1; END", ""),
            ("BEGIN CREATE TEMP TABLE t (a int) ON COMMIT DELETE ROWS; DROP TABLE x; END", "temp"),
            ("BEGIN INSERT INTO pg_temp.t VALUES (1); END", "temp sequence"),
            ("BEGIN SELECT 1 INTO temp; IF n !~ '^pg_temp' THEN temp := 1; END IF; END", ""),
            ("BEGIN PERFORM pg_advisory_lock(1); PERFORM pg_advisory_xact_lock(2); END", "advisory_lock"),
            ("BEGIN PERFORM pg_try_advisory_xact_lock(2); END", ""),
            ("BEGIN PERFORM pg_advisory_unlock_all(); END", "advisory_lock"),
            ("BEGIN x := nextval('s'); END", "sequence"),
            ("BEGIN RETURN currval('s') + lastval(); END", "currval"),
            ("BEGIN PERFORM setval('s', currval('s')); END", "sequence currval"),
            ("BEGIN UPDATE t SET a = DEFAULT; UPDATE t SET (a, b) = (1, DEFAULT); END", "sequence"),
            ("DECLARE a int DEFAULT 1; BEGIN UPDATE t SET a = 2; DELETE FROM t; x := y(a, b); END", ""),
            ("BEGIN CREATE TRIGGER t AFTER INSERT OR UPDATE ON u EXECUTE FUNCTION g(); END", ""),
            ("BEGIN PERFORM setseed(0.5); LISTEN c; LOAD 'x'; END", "listen load setseed"),
            ("BEGIN PREPARE p AS SELECT 1; DEALLOCATE p; END", "prepare"),
            ("BEGIN DISCARD PLANS; END", "!"),
            ("BEGIN PERFORM query_to_xml(x, true, true, ''); END", "!"),
            ("BEGIN CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; END", "!"),
            ("BEGIN DO $$ BEGIN SET a = 1; END $$; END", "=a"),
            ("BEGIN DO LANGUAGE plpython3u 'x'; END", "!"),
            ("BEGIN INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING; END", "sequence"),
        ],
    );
    check(
        "sql",
        &[
            ("SELECT 1 INTO TEMP t", "temp"),
            ("INSERT INTO temp SELECT 1", "sequence"),
            ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "cursor_hold"),
            ("WITH hold AS (SELECT 1) SELECT * FROM hold", ""),
            ("SET a.b TO DEFAULT; SELECT 1", "=a.b"),
            ("BEGIN ATOMIC SELECT set_config('a', 'b', false); END", "=a"),
            ("BEGIN ATOMIC\n INSERT INTO t VALUES (1); END", "sequence"),
            ("RETURN (now() + '1 day'::interval)", ""),
        ],
    );
    check(
        "internal",
        &[
            ("set_config_by_name", "setting role opaque_setting"),
            ("textlen", ""),
            ("nextval_oid", "sequence"),
            ("currval_oid", "currval"),
        ],
    );
    check("c", &[("f", "!")]);
    check("plpython3u", &[("pass", "!")]);
}

#[test]
fn dynamic_sql_counts_as_everything() {
    let dynamic = [
        "BEGIN EXECUTE x; END",
        "BEGIN EXECUTE 'SELECT ' || x; END",
        "BEGIN EXECUTE format('SELECT %I', x) USING y; END",
        "BEGIN FOR r IN EXECUTE x LOOP NULL; END LOOP; END",
        "BEGIN RETURN QUERY EXECUTE x; END",
        "BEGIN OPEN c FOR EXECUTE x; END",
        "BEGIN EXECUTE function; END",
        "BEGIN EXECUTE E'SET a\\x3d1'; END",
        "BEGIN IF a THEN EXECUTE x; END IF; END",
        "BEGIN x := 'open; END",
        "BEGIN x := U&\"\\0073et_config\"('a', 'b', false); END",
    ];
    for source in dynamic {
        let body = scan_body(source.as_bytes(), "plpgsql");
        assert!(body.dynamic && body.traces == Traces::everything(), "{source}");
    }
    check(
        "plpgsql",
        &[
            ("BEGIN EXECUTE 'SET a = 1'; EXECUTE 'SELECT set_config(''b'', $1, false)' USING x; END", "=a =b"),
            ("BEGIN CREATE TRIGGER t AFTER INSERT ON u FOR EACH ROW EXECUTE FUNCTION g(); END", ""),
            ("BEGIN CREATE TRIGGER t AFTER INSERT ON u FOR EACH ROW WHEN (a) EXECUTE PROCEDURE g(); END", ""),
            ("BEGIN GRANT EXECUTE ON FUNCTION f() TO r; REVOKE GRANT OPTION FOR EXECUTE ON FUNCTION f() FROM r; END", ""),
            ("BEGIN ALTER DEFAULT PRIVILEGES GRANT SELECT, EXECUTE ON FUNCTIONS TO r; END", ""),
            ("BEGIN x := execute + 1; SELECT execute FROM t; END", ""),
        ],
    );
    check("sql", &[("CREATE TABLE t AS EXECUTE p", "!"), ("EXECUTE p", "!"), ("EXPLAIN ANALYZE EXECUTE p", "!")]);
}

#[test]
fn strings_are_read_both_ways_where_that_may_differ() {
    check("plpgsql", &[("BEGIN x := '\\'; SET a = 1; END", "=a"), ("BEGIN x := '\\' || '; SET a = 1; --'\n; END", "=a")]);
}

#[test]
fn calls_are_named_as_they_are_written() {
    let body = scan_body(b"SELECT A.\"B\"(1), c (2), count(*), x.y FROM t WHERE a IN (1) AND EXISTS (SELECT 1)", "sql");
    let names = [FunctionName::new(None, "c"), FunctionName::new(None, "count"), FunctionName::new(Some("a"), "B")];
    assert_eq!(body.calls, names);
}

#[test]
fn more_settings_than_anybody_reads_back_have_no_names() {
    let many: String = (0..100).map(|n| format!("SET a.b{n} = 1; ")).collect();
    let traces = scan_body(many.as_bytes(), "sql").traces;
    assert!(traces.effects.contains(Effects::OPAQUE_SETTING) && traces.settings.len() == MAX_SETTINGS);
}

#[test]
fn hostile_bodies_end() {
    for hostile in ["(", "SET", "DO '", "SET \"", "set_config(", "a.", "EXECUTE 'EXECUTE ''EXECUTE ''''"] {
        let long = hostile.repeat(10_000);
        scan_body(long.as_bytes(), "plpgsql");
    }
    let mut nested = "SET a = 1".to_owned();
    for _ in 0..12 {
        nested = format!("EXECUTE '{}'", nested.replace('\'', "''"));
    }
    assert!(scan_body(nested.as_bytes(), "plpgsql").dynamic);
}

fn row(name: &str, source: &str) -> RoutineRow {
    RoutineRow {
        name: name.into(),
        language: "plpgsql".into(),
        volatility: 'v',
        source: Some(source.as_bytes().into()),
        ..RoutineRow::default()
    }
}

fn runs(place: Place, what: Place) -> HiddenRow {
    HiddenRow { place, runs: Runs::Place(what) }
}

fn routine(name: &str) -> Place {
    Place::Routine(name.into())
}

fn rows() -> RoutineRows {
    let c = RoutineRow { name: "native".into(), language: "c".into(), volatility: 'v', ..RoutineRow::default() };
    RoutineRows {
        builtin: ["lower", "now", "set_config", "text"].map(Into::into).into(),
        routines: vec![
            row("plain", "BEGIN RETURN upper('x'); END"),
            row("sets", "BEGIN PERFORM set_config('a.b', 'c', false); END"),
            row("calls", "BEGIN PERFORM other.sets(); END"),
            row("ping", "BEGIN PERFORM pong(); END"),
            row("pong", "BEGIN PERFORM ping(); PERFORM calls(); END"),
            RoutineRow { one_argument: true, ..row("of_row", "BEGIN SET c.d = 1; END") },
            row("by_field", "BEGIN RETURN (r).of_row; END"),
            row("reads_view", "BEGIN PERFORM 1 FROM v; END"),
            row("writes_audited", "BEGIN INSERT INTO audited VALUES (1); END"),
            row("reads_audited", "BEGIN PERFORM 1 FROM audited; END"),
            row("adds", "BEGIN RETURN 1 <+>-2; END"),
            row("locks", "BEGIN PERFORM pg_advisory_lock(1); END"),
            row("lower", "BEGIN LISTEN x; END"),
            RoutineRow { source: None, ..row("too_long", "") },
            RoutineRow { extension: Some("hstore".into()), ..RoutineRow { name: "each".into(), ..c.clone() } },
            RoutineRow { volatility: 's', name: "pure".into(), ..c.clone() },
            c,
        ],
        hidden: vec![
            runs(Place::Write("audited".into()), routine("locks")),
            runs(Place::Read("v".into()), routine("sets")),
            runs(Place::Read("outer_v".into()), Place::Read("v".into())),
            runs(Place::Operator("<+>".into()), routine("sets")),
            HiddenRow { place: Place::Read("direct".into()), runs: Runs::Text("SELECT setseed(0)".into()) },
            runs(routine("total"), routine("nextval")),
        ],
    }
}

#[test]
fn traces_flow_back_to_whoever_runs_them() {
    let routines = Routines::build(3, &rows());
    let classifier = Classifier::default();
    let cases = [
        ("select plain(), now() from t", ""),
        ("select calls()", "=a.b"),
        ("select ping()", "=a.b"),
        ("select r.of_row from r", "=c.d"),
        ("select by_field()", "=c.d"),
        ("select reads_view()", "=a.b"),
        ("select * from outer_v", "=a.b"),
        ("select * from s.v where a = 1", "=a.b"),
        ("insert into v values (1)", "=a.b"),
        ("select * from direct", "setseed"),
        ("select * from audited", ""),
        ("insert into audited values (1)", "advisory_lock"),
        ("with x as (delete from audited returning a) select * from x", "advisory_lock"),
        ("insert into t values (1)", ""),
        ("select writes_audited()", "advisory_lock sequence"),
        ("select reads_audited()", ""),
        ("select 1 <+> 2", "=a.b"),
        ("select adds()", "=a.b"),
        ("select public.lower('x')", "listen"),
        ("select too_long()", "!"),
        ("select native()", "!"),
        ("select pure(), each()", ""),
        ("call sets()", "=a.b"),
        ("update pg_settings set setting = '1' where name = 'a.b'", "!"),
        ("select setting from pg_settings", ""),
    ];
    for (sql, expected) in cases {
        assert_eq!(shown(&routines.traces(&classifier.classify(sql.as_bytes(), true))), expected, "{sql}");
    }
    // What a DDL statement reaches is not known.
    let ddl = routines.traces(&classifier.classify(b"vacuum", true));
    assert_eq!(shown(&ddl), "=a.b advisory_lock setseed");
    assert_eq!(shown(&routines.traces(&Statement::opaque())), "!");
    assert_eq!(shown(&routines.traces_of_calls(&[FunctionName::new(None, "calls")])), "=a.b");
}

#[test]
fn what_runs_everywhere_counts_everywhere() {
    let mut rows = rows();
    rows.hidden.push(runs(Place::Everywhere, routine("locks")));
    let routines = Routines::build(0, &rows);
    assert_eq!(shown(&routines.traces(&Classifier::default().classify(b"select 1", true))), "advisory_lock");
}

#[test]
fn a_name_is_known_while_nothing_newer_may_have_it() {
    let routines = Routines::build(3, &rows());
    let known = |schema, name, current| routines.knows(&FunctionName::new(schema, name), current);
    assert!(known(None, "now", false) && known(Some("pg_catalog"), "lower", false));
    assert!(known(None, "sets", true) && !known(None, "sets", false));
    // A function of a user of that name.
    assert!(known(None, "lower", true) && !known(None, "lower", false));
    assert!(known(Some("public"), "sets", true) && !known(Some("public"), "now", true) && !known(None, "nothing", true));
    assert!(is_builtin_function(&FunctionName::new(None, "count")) && !is_builtin_function(&FunctionName::new(None, "sets")));
    assert!(
        is_builtin_function(&FunctionName::new(Some("pg_catalog"), "x"))
            && !is_builtin_function(&FunctionName::new(Some("a"), "now"))
    );
    assert_eq!((routines.generation, routines.at(4).generation), (3, 4));
}
