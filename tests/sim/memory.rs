//! The result cache, and the catalog that it goes by.

use std::sync::{Arc, Mutex};

use pgdial::cache::{Cache, Counter, Database, Rules, Settings};
use pgdial::config::{self, Freshness, Rule, TableName, Ttl};
use pgdial::engine::CacheShared;
use pgdial::pg::Oid;
use pgdial::query::Snapshot;
use pgdial::query::{OperatorRow, RelationRow, RoleRow, Rows, SchemaRow, TypeRow};

const TEXT: Oid = Oid(25);

/// Two tables, kept until they are written.
pub(crate) fn cache() -> CacheShared {
    let settings = Settings { memory: 1 << 20, max_result: 4096, observe: false };
    let database = Cache::new(settings, Counter::default()).database("app");
    let rule = Rule {
        tables: vec![TableName::All],
        shape: None,
        ttl: Ttl::Forever,
        stale_while_revalidate: Default::default(),
        stale_if_error: Default::default(),
        revalidate: false,
        empty_ttl: None,
        tags: Vec::new(),
        freshness: Freshness::Strict,
    };
    let cache = config::Cache {
        mode: config::CacheMode::On,
        memory: 1 << 20,
        max_result: 4096,
        verify: 0.0,
        default_ttl: None,
        rules: vec![rule],
    };
    CacheShared::new(database.clone(), Rules::new(&cache), catalog(database))
}

/// Read again as soon as a change of the catalog has settled.
fn catalog(database: Database) -> Box<dyn Fn() -> Option<Arc<Snapshot>> + Send + Sync> {
    let known: Mutex<Option<Arc<Snapshot>>> = Mutex::new(None);
    let rows = rows();
    Box::new(move || {
        let mut known = known.lock().unwrap();
        if let Some(version) = database.catalog_mark()
            && known.as_ref().is_none_or(|snapshot| snapshot.version != version)
        {
            *known = Some(Arc::new(Snapshot::build(version, "", &rows)));
        }
        known.clone()
    })
}

fn rows() -> Rows {
    let relation = |oid: u32, name: &str| RelationRow {
        oid: Oid(oid),
        schema: Oid(2200),
        name: name.into(),
        kind: 'r',
        column_types: vec![TEXT, Oid(23)],
        ..RelationRow::default()
    };
    let schema = |oid, name: &str| SchemaRow { oid: Oid(oid), name: name.into(), usage: vec![Oid(0)] };
    let builtin = |oid: u32, name: &str, category| TypeRow {
        oid: Oid(oid),
        name: name.into(),
        builtin: true,
        kind: 'b',
        category,
        ..TypeRow::default()
    };
    let operator = |name: &str, operand| OperatorRow { name: name.into(), builtin: true, left: operand, right: operand };
    Rows {
        schemas: vec![schema(11, "pg_catalog"), schema(2200, "public")],
        roles: vec![RoleRow { oid: Oid(10), name: "app".into(), ..RoleRow::default() }],
        types: vec![builtin(25, "text", 'S'), builtin(23, "int4", 'N')],
        operators: vec![operator("=", TEXT), operator("+", Oid(23))],
        relations: vec![relation(16_500, "kv0"), relation(16_501, "kv1")],
        ..Rows::default()
    }
}
