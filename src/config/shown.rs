//! Floor 0. The settings as the console lists them: ours by their own names, and those that PgBouncer has too by its names.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Config, defaults, reload, settings};

/// Key, value, default, and whether a reload changes it.
pub fn shown(config: &Config) -> Vec<(String, String, String, bool)> {
    let defaults: BTreeMap<_, _> = settings::flatten(&defaults());
    let own = config.settings().map(|(key, value)| {
        let default = defaults.get(key).map(ToString::to_string).unwrap_or_default();
        (key.to_owned(), bare(&value), bare(&default), !reload::needs_restart(key))
    });
    own.chain(pgbouncers(config)).collect()
}

/// Programs that watch a PgBouncer look for these.
fn pgbouncers(config: &Config) -> impl Iterator<Item = (String, String, String, bool)> {
    let seconds = |period: Duration| period.as_secs().to_string();
    let (listen, pool) = (&config.listen, &config.pool);
    let rows = [
        ("client_idle_timeout", seconds(listen.client_idle_timeout), "0"),
        ("client_login_timeout", seconds(listen.login_timeout), "15"),
        ("default_pool_size", pool.size.to_string(), "20"),
        ("idle_transaction_timeout", seconds(pool.idle_in_transaction_timeout), "0"),
        ("max_client_conn", listen.max_clients.to_string(), "10000"),
        ("max_db_connections", "0".to_owned(), "0"),
        ("max_user_connections", "0".to_owned(), "0"),
        ("min_pool_size", pool.min_idle.to_string(), "2"),
        ("pool_mode", pool.mode.as_str().to_owned(), "transaction"),
        ("query_timeout", seconds(pool.query_timeout), "0"),
        ("query_wait_timeout", seconds(pool.checkout_timeout), "5"),
        ("server_connect_timeout", seconds(pool.connect_timeout), "5"),
        ("server_idle_timeout", seconds(pool.idle_timeout), "600"),
        ("server_lifetime", seconds(pool.max_lifetime), "3600"),
    ];
    rows.into_iter().map(|(key, value, default)| (key.to_owned(), value, default.to_owned(), true))
}

/// Texts without their quotes.
fn bare(value: &str) -> String {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value).to_owned()
}
