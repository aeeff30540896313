//! Floor 1. Footprints that need no catalog; those that do are tested against real statements and snapshots.

use super::*;
use crate::invalidation::sample;
use crate::pg::Oid;

fn ids(list: &[u32]) -> Vec<RelationId> {
    list.iter().map(|id| RelationId(Oid(*id))).collect()
}

fn of(list: &[u32], catalog: u64) -> Footprint {
    Footprint::of(ids(list), catalog)
}

fn scope<'a>() -> Scope<'a> {
    Scope { snapshot: None, search_path: &[], role: "app", names: Names::AtLogin }
}

/// A statement of a kind that does nothing.
fn statement(kind: Kind) -> Statement {
    Statement { kind, may_write: false, self_committing: false, ..Statement::opaque() }
}

#[test]
fn union_never_loses_anything() {
    assert_eq!(of(&[], 1), Footprint::Nothing);
    assert_eq!(of(&[2, 1, 2], 1).union(of(&[3], 1)), of(&[1, 2, 3], 1));
    assert_eq!(of(&[1], 5).union(of(&[2], 3)), of(&[1, 2], 3), "the older catalog decides");
    let ladder = [Footprint::Nothing, of(&[1], 1), Footprint::Everything, Footprint::Catalog];
    for (low, smaller) in ladder.iter().enumerate() {
        for larger in ladder.iter().skip(low) {
            assert_eq!(&smaller.clone().union(larger.clone()), larger);
            assert_eq!(&larger.clone().union(smaller.clone()), larger);
        }
    }
}

#[test]
fn long_lists_become_everything() {
    let many: Vec<u32> = (0..65).collect();
    assert_eq!(of(&many, 1), Footprint::Everything);
    assert_eq!(of(&many[..32], 1).union(of(&many[32..], 1)), Footprint::Everything);
}

#[test]
fn what_runs_code_of_its_own_covers_the_catalog() {
    for kind in [
        Kind::Ddl,
        Kind::Do,
        Kind::Call,
        Kind::Execute,
        Kind::CommitPrepared,
        Kind::Load,
        Kind::Other,
        Kind::Opaque,
        Kind::Vacuum,
    ] {
        assert_eq!(footprint(&statement(kind), &scope()), Footprint::Catalog, "{kind:?}");
    }
}

#[test]
fn transaction_control_and_settings_change_nothing() {
    for kind in [
        Kind::Empty,
        Kind::Begin,
        Kind::Commit,
        Kind::Rollback,
        Kind::RollbackTo,
        Kind::Set,
        Kind::Show,
        Kind::Listen,
        Kind::Fetch,
    ] {
        assert_eq!(footprint(&statement(kind), &scope()), Footprint::Nothing, "{kind:?}");
    }
}

#[test]
fn without_a_catalog_only_a_read_of_nothing_is_nothing() {
    let read = statement(Kind::Select);
    assert_eq!(footprint(&read, &scope()), Footprint::Nothing);
    let table = || vec![RelationName::new(Some("public"), "t")];
    let cases = [
        (Statement { reads: table(), ..read.clone() }, Footprint::Everything),
        (Statement { writes: table(), ..statement(Kind::Insert) }, Footprint::Everything),
        (Statement { may_write: true, ..read.clone() }, Footprint::Everything),
        (Statement { functions: table(), ..read.clone() }, Footprint::Everything),
        (Statement { types: table(), ..read.clone() }, Footprint::Everything),
        (Statement { copy: Some(CopyKind::Server), ..statement(Kind::Copy) }, Footprint::Catalog),
    ];
    for (statement, expected) in cases {
        assert_eq!(footprint(&statement, &scope()), expected, "{statement:?}");
    }
    let cte = Statement { reads: vec![RelationName::new(None, "c")], cte_names: vec!["c".into()], ..read };
    assert_eq!(footprint(&cte, &scope()), Footprint::Nothing);
    assert_eq!(footprint(&cte, &Scope { names: Names::AnyOrTemporary, ..scope() }), Footprint::Everything);
}

#[test]
fn statements_under_a_catalog() {
    let snapshot = sample::snapshot();
    let path = ["public".into()];
    let known = Scope { snapshot: Some(&snapshot), search_path: &path, role: "app", names: Names::AtLogin };
    let relations = |list: &[u32]| of(list, sample::VERSION);
    let cases = [
        ("SELECT id FROM a WHERE id = 1", Footprint::Nothing),
        ("SELECT * FROM a FOR UPDATE", Footprint::Nothing),
        ("WITH c AS (SELECT 1) SELECT * FROM c", Footprint::Nothing),
        ("SELECT now()", Footprint::Nothing),
        ("SELECT relname FROM pg_class", Footprint::Nothing),
        ("SELECT * FROM parts", Footprint::Nothing),
        ("INSERT INTO a VALUES (1)", relations(&[1])),
        ("UPDATE public.b SET id = 1 WHERE id = 2", relations(&[2])),
        ("WITH w AS (DELETE FROM b RETURNING id) INSERT INTO a SELECT id FROM w", relations(&[1, 2])),
        ("TRUNCATE a, b", relations(&[1, 2])),
        ("COPY a FROM STDIN", relations(&[1])),
        ("EXPLAIN ANALYZE DELETE FROM a", relations(&[1])),
        ("INSERT INTO triggered VALUES (1)", Footprint::Everything),
        ("INSERT INTO v VALUES (1)", Footprint::Everything),
        ("INSERT INTO a SELECT id FROM v", Footprint::Everything),
        ("SELECT * FROM v", Footprint::Everything),
        ("SELECT * FROM rls", Footprint::Everything),
        ("DELETE FROM missing", Footprint::Everything),
        ("SELECT mine('x')", Footprint::Everything),
        ("SELECT unheard_of('x')", Footprint::Everything),
        ("UPDATE a SET id = id OPERATOR(public.+) 1", Footprint::Everything),
        ("ALTER TABLE a ADD x int", Footprint::Catalog),
        ("GRANT SELECT ON a TO app", Footprint::Catalog),
        ("DO $$ BEGIN END $$", Footprint::Catalog),
        ("INSERT INTO a VALUES (1); INSERT INTO b VALUES (1)", relations(&[1, 2])),
        ("BEGIN; UPDATE a SET id = 1; COMMIT", relations(&[1])),
        ("INSERT INTO a VALUES (1); CREATE TABLE x (i int)", Footprint::Catalog),
        ("no sql at all", Footprint::Catalog),
    ];
    for (sql, expected) in cases {
        assert_eq!(footprint(&sample::classify(sql), &known), expected, "{sql}");
    }
    let truncate = footprint(&sample::classify("TRUNCATE a CASCADE"), &known);
    assert_ne!(truncate, Footprint::Nothing);
    let hidden = Scope { names: Names::AnyOrTemporary, ..known };
    assert_eq!(footprint(&sample::classify("INSERT INTO a VALUES (1)"), &hidden), Footprint::Everything);
    assert_eq!(footprint(&sample::classify("INSERT INTO public.a VALUES (1)"), &hidden), relations(&[1]));
}
