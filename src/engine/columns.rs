//! Floor 2. Changed columns are never hidden: a client that was told of two columns must not get three.
//!
//! Postgres refuses to run a statement whose result has changed since it was prepared (0A000). A server that prepared it
//! later knows nothing of that. So each client statement remembers the schema under which it was described to the client,
//! and each plan its columns by schema. Where they differ pgdial gives the error; where they are not known yet, they are
//! asked for first. Changes of the schema are those that pgdial has seen.

use std::sync::Arc;

use crate::plan::Plan;
use crate::wire::Header;
use crate::wire::backend::{RowDescription, tag};
use crate::wire::diagnostics::{self, field};
use crate::wire::frontend::{self, Bind, Describe, Target};

use super::Engine;
use super::Stall;
use super::failed::{is_refused_for_count, requires};
use super::ledger::{Ask, Owner};
use super::message::Message;
use super::replies::READ_MAX;
use super::route::Route;
use super::server::StandIn;
use super::undo::Undo;

impl Engine {
    /// The message relies on a statement whose columns under the schema of now are not known: asks, and waits.
    pub(super) fn must_learn(&mut self, message: &Message<'_>, route: &mut Route<'_>) -> bool {
        if self.needs_own_names(message) || self.session.statements.all_stale().next().is_some() {
            return self.must_learn_all(route);
        }
        let Some((plan, as_of)) = self.statement_of(message) else { return false };
        let now = self.shared.schema_generation();
        let Some(server) = self.server.as_mut() else { return false };
        let here = server.plans.generation(plan.id());
        let settled = as_of == now || here == Some(as_of) || plan.columns(as_of).is_none() || plan.columns(now).is_some();
        let quiet = server.ledger.is_empty() && !server.ledger.is_skipping() && !server.ledger.is_copy_open();
        if settled || !quiet || !self.can_be_prepared(&plan) || self.status == crate::pg::TransactionStatus::Failed {
            return false;
        }
        self.busy = true;
        self.release = None;
        self.open_batch = true;
        self.parse_anew(&plan, here.is_some(), route);
        self.learn(&plan);
        frontend::flush(&mut self.server_out);
        self.stall = Stall::UntilAnswered;
        true
    }

    /// The client must be refused: the statement's columns are not those it was told of.
    pub(super) fn has_changed(&self, name: &[u8], plan: &Plan) -> bool {
        let Some(as_of) = self.session.statements.as_of(name).filter(|_| self.may_look_anew()) else { return false };
        let now = self.shared.schema_generation();
        // One that is older than the client's own is prepared once more, see `is_outdated`.
        let here = self.server.as_ref().and_then(|server| server.plans.generation(plan.id()));
        let here = here.filter(|here| *here >= as_of).unwrap_or(now);
        // What the server prepared no later than the client, Postgres judges itself.
        here > as_of
            && matches!((plan.columns(as_of), plan.columns(here)), (Some(then), Some(here)) if then != here && here != GONE)
    }

    /// Makes the server fail here, for the error of [`Engine::columns_changed`]. False: it cannot be made to.
    /// `before`: what Postgres would have said first.
    pub(super) fn refuse_changed(&mut self, before: Option<Arc<[u8]>>, route: &mut Route<'_>) -> bool {
        let Some(server) = self.server.as_mut().filter(|server| server.stand_in == StandIn::Ready) else { return false };
        route.settle(&mut self.server_out);
        let name = self.shared.plans.stand_in();
        frontend::bind(b"", name.as_bytes(), &[], std::iter::empty(), &[], &mut self.server_out);
        server.ledger.push(Ask::Bind, Owner::Client, Some(Box::new(Undo::ColumnsChanged(before))));
        true
    }

    /// The same for a Bind, which may be refused for something else before.
    pub(super) fn refuse_changed_bind(&mut self, bind: &Bind<'_>, plan: &Plan, route: &mut Route<'_>) -> bool {
        let requires = requires(plan);
        if is_refused_for_count(bind, requires) {
            self.bind_stand_in(bind, requires, route)
        } else {
            self.refuse_changed(None, route)
        }
    }

    /// The server prepared the statement under an older schema than the client did: what it would refuse, the client may do.
    pub(super) fn is_outdated(&self, name: &[u8], plan: &Plan) -> bool {
        if !self.may_look_anew() {
            return false;
        }
        let here = self.server.as_ref().and_then(|server| server.plans.generation(plan.id()));
        matches!((here, self.session.statements.as_of(name)), (Some(here), Some(as_of)) if here < as_of)
    }

    /// In a failed transaction nothing is prepared, and Postgres refuses before it looks at columns.
    fn may_look_anew(&self) -> bool {
        self.status != crate::pg::TransactionStatus::Failed
    }

    /// The error, as Postgres words it.
    pub(super) fn columns_changed(&self, before: Option<&[u8]>) -> Vec<u8> {
        let mut out = before.unwrap_or_default().to_vec();
        let known = self.shared.refusal();
        let fields: [(u8, &[u8]); 4] = [
            (field::SEVERITY, b"ERROR"),
            (field::SEVERITY_NONLOCALIZED, b"ERROR"),
            (field::SQLSTATE, b"0A000"),
            (field::MESSAGE, b"cached plan must not change result type"),
        ];
        match known {
            // The words of a real one, which has the source fields too.
            Some(real) => {
                diagnostics::encode_fields(tag::ERROR_RESPONSE, real.iter().map(|(code, text)| (*code, &**text)), &mut out)
            }
            None => diagnostics::encode_fields(tag::ERROR_RESPONSE, fields.into_iter(), &mut out),
        }
        out
    }

    /// Sees to it that the server has the plan, and not an older one than the client.
    pub(super) fn provide_for(&mut self, name: &[u8], plan: &Plan, route: &mut Route<'_>) {
        if self.is_outdated(name, plan) { self.parse_anew(plan, true, route) } else { self.provide(plan, route) }
    }

    /// Prepares the plan on the server, again if it is there.
    pub(super) fn parse_anew(&mut self, plan: &Plan, known: bool, route: &mut Route<'_>) {
        self.tally.plan_misses += 1;
        self.make_room(plan, known, route);
        self.inject_parse(plan, route);
    }

    /// A description that is to be remembered is read whole.
    pub(super) fn is_learning(&self, header: Header) -> bool {
        let learning = self.server.as_ref().is_some_and(|server| server.ledger.owner() == Some(Owner::Learn));
        learning && header.len <= READ_MAX && matches!(header.tag, tag::PARAMETER_DESCRIPTION | tag::ROW_DESCRIPTION)
    }

    fn statement_of(&self, message: &Message<'_>) -> Option<(Arc<Plan>, u64)> {
        use crate::wire::frontend::tag;
        let name = match message.tag {
            tag::BIND => Bind::decode(message.body).ok()?.statement,
            tag::DESCRIBE => match Describe::decode(message.body).ok()? {
                Describe { target: Target::Statement, name } => name,
                Describe { target: Target::Portal, .. } => return None,
            },
            _ => return None,
        };
        if self.session.materialised {
            return None;
        }
        let as_of = self.session.statements.as_of(name)?;
        Some((Arc::clone(self.session.statements.get(name)?), as_of))
    }
}

/// Stands for a description longer than what is read whole: all that is known of it is that it is not a shorter one.
pub(super) const TOO_WIDE: u64 = 1;
/// Stands for a statement that could not be prepared.
pub(super) const GONE: u64 = 2;

/// Names and types of the columns in one number. Two that collide by chance cost an error that Postgres would have given.
pub(super) fn number_of(body: &[u8]) -> u64 {
    let Ok(columns) = RowDescription::decode(body) else { return 0 };
    let add = |hash: u64, bytes: &[u8]| {
        bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
    };
    columns.iter().fold(0xcbf2_9ce4_8422_2325, |hash, column| {
        let hash = add(add(hash, column.name), &[0]);
        add(add(hash, &column.type_oid.0.to_be_bytes()), &column.type_mod.to_be_bytes())
    })
}
