//! Floor 5. The settings of `[pgbouncer]`, one by one.

use std::net::IpAddr;
use std::time::Duration;

use super::Draft;
use super::ini::Ini;

/// PgBouncer's key, our section and key, PgBouncer's default in seconds.
const PERIODS: &[(&str, &str, &str, f64)] = &[
    ("client_idle_timeout", "listen", "client_idle_timeout", 0.0),
    ("client_login_timeout", "listen", "login_timeout", 60.0),
    ("idle_transaction_timeout", "pool", "idle_in_transaction_timeout", 0.0),
    ("query_timeout", "pool", "query_timeout", 0.0),
    ("query_wait_timeout", "pool", "checkout_timeout", 120.0),
    ("server_check_delay", "pool", "check_delay", 30.0),
    ("server_connect_timeout", "pool", "connect_timeout", 15.0),
    ("server_idle_timeout", "pool", "idle_timeout", 600.0),
    ("server_lifetime", "pool", "max_lifetime", 3600.0),
];

/// Zero would be "never" there and is an error here.
const NEVER_ZERO: &[&str] = &["client_login_timeout", "server_connect_timeout"];

const COUNTS: &[(&str, &str, &str, i64)] = &[
    ("default_pool_size", "pool", "size", 20),
    ("max_client_conn", "listen", "max_clients", 100),
    ("min_pool_size", "pool", "min_idle", 0),
];

/// What is read elsewhere in this file or in `logins`.
const READ: &[&str] = &[
    "admin_users",
    "auth_file",
    "auth_query",
    "auth_type",
    "client_tls_ca_file",
    "client_tls_cert_file",
    "client_tls_key_file",
    "client_tls_sslmode",
    "listen_addr",
    "listen_port",
    "max_prepared_statements",
    "pool_mode",
    "server_round_robin",
    "server_tls_ca_file",
    "server_tls_sslmode",
    "tcp_keepalive",
    "tcp_keepidle",
    "unix_socket_dir",
];

/// What has no equivalent, and why.
const WITHOUT: &[(&str, &str)] = &[
    ("application_name_add_host", "pgdial passes application_name on as it is; SHOW CLIENTS has the address"),
    ("auth_dbname", "[auth] query asks the database that the client wants"),
    ("auth_hba_file", "write the rules as [[auth.rule]], in the same order"),
    ("auth_ident_file", "there is no ident map"),
    ("auth_ldap_options", "there is no LDAP"),
    ("auth_user", "[auth] query is run as the user of the database's URL"),
    ("autodb_idle_timeout", "databases are those of the config file"),
    ("cancel_wait_timeout", "a cancel request is answered at once or within 10 s"),
    ("client_tls_ciphers", "TLS 1.2 and 1.3 with the library's safe suites"),
    ("client_tls_dheparams", "TLS 1.2 and 1.3 with the library's safe suites"),
    ("client_tls_ecdhcurve", "TLS 1.2 and 1.3 with the library's safe suites"),
    ("client_tls_protocols", "TLS 1.2 and 1.3"),
    ("client_tls13_ciphers", "TLS 1.2 and 1.3 with the library's safe suites"),
    ("conffile", "the path is given with -c"),
    ("default_pool_mode", "not a setting of PgBouncer: it is pool_mode"),
    ("disable_pqexec", "pgdial serves simple queries"),
    ("dns_max_ttl", "names are resolved by the system at each dial"),
    ("dns_nxdomain_ttl", "names are resolved by the system at each dial"),
    ("dns_zone_check_period", "names are resolved by the system at each dial"),
    ("idle_transaction_timeout_ms", "not a setting of PgBouncer"),
    ("ignore_startup_parameters", "not needed: pgdial passes every startup parameter to Postgres"),
    ("job_name", "logs go to stderr; the service manager names them"),
    ("listen_backlog", "the backlog is 4096"),
    ("log_connections", "[log] level = \"debug\" has one line for each session"),
    ("log_disconnections", "[log] level = \"debug\" has one line for each session"),
    ("log_pooler_errors", "errors are counted in /stats, and logged at debug"),
    ("log_stats", "figures are in /stats, /metrics and SHOW STATS"),
    ("logfile", "logs go to stderr; let the service manager keep them"),
    ("max_db_client_connections", "clients are limited for the process and per user"),
    ("max_db_connections", "servers are limited per (database, user): pool_size"),
    ("max_packet_size", "the bounds are Postgres's own"),
    ("max_user_client_connections", "set max_clients of each [[user]]"),
    ("max_user_connections", "servers are limited per (database, user): set pool_size of each [[user]]"),
    ("peer_id", "pgdial has no peers"),
    ("pidfile", "let the service manager keep track of the process"),
    ("pkt_buf", "buffers belong to the process and are 64 KiB"),
    ("query_wait_notify", "pgdial sends no notice to clients that wait"),
    ("reserve_pool_size", "there is no reserve: add it to the pool size"),
    ("reserve_pool_timeout", "there is no reserve: add it to the pool size"),
    ("resolv_conf", "names are resolved by the system"),
    ("sbuf_loopcnt", "the runtime shares the time among connections"),
    ("scram_iterations", "verifiers keep the iterations they were made with"),
    ("server_fast_close", "RECONNECT closes a server when it comes back"),
    ("server_login_retry", "failed dials are repeated after 100 ms, then at growing intervals up to 1.6 s"),
    ("server_check_query", "an idle server is checked with a Sync, not with a query"),
    ("server_reset_query", "a server is reset when its client leaves something behind, and only then"),
    ("server_reset_query_always", "a server is reset when its client leaves something behind, and only then"),
    ("server_tls_cert_file", "pgdial shows Postgres no certificate"),
    ("server_tls_ciphers", "TLS 1.2 and 1.3 with the library's safe suites"),
    ("server_tls_key_file", "pgdial shows Postgres no certificate"),
    ("server_tls_protocols", "TLS 1.2 and 1.3"),
    ("server_tls13_ciphers", "TLS 1.2 and 1.3 with the library's safe suites"),
    ("service_name", "let the service manager name the process"),
    ("so_reuseport", "one process uses several cores"),
    ("stats_period", "averages are over 60 s"),
    ("stats_users", "the console knows one kind of user, who may do everything: [auth] console_users"),
    ("suspend_timeout", "there is no SUSPEND"),
    ("syslog", "logs go to stderr"),
    ("syslog_facility", "logs go to stderr"),
    ("syslog_ident", "logs go to stderr"),
    ("tcp_defer_accept", "the system's default"),
    ("tcp_keepcnt", "probes are sent six times"),
    ("tcp_keepintvl", "probes come at a sixth of tcp_keepalive"),
    ("tcp_socket_buffer", "the system's default"),
    ("tcp_user_timeout", "it would end clients that read slowly"),
    ("track_extra_parameters", "not needed: pgdial follows what the server reports"),
    ("transaction_timeout", "idle_in_transaction_timeout and query_timeout bound its parts"),
    ("unix_socket_group", "the socket belongs to the process's own group"),
    ("unix_socket_mode", "everyone may connect to the socket, the login decides"),
    ("user", "start pgdial as the user it is to run as"),
    ("user_idle_timeout", "not a setting of PgBouncer"),
    ("verbose", "[log] level"),
];

pub(super) fn pgbouncer(ini: &Ini, draft: &mut Draft) {
    listen(ini, draft);
    tls(ini, draft);
    for (key, section, own, default) in PERIODS {
        period(ini, key, (section, own), *default, draft);
    }
    for (key, section, own, default) in COUNTS {
        let number = number(ini, key, draft).unwrap_or(*default);
        draft.set(section, own, number);
    }
    mode(ini, draft);
    auth(ini, draft);
    for key in ini.settings.keys() {
        let key = key.as_str();
        let known = READ.contains(&key)
            || PERIODS.iter().any(|(known, ..)| *known == key)
            || COUNTS.iter().any(|(known, ..)| *known == key);
        if known {
            continue;
        }
        match WITHOUT.iter().find(|(known, _)| *known == key) {
            Some((_, why)) => draft.note(format!("{key}: {why}")),
            None => draft.note(format!("{key}: not known to pgdial import; it was left out")),
        }
    }
}

fn listen(ini: &Ini, draft: &mut Draft) {
    let port = number(ini, "listen_port", draft).unwrap_or(6432);
    let mut addresses = ini.get("listen_addr").unwrap_or_default().split(',').map(str::trim).filter(|part| !part.is_empty());
    let socket = ini.settings.get("unix_socket_dir").map(String::as_str);
    match addresses.next() {
        None => {
            draft.set("listen", "address", "");
            draft.set("listen", "unix_socket_dir", socket.unwrap_or("/tmp"));
            if port != 6432 {
                draft.note(format!("listen_port = {port}: without a TCP address the socket's number is 6432"));
            }
        }
        Some(address) => {
            let address = socket_address(address, port, draft);
            draft.set("listen", "address", address);
            if let Some(socket) = socket.filter(|dir| !dir.is_empty()) {
                draft.set("listen", "unix_socket_dir", socket);
            }
        }
    }
    let rest: Vec<_> = addresses.collect();
    if !rest.is_empty() {
        draft.note(format!("listen_addr: pgdial listens on one address; left out: {}", rest.join(", ")));
    }
    if ini.get("tcp_keepalive").is_some_and(|value| value == "0") {
        draft.set("listen", "tcp_keepalive", "0s");
    } else if let Some(seconds) = number(ini, "tcp_keepidle", draft).filter(|seconds| *seconds > 0) {
        draft.set("listen", "tcp_keepalive", format!("{seconds}s"));
    }
}

fn socket_address(address: &str, port: i64, draft: &mut Draft) -> String {
    match address {
        "*" => format!("0.0.0.0:{port}"),
        "localhost" => format!("127.0.0.1:{port}"),
        _ => match address.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => format!("[{address}]:{port}"),
            Ok(IpAddr::V4(address)) => format!("{address}:{port}"),
            Err(_) => {
                draft.note(format!("listen_addr = {address}: pgdial takes no names; write the address"));
                format!("127.0.0.1:{port}")
            }
        },
    }
}

fn tls(ini: &Ini, draft: &mut Draft) {
    for (key, own) in [("client_tls_cert_file", "tls_cert"), ("client_tls_key_file", "tls_key")] {
        if let Some(file) = ini.get(key) {
            draft.set("listen", own, file);
        }
    }
    match ini.get("client_tls_sslmode").unwrap_or("disable") {
        mode @ ("disable" | "prefer" | "require") => draft.set("listen", "tls", mode),
        "allow" => {
            draft.set("listen", "tls", "prefer");
            draft.note("client_tls_sslmode = allow: on the server's side it is the same as prefer");
        }
        mode => {
            draft.set("listen", "tls", "verify-ca");
            draft.set("listen", "tls_client_ca", ini.get("client_tls_ca_file").unwrap_or_default());
            if mode == "verify-full" {
                draft.note("client_tls_sslmode = verify-full: a client's certificate has no host name to check; it is verify-ca");
            }
        }
    }
    draft.set("upstream", "tls", ini.get("server_tls_sslmode").unwrap_or("prefer"));
    if let Some(file) = ini.get("server_tls_ca_file") {
        draft.set("upstream", "tls_ca", file);
    }
}

fn mode(ini: &Ini, draft: &mut Draft) {
    draft.set("pool", "mode", ini.get("pool_mode").unwrap_or("session"));
    if ini.get("server_round_robin").is_some_and(|value| value != "0") {
        draft.set("pool", "order", "round-robin");
    }
    match number(ini, "max_prepared_statements", draft) {
        Some(0) => draft.note("max_prepared_statements = 0: pgdial follows prepared statements always"),
        Some(count) => draft.set("plans", "per_server", count.clamp(1, 100_000)),
        None => {}
    }
}

fn auth(ini: &Ini, draft: &mut Draft) {
    let method = match ini.get("auth_type").unwrap_or("md5") {
        "plain" => "password",
        "any" => {
            draft.note("auth_type = any: with trust, clients must name a user that pgdial knows");
            "trust"
        }
        method @ ("trust" | "md5" | "scram-sha-256" | "cert") => method,
        "hba" => {
            draft.note("auth_type = hba: clients that no [[auth.rule]] names must show scram-sha-256");
            "scram-sha-256"
        }
        other => {
            draft.note(format!("auth_type = {other}: pgdial has trust, password, md5, scram-sha-256 and cert"));
            "scram-sha-256"
        }
    };
    draft.set("auth", "method", method);
    if let Some(query) = ini.get("auth_query") {
        draft.set("auth", "query", query);
    }
}

fn period(ini: &Ini, key: &str, own: (&str, &str), default: f64, draft: &mut Draft) {
    let seconds = match ini.get(key).map(str::parse::<f64>) {
        Some(Ok(seconds)) if (0.0..=1e9).contains(&seconds) => seconds,
        Some(_) => {
            draft.note(format!("{key}: not a number of seconds; PgBouncer's default is used"));
            default
        }
        None => default,
    };
    if seconds == 0.0 && NEVER_ZERO.contains(&key) {
        draft.note(format!("{key} = 0: pgdial has no \"never\" here; its default is used"));
        return;
    }
    let period = Duration::from_millis(Duration::from_secs_f64(seconds).as_millis().try_into().unwrap_or(u64::MAX));
    draft.set(own.0, own.1, humantime::format_duration(period).to_string());
}

fn number(ini: &Ini, key: &str, draft: &mut Draft) -> Option<i64> {
    let text = ini.get(key)?;
    let number = text.parse().ok();
    if number.is_none() {
        draft.note(format!("{key} = {text}: not a number; PgBouncer's default is used"));
    }
    number
}
