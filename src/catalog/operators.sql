-- Operators.
SELECT o.oprname::text, o.oprnamespace = 'pg_catalog'::regnamespace AND o.oid < 16384, o.oprleft, o.oprright
FROM pg_operator AS o
