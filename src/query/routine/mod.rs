//! Floor 1. What running a function may leave behind in its session, from a lexical scan of its source and of what it calls.
//!
//! [`scan_body()`] reads one body; [`Routines`] holds all of a database, closed over what they call and over who runs them unnamed:
//! triggers, views, rules, defaults, policies, checks, operators, casts. Whatever cannot be told counts as everything.

mod body;
mod builtin;
mod command;
mod common;
mod graph;
mod rows;
mod settings;
mod table;

use std::sync::Arc;

pub use self::body::scan_body;
pub use self::builtin::is_builtin_function;
pub(super) use self::builtin::{effects_of_call, runs_text};
pub use self::rows::{HiddenRow, Place, RoutineRow, RoutineRows, Runs};
use self::table::Table;
use super::{Effects, FunctionName, Statement};

/// What running something may leave behind in its session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Names of settings that it may change for the session: lower case, sorted, each once.
    pub settings: Vec<Box<str>>,
    /// What else. [`Effects::SETTING`] and [`Effects::ROLE`] are there too when `settings` says so; [`Effects::OPAQUE`] = everything.
    pub effects: Effects,
}

impl Traces {
    /// Nothing is known of it: it may leave anything behind.
    pub fn everything() -> Self {
        let settings = Effects::OPAQUE | Effects::OPAQUE_SETTING | Effects::SETTING | Effects::ROLE;
        let locks = Effects::ADVISORY_LOCK | Effects::LISTEN | Effects::TEMP | Effects::CURSOR_HOLD | Effects::PREPARE;
        let rest = Effects::SEQUENCE | Effects::CURRVAL | Effects::LOAD | Effects::SETSEED;
        Self { settings: Vec::new(), effects: settings | locks | rest }
    }

    /// Nothing is left behind.
    pub fn is_empty(&self) -> bool {
        self.effects.is_empty() && self.settings.is_empty()
    }

    /// Nothing is left behind, but that sequences are advanced or looked at.
    pub fn only_sequences(&self) -> bool {
        let sequences = Effects::SEQUENCE | Effects::CURRVAL;
        self.settings.is_empty() && sequences.contains(self.effects)
    }

    /// Adds what `other` leaves behind.
    pub fn add(&mut self, other: &Self) {
        self.effects.insert(other.effects);
        other.settings.iter().for_each(|name| self.add_setting(name));
    }

    /// Adds a setting. More of them than anybody would read back one by one are settings without names.
    pub(super) fn add_setting(&mut self, name: &str) {
        self.effects.insert(builtin::effects_of_setting(name));
        if self.effects.contains(Effects::OPAQUE_SETTING) && self.settings.len() >= MAX_SETTINGS {
            return;
        }
        let Err(place) = self.settings.binary_search_by(|known| (**known).cmp(name)) else { return };
        if self.settings.len() >= MAX_SETTINGS {
            self.effects.insert(Effects::OPAQUE_SETTING);
        } else {
            self.settings.insert(place, name.into());
        }
    }
}

/// One function body, scanned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// What it leaves behind by itself. Everything, when `dynamic`.
    pub traces: Traces,
    /// Names followed by a parenthesis, folded: functions that it may call, and some that are none.
    pub calls: Vec<FunctionName>,
    /// It runs text that does not stand in it, or could not be read.
    pub dynamic: bool,
}

/// All routines of one database.
#[derive(Clone, Debug)]
pub struct Routines {
    /// Changes of the schema that had been seen when their load began.
    pub generation: u64,
    table: Arc<Table>,
}

impl Routines {
    /// What follows from `rows`.
    pub fn build(generation: u64, rows: &RoutineRows) -> Self {
        Self { generation, table: Arc::new(graph::build(rows)) }
    }

    /// The same routines, found unchanged later.
    pub fn at(&self, generation: u64) -> Self {
        Self { generation, table: Arc::clone(&self.table) }
    }

    /// What the statement may leave behind through functions that it names, and through those that run where it goes: triggers,
    /// rules, views, defaults, policies, checks, index expressions, operators, casts.
    pub fn traces(&self, statement: &Statement) -> Traces {
        self.table.traces(statement)
    }

    /// What calling functions of these names may leave behind: for a body that was scanned apart from a statement.
    pub fn traces_of_calls(&self, calls: &[FunctionName]) -> Traces {
        self.table.traces_of_calls(calls)
    }

    /// Whether it is known what is called under `name`. Unless these routines are `current`, only Postgres's own are.
    pub fn knows(&self, name: &FunctionName, current: bool) -> bool {
        self.table.knows(name, current)
    }

    /// Routines that leave something behind, and the words for it: for the log.
    pub fn traced(&self) -> impl Iterator<Item = (&str, &Traces)> {
        self.table.traced()
    }
}

/// Reading back more settings than these takes longer than a pin saves.
const MAX_SETTINGS: usize = 64;

#[cfg(test)]
mod tests;
