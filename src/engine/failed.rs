//! Floor 2. A failed transaction on a server that lacks the client's statement: it can be prepared there only when the
//! transaction is over, and until then the client must hear what Postgres would have said.
//!
//! Every server has one statement of pgdial's own, the stand-in. A Bind or Describe of the stand-in is refused by Postgres
//! in the very words (and source fields) in which that of the client's statement would be.

use std::sync::Arc;

use crate::pg::TransactionStatus;
use crate::plan::{Plan, STAND_IN_PARAMETERS};
use crate::query::{Kind, Statement};
use crate::wire::Header;
use crate::wire::frontend::{self, Bind, Describe, Parse, Target};

use super::columns::{TOO_WIDE, number_of};
use super::ledger::{Ask, Owner};
use super::renamed::replace;
use super::replies::READ_MAX;
use super::route::Route;
use super::undo::Undo;
use super::{Engine, StandIn};

impl Engine {
    /// The transaction has failed for certain, and this is not what ends it.
    pub(super) fn is_refused_by_failure(&self, class: &Statement) -> bool {
        self.status == TransactionStatus::Failed
            && !self.unsettled
            && !class.is_opaque()
            && !matches!(class.kind, Kind::Commit | Kind::Rollback | Kind::RollbackTo | Kind::PrepareTransaction)
    }

    /// Binds the stand-in: refused, for its parameters if they are not as many as the client's statement takes. `requires` =
    /// how many those are, where that is known. False: the server has none.
    pub(super) fn bind_stand_in(&mut self, bind: &Bind<'_>, requires: Option<u16>, route: &mut Route<'_>) -> bool {
        let Some(server) = self.server.as_mut().filter(|server| server.stand_in == StandIn::Ready) else { return false };
        let (formats, values) = sent_counts(bind.rest).unwrap_or_default();
        let (formats, values) =
            if is_refused_for_count(bind, requires) { (formats.into(), values.into()) } else { (0, STAND_IN_PARAMETERS) };
        route.settle(&mut self.server_out);
        let name = self.shared.plans.stand_in();
        let nulls = std::iter::repeat_n(None, values);
        frontend::bind(bind.portal, name.as_bytes(), &vec![0; formats], nulls, &[], &mut self.server_out);
        let told = Undo::StandIn { name: bind.statement.into(), requires };
        server.ledger.push(Ask::Bind, Owner::Client, Some(Box::new(told)));
        true
    }

    /// Answers Describe of a statement: refused if it returns rows, told from memory if not. False: that is not known.
    pub(super) fn describe_stand_in(&mut self, plan: &Plan, route: &mut Route<'_>) -> bool {
        let described = plan.described();
        let name = self.shared.plans.stand_in();
        let Some(server) = self.server.as_mut().filter(|server| server.stand_in == StandIn::Ready) else { return false };
        match (described.rows, described.parameters) {
            (Some(true), _) => {
                route.settle(&mut self.server_out);
                Describe { target: Target::Statement, name: name.as_bytes() }.encode(&mut self.server_out);
                server.ledger.push(Ask::Describe, Owner::Client, None);
                true
            }
            (Some(false), Some(parameters)) if server.ledger.is_empty() && self.rest_out.left == 0 => {
                route.settle(&mut self.server_out);
                self.client_out.extend_from_slice(&parameters);
                crate::wire::backend::no_data(&mut self.client_out);
                true
            }
            (Some(false) | None, _) => false,
        }
    }

    /// How many parameters a Bind of the client's unnamed statement must have, if that is known.
    pub(super) fn unnamed_requires(&self) -> Option<u16> {
        let unnamed = self.session.statements.unnamed.as_ref()?;
        let parse = Parse::decode(unnamed.message.get(Header::LEN..)?).ok()?;
        unnamed.class.parameter_count(parse.types.as_bytes().len() / OID_LEN)
    }

    /// Behind a Parse that was written for a client: what does the statement look like?
    pub(super) fn learn(&mut self, plan: &Arc<Plan>) {
        let generation = self.shared.schema_generation();
        // A probe that was refused tells of columns alone.
        if plan.columns(generation).is_some() && plan.described().rows.is_some() {
            return;
        }
        let Some(server) = self.server.as_mut() else { return };
        Describe { target: Target::Statement, name: plan.name() }.encode(&mut self.server_out);
        server.ledger.push(Ask::Describe, Owner::Learn, Some(Box::new(Undo::Learning(Arc::clone(plan), generation))));
    }

    /// A part of the answer to [`Engine::learn`]. Long ones are not kept: they are of no use but in a failed transaction.
    pub(super) fn learnt(&self, message: u8, body: &[u8], whole: bool) {
        use crate::wire::backend::tag;
        let Some(Undo::Learning(plan, generation) | Undo::Probing(plan, generation)) =
            self.server.as_ref().and_then(|server| server.ledger.head_undo())
        else {
            return;
        };
        match message {
            tag::PARAMETER_DESCRIPTION if whole => {
                let mut message = vec![tag::PARAMETER_DESCRIPTION];
                message.extend_from_slice(&u32::try_from(body.len() + 4).unwrap_or(u32::MAX).to_be_bytes());
                message.extend_from_slice(body);
                plan.describe(|described| described.parameters = Some(message.into()));
            }
            tag::ROW_DESCRIPTION => {
                plan.describe(|described| described.rows = Some(true));
                // Noted in any case: what is not known would be asked for again, without end.
                let short = whole && body.len() + Header::LEN <= READ_MAX;
                plan.note_columns(*generation, if short { number_of(body) } else { TOO_WIDE });
            }
            tag::NO_DATA => {
                plan.describe(|described| described.rows = Some(false));
                plan.note_columns(*generation, 0);
            }
            _ => {}
        }
    }
}

/// How many parameters a Bind of the plan must have, if that is known.
pub(super) fn requires(plan: &Plan) -> Option<u16> {
    let told = plan.described().parameter_count();
    told.or_else(|| plan.class.parameter_count(plan.types().len() / OID_LEN))
}

const OID_LEN: usize = 4;

/// "... requires 13", behind the name, as it would be said of the client's own statement.
pub(super) fn renumbered(text: &[u8], name: &[u8], requires: Option<u16>) -> Vec<u8> {
    let found = memchr::memmem::find(text, name).map(|at| at + name.len());
    let (Some(requires), Some((head, tail))) = (requires, found.and_then(|at| text.split_at_checked(at))) else {
        return text.to_vec();
    };
    let tail = replace(tail, STAND_IN_PARAMETERS.to_string().as_bytes(), requires.to_string().as_bytes());
    [head, &tail].concat()
}

/// Postgres looks at the number of parameters before all else.
pub(super) fn is_refused_for_count(bind: &Bind<'_>, requires: Option<u16>) -> bool {
    let (formats, values) = sent_counts(bind.rest).unwrap_or_default();
    (formats > 1 && formats != values) || requires.is_some_and(|requires| requires != values)
}

/// How many format codes and values a Bind has. Its body may be there in part only.
fn sent_counts(rest: &[u8]) -> Option<(u16, u16)> {
    let (formats, rest) = rest.split_first_chunk()?;
    let formats = u16::from_be_bytes(*formats);
    let values = rest.get(2 * usize::from(formats)..)?.first_chunk()?;
    Some((formats, u16::from_be_bytes(*values)))
}
