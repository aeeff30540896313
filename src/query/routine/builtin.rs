//! Floor 1. What we know of Postgres's own functions and of settings, whatever the catalog says.

use super::super::{Effects, FunctionName};

/// What changing a setting for the session is.
pub(super) fn effects_of_setting(name: &str) -> Effects {
    match name {
        "role" | "session_authorization" => Effects::SETTING | Effects::ROLE,
        "seed" => Effects::SETTING | Effects::SETSEED,
        _ => Effects::SETTING,
    }
}

/// Whether a function is known to be one of Postgres's own while the catalog is not: the common ones, and what is called under
/// their names by users is taken for them.
pub fn is_builtin_function(name: &FunctionName) -> bool {
    match name.schema.as_deref() {
        Some("pg_catalog") => true,
        None => COMMON.binary_search(&&*name.name).is_ok(),
        Some(_) => false,
    }
}

const COMMON: &[&str] = &["count"];
