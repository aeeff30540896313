-- setseed, LOAD, current_query, backend identity, session views.
select setseed(0.5);
select random() as a \gset
select random() as b \gset
select setseed(0.5);
select random() = :a as first, random() = :b as second;
set seed = 0.25;
select random() as c \gset
set seed to 0.25;
select random() = :c as same;
select setseed(2);
begin; select setseed(0.1); select random() as d \gset
rollback;
select setseed(0.1); select random() = :d as same;
select pg_backend_pid() = pg_backend_pid() as same;
select pg_backend_pid() as pid \gset
select pg_backend_pid() = :pid as still;
begin; select pg_backend_pid() as pid \gset
select pg_backend_pid() = :pid as still; commit;
select current_query();
select   current_query()  , 5 ;
select current_query() = 'nothing' as x, 'with literal', 42;
/* a comment */ select current_query() -- trailing
;
create function cq() returns text language sql as 'select current_query()';
select cq();
prepare q as select current_query();
execute q;
load 'auto_explain';
load '$libdir/plpgsql';
load 'nosuch_library';
show auto_explain.log_min_duration;
set auto_explain.log_min_duration = 1000000;
show auto_explain.log_min_duration;
set auto_explain.nosuch = 1;
select current_database() = :'DBNAME' as db, current_user, session_user, user, current_role, current_catalog = current_database() as cat, current_schema;
select application_name, state, query from pg_stat_activity where pid = pg_backend_pid();
set application_name = 'my app';
select application_name from pg_stat_activity where pid = pg_backend_pid();
show application_name;
reset application_name;
show application_name;
select count(*) from pg_stat_activity where pid = pg_backend_pid() and backend_type = 'client backend';
select name, setting, source from pg_settings where source = 'session' and name <> 'application_name' order by name;
set work_mem = '4321kB';
select name, setting, source from pg_settings where source = 'session' and name <> 'application_name' order by name;
reset work_mem;
select name, setting, source from pg_settings where source = 'client' and name not in ('client_encoding', 'application_name') order by name;
select name, statement from pg_prepared_statements;
deallocate q;
select count(*) from pg_prepared_statements;
select count(*) from pg_cursors;
begin; declare c cursor for select 1; select name, statement from pg_cursors; commit;
select name, ident is not null as id from pg_backend_memory_contexts where name = 'TopMemoryContext';
select count(*) > 0 from pg_timezone_names where name = 'UTC';
select pg_sleep(0), pg_is_in_recovery(), inet_client_addr(), inet_client_port() > 0 as port, pg_my_temp_schema() <> 0 as temp_schema, pg_postmaster_start_time() < now() as up;
select version() = version() as v, current_setting('server_version_num')::int > 100000 as num;
select pg_cancel_backend(pg_backend_pid());
select 'alive';
