-- Everything with a row in pg_class but what is temporary, and for tables what else a read or a write of it reaches.
WITH user_code AS (
    -- Relations with a default, generated column, check or index that calls a function or operator of a user.
    SELECT a.adrelid AS relation FROM pg_depend AS d JOIN pg_attrdef AS a ON d.classid = 'pg_attrdef'::regclass AND d.objid = a.oid
    WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass) AND d.refobjid >= 16384
    UNION
    SELECT c.conrelid FROM pg_depend AS d JOIN pg_constraint AS c ON d.classid = 'pg_constraint'::regclass AND d.objid = c.oid
    WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass) AND d.refobjid >= 16384
    UNION
    SELECT i.indrelid FROM pg_depend AS d JOIN pg_index AS i ON d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
    WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_opclass'::regclass) AND d.refobjid >= 16384
    UNION
    -- A domain's checks run with each write of a column of it.
    SELECT a.attrelid FROM pg_attribute AS a JOIN pg_constraint AS c ON c.contypid = a.atttypid JOIN pg_depend AS d
        ON d.classid = 'pg_constraint'::regclass AND d.objid = c.oid
    WHERE c.contypid <> 0 AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass) AND d.refobjid >= 16384
), columns AS (
    SELECT a.attrelid AS relation, array_agg(DISTINCT a.atttypid) AS types
    FROM pg_attribute AS a WHERE a.attnum > 0 AND NOT a.attisdropped GROUP BY a.attrelid
)
SELECT c.oid, c.relnamespace, c.relname::text, c.relkind, c.relrowsecurity, c.relpersistence = 'u',
    c.oid < 16384,
    c.relispartition OR c.relkind IN ('p', 'I'),
    EXISTS (SELECT FROM pg_inherits AS i WHERE c.oid IN (i.inhparent, i.inhrelid)),
    c.relkind IN ('r', 'p') AND c.relhasrules,
    c.relhastriggers AND EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal),
    EXISTS (
        SELECT FROM pg_constraint AS f
        WHERE f.contype = 'f' AND f.confrelid = c.oid AND (f.confdeltype IN ('c', 'n', 'd') OR f.confupdtype IN ('c', 'n', 'd'))
    ),
    u.relation IS NOT NULL,
    coalesce(k.types, '{}')
FROM pg_class AS c LEFT JOIN user_code AS u ON u.relation = c.oid LEFT JOIN columns AS k ON k.relation = c.oid
WHERE c.relpersistence <> 't' AND c.relkind <> 't'
