//! Floor 1. What we know of Postgres's own functions and types beyond what its catalog says.

/// Stable functions whose result depends on their arguments and on settings (TimeZone, DateStyle, IntervalStyle, lc_*, ..) and on nothing else.
const BY_SETTINGS: &[&str] = &[
    "array_to_json",
    "array_to_string",
    "concat",
    "concat_ws",
    "convert",
    "convert_from",
    "convert_to",
    "date_part",
    "date_trunc",
    "extract",
    "format",
    "generate_series",
    "json_agg",
    "json_build_array",
    "json_build_object",
    "json_object_agg",
    "jsonb_agg",
    "jsonb_build_array",
    "jsonb_build_object",
    "jsonb_object_agg",
    "length",
    "make_timestamptz",
    "overlaps",
    "quote_literal",
    "quote_nullable",
    "row_to_json",
    "timezone",
    "to_char",
    "to_json",
    "to_jsonb",
    "to_number",
];

/// Volatile functions that write nothing and leave nothing behind.
const HARMLESS: &[&str] = &[
    "clock_timestamp",
    "current_query",
    "gen_random_uuid",
    "lo_get",
    "pg_blocking_pids",
    "pg_database_size",
    "pg_indexes_size",
    "pg_is_in_recovery",
    "pg_notify",
    "pg_relation_size",
    "pg_sleep",
    "pg_sleep_for",
    "pg_sleep_until",
    "pg_table_size",
    "pg_total_relation_size",
    "pg_advisory_xact_lock",
    "pg_advisory_xact_lock_shared",
    "pg_try_advisory_xact_lock",
    "pg_try_advisory_xact_lock_shared",
    "pg_partition_tree",
    "pg_partition_ancestors",
    "pg_lock_status",
    "pg_cancel_backend",
    "pg_terminate_backend",
    "pg_current_wal_lsn",
    "pg_last_wal_replay_lsn",
    "pg_last_wal_receive_lsn",
    "pg_xact_status",
    "random",
    "random_normal",
    "timeofday",
    "txid_status",
    "uuidv4",
    "uuidv7",
    "pg_tablespace_size",
    "pg_sequence_last_value",
];

/// Stable by label, yet they run whatever a view or cursor of that name holds.
const RUNS_OTHER_CODE: &[&str] = &[
    "cursor_to_xml",
    "cursor_to_xmlschema",
    "database_to_xml",
    "database_to_xml_and_xmlschema",
    "query_to_xml",
    "query_to_xml_and_xmlschema",
    "query_to_xmlschema",
    "schema_to_xml",
    "schema_to_xml_and_xmlschema",
    "table_to_xml",
    "table_to_xml_and_xmlschema",
    "ts_rewrite",
    "ts_stat",
];

/// Built-in types whose values mean something else at another time or to another session: names of catalog objects, amounts in
/// a currency that a setting names, times of day in a zone that today's date decides.
const UNSETTLED_TYPES: &[&str] = &[
    "aclitem",
    "money",
    "regclass",
    "regcollation",
    "regconfig",
    "regdictionary",
    "regnamespace",
    "regoper",
    "regoperator",
    "regproc",
    "regprocedure",
    "regrole",
    "regtype",
    "timetz",
    "cstring",
    "xml",
];

pub(super) fn depends_on_settings_only(name: &str) -> bool {
    BY_SETTINGS.contains(&name)
}

pub(super) fn volatile_but_harmless(name: &str) -> bool {
    HARMLESS.contains(&name)
}

pub(super) fn runs_other_code(name: &str) -> bool {
    RUNS_OTHER_CODE.contains(&name)
}

/// `name` without the underscore that marks an array.
pub(super) fn is_unsettled_type(name: &str) -> bool {
    UNSETTLED_TYPES.contains(&name.strip_prefix('_').unwrap_or(name))
}
