-- With what do sessions begin? Two texts: equal as long as no ALTER ROLE .. SET or ALTER DATABASE .. SET has changed it, and as long as
-- postgresql.conf has not been read anew.
SELECT (SELECT count(*) || ':' || coalesce(bit_xor(hashtextextended(concat_ws(' ', setdatabase, setrole, setconfig), 0)), 0)
    FROM pg_catalog.pg_db_role_setting), pg_catalog.pg_conf_load_time()::text
