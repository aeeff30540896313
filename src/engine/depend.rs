//! Floor 2. Pipelining: may a message be sent while earlier batches are unanswered?
//!
//! What the session and the server are thought to hold runs ahead of the server. Inside one batch that is sound: if a
//! message fails, those that relied on it are skipped. A later batch is not skipped. So a message that relies on
//! something which an unanswered message *of an earlier batch* may still take back waits for its answer.

use std::sync::Arc;

use crate::pg::TransactionStatus;
use crate::plan::PlanId;
use crate::query::{Effects, Kind, Statement};
use crate::wire::Header;
use crate::wire::frontend::{self, Bind, Close, Describe, Parse, Query, Target, tag};

use super::Engine;
use super::message::Message;
use super::route::Route;
use super::undo::Undo;

impl Engine {
    /// Whether the message has to wait until more has been answered.
    pub(super) fn must_settle(&mut self, message: &Message<'_>, route: &mut Route<'_>) -> bool {
        let Some(server) = self.server.as_ref() else { return false };
        if server.ledger.is_empty() || server.ledger.is_copy_open() {
            return false;
        }
        if self.needs_own_names(message) || self.may_mistake_names(message) {
            // The statements are about to be prepared under their own names, or to be set aside: it must be certain which
            // there are.
            if self.open_batch {
                route.settle(&mut self.server_out);
                frontend::flush(&mut self.server_out);
            }
            return true;
        }
        if self.is_told_in_failure(message) {
            route.settle(&mut self.server_out);
            frontend::flush(&mut self.server_out);
            return true;
        }
        if self.must_know_for_sequences(message) {
            return true;
        }
        (server.ledger.has_undos() && self.relies_on_open_outcome(message)) || self.may_be_refused_by_failure(message)
    }

    /// Describe of a statement that the server lacks, in a failed transaction: it may be answered from memory, in its turn.
    fn is_told_in_failure(&self, message: &Message<'_>) -> bool {
        let Some(server) = self.server.as_ref().filter(|_| self.status == TransactionStatus::Failed && !self.unsettled) else {
            return false;
        };
        let Ok(Describe { target: Target::Statement, name }) = Describe::decode(message.body) else { return false };
        message.tag == tag::DESCRIBE
            && !self.session.materialised
            && self.session.statements.get(name).is_some_and(|plan| server.plans.generation(plan.id()).is_none())
    }

    /// A statement that the server lacks, behind batches after which the transaction may have failed: whether it can be
    /// prepared there, or must be stood in for, is not known before they are answered.
    fn may_be_refused_by_failure(&self, message: &Message<'_>) -> bool {
        let Some(server) = self.server.as_ref() else { return false };
        let may_fail = self.unsettled || self.status != TransactionStatus::Idle;
        if !may_fail || self.session.materialised || !server.ledger.has_earlier_batch() {
            return false;
        }
        let name = match message.tag {
            tag::BIND => Bind::decode(message.body).map(|bind| bind.statement),
            tag::DESCRIBE => match Describe::decode(message.body) {
                Ok(Describe { target: Target::Statement, name }) => Ok(name),
                Ok(Describe { target: Target::Portal, .. }) | Err(_) => return false,
            },
            _ => return false,
        };
        match name {
            Ok(b"") => self.session.statements.unnamed.as_ref().is_some_and(|unnamed| server.unnamed != Some(unnamed.id)),
            Ok(name) => self.session.statements.get(name).is_some_and(|plan| server.plans.generation(plan.id()).is_none()),
            Err(_) => false,
        }
    }

    fn relies_on_open_outcome(&self, message: &Message<'_>) -> bool {
        match message.tag {
            tag::PARSE => Parse::decode(message.body).is_ok_and(|parse| {
                let plan = || {
                    let class = self.class_of_text(message, parse.text);
                    self.shared.plans.intern(parse.text, parse.types.as_bytes(), self.session.epoch, &class).id()
                };
                !parse.name.is_empty() && self.is_name_open(parse.name, plan)
            }),
            tag::BIND => Bind::decode(message.body).is_ok_and(|bind| self.is_statement_open(bind.statement)),
            tag::DESCRIBE => match Describe::decode(message.body) {
                Ok(Describe { target: Target::Statement, name }) => self.is_statement_open(name),
                Ok(Describe { target: Target::Portal, .. }) | Err(_) => false,
            },
            tag::CLOSE => match Close::decode(message.body) {
                Ok(Close { target: Target::Statement, name }) => !name.is_empty() && self.is_statement_open(name),
                Ok(Close { target: Target::Portal, .. }) | Err(_) => false,
            },
            _ => false,
        }
    }

    fn is_statement_open(&self, name: &[u8]) -> bool {
        if name.is_empty() {
            return self.server.as_ref().is_some_and(|server| server.ledger.is_unnamed_open());
        }
        match self.session.statements.get(name) {
            Some(plan) => self.is_name_open(name, || plan.id()),
            None => self.is_open(|undo| undo.concerns_name(name)),
        }
    }

    fn is_name_open(&self, name: &[u8], plan: impl FnOnce() -> PlanId) -> bool {
        if !self.is_open(|undo| undo.concerns_name(name) || undo.plan().is_some()) {
            return false;
        }
        let id = plan();
        self.is_open(|undo| undo.concerns_name(name) || undo.plan() == Some(id))
    }

    fn is_open(&self, concerns: impl Fn(&Undo) -> bool) -> bool {
        self.server.as_ref().is_some_and(|server| server.ledger.undos_of_earlier_batches().any(concerns))
    }

    /// SQL PREPARE, EXECUTE or DEALLOCATE, by a session whose statements are still virtual.
    pub(super) fn needs_own_names(&self, message: &Message<'_>) -> bool {
        !self.session.materialised && self.tells_of_names(message)
    }

    /// The same by one whose statements are on its server, behind a Parse or Close by name that may still be refused: what
    /// the name stood for before must not be forgotten.
    fn may_mistake_names(&self, message: &Message<'_>) -> bool {
        let Some(server) = self.server.as_ref().filter(|_| self.session.materialised) else { return false };
        let open = server.ledger.undos().any(|undo| matches!(undo, Undo::Named { .. } | Undo::Closed { .. }));
        open && self.tells_of_names(message)
    }

    fn tells_of_names(&self, message: &Message<'_>) -> bool {
        match message.tag {
            tag::QUERY => Query::decode(message.body).is_ok_and(|query| sees_names(&self.class_of_text(message, query.text))),
            tag::PARSE => Parse::decode(message.body).is_ok_and(|parse| sees_names(&self.class_of_text(message, parse.text))),
            tag::BIND => Bind::decode(message.body).is_ok_and(|bind| self.binds_what_sees_names(bind.statement)),
            _ => false,
        }
    }

    /// Whether the statement of that name is SQL PREPARE, EXECUTE or DEALLOCATE.
    fn binds_what_sees_names(&self, name: &[u8]) -> bool {
        self.class_of(name).is_some_and(|class| sees_names(&class))
    }

    /// What the client's statement of that name does.
    pub(super) fn class_of(&self, name: &[u8]) -> Option<Arc<Statement>> {
        let statements = &self.session.statements;
        if name.is_empty() {
            return statements.unnamed.as_ref().map(|unnamed| Arc::clone(&unnamed.class));
        }
        statements.get(name).map(|plan| Arc::clone(&plan.class))
    }
}

/// Whether the text sees prepared statements by their names.
pub(super) fn sees_names(class: &Statement) -> bool {
    class.sees_statements
        || matches!(class.kind, Kind::Prepare | Kind::Execute | Kind::Deallocate)
        || class.effects.intersects(Effects::PREPARE | Effects::DEALLOCATE)
}

/// Whether a Bind stands between here and the end of the batch, as far as it has arrived.
pub(super) fn bind_follows(mut input: &[u8]) -> bool {
    while let Ok(Some(header)) = Header::peek(input) {
        match header.tag {
            tag::BIND => return true,
            tag::SYNC | tag::QUERY => return false,
            _ => {}
        }
        let Some(rest) = input.get(header.len..) else { return false };
        input = rest;
    }
    false
}
