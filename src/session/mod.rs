//! Floor 1. What this client has established and will find again: prepared statements, and state that ties it to a server.
//!
//! In transaction mode a client has no server of its own, so whatever Postgres would have kept in the session is kept
//! here. Statements are virtual: they follow the client to any server. State that cannot follow is a [`Pin`]: as long as
//! one is held the client keeps its server.

mod pin;
mod settings;
mod startup;
mod statements;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::query::Statement;
pub use pin::{Pin, Pins};

pub use settings::{Defaults, Replay, Settings, SettingsTable, is_askable, is_custom, push_literal};
pub use startup::startup_settings;
pub use statements::{Statements, Unnamed, UnnamedId};

/// The state of one client's session.
#[derive(Debug, Default)]
pub struct Session {
    /// Prepared statements by the client's own names.
    pub statements: Statements,
    /// Why the client must keep its server.
    pub pins: Pins,
    /// What EXECUTE may run, as far as that leaves anything behind.
    pub prepared: Vec<Arc<Statement>>,
    /// The client's statements exist on its server under their own names: everything passes verbatim from here on.
    pub materialised: bool,
    /// Settings that differ from those its servers were opened with, as of the last transaction that may have changed any.
    pub settings: Arc<Settings>,
    /// What `settings` was at login, and is again after RESET.
    pub startup: Arc<Settings>,
    /// Part of a plan's identity, since literals fold under the settings of their Parse: that of `settings`, or a number of
    /// this session's own while those may be others.
    pub epoch: u64,
}

impl Session {
    /// For a client that has asked for `startup` at login.
    pub fn new(startup: Arc<Settings>) -> Self {
        Self { epoch: startup.epoch(), settings: Arc::clone(&startup), startup, ..Self::default() }
    }

    /// DISCARD ALL has succeeded: the session is as it was at login, as far as its settings go when they have been asked for.
    pub fn discard_all(&mut self) {
        self.statements.deallocate_all();
        self.materialised = false;
        self.prepared.clear();
        self.pins.clear_but_mode();
    }
}
