-- Casts made by users.
SELECT c.castsource, c.casttarget, c.castcontext FROM pg_cast AS c WHERE c.oid >= 16384
