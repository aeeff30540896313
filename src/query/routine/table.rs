//! Floor 1. What is asked per statement: a few look-ups among what leaves traces at all, which mostly is nothing.

use std::collections::{HashMap, HashSet};

use super::super::{Kind, Statement};
use super::{FunctionName, Traces, builtin};

type Traced = HashMap<Box<str>, Traces, foldhash::fast::RandomState>;
type Names = HashSet<Box<str>, foldhash::fast::RandomState>;

/// Only names with traces are in the maps.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Functions of Postgres's own, and types.
    pub(super) builtin: Names,
    /// Functions of users.
    pub(super) users: Names,
    pub(super) routines: Traced,
    /// Of `routines`, those that `t.name` may mean.
    pub(super) fields: Traced,
    pub(super) operators: Traced,
    pub(super) reads: Traced,
    pub(super) writes: Traced,
    pub(super) everywhere: Traces,
    /// What runs unnamed: `reads`, `writes`, `everywhere`, event triggers.
    pub(super) hidden: Traces,
    /// All of the above.
    pub(super) all: Traces,
}

impl Table {
    pub(super) fn traces(&self, statement: &Statement) -> Traces {
        if statement.writes.iter().any(|relation| &*relation.name == builtin::SETTINGS_VIEW) {
            return Traces::everything();
        }
        if self.all.is_empty() {
            return Traces::default();
        }
        if statement.is_opaque() {
            return Traces::everything();
        }
        // Texts too long for the parser name nothing.
        if statement.writes_unknown() && is_data(statement.kind) {
            return self.all.clone();
        }
        let mut found = self.everywhere.clone();
        add(&mut found, &self.routines, statement.functions.iter().map(|function| &*function.name));
        add(&mut found, &self.fields, statement.fields.iter().map(|name| &**name));
        add(&mut found, &self.operators, statement.operators.iter().map(|operator| &*operator.name));
        add(&mut found, &self.reads, statement.reads.iter().map(|relation| &*relation.name));
        add(&mut found, &self.reads, statement.writes.iter().map(|relation| &*relation.name));
        add(&mut found, &self.writes, statement.writes.iter().map(|relation| &*relation.name));
        // What a procedure writes is known with the procedure.
        if statement.writes_unknown() && statement.kind != Kind::Call {
            found.add(&self.hidden);
        }
        found
    }

    pub(super) fn traces_of_calls(&self, calls: &[FunctionName]) -> Traces {
        let mut found = self.everywhere.clone();
        add(&mut found, &self.routines, calls.iter().map(|function| &*function.name));
        found
    }

    pub(super) fn knows(&self, name: &FunctionName, current: bool) -> bool {
        let is_builtin = || self.builtin.contains(&name.name);
        match name.schema.as_deref() {
            Some("pg_catalog" | "information_schema") => is_builtin(),
            None if !self.users.contains(&name.name) => is_builtin(),
            _ => current && self.users.contains(&name.name),
        }
    }

    pub(super) fn traced(&self) -> impl Iterator<Item = (&str, &Traces)> {
        self.routines.iter().map(|(name, traces)| (&**name, traces))
    }
}

fn add<'a>(found: &mut Traces, among: &Traced, names: impl Iterator<Item = &'a str>) {
    if !among.is_empty() {
        names.filter_map(|name| among.get(name)).for_each(|traces| found.add(traces));
    }
}

fn is_data(kind: Kind) -> bool {
    matches!(kind, Kind::Select | Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge)
}
