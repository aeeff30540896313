//! Floor 1. From rows to answers: done once per load, so that a question is one look-up.

use std::collections::{HashMap, HashSet};

use super::rows::{CastRow, FunctionRow, OperatorRow, RelationRow, Rows, TypeRow};
use super::{FunctionClass, Hazard, Relation, Role, Schema, Snapshot, known};
use crate::pg::{Oid, RelationId};

const TEXT: Oid = Oid(25);
/// Implicit members: `pg_database_owner`, of the database's owner.
const DATABASE_OWNER: Oid = Oid(6171);
/// record, any, anyelement, anynonarray, anycompatible, anycompatiblenonarray: what accepts a whole row.
const ROW_TAKERS: [Oid; 6] = [Oid(2249), Oid(2276), Oid(2283), Oid(2776), Oid(5077), Oid(5079)];

impl Snapshot {
    /// The answers that follow from `rows`.
    pub fn build(version: u64, fingerprint: &str, rows: &Rows) -> Self {
        let types = Types::new(rows);
        let mut snapshot = Self { version, fingerprint: fingerprint.into(), ..Self::default() };
        snapshot.functions = functions(&rows.functions, &types);
        snapshot.row_functions = row_functions(&rows.functions, &types);
        snapshot.operators = operators(&rows.operators, &types);
        snapshot.types = type_names(rows, &types);
        snapshot.user_casts = rows.casts.iter().any(|cast| types.is_reachable(cast.source) && types.is_builtin(cast.target));
        snapshot.schemas = schemas(rows);
        snapshot.roles = roles(rows);
        let names: HashMap<Oid, &str> = rows.schemas.iter().map(|schema| (schema.oid, schema.name.as_str())).collect();
        for row in &rows.relations {
            let Some(schema) = names.get(&row.schema) else {
                continue;
            };
            let relation = relation(row, schema, &types);
            snapshot.relations.entry((*schema).into()).or_default().insert(row.name.as_str().into(), relation);
        }
        snapshot
    }
}

struct Types<'a> {
    by_oid: HashMap<Oid, &'a TypeRow>,
    /// Types of users that a value of a built-in type may turn into unasked.
    implicit: HashSet<Oid>,
}

impl<'a> Types<'a> {
    fn new(rows: &'a Rows) -> Self {
        let by_oid = rows.types.iter().map(|row| (row.oid, row)).collect();
        let mut types = Self { by_oid, implicit: HashSet::new() };
        // Implicit casts do not chain: what a user's own type turns into needs that type first.
        let unasked = |cast: &&CastRow| cast.context == 'i' && types.is_reachable(cast.source);
        let implicit = rows.casts.iter().filter(unasked).map(|cast| cast.target).collect();
        types.implicit = implicit;
        types
    }

    fn is_builtin(&self, oid: Oid) -> bool {
        self.by_oid.get(&oid).is_some_and(|row| row.builtin)
    }

    /// An expression over the columns of plain tables and literals may be of this type. Domains are as good as their base,
    /// enums may be columns, and a table's name stands for its row.
    fn is_reachable(&self, oid: Oid) -> bool {
        let known = |oid: Oid| {
            let row = self.by_oid.get(&oid);
            row.is_none_or(|row| row.builtin || matches!(row.kind, 'd' | 'e' | 'c') || self.implicit.contains(&oid))
        };
        let is_array_of_such = || {
            let row = self.by_oid.get(&oid).filter(|row| row.category == 'A' && row.element.0 != 0);
            row.is_some_and(|row| known(row.element))
        };
        oid.0 == 0 || known(oid) || is_array_of_such()
    }

    /// A literal without a type may be taken for it before text is thought of.
    fn is_string(&self, oid: Oid) -> bool {
        self.by_oid.get(&oid).is_some_and(|row| row.category == 'S')
    }

    /// Its output depends on the value and on settings only.
    fn is_settled(&self, oid: Oid) -> bool {
        let mut oid = oid;
        // A domain over an array over a domain ..: bounded, since nothing deeper than this is worth following.
        for _ in 0..8 {
            let Some(row) = self.by_oid.get(&oid) else {
                return false;
            };
            match (row.kind, row.category) {
                ('d', _) => oid = row.base,
                ('e', _) => return true,
                (_, 'A') if row.element.0 != 0 => oid = row.element,
                ('b' | 'r' | 'm', _) => return row.builtin && !known::is_unsettled_type(&row.name),
                _ => return false,
            }
        }
        false
    }

    /// Whether a call over built-in types may mean this function or operator of a user.
    fn may_be_meant(&self, args: &[Oid], is_builtin_signature: impl Fn(&[Oid]) -> bool) -> bool {
        if args.iter().all(|&oid| self.is_reachable(oid)) {
            return true;
        }
        // Untyped literals: Postgres prefers text among string types, if there is a candidate that takes it.
        if !args.iter().all(|&oid| self.is_reachable(oid) || self.is_string(oid)) {
            return false;
        }
        let as_text: Vec<Oid> = args.iter().map(|&oid| if self.is_reachable(oid) { oid } else { TEXT }).collect();
        !is_builtin_signature(&as_text)
    }
}

fn functions(rows: &[FunctionRow], types: &Types<'_>) -> HashMap<Box<str>, FunctionClass> {
    let signatures: HashSet<(&str, &[Oid])> =
        rows.iter().filter(|f| f.builtin).map(|f| (f.name.as_str(), f.args.as_slice())).collect();
    let builtin: HashSet<&str> = rows.iter().filter(|f| f.builtin).map(|f| f.name.as_str()).collect();
    let mut classes = HashMap::new();
    for row in rows {
        let name = row.name.as_str();
        let class = if row.builtin {
            builtin_class(name, row.volatility)
        } else if builtin.contains(name) && !types.may_be_meant(&row.args, |args| signatures.contains(&(name, args))) {
            continue;
        } else {
            FunctionClass::User
        };
        classes.entry(name.into()).and_modify(|known: &mut FunctionClass| *known = (*known).max(class)).or_insert(class);
    }
    classes
}

fn builtin_class(name: &str, volatility: char) -> FunctionClass {
    if known::runs_other_code(name) {
        return FunctionClass::Effectful;
    }
    match volatility {
        'i' => FunctionClass::Immutable,
        's' if known::depends_on_settings_only(name) => FunctionClass::BySettings,
        's' => FunctionClass::Harmless,
        _ if known::volatile_but_harmless(name) => FunctionClass::Harmless,
        _ => FunctionClass::Effectful,
    }
}

/// Functions of one argument that takes a row, and that are not immutable: `t.f` may mean them.
fn row_functions(rows: &[FunctionRow], types: &Types<'_>) -> HashSet<Box<str>> {
    let takes_row = |oid: &Oid| ROW_TAKERS.contains(oid) || types.by_oid.get(oid).is_none_or(|row| matches!(row.kind, 'c' | 'd'));
    let unsettled = |row: &&FunctionRow| !row.builtin || row.volatility != 'i' || known::runs_other_code(&row.name);
    rows.iter()
        .filter(unsettled)
        .filter(|row| row.args.len() <= 1 && row.args.first().is_none_or(takes_row))
        .map(|row| row.name.as_str().into())
        .collect()
}

fn operators(rows: &[OperatorRow], types: &Types<'_>) -> HashMap<Box<str>, bool> {
    let signatures: HashSet<(&str, [Oid; 2])> =
        rows.iter().filter(|o| o.builtin).map(|o| (o.name.as_str(), [o.left, o.right])).collect();
    let builtin: HashSet<&str> = rows.iter().filter(|o| o.builtin).map(|o| o.name.as_str()).collect();
    let mut only_builtin = HashMap::new();
    for row in rows {
        let name = row.name.as_str();
        let is_signature = |args: &[Oid]| matches!(args, [left, right] if signatures.contains(&(name, [*left, *right])));
        let is_user = !row.builtin && (!builtin.contains(name) || types.may_be_meant(&[row.left, row.right], is_signature));
        *only_builtin.entry(name.into()).or_insert(true) &= !is_user;
    }
    only_builtin
}

/// Names of types that can only mean settled ones.
fn type_names(rows: &Rows, types: &Types<'_>) -> HashMap<Box<str>, bool> {
    let mut names = HashMap::new();
    for row in &rows.types {
        // A type of a user may be named by a cast, whose input function then is the user's: only enums are known.
        let settled = types.is_settled(row.oid) && (row.builtin || row.kind == 'e');
        *names.entry(row.name.as_str().into()).or_insert(true) &= settled;
    }
    names
}

fn schemas(rows: &Rows) -> HashMap<Box<str>, Schema> {
    let schema = |row: &super::rows::SchemaRow| (row.name.as_str().into(), Schema { usage: row.usage.clone() });
    rows.schemas.iter().map(schema).collect()
}

fn roles(rows: &Rows) -> HashMap<Box<str>, Role> {
    let direct: HashMap<Oid, &[Oid]> = rows.roles.iter().map(|row| (row.oid, row.member_of.as_slice())).collect();
    rows.roles
        .iter()
        .map(|row| {
            let mut privileges = HashSet::from([row.oid]);
            let mut open = vec![row.oid];
            while let Some(oid) = open.pop() {
                let is_owner = rows.roles.iter().any(|other| other.oid == oid && other.owns_database);
                let implied = is_owner.then_some(DATABASE_OWNER);
                for &next in direct.get(&oid).copied().unwrap_or_default().iter().chain(&implied) {
                    if privileges.insert(next) {
                        open.push(next);
                    }
                }
            }
            (row.name.as_str().into(), Role { superuser: row.superuser, bypass_rls: row.bypass_rls, privileges })
        })
        .collect()
}

fn relation(row: &RelationRow, schema: &str, types: &Types<'_>) -> Relation {
    let system = row.system || matches!(schema, "pg_catalog" | "information_schema" | "pg_toast");
    let settled = row.column_types.iter().all(|&oid| types.is_settled(oid));
    let read_hazard = [
        (system, Hazard::System),
        (row.partition, Hazard::Partition),
        (row.kind != 'r', Hazard::NotATable),
        (row.inheritance, Hazard::Inheritance),
        (row.row_security, Hazard::RowSecurity),
        (!settled, Hazard::ColumnType),
    ]
    .into_iter()
    .find_map(|(applies, hazard)| applies.then_some(hazard));
    let write_hazard = read_hazard.or_else(|| {
        [
            (row.rules, Hazard::Rule),
            (row.triggers, Hazard::Trigger),
            (row.foreign_key_actions, Hazard::ForeignKeyAction),
            (row.user_code, Hazard::UserCode),
        ]
        .into_iter()
        .find_map(|(applies, hazard)| applies.then_some(hazard))
    });
    Relation {
        id: RelationId(row.oid),
        schema: schema.into(),
        name: row.name.as_str().into(),
        kind: row.kind,
        row_security: row.row_security,
        unlogged: row.unlogged,
        system,
        plain_read: read_hazard.is_none(),
        plain_write: write_hazard.is_none(),
        read_hazard,
        write_hazard,
    }
}
