-- Who runs code without being called: place and name, then what it runs and its name or text.
-- f function, o operator, r read of a relation, w write of one, e any statement, d DDL, t text.
WITH code AS (
    -- What depends on functions and operators of users. A view or rule, a default, a check, ..
    SELECT d.classid, d.objid, 'f' AS kind, p.proname AS name, l.lanname = 'c' AS native
    FROM pg_depend AS d JOIN pg_proc AS p ON p.oid = d.refobjid JOIN pg_language AS l ON l.oid = p.prolang
    WHERE d.refclassid = 'pg_proc'::regclass AND d.refobjid >= 16384
    UNION ALL
    SELECT d.classid, d.objid, 'o', o.oprname, false
    FROM pg_depend AS d JOIN pg_operator AS o ON o.oid = d.refobjid
    WHERE d.refclassid = 'pg_operator'::regclass AND d.refobjid >= 16384
), effects AS (
    -- Postgres's own functions that leave something behind are in no dependency. They are looked for in the trees, by oid.
    SELECT ':funcid (' || string_agg(oid::text, '|') || ') ' AS any,
        ':funcid (' || string_agg(oid::text, '|') FILTER (WHERE proname <> 'nextval') || ') ' AS but_nextval
    FROM pg_proc
    WHERE oid < 16384 AND proname ~ '^(set_config|setseed|nextval|currval|lastval|setval|pg_(try_)?advisory_(un)?lock(_shared|_all)?|(query|cursor|table|schema|database)_to_xml.*|ts_stat|ts_rewrite|pg_(create|copy)_.*_replication_slot.*|pg_replication_origin_session.*|binary_upgrade_.*)$'
), events AS (
    -- A materialized view runs its query when it is refreshed.
    SELECT r.oid, r.ev_class, c.relname, CASE WHEN r.ev_type = '1' AND c.relkind <> 'm' THEN 'r' ELSE 'w' END AS place,
        r.ev_qual::text || r.ev_action::text AS tree
    FROM pg_rewrite AS r JOIN pg_class AS c ON c.oid = r.ev_class WHERE r.oid >= 16384
)
SELECT 'o', o.oprname, 'f', p.proname::text
FROM pg_operator AS o JOIN pg_proc AS p ON p.oid = o.oprcode JOIN pg_language AS l ON l.oid = p.prolang
WHERE o.oid >= 16384 AND l.lanname <> 'c'
UNION
SELECT 'w', c.relname, 'f', p.proname::text
FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid JOIN pg_proc AS p ON p.oid = t.tgfoid
WHERE t.tgfoid >= 16384 AND t.tgenabled <> 'D'
UNION
SELECT 'w', c.relname, k.kind, k.name::text
FROM code AS k JOIN pg_trigger AS t ON k.classid = 'pg_trigger'::regclass AND k.objid = t.oid JOIN pg_class AS c ON c.oid = t.tgrelid
WHERE t.tgqual IS NOT NULL AND t.tgenabled <> 'D'
UNION
SELECT 'd', '', 'f', p.proname::text
FROM pg_event_trigger AS t JOIN pg_proc AS p ON p.oid = t.evtfoid WHERE t.evtenabled <> 'D' AND t.evtevent <> 'login'
UNION
SELECT v.place, v.relname, k.kind, k.name::text
FROM code AS k JOIN events AS v ON k.classid = 'pg_rewrite'::regclass AND k.objid = v.oid
UNION
SELECT CASE WHEN t.attgenerated = '' THEN 'w' ELSE 'r' END, c.relname, k.kind, k.name::text
FROM code AS k JOIN pg_attrdef AS a ON k.classid = 'pg_attrdef'::regclass AND k.objid = a.oid
JOIN pg_attribute AS t ON t.attrelid = a.adrelid AND t.attnum = a.adnum JOIN pg_class AS c ON c.oid = a.adrelid
UNION
SELECT CASE WHEN n.conrelid = 0 THEN 'e' ELSE 'w' END, coalesce(c.relname, ''), k.kind, k.name::text
FROM code AS k JOIN pg_constraint AS n ON k.classid = 'pg_constraint'::regclass AND k.objid = n.oid
LEFT JOIN pg_class AS c ON c.oid = n.conrelid
UNION
-- Indexes, and the keys of partitions.
SELECT 'w', coalesce(i.relname, c.relname), k.kind, k.name::text
FROM code AS k JOIN pg_class AS c ON k.classid = 'pg_class'::regclass AND k.objid = c.oid
LEFT JOIN pg_index AS x ON x.indexrelid = c.oid LEFT JOIN pg_class AS i ON i.oid = x.indrelid
UNION
SELECT 'r', c.relname, k.kind, k.name::text
FROM code AS k JOIN pg_policy AS y ON k.classid = 'pg_policy'::regclass AND k.objid = y.oid JOIN pg_class AS c ON c.oid = y.polrelid
UNION
-- Aggregates, defaults of arguments, SQL-standard bodies.
SELECT 'f', p.proname, k.kind, k.name::text
FROM code AS k JOIN pg_proc AS p ON k.classid = 'pg_proc'::regclass AND k.objid = p.oid
UNION
-- Casts, what indexes call, domains, ranges. Those in C are bound by the promises that they are used with.
SELECT 'e', '', k.kind, k.name::text FROM code AS k
WHERE NOT k.native AND (
    k.classid IN ('pg_cast'::regclass, 'pg_opclass'::regclass, 'pg_opfamily'::regclass, 'pg_amop'::regclass, 'pg_amproc'::regclass)
    OR k.classid = 'pg_type'::regclass AND k.objid IN (SELECT oid FROM pg_type WHERE typtype IN ('d', 'r', 'm'))
)
UNION
-- What a view, a rule or a policy reads or writes.
SELECT v.place, v.relname, v.place, c.relname::text
FROM events AS v JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = v.oid
JOIN pg_class AS c ON d.refclassid = 'pg_class'::regclass AND c.oid = d.refobjid
WHERE c.oid >= 16384 AND c.oid <> v.ev_class
UNION
-- A write of a view may be one of its tables.
SELECT 'w', v.relname, 'w', c.relname::text
FROM events AS v JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = v.oid
JOIN pg_class AS c ON d.refclassid = 'pg_class'::regclass AND c.oid = d.refobjid
WHERE v.place = 'r' AND c.oid >= 16384 AND c.oid <> v.ev_class
UNION
SELECT 'r', o.relname, 'r', c.relname::text
FROM pg_policy AS y JOIN pg_class AS o ON o.oid = y.polrelid
JOIN pg_depend AS d ON d.classid = 'pg_policy'::regclass AND d.objid = y.oid
JOIN pg_class AS c ON d.refclassid = 'pg_class'::regclass AND c.oid = d.refobjid
WHERE c.oid >= 16384 AND c.oid <> y.polrelid
UNION
-- From parents to children, and from keys to the rows that follow them.
SELECT k.kind, p.relname, k.kind, c.relname::text
FROM pg_inherits AS i JOIN pg_class AS p ON p.oid = i.inhparent JOIN pg_class AS c ON c.oid = i.inhrelid, (VALUES ('r'), ('w')) AS k (kind)
WHERE p.relkind IN ('r', 'p', 'f')
UNION
SELECT 'w', p.relname, 'w', c.relname::text
FROM pg_constraint AS f JOIN pg_class AS p ON p.oid = f.confrelid JOIN pg_class AS c ON c.oid = f.conrelid
WHERE f.contype = 'f' AND (f.confdeltype IN ('c', 'n', 'd') OR f.confupdtype IN ('c', 'n', 'd'))
UNION ALL
SELECT v.place, v.relname, 't', pg_get_ruledef(v.oid) FROM events AS v, effects WHERE v.tree ~ effects.any
UNION ALL
-- A default that is a sequence's next value is no trace: an identity column is the same, and any INSERT may hold one.
SELECT CASE WHEN t.attgenerated = '' THEN 'w' ELSE 'r' END, c.relname, 't', pg_get_expr(a.adbin, a.adrelid)
FROM pg_attrdef AS a JOIN pg_class AS c ON c.oid = a.adrelid JOIN pg_attribute AS t ON t.attrelid = a.adrelid AND t.attnum = a.adnum, effects
WHERE a.adbin::text ~ effects.but_nextval
UNION ALL
SELECT CASE WHEN n.conrelid = 0 THEN 'e' ELSE 'w' END, coalesce(c.relname, ''), 't', pg_get_expr(n.conbin, n.conrelid)
FROM pg_constraint AS n LEFT JOIN pg_class AS c ON c.oid = n.conrelid, effects WHERE n.conbin::text ~ effects.any AND n.oid >= 16384
UNION ALL
SELECT 'r', c.relname, 't', concat_ws(', ', pg_get_expr(y.polqual, y.polrelid), pg_get_expr(y.polwithcheck, y.polrelid))
FROM pg_policy AS y JOIN pg_class AS c ON c.oid = y.polrelid, effects WHERE concat(y.polqual::text, y.polwithcheck::text) ~ effects.any
UNION ALL
SELECT 'w', c.relname, 't', pg_get_triggerdef(t.oid)
FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid, effects WHERE t.tgqual::text ~ effects.any AND t.tgenabled <> 'D'
UNION ALL
SELECT 'f', p.proname, 't', pg_get_expr(p.proargdefaults, 0) FROM pg_proc AS p, effects
WHERE p.oid >= 16384 AND p.proargdefaults::text ~ effects.any
UNION ALL
SELECT 'e', '', 't', y.typdefault FROM pg_type AS y, effects WHERE y.typtype = 'd' AND y.typdefaultbin::text ~ effects.but_nextval
