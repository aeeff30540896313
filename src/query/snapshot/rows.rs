//! Floor 1. The rows that a snapshot is built from, as `catalog/*.sql` gives them.

use crate::pg::Oid;

/// Everything that one load of the catalog read.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// `schemas.sql`
    pub schemas: Vec<SchemaRow>,
    /// `roles.sql`
    pub roles: Vec<RoleRow>,
    /// `types.sql`
    pub types: Vec<TypeRow>,
    /// `casts.sql`
    pub casts: Vec<CastRow>,
    /// `functions.sql`
    pub functions: Vec<FunctionRow>,
    /// `operators.sql`
    pub operators: Vec<OperatorRow>,
    /// `relations.sql`
    pub relations: Vec<RelationRow>,
}

/// A schema.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "the columns of schemas.sql")]
pub struct SchemaRow {
    pub oid: Oid,
    pub name: String,
    /// Who has USAGE; 0 = everybody.
    pub usage: Vec<Oid>,
}

/// A role.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "the columns of roles.sql")]
pub struct RoleRow {
    pub oid: Oid,
    pub name: String,
    pub superuser: bool,
    pub bypass_rls: bool,
    /// The roles whose privileges it has by direct membership.
    pub member_of: Vec<Oid>,
    pub owns_database: bool,
}

/// A type.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "the columns of types.sql")]
pub struct TypeRow {
    pub oid: Oid,
    pub name: String,
    pub builtin: bool,
    pub kind: char,
    pub category: char,
    pub base: Oid,
    pub element: Oid,
}

/// A cast made by a user.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the columns of casts.sql")]
pub struct CastRow {
    pub source: Oid,
    pub target: Oid,
    pub context: char,
}

/// A function.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the columns of functions.sql")]
pub struct FunctionRow {
    pub name: String,
    pub builtin: bool,
    pub volatility: char,
    /// The arguments that a call must give.
    pub args: Vec<Oid>,
}

/// An operator; 0 = no operand on that side.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the columns of operators.sql")]
pub struct OperatorRow {
    pub name: String,
    pub builtin: bool,
    pub left: Oid,
    pub right: Oid,
}

/// A relation.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "the columns of relations.sql")]
pub struct RelationRow {
    pub oid: Oid,
    pub schema: Oid,
    pub name: String,
    pub kind: char,
    pub row_security: bool,
    pub unlogged: bool,
    pub system: bool,
    pub partition: bool,
    pub inheritance: bool,
    pub rules: bool,
    pub triggers: bool,
    pub foreign_key_actions: bool,
    pub user_code: bool,
    pub column_types: Vec<Oid>,
}
