//! Floor 1. Real statements under a small catalog and a few rules.

use std::time::Duration;

use super::*;
use crate::config::{Freshness, Rule, TableName};
use crate::invalidation::sample;
use crate::pg::Oid;

fn rule(tables: &[&str], seconds: u64) -> Rule {
    let table = |name: &&str| match *name {
        "*" => TableName::All,
        name => TableName::Named { schema: None, name: name.into() },
    };
    Rule {
        tables: tables.iter().map(table).collect(),
        shape: None,
        ttl: Ttl::For(Duration::from_secs(seconds)),
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        revalidate: false,
        empty_ttl: None,
        tags: Vec::new(),
        freshness: Freshness::Strict,
    }
}

fn plan(sql: &str, rules: Vec<Rule>, temp: bool) -> Result<Reading, NoCache> {
    let snapshot = sample::snapshot();
    let path = ["public".into()];
    let scope = Scope {
        snapshot: Some(&snapshot),
        search_path: &path,
        role: "app",
        names: if temp { Names::AnyOrTemporary } else { Names::AtLogin },
    };
    read_plan(&sample::classify(sql), &scope, &Rules { rules, default: None })
}

fn reading(ids: &[u32], seconds: u64) -> Result<Reading, NoCache> {
    let ttl = Ttl::For(Duration::from_secs(seconds));
    let relations = ids.iter().map(|id| RelationId(Oid(*id))).collect();
    Ok(Reading { relations, ttl, empty_ttl: ttl, catalog: sample::VERSION })
}

#[test]
fn reads_that_may_be_kept() {
    let cases: [(&str, &[u32]); 6] = [
        ("SELECT * FROM a", &[1]),
        ("TABLE public.b", &[2]),
        ("SELECT lower('X') FROM a WHERE id = $1", &[1]),
        ("SELECT a.id FROM b JOIN a ON a.id = b.id", &[1, 2]),
        ("WITH c AS (SELECT id FROM b) SELECT * FROM c", &[2]),
        ("SELECT (SELECT id FROM b LIMIT 1) FROM a UNION SELECT id FROM a", &[1, 2]),
    ];
    for (sql, ids) in cases {
        assert_eq!(plan(sql, vec![rule(&["*"], 9)], false), reading(ids, 9), "{sql}");
    }
}

#[test]
fn each_reason_has_a_statement() {
    let cases = [
        ("INSERT INTO a VALUES (1)", NoCache::NotARead),
        ("WITH w AS (DELETE FROM b RETURNING id) SELECT * FROM w", NoCache::NotARead),
        ("SELECT id INTO c FROM a", NoCache::NotARead),
        ("SELECT 1; SELECT 2", NoCache::SeveralStatements),
        ("SELECT 1", NoCache::NoTable),
        ("SELECT now() FROM a", NoCache::VolatileFunction),
        ("SELECT mine('x') FROM a", NoCache::UserFunction),
        ("SELECT unheard_of('x') FROM a", NoCache::UserFunction),
        ("SELECT id OPERATOR(public.+) 1 FROM a", NoCache::UserOperator),
        ("SELECT 'x'::mood FROM a", NoCache::UserType),
        ("SELECT CURRENT_DATE FROM a", NoCache::ValueFunction),
        ("SELECT 'today'::text FROM a", NoCache::TimeWord),
        ("SELECT * FROM a FOR SHARE", NoCache::Locking),
        ("SELECT * FROM a TABLESAMPLE SYSTEM (1)", NoCache::Sampling),
        ("SELECT xmin FROM a", NoCache::SystemColumn),
        ("SELECT * FROM pg_class", NoCache::SystemRelation),
        ("SELECT * FROM pg_temp.a", NoCache::Temp),
        ("SELECT * FROM missing", NoCache::UnknownRelation),
        ("SELECT * FROM v", NoCache::NotPlainTable),
        ("SELECT * FROM parts", NoCache::NotPlainTable),
        ("SELECT * FROM rls", NoCache::RowSecurity),
        ("no sql at all", NoCache::Opaque),
    ];
    for (sql, reason) in cases {
        assert_eq!(plan(sql, vec![rule(&["*"], 9)], false), Err(reason), "{sql}");
    }
    assert_eq!(plan("SELECT * FROM a", vec![rule(&["*"], 9)], true), Err(NoCache::Temp));
    let unknown = Scope { snapshot: None, search_path: &[], role: "app", names: Names::AtLogin };
    let read = read_plan(&sample::classify("SELECT * FROM a"), &unknown, &Rules::default());
    assert_eq!(read, Err(NoCache::CatalogUnknown));
}

#[test]
fn the_strictest_rule_wins() {
    let join = "SELECT a.id FROM a, b";
    assert_eq!(plan(join, vec![rule(&["a"], 9), rule(&["b"], 5)], false), reading(&[1, 2], 5));
    assert_eq!(plan(join, vec![rule(&["*"], 9), rule(&["b"], 20)], false), reading(&[1, 2], 9));
    assert_eq!(plan(join, vec![rule(&["*"], 9), rule(&["b"], 0)], false), Err(NoCache::NoRule));
    assert_eq!(plan(join, vec![rule(&["a"], 9)], false), Err(NoCache::NoRule));
    assert_eq!(plan("SELECT * FROM a", Vec::new(), false), Err(NoCache::NoRule));
    let revalidate = Rule { revalidate: true, ..rule(&["a"], 9) };
    assert_eq!(plan("SELECT * FROM a", vec![revalidate], false), Err(NoCache::Revalidate));
}
