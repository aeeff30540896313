-- What is called like a function and is not a function of a user: Postgres's own, and types.
SELECT proname FROM pg_proc WHERE oid < 16384
UNION
SELECT typname FROM pg_type WHERE typtype NOT IN ('c', 'p') AND typelem = 0
