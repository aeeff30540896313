-- Schemas, and who may look into them (grantee 0 = everybody).
SELECT n.oid, n.nspname::text,
    ARRAY(SELECT a.grantee FROM aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) AS a WHERE a.privilege_type = 'USAGE')
FROM pg_namespace AS n
WHERE n.nspname !~ '^pg_(toast|temp|toast_temp_.*|temp_.*)$'
