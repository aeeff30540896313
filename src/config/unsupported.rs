//! Floor 0. Settings that exist in the file but not yet in the program. None is silently ignored.
//!
//! When a feature is built, its line here goes, and `(later)` in config/pgdial.toml with it.

use toml::Value;

use super::Config;
use super::settings::{flatten, redacted, schema};

/// Keys whose feature is missing: any value but the default is refused.
pub(super) const KEYS: &[&str] = &[
    "cache.rule.empty_ttl",
    "cache.rule.freshness",
    "cache.rule.match",
    "cache.rule.revalidate",
    "cache.rule.stale_if_error",
    "cache.rule.stale_while_revalidate",
    "cache.rule.tags",
    "cache.verify",
    "database.cache",
    "database.plans",
    "invalidation.max_lag",
    "plans.guard",
    "plans.keep_comments",
];

/// Single values whose feature is missing, though the key works.
pub(super) const VALUES: &[(&str, &str)] = &[("cache.mode", "observe"), ("invalidation.feed", "outbox")];

/// One line per such setting, its key first.
pub(super) fn list(config: &Config) -> Vec<String> {
    let defaults = flatten(&schema());
    let default = |key: &str| {
        let in_schema = defaults.iter().find(|(path, _)| without_index(path) == key);
        in_schema.map(|(_, value)| value)
    };
    let missing = |(path, value): &(&String, &Value)| {
        let key = without_index(path);
        let key_missing = KEYS.contains(&key.as_str()) && default(&key) != Some(*value);
        key_missing || VALUES.iter().any(|(known, word)| *known == key && value.as_str() == Some(*word))
    };
    let lines = config.flat.expose().iter().filter(missing).map(|(path, value)| {
        let usual = default(&without_index(path)).map(|value| redacted(path, value)).unwrap_or_default();
        format!("{path} = {}: not supported yet: leave it at {usual}", redacted(path, value))
    });
    lines.collect()
}

/// `cache.rule[3].ttl` to `cache.rule.ttl`.
fn without_index(path: &str) -> String {
    let mut inside = false;
    let keep = |c: &char| {
        inside = (inside || *c == '[') && *c != ']';
        !inside && *c != ']'
    };
    path.chars().filter(keep).collect()
}
