//! Floor 1. What the catalog of one database says, as pure data. `catalog/` loads it and keeps it current.

mod build;
mod known;
mod rows;

use std::collections::{HashMap, HashSet};

pub use self::rows::{CastRow, FunctionRow, OperatorRow, RelationRow, RoleRow, Rows, SchemaRow, TypeRow};
use super::{FunctionName, OperatorName, RelationName, Statement, TypeName};
use crate::pg::{Oid, RelationId};

/// `pg_read_all_data` and `pg_write_all_data` have USAGE of every schema.
const ALL_SCHEMAS: [Oid; 2] = [Oid(6181), Oid(6182)];

/// The catalog of one database at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Counts up with each load by one watcher.
    pub version: u64,
    /// What the drift check said just before the load.
    pub fingerprint: Box<str>,
    relations: HashMap<Box<str>, HashMap<Box<str>, Relation>>,
    schemas: HashMap<Box<str>, Schema>,
    roles: HashMap<Box<str>, Role>,
    functions: HashMap<Box<str>, FunctionClass>,
    /// Functions that `t.name` may mean.
    row_functions: HashSet<Box<str>>,
    /// Whether only built-in operators of the name can be meant.
    operators: HashMap<Box<str>, bool>,
    /// Whether only settled types of the name can be meant.
    types: HashMap<Box<str>, bool>,
    /// There is a cast of a user between built-in types: any expression may call it.
    user_casts: bool,
}

#[derive(Debug)]
struct Schema {
    /// Who has USAGE; 0 = everybody.
    usage: Vec<Oid>,
}

#[derive(Debug)]
struct Role {
    superuser: bool,
    bypass_rls: bool,
    /// Itself and every role whose privileges it has.
    privileges: HashSet<Oid>,
}

/// One relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// Its oid.
    pub id: RelationId,
    /// Its schema.
    pub schema: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// `pg_class.relkind`.
    pub kind: char,
    /// Row security is enabled.
    pub row_security: bool,
    /// An unlogged table: emptied by a crash.
    pub unlogged: bool,
    /// A system relation (`pg_catalog`, `information_schema`, `pg_toast`).
    pub system: bool,
    /// What a SELECT of it returns depends on its own rows and on nothing else.
    pub plain_read: bool,
    /// INSERT, UPDATE, DELETE, MERGE, COPY FROM and TRUNCATE of it, by themselves, change its own rows and nothing else.
    pub plain_write: bool,
    /// Why `plain_read` is false.
    pub read_hazard: Option<Hazard>,
    /// Why `plain_write` is false.
    pub write_hazard: Option<Hazard>,
}

/// Why a relation is not plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hazard {
    /// Not an ordinary table: a view, a sequence, a foreign table, ..
    NotATable,
    /// Of the system.
    System,
    /// A partitioned table or a partition.
    Partition,
    /// Has parents or children.
    Inheritance,
    /// Row security is on.
    RowSecurity,
    /// Has a rule.
    Rule,
    /// Has a trigger of a user.
    Trigger,
    /// A foreign key of another table acts on that table when rows here change.
    ForeignKeyAction,
    /// A default, generated column, check or index calls code of a user.
    UserCode,
    /// A column of a type whose output is not known.
    ColumnType,
}

impl Hazard {
    /// One word, for metrics, logs and docs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotATable => "not_a_table",
            Self::System => "system",
            Self::Partition => "partition",
            Self::Inheritance => "inheritance",
            Self::RowSecurity => "row_security",
            Self::Rule => "rule",
            Self::Trigger => "trigger",
            Self::ForeignKeyAction => "foreign_key_action",
            Self::UserCode => "user_code",
            Self::ColumnType => "column_type",
        }
    }
}

/// What the catalog says of all functions of one name: the worst of them, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FunctionClass {
    /// Built in, and its result depends on its arguments alone.
    Immutable,
    /// Built in, and its result depends on its arguments and on settings (TimeZone, DateStyle, ..).
    BySettings,
    /// Built in, writes nothing and leaves nothing behind, but its result may change from call to call.
    Harmless,
    /// Built in, with effects or able to run other code.
    Effectful,
    /// Code of a user may be called under this name.
    User,
    /// There is none of this name.
    Unknown,
}

/// Why a statement's result does not depend on its tables and parameters alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Obstacle {
    /// A built-in function that is not immutable.
    VolatileFunction,
    /// A function of a user, or one that is not known.
    UserFunction,
    /// An operator of a user.
    UserOperator,
    /// A type of a user, or one whose values are not settled.
    UserType,
    /// A cast of a user between built-in types: any expression may call it.
    UserCast,
}

impl Obstacle {
    /// One word, for metrics, logs and docs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VolatileFunction => "volatile_function",
            Self::UserFunction => "user_function",
            Self::UserOperator => "user_operator",
            Self::UserType => "user_type",
            Self::UserCast => "user_cast",
        }
    }
}

impl Snapshot {
    /// A relation by schema and name.
    pub fn relation(&self, schema: &str, name: &str) -> Option<&Relation> {
        self.relations.get(schema)?.get(name)
    }

    /// The relations of that name in all schemas.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Relation> {
        self.relations.values().filter_map(move |schema| schema.get(name))
    }

    /// The relation that `name` means under `search_path` for `role`. `None`: there is none, or it cannot be told
    /// (unknown role, a temporary schema named). The caller knows that the session has no temporary schema.
    pub fn resolve(&self, name: &RelationName, search_path: &[Box<str>], role: &str) -> Option<&Relation> {
        let privileges = self.roles.get(role)?;
        if let Some(schema) = name.schema.as_deref() {
            return self.may_use(schema, privileges).then(|| self.relation(schema, &name.name)).flatten();
        }
        if search_path.iter().any(|schema| is_temporary(schema)) {
            return None;
        }
        // pg_catalog comes first unless the path says where.
        let named = search_path.iter().any(|schema| &**schema == "pg_catalog");
        let implicit = (!named).then_some("pg_catalog");
        let path = search_path.iter().map(|schema| if &**schema == "$user" { role } else { schema });
        implicit
            .into_iter()
            .chain(path)
            .filter(|schema| self.may_use(schema, privileges))
            .find_map(|schema| self.relation(schema, &name.name))
    }

    /// Postgres passes over the schemas of a search_path that the role may not use.
    fn may_use(&self, schema: &str, role: &Role) -> bool {
        let granted = |usage: &[Oid]| usage.iter().any(|oid| oid.0 == 0 || role.privileges.contains(oid));
        let everywhere = role.superuser || ALL_SCHEMAS.iter().any(|oid| role.privileges.contains(oid));
        self.schemas.get(schema).is_some_and(|schema| everywhere || granted(&schema.usage))
    }

    /// Row security does not apply to `role`: a superuser, or BYPASSRLS. `None`: no such role.
    pub fn bypasses_row_security(&self, role: &str) -> Option<bool> {
        self.roles.get(role).map(|role| role.superuser || role.bypass_rls)
    }

    /// What may be called under `name`.
    pub fn function_class(&self, name: &FunctionName) -> FunctionClass {
        match name.schema.as_deref() {
            None | Some("pg_catalog") => self.functions.get(&name.name).copied().unwrap_or(FunctionClass::Unknown),
            Some(_) => FunctionClass::User,
        }
    }

    /// Every function that can be meant is built in and immutable.
    pub fn function_is_immutable(&self, name: &FunctionName) -> bool {
        self.function_class(name) == FunctionClass::Immutable
    }

    /// Every function that can be meant is built in, writes nothing and leaves nothing behind.
    pub fn function_is_harmless(&self, name: &FunctionName) -> bool {
        self.function_class(name) <= FunctionClass::Harmless
    }

    /// `t.name` can only mean a column, or an immutable built-in function.
    pub fn field_is_plain(&self, name: &str) -> bool {
        !self.row_functions.contains(name)
    }

    /// Only built-in operators can be meant. Those are immutable, or depend on settings.
    pub fn operator_is_builtin(&self, name: &OperatorName) -> bool {
        match name.schema.as_deref() {
            None | Some("pg_catalog") => self.operators.get(&name.name).copied().unwrap_or(false),
            Some(_) => false,
        }
    }

    /// A type whose input and output depend on the value and on settings only: built in, or an enum.
    pub fn type_is_builtin(&self, name: &TypeName) -> bool {
        self.types.get(&name.name).copied().unwrap_or(false)
    }

    /// What stands between `statement` and a result that depends on its tables, its parameters and the settings that output,
    /// operators and casts of built-in types depend on anyway: its functions, fields, operators and types at once. `None`:
    /// nothing. With `by_settings`, functions that depend on settings (`to_char`, `date_trunc`) are welcome too: every setting
    /// must then be in the key.
    pub fn obstacle(&self, statement: &Statement, by_settings: bool) -> Option<Obstacle> {
        let welcome = if by_settings { FunctionClass::BySettings } else { FunctionClass::Immutable };
        if self.user_casts {
            return Some(Obstacle::UserCast);
        }
        match statement.functions.iter().map(|name| self.function_class(name)).max() {
            Some(FunctionClass::User | FunctionClass::Unknown) => {
                return Some(Obstacle::UserFunction);
            }
            Some(worst) if worst > welcome => return Some(Obstacle::VolatileFunction),
            _ => {}
        }
        if !statement.fields.iter().all(|name| self.field_is_plain(name)) {
            return Some(Obstacle::UserFunction);
        }
        if !statement.operators.iter().all(|name| self.operator_is_builtin(name)) {
            return Some(Obstacle::UserOperator);
        }
        let settled = statement.types.iter().all(|name| self.type_is_builtin(name));
        (!settled).then_some(Obstacle::UserType)
    }
}

fn is_temporary(schema: &str) -> bool {
    schema == "pg_temp" || schema.starts_with("pg_temp_")
}

#[cfg(test)]
mod tests;
