//! Floor 2. `[pool] mode = "statement"`: no transaction lasts longer than its statement, so none may be opened.

use crate::error::{Error, Kind};
use crate::query::TransactionVerb;
use crate::wire::frontend::{Parse, Query, flush, tag};

use super::intake::Next;
use super::message::Message;
use super::route::Route;
use super::{Engine, Want};

impl Engine {
    /// BEGIN is refused before it takes a server. A text of several statements is let through: only its end tells whether it
    /// leaves a block open, see [`left_open`].
    pub(super) fn refuse_block(&mut self, message: &Message<'_>, rest: &[u8], route: &mut Route<'_>) -> Option<Next> {
        if !self.shared.statement_mode || !self.begins_block(message) {
            return None;
        }
        if self.server.as_ref().is_some_and(|server| !server.ledger.is_empty() && !server.ledger.is_skipping()) {
            // What came before is answered first.
            route.settle(&mut self.server_out);
            flush(&mut self.server_out);
            return Some(Next::Wants(Want::Replies));
        }
        self.refuse_batch(&refusal("transaction blocks are not allowed"), rest);
        // What is to be dropped of it is dropped from its first byte on.
        Some(Next::Took(if message.tag == tag::QUERY { 0 } else { message.range.len() }))
    }

    fn begins_block(&self, message: &Message<'_>) -> bool {
        let text = match message.tag {
            tag::QUERY => Query::decode(message.body).map(|query| query.text),
            tag::PARSE => Parse::decode(message.body).map(|parse| parse.text),
            _ => return false,
        };
        text.is_ok_and(|text| matches!(self.class_of_text(message, text).transaction, Some(TransactionVerb::Begin(_))))
    }
}

/// A transaction block is open at the end of a batch: client and server part here.
pub(super) fn left_open() -> Error {
    refusal("the text has left a transaction block open, which is not allowed").fatal()
}

fn refusal(what: &str) -> Error {
    Error::new(Kind::Unsupported, format!("{what} in statement pooling mode"))
        .with_hint("Set [pool] mode = \"transaction\" in pgdial's config file, or send the statements without BEGIN.")
}
