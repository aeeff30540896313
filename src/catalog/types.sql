-- Types. A composite type belongs to each table.
SELECT t.oid, t.typname::text, t.typnamespace = 'pg_catalog'::regnamespace AND t.oid < 16384,
    t.typtype, t.typcategory, t.typbasetype, t.typelem
FROM pg_type AS t
WHERE t.typnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_(toast|temp)')
