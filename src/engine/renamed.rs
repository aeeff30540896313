//! Floor 2. Errors speak of statements by the client's own names, and not by pgdial's.

use crate::wire::backend::tag;
use crate::wire::diagnostics::{self, Fields};

use super::Engine;
use super::failed::renumbered;
use super::ledger::hint_of;
use super::undo::Undo;

impl Engine {
    /// The error with the client's own name for the statement, if it has pgdial's. What was skipped has been taken back, so
    /// that a name which a later message would have dropped is there again.
    pub(super) fn renamed(&self, body: &[u8], told: Option<&Told>, hint: u32) -> Option<Vec<u8>> {
        let prefix = self.shared.plans.prefix().as_bytes();
        let at = memchr::memmem::find(body, prefix)?;
        let rest = body.get(at..)?;
        let end = rest.iter().position(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'_'))?;
        let ours = rest.get(..end)?;
        let (theirs, requires) = match told {
            Some(told) => (&*told.name, told.requires),
            None => (self.name_of(ours, hint)?, None),
        };
        let fields = Fields::decode(body).ok()?;
        let replaced: Vec<(u8, Vec<u8>)> =
            fields.iter().map(|(code, text)| (code, replace(&renumbered(text, ours, requires), ours, theirs))).collect();
        let mut out = Vec::new();
        diagnostics::encode_fields(tag::ERROR_RESPONSE, replaced.iter().map(|(code, text)| (*code, &**text)), &mut out);
        Some(out)
    }

    /// The client's name for a plan: one that it has, or had before a later batch that is unanswered.
    fn name_of(&self, plan: &[u8], hint: u32) -> Option<&[u8]> {
        let open = self.server.iter().flat_map(|server| server.ledger.undos().filter_map(Undo::name_before));
        let names =
            || self.session.statements.iter().chain(open.clone()).filter(|(_, known)| known.name() == plan).map(|(name, _)| name);
        names().find(|name| hint_of(name) == hint).or_else(|| names().next())
    }
}

/// What an error is to say instead of what it says of pgdial's own.
pub(super) struct Told {
    name: Box<[u8]>,
    /// How many parameters the statement takes.
    requires: Option<u16>,
}

/// The name of a Parse or Bind, as its sender knows it.
pub(super) fn told_by(own: Option<&Undo>) -> Option<Told> {
    match own? {
        Undo::Named { name, .. } => Some(Told { name: name.clone(), requires: None }),
        Undo::StandIn { name, requires } => Some(Told { name: name.clone(), requires: *requires }),
        Undo::Learning(..)
        | Undo::Probing(..)
        | Undo::ColumnsChanged(_)
        | Undo::Injected(_)
        | Undo::Evicted { .. }
        | Undo::Closed { .. }
        | Undo::Unnamed { .. }
        | Undo::UnnamedClosed { .. }
        | Undo::UnnamedInjected { .. } => None,
    }
}

pub(super) fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memmem::find(rest, from) {
        out.extend_from_slice(rest.get(..at).unwrap_or_default());
        out.extend_from_slice(to);
        rest = rest.get(at + from.len()..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}
