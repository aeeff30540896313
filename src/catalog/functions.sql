-- Functions, aggregates and procedures with the argument types that a call cannot leave out.
SELECT p.proname::text, p.pronamespace = 'pg_catalog'::regnamespace AND p.oid < 16384, p.provolatile,
    (p.proargtypes::oid[])[0:p.pronargs - p.pronargdefaults - (p.provariadic <> 0)::int - 1]
FROM pg_proc AS p
