//! Floor 1. The rows that the routines are built from, as `catalog/routines/*.sql` gives them.

/// Everything that one load read.
#[derive(Clone, Debug, Default)]
pub struct RoutineRows {
    /// Names of functions that Postgres brought along, and of types, which are called like functions.
    pub builtin: Vec<Box<str>>,
    /// Functions, procedures and aggregates of users and of extensions.
    pub routines: Vec<RoutineRow>,
    /// Who runs code without naming it.
    pub hidden: Vec<HiddenRow>,
}

/// A function, procedure or aggregate.
#[derive(Clone, Debug, Default)]
pub struct RoutineRow {
    /// Its name, without the schema.
    pub name: Box<str>,
    /// `pg_language.lanname`.
    pub language: Box<str>,
    /// `pg_proc.provolatile`.
    pub volatility: char,
    /// The extension that it belongs to.
    pub extension: Option<Box<str>>,
    /// `t.name` may mean it: it can be called with one argument.
    pub one_argument: bool,
    /// Its body. `None`: it was too much to be read.
    pub source: Option<Box<[u8]>>,
}

/// That `place` runs something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HiddenRow {
    /// Who runs it.
    pub place: Place,
    /// What it runs.
    pub runs: Runs,
}

/// What may run code, by the name under which a statement meets it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A call of a routine of this name.
    Routine(Box<str>),
    /// The use of an operator of this name.
    Operator(Box<str>),
    /// A read of a relation of this name: views, rules, policies.
    Read(Box<str>),
    /// A write of a relation of this name: triggers, defaults, checks, indexes, cascades.
    Write(Box<str>),
    /// Any statement at all: casts, domains.
    Everywhere,
    /// Statements that change the catalog: event triggers.
    Ddl,
}

/// What a place runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runs {
    /// All that this place runs.
    Place(Place),
    /// An expression or a query, as text.
    Text(Box<str>),
}
