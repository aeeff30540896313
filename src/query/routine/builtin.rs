//! Floor 1. What we know of Postgres's own functions, of settings and of extensions, whatever the catalog says.

use super::super::{Effects, FunctionName};
use super::rows::RoutineRow;
use super::{Traces, common};

/// An UPDATE of it changes settings of the session.
pub(super) const SETTINGS_VIEW: &str = "pg_settings";

/// What changing a setting for the session is.
pub(super) fn effects_of_setting(name: &str) -> Effects {
    match name {
        "role" | "session_authorization" => Effects::SETTING | Effects::ROLE,
        "seed" => Effects::SETTING | Effects::SETSEED,
        _ => Effects::SETTING,
    }
}

/// What a call of one of Postgres's own functions leaves behind, but for `set_config`.
pub(crate) fn effects_of_call(name: &str) -> Effects {
    match name {
        "nextval" | "setval" => Effects::SEQUENCE,
        "currval" | "lastval" => Effects::CURRVAL,
        "setseed" => Effects::SETSEED,
        "pg_advisory_lock" | "pg_advisory_lock_shared" | "pg_try_advisory_lock" | "pg_try_advisory_lock_shared" => {
            Effects::ADVISORY_LOCK
        }
        "pg_advisory_unlock" | "pg_advisory_unlock_shared" | "pg_advisory_unlock_all" => Effects::ADVISORY_LOCK,
        "pg_reload_conf" => Effects::DEFAULTS,
        name if runs_text(name) => Traces::everything().effects,
        _ => Effects::NONE,
    }
}

/// They run SQL that stands in a string, or attach something to the session.
pub(crate) fn runs_text(name: &str) -> bool {
    matches!(name, "ts_stat" | "ts_rewrite" | "pg_create_logical_replication_slot" | "pg_create_physical_replication_slot")
        || ["query_to_xml", "cursor_to_xml", "table_to_xml", "schema_to_xml", "database_to_xml"]
            .iter()
            .any(|s| name.starts_with(s))
        || name.starts_with("pg_copy_") && name.ends_with("_replication_slot")
        || name.starts_with("pg_replication_origin_session")
        || name.starts_with("binary_upgrade_")
}

/// The same with `set_config`, of whose arguments nothing is known.
pub(super) fn traces_of_call(name: &str) -> Traces {
    let effects = match name {
        "set_config" => Effects::SETTING | Effects::ROLE | Effects::OPAQUE_SETTING,
        _ => effects_of_call(name),
    };
    Traces { settings: Vec::new(), effects }
}

/// A user may give a function inside Postgres another name: by the part of its symbol that tells.
pub(super) fn effects_of_symbol(symbol: &[u8]) -> Effects {
    let symbol = String::from_utf8_lossy(symbol).to_ascii_lowercase();
    let has = |part: &str| symbol.contains(part);
    if has("set_config") {
        traces_of_call("set_config").effects
    } else if has("nextval") || has("setval") {
        Effects::SEQUENCE
    } else if has("currval") || has("lastval") {
        Effects::CURRVAL
    } else if has("setseed") {
        Effects::SETSEED
    } else if has("advisory") {
        Effects::ADVISORY_LOCK
    } else if runs_text(&symbol) {
        Traces::everything().effects
    } else {
        Effects::NONE
    }
}

/// A function in C. What is not volatile must not leave anything behind, by its own promise; what extensions of Postgres's own
/// and the common ones do is known.
pub(super) fn traces_of_c(row: &RoutineRow) -> Traces {
    let known = row.extension.as_deref().filter(|extension| HARMLESS.contains(extension));
    match (known, &*row.name) {
        (Some("pg_trgm"), "set_limit") => setting("pg_trgm.similarity_threshold"),
        (Some("isn"), "isn_weak") | (Some("http"), "http_set_curlopt" | "http_reset_curlopt") => Traces::everything(),
        // The connection stays open.
        (Some("dblink"), name) if name.starts_with("dblink_connect") => Traces::everything(),
        (Some("autoinc"), _) => Traces { settings: Vec::new(), effects: Effects::SEQUENCE },
        (Some(_), _) => Traces::default(),
        (None, _) if row.volatility == 'v' => Traces::everything(),
        (None, _) => Traces::default(),
    }
}

fn setting(name: &str) -> Traces {
    let mut traces = Traces::default();
    traces.add_setting(name);
    traces
}

/// Whether a function is known to be one of Postgres's own while the catalog is not. A function that a user has given one of
/// these names is taken for it.
pub fn is_builtin_function(name: &FunctionName) -> bool {
    match name.schema.as_deref() {
        Some("pg_catalog") => true,
        None => common::is_function(&name.name),
        Some(_) => false,
    }
}

/// Extensions whose volatile functions in C leave nothing behind, but for those named above.
const HARMLESS: &[&str] = &[
    "adminpack",
    "amcheck",
    "autoinc",
    "bloom",
    "btree_gin",
    "btree_gist",
    "citext",
    "cube",
    "dblink",
    "dict_int",
    "dict_xsyn",
    "earthdistance",
    "file_fdw",
    "fuzzystrmatch",
    "hstore",
    "http",
    "insert_username",
    "intarray",
    "isn",
    "lo",
    "ltree",
    "moddatetime",
    "pageinspect",
    "pg_buffercache",
    "pg_cron",
    "pg_freespacemap",
    "pg_ivm",
    "pg_prewarm",
    "pg_stat_statements",
    "pg_surgery",
    "pg_trgm",
    "pg_uuidv7",
    "pg_visibility",
    "pg_walinspect",
    "pgaudit",
    "pgcrypto",
    "pgrowlocks",
    "pgstattuple",
    "pgx_ulid",
    "postgis",
    "postgis_raster",
    "postgis_topology",
    "postgres_fdw",
    "refint",
    "seg",
    "sslinfo",
    "tablefunc",
    "tcn",
    "timescaledb",
    "tsm_system_rows",
    "tsm_system_time",
    "ulid",
    "unaccent",
    "uuid-ossp",
    "vector",
];
