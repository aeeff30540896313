//! Floor 1. What the catalog of one database says, as pure data. `catalog/` loads it and keeps it current.

use std::collections::HashMap;

use super::{FunctionName, OperatorName, RelationName, Statement, TypeName};
use crate::pg::RelationId;

/// The catalog of one database at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Counts up with each load by one watcher.
    pub version: u64,
    /// What the drift check said just before the load.
    pub fingerprint: Box<str>,
    relations: HashMap<Box<str>, HashMap<Box<str>, Relation>>,
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
    /// TRUNCATE would reach other tables, or a default, check, index or column calls code of a user.
    UserCode,
    /// A column of a type whose output is not known.
    ColumnType,
}

/// What the catalog says of all functions of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// A type of a user, or one whose output is not known.
    UserType,
}

impl Snapshot {
    /// A relation by schema and name.
    pub fn relation(&self, schema: &str, name: &str) -> Option<&Relation> {
        self.relations.get(schema)?.get(name)
    }

    /// The relation that `name` means under `search_path` for `role`. `None`: there is none, or it cannot be told
    /// (unknown role, a temporary schema named). The caller knows that the session has no temporary schema.
    pub fn resolve(&self, name: &RelationName, search_path: &[Box<str>], role: &str) -> Option<&Relation> {
        let _ = (search_path, role);
        self.relation(name.schema.as_deref()?, &name.name)
    }

    /// What may be called under `name`.
    pub fn function_class(&self, name: &FunctionName) -> FunctionClass {
        let _ = name;
        FunctionClass::Unknown
    }

    /// Every function that can be meant is built in and immutable.
    pub fn function_is_immutable(&self, name: &FunctionName) -> bool {
        self.function_class(name) == FunctionClass::Immutable
    }

    /// Every function that can be meant is built in, writes nothing and leaves nothing behind.
    pub fn function_is_harmless(&self, name: &FunctionName) -> bool {
        matches!(self.function_class(name), FunctionClass::Immutable | FunctionClass::BySettings | FunctionClass::Harmless)
    }

    /// Only built-in operators can be meant.
    pub fn operator_is_builtin(&self, name: &OperatorName) -> bool {
        let _ = name;
        false
    }

    /// A built-in type whose input and output are known.
    pub fn type_is_builtin(&self, name: &TypeName) -> bool {
        let _ = name;
        false
    }

    /// What stands between `statement` and a result that depends on its tables, its parameters and the session's settings alone:
    /// all its functions, fields, operators and types at once. `None`: nothing.
    pub fn obstacle(&self, statement: &Statement) -> Option<Obstacle> {
        let _ = statement;
        Some(Obstacle::UserFunction)
    }
}
