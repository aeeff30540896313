//! Floor 3. What an idle server must not have: the question that finds it.
//!
//! All of it is followed from client to client or undone before the next one. This looks whether that is true.

use crate::engine::Server;
use crate::session::{Pin, push_literal};

/// One SELECT of one text: what is there that should not be, in words; empty when nothing is. Nothing depends on search_path.
pub(super) fn question(state: &Server) -> String {
    let mut text = String::from("SELECT pg_catalog.concat_ws(', '");
    for (pin, word) in LEFT {
        text.push_str(",CASE WHEN ");
        text.push_str(pin.exists().unwrap_or("false"));
        text.push_str(" THEN ");
        push_literal(word, &mut text);
        text.push_str(" END");
    }
    text.push_str(",CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_prepared_statements WHERE from_sql ");
    text.push_str("AND NOT pg_catalog.starts_with(name, '_pgdial')) THEN 'a prepared statement' END");
    text.push_str(",(SELECT pg_catalog.string_agg('setting ' OPERATOR(pg_catalog.||) name, ', ') FROM pg_catalog.pg_settings ");
    text.push_str("WHERE source OPERATOR(pg_catalog.=) 'session' AND setting OPERATOR(pg_catalog.<>) reset_val ");
    text.push_str("AND NOT name OPERATOR(pg_catalog.=) 'application_name'");
    for (name, _) in state.applied.iter() {
        text.push_str(" AND NOT pg_catalog.lower(name) OPERATOR(pg_catalog.=) ");
        push_literal(name, &mut text);
    }
    text.push(')');
    if state.applied.get("role").is_none() && state.applied.get("session_authorization").is_none() {
        text.push_str(",CASE WHEN current_user OPERATOR(pg_catalog.<>) session_user THEN 'a role' END");
    }
    text.push(')');
    text
}

/// What ends with the session that made it, and the word for it.
const LEFT: [(Pin, &str); 4] = [
    (Pin::HoldCursor, "a cursor"),
    (Pin::AdvisoryLock, "an advisory lock"),
    (Pin::Listen, "a channel"),
    (Pin::TempTable, "a temporary object"),
];
