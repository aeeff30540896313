//! Floor 1. Names that are known without a catalog.

/// Whether `name` is among Postgres's own functions that applications call.
pub(super) fn is_function(name: &str) -> bool {
    FUNCTIONS.split_ascii_whitespace().any(|known| known == name)
}

/// Whether `word` is a keyword that must be quoted to be a function's name.
pub(super) fn is_keyword(word: &str) -> bool {
    KEYWORDS.split_ascii_whitespace().any(|known| known == word)
}

const FUNCTIONS: &str = "
    abs acos age any_value array_agg array_append array_cat array_dims array_fill array_length array_lower array_ndims
    array_position array_positions array_prepend array_remove array_replace array_sample array_shuffle array_to_json
    array_to_string array_upper ascii asin atan atan2 avg bit_and bit_count bit_length bit_or bit_xor bool bool_and
    bool_or bpchar broadcast btrim cardinality cbrt ceil ceiling char_length character_length chr clock_timestamp
    col_description concat concat_ws convert_from convert_to corr cos cosd cot count covar_pop covar_samp cume_dist
    current_database current_query current_schema current_schemas current_setting currval date date_add date_bin
    date_part date_subtract date_trunc daterange decode degrees dense_rank div encode enum_first enum_last enum_range
    every exp extract factorial family first_value float8 floor format format_type gcd gen_random_uuid generate_series
    generate_subscripts get_bit get_byte getdatabaseencoding has_any_column_privilege has_column_privilege
    has_database_privilege has_function_privilege has_schema_privilege has_sequence_privilege has_table_privilege
    hashtext hashtextextended host inet_client_addr inet_client_port inet_server_addr inet_server_port initcap int4
    int4range int8 int8range interval isempty isfinite json_agg json_array_elements json_array_elements_text
    json_array_length json_build_array json_build_object json_each json_each_text json_extract_path
    json_extract_path_text json_object json_object_agg json_object_keys json_populate_record json_populate_recordset
    json_strip_nulls json_to_record json_to_recordset json_typeof jsonb_agg jsonb_array_elements
    jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text
    jsonb_extract_path jsonb_extract_path_text jsonb_insert jsonb_object jsonb_object_agg jsonb_object_keys
    jsonb_path_exists jsonb_path_match jsonb_path_query jsonb_path_query_array jsonb_path_query_first
    jsonb_populate_record jsonb_populate_recordset jsonb_pretty jsonb_set jsonb_set_lax jsonb_strip_nulls
    jsonb_to_record jsonb_to_recordset jsonb_typeof justify_days justify_hours justify_interval lag last_value lastval
    lcm lead left length like like_escape ln lo_close lo_creat lo_create lo_export lo_from_bytea lo_get lo_import
    lo_open lo_put lo_unlink log log10 loread lower lower_inc lower_inf lowrite lpad ltrim make_date make_interval
    make_time make_timestamp make_timestamptz masklen max md5 min mod mode multirange network nextval now nth_value
    ntile num_nonnulls num_nulls numeric numrange obj_description octet_length overlaps overlay parse_ident percent_rank
    percentile_cont percentile_disc pg_advisory_lock pg_advisory_lock_shared pg_advisory_unlock pg_advisory_unlock_all
    pg_advisory_unlock_shared pg_advisory_xact_lock pg_advisory_xact_lock_shared pg_backend_pid pg_blocking_pids
    pg_cancel_backend pg_char_to_encoding pg_client_encoding pg_column_size pg_conf_load_time pg_current_wal_lsn
    pg_current_xact_id pg_current_xact_id_if_assigned pg_cursor pg_database_size pg_encoding_max_length
    pg_encoding_to_char pg_function_is_visible pg_get_constraintdef pg_get_expr pg_get_function_arguments
    pg_get_function_identity_arguments pg_get_function_result pg_get_function_sqlbody pg_get_functiondef pg_get_indexdef
    pg_get_keywords pg_get_partkeydef pg_get_ruledef pg_get_serial_sequence pg_get_statisticsobjdef_columns
    pg_get_triggerdef pg_get_userbyid pg_get_viewdef pg_has_role pg_indexes_size pg_is_in_recovery
    pg_is_other_temp_schema pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_listening_channels pg_lock_status
    pg_my_temp_schema pg_notify pg_opclass_is_visible pg_operator_is_visible pg_postmaster_start_time
    pg_prepared_statement pg_relation_filenode pg_relation_is_publishable pg_relation_size pg_reload_conf
    pg_show_all_settings pg_size_pretty pg_sleep pg_stat_get_activity pg_stat_reset pg_table_is_visible pg_table_size
    pg_tablespace_location pg_terminate_backend pg_timezone_abbrevs pg_timezone_names pg_total_relation_size
    pg_try_advisory_lock pg_try_advisory_lock_shared pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared
    pg_type_is_visible pg_typeof pg_wal_lsn_diff phraseto_tsquery pi plainto_tsquery position power quote_ident
    quote_literal quote_nullable radians random random_normal range_agg range_merge rank regexp_count regexp_instr
    regexp_like regexp_match regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table regexp_substr
    regr_slope repeat replace reverse right round row_number row_to_json rpad rtrim scale set_bit set_byte set_config
    setseed setval sha224 sha256 sha384 sha512 shobj_description sign similar_escape sin sind split_part sqrt
    starts_with statement_timestamp stddev stddev_pop stddev_samp string_agg string_to_array string_to_table strpos
    substr substring sum tan tand text timeofday timezone to_ascii to_char to_date to_hex to_json to_jsonb to_number
    to_regclass to_regnamespace to_regproc to_regprocedure to_regrole to_regtype to_timestamp to_tsquery to_tsvector
    transaction_timestamp translate trim trunc ts_headline ts_rank ts_rank_cd tsrange tstzrange txid_current
    txid_current_if_assigned txid_snapshot_xmin unnest upper upper_inc upper_inf uuid uuidv4 uuidv7 var_pop var_samp
    varchar variance version websearch_to_tsquery width_bucket xpath
";

const KEYWORDS: &str = "
    all analyze and any array as asc between both case cast check collate constraint create default deferrable desc
    distinct do else end except exists false fetch for foreign from grant group having in initially intersect into
    lateral leading limit not null offset on only or order placing primary references returning row select some
    symmetric table then to trailing true union unique using values variadic when where window with
";
