//! Floor 2. Between transactions: what is on the server that the next client must not find.

use crate::pg::TransactionStatus;
use crate::wire::diagnostics::{Fields, field};
use crate::wire::frontend::{self, Close, Target};

use super::ledger::{Ask, Owner};
use super::{Engine, Release, StandIn};

impl Engine {
    /// After a failed COPY: a group of our own whose answer cannot be taken for one of the client's.
    pub(super) fn send_marker(&mut self) {
        let Some(server) = self.server.as_mut() else { return };
        Close { target: Target::Statement, name: b"" }.encode(&mut self.server_out);
        frontend::sync(&mut self.server_out);
        server.unnamed = None;
        server.ledger.mark();
    }

    /// Between transactions: statements that only served to provoke an error go, and what a session left behind.
    /// False when there was nothing to do.
    pub(super) fn tidy_server(&mut self) -> bool {
        let (stays, unlistened) = (!self.session.pins.is_empty(), self.unlisten_server());
        let Some(server) = self.server.as_mut() else { return false };
        let discard = !stays && std::mem::take(&mut server.dirty);
        if discard {
            frontend::Query { text: b"DISCARD ALL" }.encode(&mut self.server_out);
            server.ledger.push(Ask::Query, Owner::Own, None);
            server.discarded();
        }
        // Who keeps the server may need it as well, unless its statements are there by their own names.
        let restore = server.stand_in == StandIn::Lost && !self.session.materialised;
        if restore {
            // It may be there after all: a Close of it may have been skipped.
            let name = self.shared.plans.stand_in();
            Close { target: Target::Statement, name: name.as_bytes() }.encode(&mut self.server_out);
            server.ledger.push(Ask::Close, Owner::Own, None);
            let text = self.shared.plans.stand_in_text();
            frontend::Query { text: text.as_bytes() }.encode(&mut self.server_out);
            server.ledger.push(Ask::Query, Owner::Own, None);
            server.unnamed = None;
            server.stand_in = StandIn::Ready;
        }
        if discard || restore || unlistened {
            return true;
        }
        if server.litter.is_empty() {
            return false;
        }
        for name in std::mem::take(&mut server.litter) {
            Close { target: Target::Statement, name: &name }.encode(&mut self.server_out);
            server.ledger.push(Ask::Close, Owner::Own, None);
        }
        frontend::sync(&mut self.server_out);
        server.ledger.push(Ask::Sync, Owner::Own, None);
        true
    }

    /// A cancel request of the client came late, or its statement_timeout is very short: it has hit something of our own
    /// between transactions, which is not the client's affair. False: this cannot be mended.
    pub(super) fn survives(&mut self, refusal: &[u8]) -> bool {
        let cancelled = Fields::decode(refusal).is_ok_and(|fields| fields.get(field::SQLSTATE) == Some(b"57014"));
        let alone = self.server.as_ref().is_some_and(|server| server.ledger.len() == 1);
        let between = alone && self.status == TransactionStatus::Idle && self.rest_in.left == 0 && !self.open_batch;
        if !cancelled || !between {
            return false;
        }
        if self.is_answering() {
            return self.ask_for_channels_again();
        }
        if !self.session.pins.is_empty() {
            // All that is done for a client that keeps its server is the stand-in, without which it can do.
            return self.server.as_mut().is_some_and(|server| std::mem::take(&mut server.stand_in) == StandIn::Ready);
        }
        self.release = Some(Release::Close);
        true
    }
}
