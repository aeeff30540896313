-- Has the catalog changed? One row, one text: equal as long as nothing that a snapshot holds has changed.
--
-- count and sum of xmin, catalog by catalog: DDL inserts rows, deletes rows, or replaces them by ones with a newer xmin, and any of these
-- moves one of the two. What VACUUM and ANALYZE write into pg_class and pg_database is updated in place and leaves xmin alone.
-- There is no sum over xid, hence the age against a fixed one. xmin 1 and 2 are rows of initdb: their age stands still,
-- and objects below 16384 are left out where a superuser's change of them would not matter.
-- Temporary tables of anybody are left out, or every CREATE TEMP TABLE would be a change.
SELECT concat_ws('/',
    (SELECT count(*) || ':' || (count(*) * base.age - coalesce(sum(age(c.xmin)), 0)) FROM pg_class AS c WHERE c.oid >= 16384 AND c.relkind <> 't' AND c.relpersistence <> 't'),
    (SELECT count(*) || ':' || (count(*) * base.age - coalesce(sum(age(xmin)), 0)) FROM pg_attribute WHERE attrelid >= 16384),
    (SELECT count(*) || ':' || (count(*) * base.age - coalesce(sum(age(a.xmin)), 0)) FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid WHERE c.oid >= 16384 AND c.relpersistence = 't'),
    (SELECT count(*) || ':' || (count(*) * base.age - coalesce(sum(age(t.xmin)), 0)) FROM pg_type AS t WHERE t.oid >= 16384 AND t.typnamespace <> ALL (base.temp)),
    (SELECT count(*) || ':' || (count(*) * base.age - coalesce(sum(age(c.xmin)), 0)) FROM pg_constraint AS c WHERE c.connamespace <> ALL (base.temp) AND c.xmin <> '1'::xid AND c.xmin <> '2'::xid),
    (SELECT count(*) || ':' || (count(*) * base.age - coalesce(sum(age(n.xmin)), 0)) FROM pg_namespace AS n WHERE n.oid <> ALL (base.temp) AND n.xmin <> '1'::xid AND n.xmin <> '2'::xid),
    (SELECT count(*) || ':' || (count(*) * base.age - coalesce(sum(age(xmin)), 0)) FROM pg_proc WHERE xmin <> '1'::xid AND xmin <> '2'::xid),
    (SELECT count(*) || ':' || (count(*) * base.age - coalesce(sum(age(xmin)), 0)) FROM pg_rewrite WHERE xmin <> '1'::xid AND xmin <> '2'::xid),
    (SELECT count(*) || ':' || (count(*) * base.age - coalesce(sum(age(xmin)), 0)) FROM pg_trigger WHERE xmin <> '1'::xid AND xmin <> '2'::xid),
    (SELECT count(*) || ':' || (count(*) * base.age - coalesce(sum(age(xmin)), 0)) FROM pg_policy WHERE xmin <> '1'::xid AND xmin <> '2'::xid),
    (SELECT count(*) || ':' || (count(*) * base.age - coalesce(sum(age(xmin)), 0)) FROM pg_inherits WHERE xmin <> '1'::xid AND xmin <> '2'::xid),
    (SELECT count(*) || ':' || (count(*) * base.age - coalesce(sum(age(xmin)), 0)) FROM pg_operator WHERE xmin <> '1'::xid AND xmin <> '2'::xid),
    (SELECT count(*) || ':' || (count(*) * base.age - coalesce(sum(age(xmin)), 0)) FROM pg_cast WHERE xmin <> '1'::xid AND xmin <> '2'::xid),
    (SELECT count(*) || ':' || (count(*) * base.age - coalesce(sum(age(xmin)), 0)) FROM pg_enum WHERE xmin <> '1'::xid AND xmin <> '2'::xid),
    (SELECT count(*) || ':' || (count(*) * base.age - coalesce(sum(age(xmin)), 0)) FROM pg_auth_members WHERE xmin <> '1'::xid AND xmin <> '2'::xid),
    (SELECT count(*) || ':' || (count(*) * base.age - coalesce(sum(age(xmin)), 0)) FROM pg_db_role_setting WHERE xmin <> '1'::xid AND xmin <> '2'::xid),
    (SELECT count(*) || ':' || (count(*) * base.age - coalesce(sum(age(xmin)), 0)) FROM pg_ts_config WHERE xmin <> '1'::xid AND xmin <> '2'::xid),
    (SELECT count(*) || ':' || (count(*) * base.age - coalesce(sum(age(xmin)), 0)) FROM pg_ts_config_map WHERE xmin <> '1'::xid AND xmin <> '2'::xid),
    (SELECT count(*) || ':' || (count(*) * base.age - coalesce(sum(age(xmin)), 0)) FROM pg_ts_dict WHERE xmin <> '1'::xid AND xmin <> '2'::xid),
    (SELECT xmin::text FROM pg_database WHERE datname = current_database()),
    (SELECT bit_xor(hash_record_extended(row(oid, rolname, rolsuper, rolinherit, rolbypassrls, rolcanlogin), 0)) FROM pg_roles),
    pg_postmaster_start_time(),
    pg_conf_load_time(),
    pg_is_in_recovery())
FROM (SELECT age('3'::xid)::int8 AS age, ARRAY(SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_(toast_)?temp_') AS temp) AS base
