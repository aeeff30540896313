//! Floor 3. SHOW CLIENTS, SERVERS, SOCKETS and ACTIVE_SOCKETS: one row for each connection.

use std::net::SocketAddr;
use std::time::SystemTime;

use super::table::Type::{Int4, Int8, Text};
use super::table::{Columns, Row, Value};
use super::{Operator, SocketView};

macro_rules! columns {
    ($($more:expr,)*) => { &[
        ("type", Text),
        ("user", Text),
        ("database", Text),
        ("replication", Text),
        ("state", Text),
        ("addr", Text),
        ("port", Int4),
        ("local_addr", Text),
        ("local_port", Int4),
        ("connect_time", Text),
        ("request_time", Text),
        ("wait", Int4),
        ("wait_us", Int4),
        ("close_needed", Int4),
        ("ptr", Text),
        ("link", Text),
        ("remote_pid", Int4),
        ("tls", Text),
        ("application_name", Text),
        ("prepared_statements", Int4),
        ("id", Int8),
        $($more,)*
    ] };
}

pub(super) const COLUMNS: &Columns = columns!();

pub(super) const DEBUG_COLUMNS: &Columns = columns!(
    ("recv_pos", Int4),
    ("pkt_pos", Int4),
    ("pkt_remain", Int4),
    ("send_pos", Int4),
    ("send_remain", Int4),
    ("pkt_avail", Int4),
    ("send_avail", Int4),
);

/// PgBouncer's debug columns: buffers that an idle client does not have here.
const DEBUG: usize = DEBUG_COLUMNS.len() - COLUMNS.len();

pub(super) fn clients(operator: &dyn Operator) -> Vec<Row> {
    operator.clients().into_iter().map(|view| row(view, "")).collect()
}

pub(super) fn servers(operator: &dyn Operator) -> Vec<Row> {
    operator.servers().into_iter().map(|view| row(view, "")).collect()
}

pub(super) fn all(operator: &dyn Operator) -> Vec<Row> {
    debug(operator, |_| true)
}

pub(super) fn active(operator: &dyn Operator) -> Vec<Row> {
    debug(operator, |view| view.state != "idle")
}

fn debug(operator: &dyn Operator, keep: fn(&SocketView) -> bool) -> Vec<Row> {
    let views = operator.clients().into_iter().chain(operator.servers()).filter(keep);
    let rows = views.map(|view| {
        let prefix = if view.server { "sv_" } else { "cl_" };
        let mut row = row(view, prefix);
        row.extend(std::iter::repeat_n(Value::Number(0), DEBUG));
        row
    });
    rows.collect()
}

fn row(view: SocketView, prefix: &str) -> Row {
    let (own, other) = if view.server { ("s", "c") } else { ("c", "s") };
    vec![
        if view.server { "S" } else { "C" }.into(),
        view.user.into(),
        view.database.into(),
        "none".into(),
        format!("{prefix}{}", view.state).into(),
        address(view.address),
        port(view.address),
        address(view.local),
        port(view.local),
        time(view.since).into(),
        time(view.requested).into(),
        view.waited.as_secs().into(),
        view.waited.subsec_micros().into(),
        view.close_needed.into(),
        format!("{own}{}", view.id).into(),
        view.link.map_or(String::new(), |link| format!("{other}{link}")).into(),
        view.pid.into(),
        if view.tls { "TLS" } else { "" }.into(),
        view.application.into(),
        view.statements.into(),
        view.id.into(),
    ]
}

fn address(address: Option<SocketAddr>) -> Value {
    address.map_or_else(|| "unix".into(), |address| address.ip().to_canonical().to_string().into())
}

fn port(address: Option<SocketAddr>) -> Value {
    address.map_or(0, |address| address.port()).into()
}

/// As PgBouncer writes times, in UTC.
fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string().replace('T', " ").replace('Z', " UTC")
}
