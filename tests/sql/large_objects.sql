-- Large objects through SQL functions and through psql (FunctionCall messages).
\set QUIET on
begin;
select lo_create(0) as lo \gset
select lowrite(lo_open(:lo, 131072), 'hello large object') as written;
commit;
select convert_from(lo_get(:lo), 'UTF8');
select convert_from(lo_get(:lo, 6, 5), 'UTF8');
select lo_put(:lo, 6, 'LARGE');
select convert_from(lo_get(:lo), 'UTF8');
begin;
select lo_open(:lo, 262144) as fd \gset
select lo_lseek(:fd, 6, 0), lo_tell(:fd), convert_from(loread(:fd, 5), 'UTF8');
select lo_truncate(:fd, 3);
rollback;
begin;
select lo_open(:lo, 393216) as fd \gset
select lo_lseek(:fd, 0, 2);
savepoint s;
select lowrite(:fd, ' more');
rollback to s;
select lo_tell(:fd);
select lo_close(:fd);
commit;
select convert_from(lo_get(:lo), 'UTF8');
select lo_open(:lo, 262144) >= 0 as outside;
select loread(0, 10);
select lo_from_bytea(0, '\x00ff10') as lo2 \gset
select lo_get(:lo2);
select lo_unlink(:lo2);
\set VERBOSITY sqlstate
select lo_get(:lo2);
\set VERBOSITY default
select lo_unlink(:lo);
select count(*) from pg_largeobject_metadata;
\! seq 1 20000 > imported
\o /dev/null
\lo_import imported 'a comment'
\o

select count(*) from pg_largeobject_metadata;
select length(lo_get(:LASTOID)), md5(lo_get(:LASTOID));
\o /dev/null
\lo_export :LASTOID exported
\o
\! cmp imported exported && echo same
select obj_description(:LASTOID, 'pg_largeobject');
create role large_objects_user;
grant select on large object :LASTOID to large_objects_user;
set role large_objects_user;
select length(lo_get(:LASTOID));
\set VERBOSITY sqlstate
select lo_put(:LASTOID, 0, 'x');
\set VERBOSITY default
reset role;
begin;
\o /dev/null
\lo_import imported
\o
select count(*) from pg_largeobject_metadata;
rollback;
select count(*) from pg_largeobject_metadata;
\lo_import nosuchfile
\set VERBOSITY sqlstate
\lo_unlink 4
\set VERBOSITY default
\o /dev/null
select lo_unlink(oid) from pg_largeobject_metadata;
\o
select count(*) from pg_largeobject_metadata;
drop role large_objects_user;
