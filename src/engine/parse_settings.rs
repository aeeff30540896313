//! Floor 2. Literals fold under the settings of their Parse, also on a server that prepares the statement later.
//!
//! `'01/02/2026'::date` means what DateStyle said when the client prepared it. Where another server has to prepare it after
//! the client has changed such a setting, the settings of then are set around that Parse, in the transaction that it is part
//! of: both changes are kept, or both are undone. Where those settings are not known, the statement is prepared as one of its
//! own, which no other client shares.

use std::sync::Arc;

use crate::pg::TransactionStatus;
use crate::plan::Plan;
use crate::query::{Kind, Statement};
use crate::session::push_literal;
use crate::wire::Oids;
use crate::wire::frontend::{self, Close, Execute, Parse, Query, Target, tag};

use super::Engine;
use super::ledger::{Ask, Owner};
use super::route::Route;
use super::undo::Undo;

/// What the messages of a batch have bound: a Query in their midst ends the transaction that it lives in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Bound {
    #[default]
    Nothing,
    /// Statements without a word in them: from Postgres 18 on their Execute opens no implicit block.
    Empty,
    Statement,
}

/// The settings that say what the words of a text are, also of one that is not analysed when it is prepared.
const AT_READING: [&str; 4] = ["backslash_quote", "client_encoding", "escape_string_warning", "standard_conforming_strings"];

/// Whether no query may stand in front of it in its transaction: VACUUM, BEGIN with a level.
fn bears_none_in_front(class: &Statement) -> bool {
    let alone = class.transaction.is_some() || class.kind == Kind::SetTransaction;
    !class.analysed && (alone || (class.self_committing && class.kind != Kind::Do))
}

/// Settings and their values.
type Values = Vec<(Box<str>, Box<str>)>;

impl Engine {
    /// Prepares a plan that the server lacks, on the client's behalf.
    pub(super) fn inject_parse(&mut self, plan: &Plan, route: &mut Route<'_>) {
        let write = |engine: &mut Self, route: &mut Route<'_>| {
            engine.write_parse(plan, Owner::Inject, Undo::Injected(plan.id()), route);
        };
        let around = self.under_settings_of(plan.epoch(), &plan.class, route, write);
        let differs = plan.class.self_committing || plan.class.kind == Kind::Declare;
        if around && differs && self.status == TransactionStatus::Idle && self.bound_in_batch == Bound::Nothing {
            // What a procedure does behind an Execute in a batch it cannot commit, from Postgres 18 on, and DECLARE is not refused
            // there. Two statements in one Query end the transaction of the batch whatever the version, and neither a block nor
            // what was skipped.
            self.query_in_batch(b"SELECT;SELECT", route);
        }
    }

    /// After a message of the client's.
    pub(super) fn note_bound_in_batch(&mut self, message: u8) {
        if !self.open_batch {
            self.bound_in_batch = Bound::Nothing;
        } else if message == tag::BIND {
            let is_empty = self.running.as_ref().is_some_and(|class| class.kind == Kind::Empty);
            self.bound_in_batch = self.bound_in_batch.max(if is_empty { Bound::Empty } else { Bound::Statement });
        }
    }

    /// A Query of pgdial's own among the client's messages: it is skipped where they are. It drops the unnamed statement.
    pub(super) fn query_in_batch(&mut self, text: &[u8], route: &mut Route<'_>) {
        route.settle(&mut self.server_out);
        let Some(server) = self.server.as_mut() else { return };
        Query { text }.encode(&mut self.server_out);
        let undo = Undo::UnnamedInjected { server: server.unnamed.take() };
        server.ledger.push(Ask::Query, Owner::Own, Some(Box::new(undo)));
    }

    /// Does it with the settings of then around it, where they are known and not those of now. Whether they were others.
    pub(super) fn under_settings_of(
        &mut self,
        epoch: u64,
        class: &Statement,
        route: &mut Route<'_>,
        parse: impl FnOnce(&mut Self, &mut Route<'_>),
    ) -> bool {
        let around = if bears_none_in_front(class) { None } else { self.settings_around(epoch, class) };
        if let Some((then, _)) = &around {
            self.set_for_parse(then, route);
        }
        parse(self, route);
        if let Some((_, now)) = &around {
            self.set_for_parse(now, route);
        }
        around.is_some_and(|(then, _)| !then.is_empty())
    }

    /// The plan itself, if this server has it or can be given it as it is; else one with the same text under the settings of
    /// now.
    pub(super) fn suited(&mut self, plan: Arc<Plan>) -> Arc<Plan> {
        let here = self.server.as_ref().is_some_and(|server| server.plans.generation(plan.id()).is_some());
        if here || self.can_be_prepared(&plan) {
            return plan;
        }
        self.shared.plans.intern(plan.text(), plan.types(), self.session.epoch, &plan.class)
    }

    /// Whether the settings under which it was parsed are those of now, or nothing to it, or known and can be set.
    pub(super) fn can_be_prepared(&self, plan: &Plan) -> bool {
        let around = || self.settings_around(plan.epoch(), &plan.class);
        let can_be_set = |(then, _): (Values, Values)| then.is_empty() || !bears_none_in_front(&plan.class);
        plan.epoch() == self.session.epoch || around().is_some_and(can_be_set)
    }

    /// The settings of then, and those of now, where they differ and the statement minds. None: they do not, or are not known.
    fn settings_around(&self, epoch: u64, class: &Statement) -> Option<(Values, Values)> {
        if epoch == self.session.epoch {
            return None;
        }
        let defaults = Arc::clone(&self.server.as_ref()?.defaults);
        let (then, now) = (self.shared.settings.at_parse(epoch)?, self.shared.settings.at_parse(self.session.epoch)?);
        let find = |pairs: &[(Box<str>, Box<str>)], name: &str| {
            let own = pairs.iter().find(|(known, _)| **known == *name).map(|(_, value)| value.clone());
            own.or_else(|| defaults.get(name).map(Into::into))
        };
        let mut values = (Values::new(), Values::new());
        for (name, _) in then.iter().chain(now.iter()) {
            if !class.analysed && !AT_READING.contains(&&**name) {
                continue;
            }
            let (before, after) = (find(&then, name)?, find(&now, name)?);
            if before != after && values.0.iter().all(|(known, _)| known != name) {
                values.0.push((name.clone(), before));
                values.1.push((name.clone(), after));
            }
        }
        Some(values)
    }

    /// By names of pgdial's own: the client's unnamed statement and portal stay what they are.
    fn set_for_parse(&mut self, values: &Values, route: &mut Route<'_>) {
        if values.is_empty() {
            return;
        }
        route.settle(&mut self.server_out);
        let name = self.shared.plans.probe();
        let mut text = String::from("SELECT ");
        for (at, (setting, value)) in values.iter().enumerate() {
            text.push_str(if at == 0 { "pg_catalog.set_config(" } else { ",pg_catalog.set_config(" });
            push_literal(setting, &mut text);
            text.push(',');
            push_literal(value, &mut text);
            text.push_str(",false)");
        }
        let Some(server) = self.server.as_mut() else { return };
        let (name, out) = (name.as_bytes(), &mut self.server_out);
        Parse { name, text: text.as_bytes(), types: Oids::default() }.encode(out);
        frontend::bind(name, name, &[], std::iter::empty(), &[], out);
        Execute { portal: name, max_rows: 0 }.encode(out);
        Close { target: Target::Portal, name }.encode(out);
        Close { target: Target::Statement, name }.encode(out);
        for ask in [Ask::Parse, Ask::Bind, Ask::Execute, Ask::Close, Ask::Close] {
            server.ledger.push(ask, Owner::Inject, None);
        }
    }

    /// The settings that a session had for itself alone while they were being asked for have turned out: statements prepared
    /// meanwhile may be shared.
    pub(super) fn settle_epoch(&mut self, pending: u64) {
        let now = self.session.epoch;
        if pending == now || self.shared.settings.at_parse(pending).is_some() {
            return;
        }
        if let Some(unnamed) = self.session.statements.unnamed.as_mut().filter(|unnamed| unnamed.epoch == pending) {
            unnamed.epoch = now;
        }
        let meanwhile: Vec<(Box<[u8]>, Arc<Plan>)> = self
            .session
            .statements
            .iter()
            .filter(|(_, plan)| plan.epoch() == pending)
            .map(|(name, plan)| (name.into(), Arc::clone(plan)))
            .collect();
        for (name, plan) in meanwhile {
            let as_of = self.session.statements.as_of(&name);
            let known = self.shared.plans.intern(plan.text(), plan.types(), now, &plan.class);
            known.inherit(&plan);
            self.session.statements.insert(&name, known);
            if let Some(as_of) = as_of {
                self.session.statements.set_as_of(&name, as_of);
            }
        }
    }
}
