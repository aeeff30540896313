//! Floor 2. Statements whose columns have changed, for sessions that call them by SQL (EXECUTE).
//!
//! Such a session's statements are prepared once more on its server, under the client's own names. Postgres would know
//! nothing then of the columns that the client was told of, and run them. So what each would return now is found out
//! first; and one that has changed is prepared as a text that can only fail, whose error stands for the one that
//! Postgres would have given.

use std::sync::Arc;

use crate::pg::TransactionStatus;
use crate::plan::Plan;
use crate::wire::Oids;
use crate::wire::diagnostics::Fields;
use crate::wire::frontend::{self, Close, Describe, Parse, Target};

use super::ledger::{Ask, Owner};
use super::rewrite::{encode_parse, inject_close};
use super::route::Route;
use super::undo::Undo;
use super::{Engine, Stall, StandIn};

impl Engine {
    /// The client's statements are about to get their own names, and the columns of some under the schema of now are not
    /// known: asks, and waits.
    pub(super) fn must_learn_all(&mut self, route: &mut Route<'_>) -> bool {
        let now = self.shared.schema_generation();
        let statements = &self.session.statements;
        let named = statements.iter().filter_map(|(name, plan)| Some((plan, statements.as_of(name)?)));
        let all = named.chain(statements.all_stale().map(|(_, plan, as_of)| (plan, as_of)));
        let unknown = all.filter(|(plan, as_of)| *as_of != now && plan.columns(*as_of).is_some() && plan.columns(now).is_none());
        let plans: Vec<Arc<Plan>> = unknown.map(|(plan, _)| Arc::clone(plan)).collect();
        let ready = self.server.as_ref().is_some_and(|server| server.stand_in == StandIn::Ready && server.ledger.is_idle());
        if !ready || self.status == TransactionStatus::Failed {
            return false;
        }
        if plans.is_empty() {
            self.revive(now, route);
            return false;
        }
        route.settle(&mut self.server_out);
        (self.busy, self.release) = (true, None);
        let alone = self.status == TransactionStatus::Idle && !self.open_batch;
        for plan in plans {
            self.ask_for_columns(&plan, now, alone);
        }
        if !alone {
            frontend::flush(&mut self.server_out);
        }
        self.stall = Stall::UntilAnswered;
        true
    }

    /// What has its old columns again (a rollback, a second change) is prepared as it was.
    fn revive(&mut self, now: u64, route: &mut Route<'_>) {
        let as_before = |(name, plan, as_of): (&[u8], &Arc<Plan>, u64)| {
            (plan.columns(now) == plan.columns(as_of)).then(|| (Box::<[u8]>::from(name), Arc::clone(plan)))
        };
        let revived: Vec<_> = self.session.statements.all_stale().filter_map(as_before).collect();
        let Some(server) = self.server.as_mut().filter(|_| !revived.is_empty()) else { return };
        route.settle(&mut self.server_out);
        for (name, plan) in revived {
            inject_close(server, &name, None, &mut self.server_out);
            encode_parse(&name, &plan, &mut self.server_out);
            server.ledger.push(Ask::Parse, Owner::Inject, None);
            self.session.statements.forget_stale(&name);
        }
        if !self.open_batch {
            frontend::sync(&mut self.server_out);
            server.ledger.push(Ask::Sync, Owner::Own, None);
        }
    }

    /// `alone`: in a transaction of its own, so that its failure is nobody's affair.
    fn ask_for_columns(&mut self, plan: &Arc<Plan>, now: u64, alone: bool) {
        let Some(server) = self.server.as_mut() else { return };
        let types = Oids::from_bytes(plan.types()).unwrap_or_default();
        let name = self.shared.plans.probe();
        Parse { name: name.as_bytes(), text: plan.text(), types }.encode(&mut self.server_out);
        Describe { target: Target::Statement, name: name.as_bytes() }.encode(&mut self.server_out);
        Close { target: Target::Statement, name: name.as_bytes() }.encode(&mut self.server_out);
        let made = || {
            let (plan, make) = (Arc::clone(plan), if alone { Undo::Probing } else { Undo::Learning });
            Some(Box::new(make(plan, now)))
        };
        server.ledger.push(Ask::Parse, if alone { Owner::Learn } else { Owner::Inject }, made());
        server.ledger.push(Ask::Describe, Owner::Learn, made());
        server.ledger.push(Ask::Close, Owner::Inject, None);
        if alone {
            frontend::sync(&mut self.server_out);
            server.ledger.push(Ask::Sync, Owner::Own, None);
        }
    }

    /// Parse messages for all statements under their own names, and those that are prepared to fail.
    pub(super) fn own_names(&self) -> (Vec<u8>, Vec<Stale>) {
        let (mut parses, mut stale) = (Vec::new(), Vec::new());
        for (name, plan) in self.session.statements.iter() {
            if let Some(as_of) = self.stale_as_of(name, plan) {
                self.encode_stale(name, plan, &mut parses);
                stale.push((name.into(), Arc::clone(plan), as_of));
            } else {
                encode_parse(name, plan, &mut parses);
            }
        }
        (parses, stale)
    }

    /// The statement of that name must not be run any more: gives the schema under which it was described.
    fn stale_as_of(&self, name: &[u8], plan: &Plan) -> Option<u64> {
        let now = self.shared.schema_generation();
        let as_of = self.session.statements.as_of(name)?;
        let (then, now) = (plan.columns(as_of)?, plan.columns(now)?);
        let ready = self.server.as_ref().is_some_and(|server| server.stand_in == StandIn::Ready);
        (ready && then != now).then_some(as_of)
    }

    /// What the name stood for before, if it stands for such a statement on the client's server.
    pub(super) fn known_stale(&self, name: &[u8]) -> Option<Arc<Plan>> {
        let may_look = self.session.materialised && self.status != TransactionStatus::Failed;
        self.session.statements.stale(name).filter(|_| may_look).cloned()
    }

    /// Parse of a statement that takes the same parameters and fails when it runs: it is one parameter list short.
    fn encode_stale(&self, name: &[u8], plan: &Plan, out: &mut Vec<u8>) {
        let described = plan.described().parameters;
        // Behind the tag, the length and the count.
        let types = described.as_deref().and_then(|message| message.get(7..)).unwrap_or_else(|| plan.types());
        let text = format!("execute {}", self.shared.plans.stand_in());
        Parse { name, text: text.as_bytes(), types: Oids::from_bytes(types).unwrap_or_default() }.encode(out);
    }

    /// What the client is told instead, if the error stands for one of changed columns.
    pub(super) fn error_for_changed(&self, own: Option<&Undo>, error: &[u8]) -> Option<Vec<u8>> {
        if let Some(Undo::ColumnsChanged(before)) = own {
            return Some(self.columns_changed(before.as_deref()));
        }
        let count_is_wrong = Fields::decode(error).is_ok_and(|fields| fields.get(b'R') == Some(b"EvaluateParams"));
        let of_stand_in = || memchr::memmem::find(error, self.shared.plans.stand_in().as_bytes()).is_some();
        (count_is_wrong && of_stand_in()).then(|| self.columns_changed(None))
    }
}

/// A client's name, what it stood for, and the schema under which that was described.
pub(super) type Stale = (Box<[u8]>, Arc<Plan>, u64);
