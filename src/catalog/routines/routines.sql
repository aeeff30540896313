-- Functions, procedures and aggregates of users and of extensions, with what is needed to tell what they leave behind.
-- $1: the longest body that is read; $2: how much is read of all of them, the short ones first.
SELECT p.proname, l.lanname, p.provolatile, e.extname,
    p.pronargs >= 1 AND p.pronargs - p.pronargdefaults - (p.provariadic <> 0)::int <= 1,
    CASE WHEN l.lanname IN ('sql', 'plpgsql', 'internal') AND p.size <= $1::int8 AND p.total <= $2::int8
        THEN concat(
            -- The names of a user's own that its SET clauses make known.
            (SELECT string_agg(format('SET LOCAL %s TO 0;', split_part(c, '=', 1)), ' ') FROM unnest(p.proconfig) AS c
                WHERE split_part(c, '=', 1) LIKE '%.%'),
            coalesce(pg_get_function_sqlbody(p.oid), p.prosrc)) END
FROM (
    SELECT *, sum(size) OVER (ORDER BY size, oid) AS total FROM (
        SELECT *, octet_length(prosrc)::int8 + coalesce(octet_length(prosqlbody::text), 0) AS size FROM pg_proc WHERE oid >= 16384
    ) AS sized
) AS p
JOIN pg_language AS l ON l.oid = p.prolang
LEFT JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
LEFT JOIN pg_extension AS e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid
