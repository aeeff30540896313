//! Floor 1. A small catalog and real statements, for tests.

use std::sync::Arc;

use crate::pg::Oid;
use crate::query::{Classifier, FunctionRow, OperatorRow, RelationRow, RoleRow, Rows, SchemaRow, Snapshot, Statement, TypeRow};

/// The version of the catalog below.
pub(crate) const VERSION: u64 = 77;

/// Tables a (1), b (2), triggered (3), view v (4), row security rls (5), partitioned parts (6), in public; pg_class (7).
pub(crate) fn snapshot() -> Snapshot {
    let schema = |oid, name: &str| SchemaRow { oid: Oid(oid), name: name.into(), usage: vec![Oid(0)] };
    let builtin = |oid, name: &str, category| TypeRow {
        oid: Oid(oid),
        name: name.into(),
        builtin: true,
        kind: 'b',
        category,
        ..TypeRow::default()
    };
    let function = |name: &str, builtin, volatility| FunctionRow { name: name.into(), builtin, volatility, args: vec![Oid(25)] };
    let rows = Rows {
        schemas: vec![schema(11, "pg_catalog"), schema(2200, "public")],
        roles: vec![RoleRow { oid: Oid(10), name: "app".into(), ..RoleRow::default() }],
        types: vec![builtin(23, "int4", 'N'), builtin(25, "text", 'S')],
        functions: vec![function("lower", true, 'i'), function("now", true, 's'), function("mine", false, 'i')],
        operators: vec![OperatorRow { name: "=".into(), builtin: true, left: Oid(23), right: Oid(23) }],
        relations: relations(),
        ..Rows::default()
    };
    Snapshot::build(VERSION, "", &rows)
}

fn relations() -> Vec<RelationRow> {
    let table = |oid, name: &str| RelationRow {
        oid: Oid(oid),
        schema: Oid(2200),
        name: name.into(),
        kind: 'r',
        column_types: vec![Oid(23)],
        ..RelationRow::default()
    };
    vec![
        table(1, "a"),
        table(2, "b"),
        RelationRow { triggers: true, ..table(3, "triggered") },
        RelationRow { kind: 'v', ..table(4, "v") },
        RelationRow { row_security: true, ..table(5, "rls") },
        RelationRow { kind: 'p', partition: true, ..table(6, "parts") },
        RelationRow { schema: Oid(11), system: true, ..table(7, "pg_class") },
    ]
}

/// What a text may do.
pub(crate) fn classify(sql: &str) -> Arc<Statement> {
    Classifier::new(64, 1 << 20).classify(sql.as_bytes(), true)
}
