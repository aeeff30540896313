//! Floor 3. The tables of SHOW. Columns and their order are those of PgBouncer 1.25; what pgdial adds comes last.

use std::time::Duration;

use super::sockets;
use super::table::Type::{Int4, Int8, Numeric, Text};
use super::table::{Columns, Row, Value};
use super::{CONSOLE_NAME, Operator, Traffic, TrafficView};

/// One table.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) name: &'static str,
    pub(super) columns: &'static Columns,
    pub(super) rows: fn(&dyn Operator) -> Vec<Row>,
}

/// By its name in any case.
pub(super) fn find(name: &str) -> Option<&'static Shown> {
    ALL.iter().find(|shown| shown.name.eq_ignore_ascii_case(name))
}

pub(super) static ALL: &[Shown] = &[
    Shown { name: "config", columns: CONFIG, rows: config },
    Shown { name: "databases", columns: DATABASES, rows: databases },
    Shown { name: "pools", columns: POOLS, rows: pools },
    Shown { name: "clients", columns: sockets::COLUMNS, rows: sockets::clients },
    Shown { name: "servers", columns: sockets::COLUMNS, rows: sockets::servers },
    Shown { name: "sockets", columns: sockets::DEBUG_COLUMNS, rows: sockets::all },
    Shown { name: "active_sockets", columns: sockets::DEBUG_COLUMNS, rows: sockets::active },
    Shown { name: "users", columns: USERS, rows: users },
    Shown { name: "version", columns: &[("version", Text)], rows: version },
    Shown { name: "lists", columns: &[("list", Text), ("items", Int4)], rows: lists },
    Shown { name: "mem", columns: MEM, rows: mem },
    Shown { name: "state", columns: &[("key", Text), ("value", Text)], rows: state },
    Shown { name: "stats", columns: STATS, rows: stats },
    Shown { name: "stats_totals", columns: STATS_TOTALS, rows: stats_totals },
    Shown { name: "stats_averages", columns: STATS_AVERAGES, rows: stats_averages },
    Shown { name: "totals", columns: &[("name", Text), ("value", Numeric)], rows: totals },
    Shown { name: "pins", columns: PINS, rows: pins },
    Shown { name: "cache", columns: &[("key", Text), ("value", Int8)], rows: cache },
    Shown { name: "shapes", columns: SHAPES, rows: shapes },
    Shown { name: "rules", columns: &[("tables", Text), ("ttl", Text), ("freshness", Text)], rows: rules },
];

const CONFIG: &Columns = &[("key", Text), ("value", Text), ("default", Text), ("changeable", Text)];

const DATABASES: &Columns = &[
    ("name", Text),
    ("host", Text),
    ("port", Int4),
    ("database", Text),
    ("force_user", Text),
    ("pool_size", Int4),
    ("min_pool_size", Int4),
    ("reserve_pool_size", Int4),
    ("server_lifetime", Int4),
    ("pool_mode", Text),
    ("load_balance_hosts", Text),
    ("max_connections", Int4),
    ("current_connections", Int4),
    ("max_client_connections", Int4),
    ("current_client_connections", Int4),
    ("paused", Int4),
    ("disabled", Int4),
];

const POOLS: &Columns = &[
    ("database", Text),
    ("user", Text),
    ("cl_active", Int4),
    ("cl_waiting", Int4),
    ("cl_active_cancel_req", Int4),
    ("cl_waiting_cancel_req", Int4),
    ("sv_active", Int4),
    ("sv_active_cancel", Int4),
    ("sv_being_canceled", Int4),
    ("sv_idle", Int4),
    ("sv_used", Int4),
    ("sv_tested", Int4),
    ("sv_login", Int4),
    ("maxwait", Int4),
    ("maxwait_us", Int4),
    ("pool_mode", Text),
    ("load_balance_hosts", Text),
];

const USERS: &Columns = &[
    ("name", Text),
    ("pool_size", Text),
    ("reserve_pool_size", Text),
    ("pool_mode", Text),
    ("max_user_connections", Int4),
    ("current_connections", Int4),
    ("max_user_client_connections", Int4),
    ("current_client_connections", Int4),
];

const MEM: &Columns = &[("name", Text), ("size", Int8), ("used", Int8), ("free", Int8), ("memtotal", Int8)];

const STATS: &Columns = &[
    ("database", Text),
    ("total_server_assignment_count", Numeric),
    ("total_xact_count", Numeric),
    ("total_query_count", Numeric),
    ("total_received", Numeric),
    ("total_sent", Numeric),
    ("total_xact_time", Numeric),
    ("total_query_time", Numeric),
    ("total_wait_time", Numeric),
    ("total_client_parse_count", Numeric),
    ("total_server_parse_count", Numeric),
    ("total_bind_count", Numeric),
    ("total_client_connect_count", Numeric),
    ("avg_server_assignment_count", Numeric),
    ("avg_xact_count", Numeric),
    ("avg_query_count", Numeric),
    ("avg_recv", Numeric),
    ("avg_sent", Numeric),
    ("avg_xact_time", Numeric),
    ("avg_query_time", Numeric),
    ("avg_wait_time", Numeric),
    ("avg_client_parse_count", Numeric),
    ("avg_server_parse_count", Numeric),
    ("avg_bind_count", Numeric),
    ("avg_client_connect_count", Numeric),
];

const STATS_TOTALS: &Columns = &[
    ("database", Text),
    ("server_assignment_count", Numeric),
    ("xact_count", Numeric),
    ("query_count", Numeric),
    ("bytes_received", Numeric),
    ("bytes_sent", Numeric),
    ("xact_time", Numeric),
    ("query_time", Numeric),
    ("wait_time", Numeric),
    ("client_parse_count", Numeric),
    ("server_parse_count", Numeric),
    ("bind_count", Numeric),
    ("client_connect_count", Numeric),
];

const STATS_AVERAGES: &Columns = &[
    ("database", Text),
    ("server_assignment_count", Numeric),
    ("xact_count", Numeric),
    ("query_count", Numeric),
    ("bytes_received", Numeric),
    ("bytes_sent", Numeric),
    ("xact_time", Numeric),
    ("query_time", Numeric),
    ("wait_time", Numeric),
    ("avg_client_parse_count", Numeric),
    ("avg_server_parse_count", Numeric),
    ("avg_bind_count", Numeric),
    ("client_connect_count", Numeric),
];

/// The names of SHOW TOTALS, in the order of [`numbers`].
const TOTALS: [&str; 12] = [
    "server_assignment_count",
    "xact_count",
    "query_count",
    "client_bytes",
    "server_bytes",
    "xact_time",
    "query_time",
    "wait_time",
    "ps_client_parse_count",
    "ps_server_parse_count",
    "ps_bind_count",
    "client_connect_count",
];

const PINS: &Columns = &[
    ("id", Int4),
    ("database", Text),
    ("user", Text),
    ("addr", Text),
    ("application_name", Text),
    ("reasons", Text),
    ("age", Int8),
    ("server_pid", Int4),
];

const SHAPES: &Columns = &[
    ("calls", Int8),
    ("hits", Int8),
    ("rows", Int8),
    ("bytes", Int8),
    ("total_us", Int8),
    ("mean_us", Int8),
    ("p50_us", Int8),
    ("p99_us", Int8),
    ("max_us", Int8),
    ("tables", Text),
    ("text", Text),
];

fn config(operator: &dyn Operator) -> Vec<Row> {
    let row = |(key, value, default, changeable): (String, String, String, bool)| {
        vec![key.into(), value.into(), default.into(), if changeable { "yes" } else { "no" }.into()]
    };
    operator.settings().into_iter().map(row).collect()
}

fn databases(operator: &dyn Operator) -> Vec<Row> {
    let rows = operator.databases().into_iter().map(|view| {
        vec![
            view.name.into(),
            view.host.into(),
            view.port.into(),
            view.database.into(),
            Value::Null,
            view.pool_size.into(),
            view.min_pool_size.into(),
            0.into(),
            view.server_lifetime.as_secs().into(),
            Value::Null,
            Value::Null,
            0.into(),
            view.servers.into(),
            view.max_clients.into(),
            view.clients.into(),
            view.paused.into(),
            view.disabled.into(),
        ]
    });
    rows.collect()
}

fn pools(operator: &dyn Operator) -> Vec<Row> {
    let rows = operator.pools().into_iter().map(|view| {
        vec![
            view.database.into(),
            view.user.into(),
            view.clients.saturating_sub(view.waiting).into(),
            view.waiting.into(),
            0.into(),
            0.into(),
            view.active.into(),
            0.into(),
            0.into(),
            view.idle.into(),
            0.into(),
            0.into(),
            view.dialing.into(),
            view.max_wait.as_secs().into(),
            view.max_wait.subsec_micros().into(),
            view.mode.into(),
            Value::Null,
        ]
    });
    rows.collect()
}

fn users(operator: &dyn Operator) -> Vec<Row> {
    let size = |size: Option<usize>| size.map_or(String::new(), |size| size.to_string());
    let rows = operator.users().into_iter().map(|view| {
        vec![
            view.name.into(),
            size(view.pool_size).into(),
            "".into(),
            Value::Null,
            0.into(),
            view.servers.into(),
            view.max_clients.unwrap_or(0).into(),
            view.clients.into(),
        ]
    });
    rows.collect()
}

fn version(_: &dyn Operator) -> Vec<Row> {
    vec![vec![format!("pgdial {}", env!("CARGO_PKG_VERSION")).into()]]
}

/// All names of PgBouncer's, so that whoever reads them by name finds them; what pgdial does not have is zero.
fn lists(operator: &dyn Operator) -> Vec<Row> {
    let clients = operator.clients().len();
    let connected = usize::try_from(operator.stats().clients.connected).unwrap_or(usize::MAX);
    let rows = [
        ("databases", operator.databases().len()),
        ("users", operator.users().len()),
        ("peers", 0),
        ("pools", operator.pools().len()),
        ("peer_pools", 0),
        ("free_clients", 0),
        ("used_clients", clients),
        ("login_clients", connected.saturating_sub(clients)),
        ("free_servers", 0),
        ("used_servers", operator.servers().len()),
        ("dns_names", 0),
        ("dns_zones", 0),
        ("dns_queries", 0),
        ("dns_pending", 0),
    ];
    rows.into_iter().map(|(name, items)| vec![name.into(), items.into()]).collect()
}

fn mem(operator: &dyn Operator) -> Vec<Row> {
    let rows = operator.memory().into_iter();
    rows.map(|view| vec![view.name.into(), view.size.into(), view.used.into(), view.free.into(), view.total.into()]).collect()
}

/// As PgBouncer: paused means all of them.
fn state(operator: &dyn Operator) -> Vec<Row> {
    let databases = operator.databases();
    let paused = databases.iter().filter(|view| view.name != CONSOLE_NAME).all(|view| view.paused);
    let word = |yes: bool| if yes { "yes" } else { "no" };
    let rows = [("active", word(!paused)), ("paused", word(paused)), ("suspended", "no")];
    rows.into_iter().map(|(key, value)| vec![key.into(), value.into()]).collect()
}

fn stats(operator: &dyn Operator) -> Vec<Row> {
    let row = |view: &TrafficView| {
        let numbers = numbers(&view.total).into_iter().chain(averages(&view.recent, view.period));
        std::iter::once(view.database.clone().into()).chain(numbers.map(Value::from)).collect()
    };
    operator.traffic().iter().map(row).collect()
}

fn stats_totals(operator: &dyn Operator) -> Vec<Row> {
    let row =
        |view: &TrafficView| std::iter::once(view.database.clone().into()).chain(numbers(&view.total).map(Value::from)).collect();
    operator.traffic().iter().map(row).collect()
}

fn stats_averages(operator: &dyn Operator) -> Vec<Row> {
    let row = |view: &TrafficView| {
        let averages = averages(&view.recent, view.period);
        std::iter::once(view.database.clone().into()).chain(averages.map(Value::from)).collect()
    };
    operator.traffic().iter().map(row).collect()
}

fn totals(operator: &dyn Operator) -> Vec<Row> {
    let views = operator.traffic();
    let period = views.iter().map(|view| view.period).max().unwrap_or_default();
    let total = Traffic::sum(views.iter().map(|view| view.total));
    let recent = Traffic::sum(views.iter().map(|view| view.recent));
    let rows = |prefix: &'static str, numbers: [u64; 12]| {
        TOTALS.iter().zip(numbers).map(move |(name, number)| vec![format!("{prefix}_{name}").into(), number.into()])
    };
    rows("total", numbers(&total)).chain(rows("avg", averages(&recent, period))).collect()
}

/// In PgBouncer's order. Received is what clients sent, sent is what they got.
fn numbers(traffic: &Traffic) -> [u64; 12] {
    let passed = &traffic.passed;
    [
        traffic.checkouts,
        passed.transactions,
        passed.queries,
        passed.client_bytes_in,
        passed.client_bytes_out,
        passed.transaction_us,
        passed.query_us,
        traffic.wait_us,
        passed.client_parses,
        passed.server_parses,
        passed.binds,
        passed.sessions,
    ]
}

/// Counts and bytes per second; times per transaction, query and checkout.
fn averages(recent: &Traffic, period: Duration) -> [u64; 12] {
    let micros = u64::try_from(period.as_micros()).unwrap_or(u64::MAX).max(1);
    let per_second = |count: u64| count.saturating_mul(1_000_000) / micros;
    let each = |time: u64, count: u64| time.checked_div(count).unwrap_or(0);
    let [
        checkouts,
        transactions,
        queries,
        received,
        sent,
        transaction_us,
        query_us,
        wait_us,
        parses,
        server_parses,
        binds,
        sessions,
    ] = numbers(recent);
    [
        per_second(checkouts),
        per_second(transactions),
        per_second(queries),
        per_second(received),
        per_second(sent),
        each(transaction_us, transactions),
        each(query_us, queries),
        each(wait_us, checkouts),
        per_second(parses),
        per_second(server_parses),
        per_second(binds),
        per_second(sessions),
    ]
}

fn pins(operator: &dyn Operator) -> Vec<Row> {
    let rows = operator.pins().into_iter().map(|view| {
        vec![
            view.id.into(),
            view.database.into(),
            view.user.into(),
            view.address.into(),
            view.application.into(),
            view.reasons.join(",").into(),
            view.age.as_secs().into(),
            view.server.map_or(Value::Null, Value::from),
        ]
    });
    rows.collect()
}

fn cache(operator: &dyn Operator) -> Vec<Row> {
    let cache = operator.stats().cache;
    let rows = [
        ("hits", cache.hits),
        ("misses", cache.misses),
        ("waits", cache.waits),
        ("fills", cache.fills),
        ("stale_served", cache.stale_served),
        ("invalidations", cache.invalidations),
        ("entries", cache.entries),
        ("bytes", cache.bytes),
        ("bytes_limit", cache.bytes_limit),
        ("unresolved_fences", cache.unresolved.len() as u64),
    ];
    let rows = rows.into_iter().map(|(key, value)| vec![key.into(), value.into()]);
    let bypass = cache.bypass.into_iter().map(|(reason, count)| vec![format!("bypass_{reason}").into(), count.into()]);
    rows.chain(bypass).collect()
}

fn shapes(operator: &dyn Operator) -> Vec<Row> {
    let rows = operator.stats().shapes.into_iter().map(|shape| {
        vec![
            shape.calls.into(),
            shape.hits.into(),
            shape.rows.into(),
            shape.bytes.into(),
            shape.total_us.into(),
            shape.mean_us.into(),
            shape.p50_us.into(),
            shape.p99_us.into(),
            shape.max_us.into(),
            shape.tables.join(",").into(),
            shape.text.into(),
        ]
    });
    rows.collect()
}

fn rules(operator: &dyn Operator) -> Vec<Row> {
    let rows = operator.rules().into_iter();
    rows.map(|view| vec![view.tables.into(), view.ttl.into(), view.freshness.into()]).collect()
}
