//! Floor 1. What this client has established and will find again: prepared statements, and state that ties it to a server.
//!
//! In transaction mode a client has no server of its own, so whatever Postgres would have kept in the session is kept
//! here. Statements are virtual: they follow the client to any server. State that cannot follow is a [`Pin`]: as long as
//! one is held the client keeps its server.

mod pin;
mod statements;
#[cfg(test)]
mod tests;

pub use pin::{Pin, Pins};
pub use statements::{Statements, Unnamed, UnnamedId};

/// The state of one client's session.
#[derive(Debug, Default)]
pub struct Session {
    /// Prepared statements by the client's own names.
    pub statements: Statements,
    /// Why the client must keep its server.
    pub pins: Pins,
    /// The client's statements exist on its server under their own names: everything passes verbatim from here on.
    pub materialised: bool,
    /// Not zero: the session's settings differ from those it started with. Numbers are unique in the process, and part
    /// of a plan's identity, since literals fold under the settings of their Parse.
    pub epoch: u64,
}

impl Session {
    /// DISCARD ALL has succeeded: the session is as it was at login.
    pub fn discard_all(&mut self) {
        self.statements.deallocate_all();
        self.materialised = false;
        self.epoch = 0;
        self.pins.clear_but_mode();
    }
}
