//! Floor 4. Which clients a server may still be given to, after what it has heard.

use std::sync::Arc;

use crate::engine::Release;
use crate::server::{Dialer, Lease};

use super::Relay;

impl Relay {
    /// A server that has heard of settings which the client made up is only for clients that have as well.
    pub(super) fn sort(&mut self, lease: &mut Lease<Dialer>, release: Release) -> Release {
        let Some(state) = lease.state.as_ref() else { return release };
        if Arc::ptr_eq(&self.settings, &state.applied) && self.temporary == state.temporary {
            return release;
        }
        self.settings = Arc::clone(&state.applied);
        self.temporary = state.temporary;
        let temporary = state.temporary.then_some(TEMPORARY);
        let names: Box<[Box<str>]> = temporary.into_iter().chain(self.settings.custom_names()).map(Into::into).collect();
        if names == self.set.names {
            return release;
        }
        match self.pool.connector().with_names(&self.set, names) {
            Ok(set) => {
                lease.move_to(set.id);
                self.set = set;
                release
            }
            // There are too many sorts of servers: one less, and the client goes on with what it has.
            Err(_) => {
                self.settings = Arc::default();
                Release::Close
            }
        }
    }
}

/// Stands among the names for a temporary schema, which stays with a server as they do. It sorts before all of them.
const TEMPORARY: &str = "!pg_temp";
