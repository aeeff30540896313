//! Floor 0. What a new configuration changes, and what of that waits for a restart. Pure: the caller applies it.

use super::Config;
use super::settings::redacted;

/// Settings that are read each time they are used. All others are built into listeners, pools and stores at start;
/// that is the safe assumption about a key nobody thought of.
const LIVE: &[&str] = &[
    "auth.",
    "listen.client_idle_timeout",
    "listen.login_timeout",
    "listen.max_clients",
    "listen.tls",
    "log.slow_query",
    "pool.check_delay",
    "pool.checkout_timeout",
    "pool.connect_timeout",
    "pool.idle_in_transaction_timeout",
    "pool.idle_timeout",
    "pool.max_lifetime",
    "pool.min_idle",
    "pool.order",
    "pool.query_timeout",
    "pool.size",
    "user",
];

/// One setting that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `pool.size`, `cache.rule[0].ttl`
    pub key: String,
    /// As the file would have it, secrets as `***`; `None` = it was not there.
    pub old: Option<String>,
    /// As the file would have it, secrets as `***`; `None` = it is gone.
    pub new: Option<String>,
    /// The running process keeps the old value until it is restarted.
    pub needs_restart: bool,
}

/// Whether a change of this setting waits for a restart.
pub(super) fn needs_restart(key: &str) -> bool {
    let pool_size = key.starts_with("database[") && key.ends_with("].pool_size");
    !pool_size && !LIVE.iter().any(|live| key.starts_with(live))
}

/// Every difference, by key.
pub fn diff(old: &Config, new: &Config) -> Vec<Change> {
    let (old, new) = (old.flat.expose(), new.flat.expose());
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let changed = keys.into_iter().filter(|key| old.get(*key) != new.get(*key));
    let changes = changed.map(|key| Change {
        key: key.clone(),
        old: old.get(key).map(|value| redacted(key, value)),
        new: new.get(key).map(|value| redacted(key, value)),
        needs_restart: needs_restart(key),
    });
    changes.collect()
}
