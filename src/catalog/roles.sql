-- Roles, and the roles whose privileges each has by membership.
SELECT r.oid, r.rolname::text, r.rolsuper, r.rolbypassrls,
    ARRAY(
        SELECT m.roleid FROM pg_auth_members AS m
        -- Since Postgres 16 inheriting is a property of each membership, before it was one of the role.
        WHERE m.member = r.oid AND coalesce((to_jsonb(m) ->> 'inherit_option')::bool, r.rolinherit)
    ),
    r.oid = (SELECT d.datdba FROM pg_database AS d WHERE d.datname = current_database())
FROM pg_roles AS r
