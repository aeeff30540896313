//! Floor 1. A table of texts and what they may do.

use super::super::{BeginOptions, CopyKind, Isolation, Kind, RelationName, SettingVerb, Statement, TransactionVerb};
use super::Classifier;

mod table;

fn classify(sql: &str) -> Statement {
    (*Classifier::default().classify(sql.as_bytes(), true)).clone()
}

fn shown(names: &[RelationName]) -> String {
    let name = |n: &RelationName| n.schema.as_ref().map_or_else(|| n.name.to_string(), |s| format!("{s}.{}", n.name));
    names.iter().map(name).collect::<Vec<_>>().join(" ")
}

fn flags(s: &Statement) -> String {
    let flags = [
        (s.single_read, "R"),
        (s.may_write, "W"),
        (s.self_committing, "C"),
        (s.locking, "L"),
        (s.value_functions, "V"),
        (s.time_words, "T"),
        (s.writes_in_cte, "D"),
        (s.system_columns, "Y"),
        (s.sampling, "A"),
        (s.sees_session, "N"),
    ];
    flags.iter().filter(|(set, _)| *set).map(|(_, flag)| *flag).collect()
}

/// kind | flags | effects | reads | writes | functions
fn row(sql: &str) -> String {
    let s = classify(sql);
    let effects = s.effects.words().collect::<Vec<_>>().join("+");
    let parts = [s.kind.as_str().to_owned(), flags(&s), effects, shown(&s.reads), shown(&s.writes), shown(&s.functions)];
    parts.join("|").trim_end_matches('|').to_owned()
}

#[test]
fn table_of_texts() {
    let mut wrong = String::new();
    let mut count = 0;
    for line in table::TEXTS.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (sql, expected) = line.split_once(" => ").unwrap();
        let sql = sql.replace("\\n", "\n");
        let got = row(&sql);
        count += 1;
        if got != expected {
            wrong += &format!("{sql} => {got}\n");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(count >= 150, "{count}");
}

#[test]
fn transaction_control_in_detail() {
    let begin = |isolation, read_only, deferrable| TransactionVerb::Begin(BeginOptions { isolation, read_only, deferrable });
    let cases = [
        ("begin", begin(None, None, None)),
        ("BEGIN WORK;", begin(None, None, None)),
        (
            "start transaction isolation level serializable, read only, deferrable",
            begin(Some(Isolation::Serializable), Some(true), Some(true)),
        ),
        (
            "begin isolation level repeatable read read write not deferrable",
            begin(Some(Isolation::RepeatableRead), Some(false), Some(false)),
        ),
        ("begin transaction read only", begin(None, Some(true), None)),
        ("commit", TransactionVerb::Commit { chain: false }),
        ("end and chain", TransactionVerb::Commit { chain: true }),
        ("rollback and chain", TransactionVerb::Rollback { chain: true }),
        ("abort", TransactionVerb::Rollback { chain: false }),
        ("savepoint A", TransactionVerb::Savepoint("a".into())),
        ("release savepoint \"A\"", TransactionVerb::Release("A".into())),
        ("rollback to a", TransactionVerb::RollbackTo("a".into())),
        ("prepare transaction 'g1'", TransactionVerb::Prepare("g1".into())),
        ("commit prepared 'g2'", TransactionVerb::CommitPrepared("g2".into())),
        ("rollback prepared 'g3'", TransactionVerb::RollbackPrepared("g3".into())),
    ];
    for (sql, verb) in cases {
        assert_eq!(classify(sql).transaction, Some(verb), "{sql}");
    }
    let set = |isolation| Some(TransactionVerb::Set(BeginOptions { isolation, ..BeginOptions::default() }));
    assert_eq!(classify("set transaction isolation level read committed").transaction, set(Some(Isolation::ReadCommitted)));
    assert_eq!(classify("set transaction_isolation = 'repeatable read'").transaction, set(Some(Isolation::RepeatableRead)));
    assert_eq!(classify("set transaction snapshot '1-1'").transaction, set(None));
}

#[test]
fn settings_in_detail() {
    let set =
        |name: &str, value: Option<&str>, local| SettingVerb::Set { name: name.into(), value: value.map(Into::into), local };
    let cases = [
        ("set TimeZone = 'UTC'", set("timezone", Some("UTC"), false)),
        ("set time zone 'Europe/Paris'", set("timezone", Some("Europe/Paris"), false)),
        ("set local statement_timeout to 500", set("statement_timeout", Some("500"), true)),
        ("set search_path to a, \"B c\", 'd'", set("search_path", Some("a, \"B c\", d"), false)),
        ("set datestyle = iso, dmy", set("datestyle", Some("iso, dmy"), false)),
        ("set extra_float_digits = -1", set("extra_float_digits", Some("-1"), false)),
        ("set enable_seqscan = off", set("enable_seqscan", Some("off"), false)),
        ("set work_mem to default", set("work_mem", None, false)),
        ("set names 'LATIN1'", set("client_encoding", Some("LATIN1"), false)),
        ("set role bob", set("role", Some("bob"), false)),
        ("set role none", set("role", Some("none"), false)),
        ("set my.var = '1'", set("my.var", Some("1"), false)),
        ("reset role", SettingVerb::Reset("role".into())),
        ("reset all", SettingVerb::ResetAll),
    ];
    for (sql, verb) in cases {
        assert_eq!(classify(sql).setting, Some(verb), "{sql}");
    }
}

#[test]
fn copy_kinds() {
    let cases = [
        ("copy t from stdin", CopyKind::FromStdin),
        ("copy t to stdout", CopyKind::ToStdout),
        ("copy (select 1) to stdout", CopyKind::ToStdout),
        ("copy t from '/x'", CopyKind::Server),
        ("copy t to program 'x'", CopyKind::Server),
    ];
    for (sql, kind) in cases {
        assert_eq!(classify(sql).copy, Some(kind), "{sql}");
    }
}

#[test]
fn names_that_are_judged_by_the_catalog() {
    let s = classify(
        "with w as (select 1) select t.a, (r).b, x::app.mood, y <-> z, 1 operator(s.+) 2 from t, w where a between 1 and 2",
    );
    assert_eq!(s.cte_names, ["w".into()]);
    assert_eq!(s.fields, ["a".into(), "b".into()]);
    assert_eq!(shown(&s.types), "app.mood");
    assert_eq!(shown(&s.operators), "< <-> <= > >= s.+");
    assert_eq!(shown(&s.reads), "t w");
}

#[test]
fn what_is_not_understood_is_opaque() {
    let deep = format!("select {}", vec!["1"; 200].join(" + "));
    for sql in ["select from where", "selec 1", "select 'a", "select $1abc", "", " ; "].into_iter().chain([deep.as_str()]) {
        let s = classify(sql);
        match sql.trim() {
            "" | ";" => assert_eq!((s.kind, s.count, s.may_write), (Kind::Empty, 0, false)),
            _ => assert_eq!(s, Statement::opaque(), "{sql}"),
        }
    }
    let long = format!("select '{}'", "x".repeat(70_000));
    let read = classify(&long);
    assert!(!read.is_opaque() && !read.single_read && read.may_write, "too long to be parsed: {read:?}");
    assert!(classify(&long.replace("select", "do")).is_opaque());
    let classifier = Classifier::default();
    assert!(classifier.classify(b"select '\xff'", true).is_opaque());
    assert!(classifier.classify(b"select 1", false).is_opaque());
    assert!(classifier.classify(b"select\0 1", true).is_opaque());
}

#[test]
fn one_answer_per_shape_and_none_across() {
    let classifier = Classifier::default();
    let get = |sql: &str| classifier.classify(sql.as_bytes(), true);
    let first = get("select a from t where b = 1");
    for same in ["select a from t where b = 2", "select  a from t /* x */ where b = 3"] {
        assert!(std::sync::Arc::ptr_eq(&first, &get(same)), "{same}");
    }
    for other in ["select a from t where b = 'x'", "select a from t where c = 1"] {
        assert!(!std::sync::Arc::ptr_eq(&first, &get(other)), "{other}");
    }
    assert!(!get("select 'x'::date").time_words && get("select 'today'::date").time_words && !get("select 'y'::date").time_words);
    assert_ne!(get("set x.y = '1'").setting, get("set x.y = '2'").setting);
    assert_ne!(get("prepare transaction 'a'").transaction, get("prepare transaction 'b'").transaction);
    // A text that fails for its literal alone does not spoil its shape, nor the other way round.
    assert!(get("select e'\\xzz\\u12'").is_opaque());
    assert!(!get("select e'\\n'").is_opaque());
    assert!(get("select e'\\xzz\\u12'").is_opaque() || get("select e'\\xzz\\u12'").single_read);
}

#[test]
fn it_is_bounded_in_entries_and_in_bytes() {
    let classifier = Classifier::new(160, 1 << 20);
    for i in 0..2_000 {
        classifier.classify(format!("select c{i} from t").as_bytes(), true);
        classifier.classify(format!("set x.y = '{i}'").as_bytes(), true);
    }
    let (entries, bytes) = classifier.usage();
    assert!(entries <= 160 && bytes <= 1 << 20, "{entries} {bytes}");
    let classifier = Classifier::new(10_000, 64 << 10);
    for i in 0..1_000 {
        classifier.classify(format!("select c{i} from t").as_bytes(), true);
    }
    assert!(classifier.usage().1 <= 64 << 10);
}

#[test]
fn parameters_as_postgres_would_count_them() {
    for (sql, declared, wanted) in [
        ("select 1", 0, Some(0)),
        ("select 1", 2, Some(2)),
        ("select $1::int where $3::text is null and $2::int = 1", 1, Some(3)),
        ("insert into t values ($1, $2) on conflict do nothing", 0, Some(2)),
        ("explain select $1::int", 0, Some(1)),
        ("create table t as select $1::int", 0, Some(1)),
        ("declare c cursor for select $1::int", 0, Some(1)),
        ("copy (select $1) to stdout", 0, Some(0)),
        ("prepare p as select $1", 0, Some(0)),
        ("begin", 1, Some(1)),
        ("selec 1", 0, None),
    ] {
        assert_eq!(classify(sql).parameter_count(declared), wanted, "{sql}");
    }
}

#[test]
fn deep_nesting_on_a_small_stack() {
    let deep = || {
        let n = 4_000;
        [
            format!("select {}", vec!["1"; n].join("+")),
            vec!["select 1"; n].join(" union "),
            format!("select {}1{}", "(select ".repeat(n), ")".repeat(n)),
            format!("select {} true", "not ".repeat(n)),
            format!("select {}1{}", "case when true then ".repeat(n), " end".repeat(n)),
            format!("select {}1{}", "f(".repeat(n), ")".repeat(n)),
            format!("select {}1{}", "(".repeat(n), ")".repeat(n)),
            format!("select 1{}", "::int".repeat(n)),
            format!("select a{}", "[1]".repeat(n)),
            format!("select {}", "/*".repeat(n)),
            format!("explain {} select 1", "explain ".repeat(n)),
            format!("select a from t where {}", vec!["b = 1"; n].join(" or ")),
        ]
    };
    let run = move || deep().iter().for_each(|sql| drop(classify(sql)));
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
}

#[test]
fn a_text_that_sets_is_not_told_by_its_shape() {
    let classifier = Classifier::new(100, 1 << 20);
    let local = |name: &str| classifier.classify(format!("select set_config('{name}', '1', true)").as_bytes(), true);
    assert!(local("search_path").local_settings.is_empty());
    assert_eq!(local("app.x").local_settings, ["app.x".into()]);
    for sql in ["set local app.x = 1", "alter role r set app.x = 1", "alter database d reset app.x"] {
        assert_eq!(classify(sql).local_settings, ["app.x".into()], "{sql}");
    }
}

#[test]
fn what_may_leave_code_behind() {
    for sql in [
        "create trigger x before insert on t for each row execute function f()",
        "create or replace view v as select 1",
        "create or replace function f() returns int language sql as 'select 1'",
        "alter table t alter column a set default f()",
        "create table t (a int default f())",
        "create table t (like u including all)",
        "create table t partition of u for values in (1)",
        "create index on t (f(a))",
        "select 1; create rule r as on insert to t do also select f()",
    ] {
        assert!(classify(sql).hides_code, "{sql}");
    }
    for sql in [
        "create table t (a int)",
        "create index on t (a)",
        "drop table t",
        "grant select on t to u",
        "insert into t values (f())",
    ] {
        assert!(!classify(sql).hides_code, "{sql}");
    }
}
