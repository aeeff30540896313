//! Floor 2. The end: of the client, of its server, or of a batch that gets no server.

use std::sync::Arc;

use crate::error::{Error, Severity};
use crate::pg::TransactionStatus;
use crate::session::Session;
use crate::wire::Header;
use crate::wire::frontend::tag;

use super::{Engine, Release, Rest, Sink, synth};

impl Engine {
    /// The client is gone: what becomes of the server. None while pgdial's own clean-up is under way, see
    /// [`Engine::on_server`].
    pub fn hang_up(&mut self) {
        self.abandon_reads();
        self.settle_changes();
        self.listening = None;
        let Some(server) = self.server.as_mut() else { return };
        // A batch without its Sync leaves an implicit transaction open, even when all of it is answered.
        let between = self.status == TransactionStatus::Idle && !self.open_batch;
        let clean = between && server.ledger.is_idle() && self.rest_in.left == 0 && self.rest_out.left == 0 && !self.piece_out;
        let undoable = self.session.pins.undone_by_discard_all() && !server.spoiled && self.aftermath.is_none();
        if !clean || !undoable {
            self.release = Some(Release::Close);
            return;
        }
        server.dirty |= !self.session.pins.is_empty();
        self.session = Session::new(self.shared.settings.none());
        let tidies = self.tidy_server();
        // Nobody needs other settings there now; and which names it has heard of must not be forgotten.
        if let Some(server) = self.server.as_ref() {
            self.session.settings = Arc::clone(&server.applied);
        }
        if !tidies {
            self.release = Some(Release::Reuse);
        }
    }

    /// A clean-up after [`Engine::hang_up`] is under way.
    pub fn is_cleaning(&self) -> bool {
        self.release.is_none() && self.server.is_some()
    }

    /// The server connection broke, or said what it cannot have said. What the client is to be told, if it has not been.
    /// `None` and not [`Engine::is_over`]: nothing tied the client to that server, and its session goes on without it.
    pub fn server_lost(&mut self, error: Error) -> Option<Error> {
        self.lose_reads();
        self.settle_changes();
        if !self.fatal {
            // It may have crashed, and what a crash takes with it (unlogged tables, commits that were not yet on disk) may
            // have been read.
            self.forget_everything();
        }
        self.release = Some(Release::Close);
        // Half a message cannot be followed by another one: the session is over without a word.
        self.fatal |= self.rest_out.left > 0 && self.rest_out.to != Sink::Drop;
        // To a client that has gone Postgres says nothing either.
        self.fatal |= self.parting;
        if self.fatal {
            return None;
        }
        let tied = !self.session.pins.is_empty() || self.aftermath.is_some() || self.adapting;
        (self.busy || self.status != TransactionStatus::Idle || tied).then_some(error)
    }

    /// The client is told of an error of ours.
    pub fn refuse(&mut self, error: &Error) {
        if self.rest_out.left > 0 && self.rest_out.to != Sink::Drop {
            // In the middle of a message nothing can be said.
            return;
        }
        error.encode(&mut self.client_out);
        self.tally.errors += 1;
    }

    /// There is no server for the batch that begins in `input`: it fails as Postgres would let it fail, and the session
    /// goes on with the next. False: the error ends the session.
    pub fn refuse_batch(&mut self, error: &Error, input: &[u8]) -> bool {
        self.refuse(error);
        self.fail_fill();
        if let Some(reads) = self.reads.as_mut() {
            reads.decided = false;
        }
        if error.level() == Severity::Fatal {
            return false;
        }
        match Header::peek(input) {
            Ok(Some(header)) if matches!(header.tag, tag::QUERY | tag::FUNCTION_CALL) => {
                self.rest_in = Rest { left: header.len, to: Sink::Drop };
                synth::ready_for_query(TransactionStatus::Idle, &mut self.client_out);
                self.tally.batches += 1;
            }
            Ok(_) | Err(_) => self.refused = true,
        }
        true
    }
}
