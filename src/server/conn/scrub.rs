//! Floor 3. What an idle server must not have: the question that finds it.
//!
//! All of it is followed from client to client or undone before the next one. This looks whether that is true.

use crate::engine::Server;
use crate::session::push_literal;

/// One SELECT of one text: what is there that should not be, in words; empty when nothing is. Nothing depends on search_path.
pub(super) fn question(state: &Server) -> String {
    let mut text = String::from(QUESTION);
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

/// Everything in a schema depends on it; 2615 is pg_namespace.
const QUESTION: &str = "SELECT pg_catalog.concat_ws(', ', \
    CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable) THEN 'a cursor' END, \
    CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'advisory' \
        AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()) THEN 'an advisory lock' END, \
    CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_listening_channels()) THEN 'a channel' END, \
    CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_prepared_statements \
        WHERE from_sql AND NOT pg_catalog.starts_with(name, '_pgdial')) THEN 'a prepared statement' END, \
    CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_depend WHERE refclassid OPERATOR(pg_catalog.=) 2615 \
        AND refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()) THEN 'a temporary object' END";
