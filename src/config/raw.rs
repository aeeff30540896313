//! Floor 0. The file as written: every key, its type and its default. Nothing is checked here.
//!
//! `""` and `0` stand for "none" and "as the section says", so each key has a value that can be written in a file.
//! `config/pgdial.toml` is this in TOML; a test compares the two.

use serde::{Deserialize, Serialize};

/// The whole file.
#[derive(Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) listen: Listen,
    pub(super) auth: Auth,
    pub(super) upstream: Upstream,
    pub(super) pool: Pool,
    pub(super) plans: Plans,
    pub(super) cache: Cache,
    pub(super) invalidation: Invalidation,
    pub(super) admin: Admin,
    pub(super) log: Log,
    pub(super) database: Vec<Database>,
    pub(super) user: Vec<User>,
}

/// One list gives the fields and their defaults.
macro_rules! section {
    ($name:ident { $($(#[$attr:meta])* $field:ident: $type:ty = $default:expr,)* }) => {
        #[derive(Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(super) struct $name { $($(#[$attr])* pub(super) $field: $type,)* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default.into(),)* }
            }
        }
    };
}

section! { Listen {
    address: String = "127.0.0.1:6432",
    unix_socket_dir: String = "",
    tls: String = "prefer",
    tls_cert: String = "",
    tls_key: String = "",
    tls_client_ca: String = "",
    login_timeout: String = "15s",
    max_clients: i64 = 10_000,
    client_idle_timeout: String = "0s",
    tcp_keepalive: String = "60s",
} }

section! { Auth {
    method: String = "scram-sha-256",
    query: String = "",
    console_users: Vec<String> = [],
    rule: Vec<AuthRule> = [],
} }

section! { AuthRule {
    database: String = "*",
    user: String = "*",
    address: String = "*",
    method: String = "",
} }

section! { Upstream {
    url: String = "",
    tls: String = "prefer",
    tls_ca: String = "",
} }

section! { Pool {
    mode: String = "transaction",
    size: i64 = 20,
    min_idle: i64 = 2,
    order: String = "lifo",
    checkout_timeout: String = "5s",
    connect_timeout: String = "5s",
    idle_timeout: String = "10m",
    max_lifetime: String = "1h",
    check_delay: String = "30s",
    query_timeout: String = "0s",
    idle_in_transaction_timeout: String = "0s",
    max_pinned: f64 = 0.5,
    currval: String = "auto",
    startup_sets: i64 = 8,
} }

section! { Plans {
    mode: String = "auto",
    per_server: i64 = 500,
    guard: bool = true,
    keep_comments: bool = false,
} }

section! { Cache {
    mode: String = "off",
    memory: String = "256MiB",
    max_result: String = "1MiB",
    verify: f64 = 0.0,
    default: CacheDefault = CacheDefault::default(),
    rule: Vec<CacheRule> = [],
} }

section! { CacheDefault {
    ttl: String = "0s",
} }

section! { CacheRule {
    tables: Vec<String> = [],
    #[serde(rename = "match")]
    shape: String = "",
    ttl: String = "",
    stale_while_revalidate: String = "0s",
    stale_if_error: String = "0s",
    revalidate: bool = false,
    empty_ttl: String = "",
    tags: Vec<String> = [],
    freshness: String = "strict",
} }

section! { Invalidation {
    feed: String = "notify",
    notify: String = "pgdial",
    max_lag: String = "1s",
    catalog_check: String = "1s",
} }

section! { Admin {
    address: String = "127.0.0.1:6433",
    token: String = "",
} }

section! { Log {
    level: String = "info",
    format: String = "text",
    slow_query: String = "500ms",
} }

section! { Database {
    name: String = "",
    url: String = "",
    pool_size: i64 = 0,
    plans: String = "",
    cache: String = "",
} }

section! { User {
    name: String = "",
    password: String = "",
    pool_size: i64 = 0,
    max_clients: i64 = 0,
} }
