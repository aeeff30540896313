-- Has anything changed that the routines are built from? One row, one text: equal as long as nothing has.
--
-- count and sum of xmin of what users made, as in drift.sql. Of relations only the names count: TRUNCATE writes their rows anew.
-- Temporary tables of anybody are left out, or every CREATE TEMP TABLE would be a change.
SELECT concat_ws('/',
    (SELECT count(*) || ':' || (count(*) * base.age - coalesce(sum(age(xmin)), 0)) FROM pg_proc WHERE oid >= 16384),
    (SELECT count(*) || ':' || (count(*) * base.age - coalesce(sum(age(xmin)), 0)) FROM pg_trigger WHERE oid >= 16384),
    (SELECT count(*) || ':' || (count(*) * base.age - coalesce(sum(age(xmin)), 0)) FROM pg_rewrite WHERE oid >= 16384),
    (SELECT count(*) || ':' || (count(*) * base.age - coalesce(sum(age(xmin)), 0)) FROM pg_policy),
    (SELECT count(*) || ':' || (count(*) * base.age - coalesce(sum(age(xmin)), 0)) FROM pg_operator WHERE oid >= 16384),
    (SELECT count(*) || ':' || (count(*) * base.age - coalesce(sum(age(xmin)), 0)) FROM pg_cast WHERE oid >= 16384),
    (SELECT count(*) || ':' || (count(*) * base.age - coalesce(sum(age(xmin)), 0)) FROM pg_event_trigger),
    (SELECT count(*) || ':' || (count(*) * base.age - coalesce(sum(age(xmin)), 0)) FROM pg_inherits),
    (SELECT count(*) || ':' || (count(*) * base.age - coalesce(sum(age(c.xmin)), 0)) FROM pg_constraint AS c
        LEFT JOIN pg_class AS r ON r.oid = c.conrelid WHERE c.oid >= 16384 AND r.relpersistence IS DISTINCT FROM 't'),
    (SELECT count(*) || ':' || (count(*) * base.age - coalesce(sum(age(a.xmin)), 0)) FROM pg_attrdef AS a
        JOIN pg_class AS r ON r.oid = a.adrelid WHERE r.relpersistence <> 't'),
    (SELECT count(*) || ':' || coalesce(bit_xor(hashtextextended(typname::text, oid::int8)), 0) FROM pg_type
        WHERE oid >= 16384 AND typtype NOT IN ('c', 'p') AND typelem = 0),
    (SELECT count(*) || ':' || coalesce(bit_xor(hashtextextended(relname::text, oid::int8)), 0) FROM pg_class
        WHERE oid >= 16384 AND relkind IN ('r', 'v', 'm', 'p', 'f') AND relpersistence <> 't'))
FROM (SELECT age('3'::xid)::int8 AS age) AS base
