//! Floor 2. SQL PREPARE, EXECUTE and DEALLOCATE: statements by the client's own names, on one server.
//!
//! To SQL a statement of the protocol is one like any other. EXECUTE of one, and PREPARE beside them, need the client's
//! statements under their own names, so the client keeps the server where they are (it is *materialised*). When no statement
//! of SQL is left, its own ones follow it again. DEALLOCATE of one of the protocol needs no more than a statement of that name.

use std::sync::Arc;

use crate::pg::TransactionStatus;
use crate::plan::PlanId;
use crate::query::{Kind, Statement};
use crate::session::Pin;
use crate::wire::Oids;
use crate::wire::frontend::{self, Parse};

use super::depend::sees_names;
use super::ledger::{Ask, Owner};
use super::rewrite::inject_close;
use super::route::Route;
use super::undo::Undo;
use super::{Engine, StandIn};

impl Engine {
    /// The statement sees names: they are brought to the server as far as it needs them. `runs` = it is about to be run, and
    /// not only prepared.
    pub(super) fn provide_names(&mut self, class: &Statement, runs: bool, route: &mut Route<'_>) {
        if !sees_names(class) {
            return;
        }
        match (class.kind, class.statement_name.as_deref()) {
            (Kind::Deallocate, Some(name)) if !self.session.materialised => {
                if runs {
                    self.deallocate(name.as_bytes(), route);
                }
            }
            _ if class.sees_statements => {
                if runs && self.may_materialise() {
                    self.withdraw_plans(route);
                    self.materialise(route);
                }
            }
            _ => self.materialise(route),
        }
    }

    /// The client is about to look at the statements of its server: those of others, and pgdial's own, are none of its
    /// business.
    fn withdraw_plans(&mut self, route: &mut Route<'_>) {
        route.settle(&mut self.server_out);
        let stand_in = self.shared.plans.stand_in();
        let Some(server) = self.server.as_mut() else { return };
        let plans: Vec<(PlanId, Box<[u8]>)> = server.plans.iter().map(|(id, name)| (id, name.into())).collect();
        for (id, name) in plans {
            let undo = Undo::Evicted { id, name: name.clone(), absent: false };
            inject_close(server, &name, Some(undo), &mut self.server_out);
            server.plans.remove(id);
        }
        // Of one that is not there any more Postgres says nothing.
        for (id, name) in std::mem::take(&mut server.doubted) {
            let undo = Undo::Evicted { id, name: name.clone(), absent: false };
            inject_close(server, &name, Some(undo), &mut self.server_out);
        }
        if server.stand_in == StandIn::Ready {
            inject_close(server, stand_in.as_bytes(), None, &mut self.server_out);
            server.stand_in.lose();
        }
    }

    /// In a failed transaction the statement will be refused, whatever there is to see or to deallocate.
    fn may_materialise(&self) -> bool {
        self.status != TransactionStatus::Failed || self.left_block
    }

    /// A statement of that name for Postgres to drop, if the client has one.
    fn deallocate(&mut self, name: &[u8], route: &mut Route<'_>) {
        self.sweep_litter(Some(name), route);
        if self.session.statements.get(name).is_none() {
            return;
        }
        route.settle(&mut self.server_out);
        let Some(server) = self.server.as_mut() else { return };
        Parse { name, text: b"", types: Oids::default() }.encode(&mut self.server_out);
        server.ledger.push(Ask::Parse, Owner::Inject, None);
        server.litter.push(name.into());
        self.deallocating = Some(name.into());
    }

    /// DEALLOCATE has succeeded.
    pub(super) fn deallocated(&mut self) {
        if let Some(name) = self.deallocating.take() {
            self.session.statements.remove(&name);
        }
    }

    /// DEALLOCATE ALL has succeeded. Behind it in the same text there may be a PREPARE: then the server is asked.
    pub(super) fn deallocated_all(&mut self) {
        self.session.statements.deallocate_all();
        let several = self.running.as_ref().is_some_and(|class| class.count > 1);
        if !several || !self.session.materialised {
            self.session.pins.remove(Pin::SqlPrepare);
            self.forget_statements();
        } else if let Some(server) = self.server.as_mut() {
            server.forget_statements();
        }
    }

    /// SQL PREPARE, EXECUTE and DEALLOCATE see protocol-level statements too: from here on the client's statements exist
    /// on its server under their own names, and the client keeps that server.
    pub(super) fn materialise(&mut self, route: &mut Route<'_>) {
        if self.session.materialised {
            // What the names stand for afterwards is the server's to know.
            return self.session.statements.set_aside();
        }
        if !self.may_materialise() {
            return;
        }
        self.session.materialised = true;
        self.pin(Pin::SqlPrepare);
        self.look_for(Pin::SqlPrepare);
        self.sweep_litter(None, route);
        route.settle(&mut self.server_out);
        let (mut parses, stale) = self.own_names();
        let count = self.session.statements.len();
        self.server_out.append(&mut parses);
        let Some(server) = self.server.as_mut() else { return };
        // From now on those names are the client's own there.
        server.litter.clear();
        (0..count).for_each(|_| server.ledger.push(Ask::Parse, Owner::Inject, None));
        if !self.open_batch && !server.ledger.is_empty() {
            frontend::sync(&mut self.server_out);
            server.ledger.push(Ask::Sync, Owner::Own, None);
        }
        self.note_prepared_elsewhere();
        self.session.statements.set_aside();
        self.session.statements.set_stale(stale);
    }

    /// What EXECUTE may run from here on are the client's statements of the protocol as well.
    fn note_prepared_elsewhere(&mut self) {
        let classes: Vec<_> = self.session.statements.iter().map(|(_, plan)| Arc::clone(&plan.class)).collect();
        classes.iter().for_each(|class| self.note_prepared(class));
    }

    /// EXECUTE may run this from here on. Only what leaves something behind is worth remembering.
    pub(super) fn note_prepared(&mut self, class: &Arc<Statement>) {
        let tells = !(class.settings.is_empty() && class.local_settings.is_empty() && class.functions.is_empty());
        if !tells && class.effects.is_empty() && class.setting_parameters.is_empty() {
            return;
        }
        if self.session.prepared.iter().any(|known| Arc::ptr_eq(known, class)) {
            return;
        }
        if self.session.prepared.len() < MAX_PREPARED {
            self.session.prepared.push(Arc::clone(class));
        } else {
            self.pin(Pin::Opaque);
            self.spoil();
        }
    }

    /// EXECUTE: which of them it runs is not looked at.
    pub(super) fn note_executed(&mut self) {
        for class in self.session.prepared.clone() {
            self.note_effects(&class);
            self.note_functions(&class);
            if !class.setting_parameters.is_empty() {
                self.pin(Pin::OpaqueSettings);
                self.spoil();
            }
        }
    }

    /// No statement of SQL is left, and on the server are the client's own of these names: they follow it again.
    pub(super) fn dematerialise(&mut self, names: &[String]) {
        if !self.session.materialised {
            // They are nobody's, and what a function had prepared is gone.
            return self.session.pins.remove(Pin::SqlPrepare);
        }
        if self.shared.session_mode || !self.session.statements.take_up(names) {
            return;
        }
        self.session.pins.remove(Pin::SqlPrepare);
        self.session.materialised = false;
        self.session.prepared.clear();
        if let Some(server) = self.server.as_mut() {
            server.litter.extend(names.iter().map(|name| name.as_bytes().into()));
        }
    }

    /// Before a name of the client is said to the server: what stands there under that name only to provoke an error must
    /// not be taken for the client's. `None`: every name.
    pub(super) fn sweep_litter(&mut self, wanted: Option<&[u8]>, route: &mut Route<'_>) {
        let Some(server) = self.server.as_mut() else { return };
        if self.session.materialised && wanted.is_some() {
            return;
        }
        // They stay on the list: this Close may be skipped, and one too many does no harm.
        let names: Vec<_> = server.litter.iter().filter(|name| wanted.is_none_or(|wanted| ***name == *wanted)).cloned().collect();
        for name in names {
            route.settle(&mut self.server_out);
            inject_close(server, &name, None, &mut self.server_out);
        }
    }

    /// A statement that only the server knows: nothing is known of it.
    pub(super) fn note_unknown(&mut self) {
        if self.session.materialised {
            self.unsettle();
            self.note_unknown_for_cache();
            // It may be COMMIT, which commits before the Sync.
            self.raise_fences();
            self.copy_bound = true;
        }
    }
}

/// More than that, and EXECUTE counts as something of which nothing is known.
const MAX_PREPARED: usize = 64;
