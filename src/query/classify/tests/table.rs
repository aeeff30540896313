//! Floor 1. text => kind|flags|effects|reads|writes|functions, trailing empty fields left out.
//!
//! Flags: R single read, W may write, C self-committing, L locking, V value function, T time word, D write in a CTE,
//! Y system column, A sampling, N sees its session.

pub(super) const TEXTS: &str = r#"
select 1 => select|R
select a from t => select|R||t
select * from s.t where b = 'x' and c = $1 => select|R||s.t
table t => select|R||t
values (1), (2) => select|R
(select 1) union all (select a from t) => select|R||t
select a from t for update => select|L||t
select a from t where b in (select b from u for share) => select|L||t u
select * from t join u using (id) left join lateral (select * from w) l on true => select|R||t u w
select count(*), max(a) from t group by b having sum(c) > 1 => select|R||t||count max sum
select a, row_number() over (partition by b) from t => select|R||t||row_number
with x as (select * from t) select * from x => select|R||t x
with recursive x as (select 1 union all select n + 1 from x) select * from x => select|R||x
with x as (insert into t values (1) returning *) select * from x => select|WD||x|t
with x as (update t set a = 1 returning *) select * from x, u => select|WD||u x|t
with x as (delete from t returning *) insert into u select * from x => insert|WD||x|t u
select * from (with y as (delete from t returning 1) select * from y) q => select|WD||y|t
with x as (merge into t using u on t.id = u.id when matched then delete returning *) select * from x => select|WD||u x|t
select current_date => select|RV
select current_user, a from t => select|RV||t
select current_timestamp => select|RV
select localtime => select|RV
select 'now'::timestamptz => select|RT
select 'today'::date from t => select|RT||t
select date 'tomorrow' => select|RT
select 'a text of yesterday' => select|RT
select e'\\156ow' => select|RT
select xmin, a from t => select|RY||t
select t.ctid from t => select|RY||t
select tableoid::regclass from t => select|RY||t
select * from t tablesample bernoulli (10) => select|RA||t
select nextval('s') => select|R|sequence|||nextval
select nextval('s'), currval('s') => select|R|sequence+currval|||currval nextval
select currval('s'), lastval() => select|R|currval|||currval lastval
select setval('s', 1) => select|R|sequence|||setval
select pg_catalog.nextval('s') => select|R|sequence|||pg_catalog.nextval
select app.nextval('s') => select|R||||app.nextval
select set_config('a.b', 'c', false) => select|R|setting+role|||set_config
select set_config('a.b', 'c', true) => select|R||||set_config
select set_config('a.' || 'b', 'c', true) => select|R|opaque_setting|||set_config
select set_config('seed', '0', true) => select|R|setseed|||set_config
select set_config('seed', '0', false) => select|R|setting+role+setseed|||set_config
select set_config('work_memory'::varchar(8), '1MB', false) => select|R|setting+role+opaque_setting|||set_config
set local seed = 0.5 => set||setseed
select set_config('a.b', 'c', 't') => select|R|setting+role|||set_config
select current_setting('a.b') => select|R||||current_setting
select setseed(0.5) => select|R|setseed|||setseed
select pg_advisory_lock(1) => select|R|advisory_lock|||pg_advisory_lock
select pg_try_advisory_lock_shared(1, 2) => select|R|advisory_lock|||pg_try_advisory_lock_shared
select pg_advisory_unlock_all() => select|R|restore|||pg_advisory_unlock_all
select pg_advisory_xact_lock(1) => select|R||||pg_advisory_xact_lock
select pg_notify('c', 'p') => select|R||||pg_notify
select pg_backend_pid() => select|RN||||pg_backend_pid
select * from pg_prepared_statements => select|RN||pg_prepared_statements
select * from pg_cursors => select|RN||pg_cursors
select current_query() => select|RN||||current_query
select my_function(1) from t => select|R||t||my_function
select s.my_function(a) from t => select|R||t||s.my_function
select * from generate_series(1, 3) => select|R||||generate_series
select * from rows from (f(1), g(2)) as x => select|R||||f g
select * from unnest(array[1,2]) with ordinality => select|R||||unnest
select extract(year from a) from t => select|R||t||pg_catalog.extract
select a at time zone 'UTC' from t => select|R||t||pg_catalog.timezone
select coalesce(a, 1), greatest(a, b), nullif(a, b) from t => select|R||t
select case a when 1 then 2 else 3 end from t => select|R||t
select exists (select 1 from u), array(select a from w) from t => select|R||t u w
select a into n from t => ddl|W||n t
select a into temp n from t => ddl|W|temp|n t
select distinct on (a) a from t order by a, b limit 3 offset 1 => select|R||t
select a from t order by a fetch first 3 rows with ties => select|R||t
select json_object('a': 1) => select|R||||pg_catalog.to_json
select xmlelement(name x) => select|R||||pg_catalog.query_to_xml
select * from xmltable('/x' passing data columns a int) y => select|R||||pg_catalog.query_to_xml
select * from pg_temp.t => select|R|temp|pg_temp.t
select pg_temp.f() => select|R|temp|||pg_temp.f
select 1; select 2 => opaque|C
select 1; => select|R
select a from t; update u set a = 1 => opaque|WC||t|u
begin; update t set a = 1; commit => opaque|WC|||t
update t set a = 1; do $$ begin end $$ => opaque|WC
insert into t values (1) => insert|W|||t
insert into t (a) select a from u => insert|W||u|t
insert into s.t default values returning * => insert|W|||s.t
insert into t values (1) on conflict (a) do update set b = (select 1 from u) => insert|W||u|t
insert into t select * from t => insert|W||t|t
update t set a = 1 => update|W|||t
update t set (a, b) = (select c, d from u) where id = $1 => update|W||u|t
update only t set a = u.a from u where t.id = u.id => update|W||u|t
update t set a = nextval('s') => update|W|sequence||t|nextval
delete from t => delete|W|||t
delete from t using u where t.id = u.id => delete|W||u|t
delete from t where id in (select id from u) => delete|W||u|t
with d as (select 1) delete from t => delete|W|||t
merge into t using u on t.id = u.id when matched then update set a = 1 => merge|W||u|t
merge into t using (select * from u) x on t.id = x.id when not matched then insert values (1) => merge|W||u|t
truncate t => truncate|W|||t
truncate t, s.u => truncate|W|||t s.u
truncate t cascade => truncate|W
truncate t restart identity => truncate|W|sequence||t
copy t from stdin => copy|W|||t
copy s.t (a, b) from stdin with (format csv) => copy|W|||s.t
copy t to stdout => copy|||t
copy (select * from t) to stdout => copy|||t
copy (delete from t returning *) to stdout => copy|W|||t
copy t from '/x' => copy|W|||t
copy t to '/x' => copy|||t
copy t to program 'x' => copy|W||t
copy t from program 'x' => copy|W
begin => begin
start transaction read only => begin
commit => commit
end => commit
rollback => rollback
abort => rollback
savepoint a => savepoint
release a => release
rollback to savepoint a => rollback_to
prepare transaction 'x' => prepare_transaction
commit prepared 'x' => commit_prepared
rollback prepared 'x' => rollback_prepared
set transaction isolation level serializable => set_transaction
set transaction_read_only = on => set_transaction
set session characteristics as transaction read only => set||setting
set constraints all deferred => set_transaction
set a.b = 'c' => set||setting
set local a.b = 'c' => set
set session a.b to default => set||restore
set search_path = app, public => set||setting
set search_path = pg_temp, public => set||setting+temp
set role bob => set||role
set local role bob => set
set session authorization bob => set||role
set seed = 0.5 => set||setting+setseed
set time zone interval '1' hour to minute => set||setting
reset a.b => reset||restore
reset role => reset||restore
reset session authorization => reset||restore
reset all => reset||restore
show search_path => show
show all => show
prepare p as select * from t where a = $1 => prepare||prepare|t
prepare p (int) as insert into t values ($1) => prepare||prepare|t
execute p (1) => execute|W|prepare
deallocate p => deallocate||deallocate
deallocate all => discard||restore
discard all => discard||discard+restore
discard temp => discard||discard+restore
discard plans => discard||discard
discard sequences => discard||discard+restore
declare c cursor for select * from t => declare|||t
declare c cursor with hold for select f() from t => declare||cursor_hold|t||f
fetch 10 from c => fetch
move c => fetch
close c => close_portal
close all => close_portal
listen c => listen||listen
unlisten * => unlisten||restore
notify c, 'x' => notify
explain select * from t => explain|||t
explain update t set a = 1 => explain
explain analyze select * from t => explain|||t
explain analyze update t set a = 1 => explain|W|||t
explain (analyze, buffers) delete from t => explain|W|||t
explain analyze execute p => explain|W|prepare
explain analyze create table n as select * from t => explain|W||n t
create table n (a int) => ddl|W||n
create temp table n (a int) => ddl|W|temp|n
create temporary view v as select 1 => ddl|W|temp|v
create table n as select * from t => ddl|W||n t
create temp table n as select f() => ddl|W|temp|n||f
create unlogged table n (a int) => ddl|W||n
create index on t (a) => ddl|W||t
create index concurrently on t (a) => ddl|WC||t
drop table t => ddl|W
drop index concurrently i => ddl|WC
drop table pg_temp.t => ddl|W|temp
alter table t add b int => ddl|W||t
alter table t detach partition p concurrently => ddl|WC||p t
create view v as select * from t => ddl|W||t v
create function f() returns int language sql as 'select 1' => ddl|W
create trigger x after insert on t execute function f() => ddl|W||t
create extension x => ddl|W|opaque
create role bob => ddl|W
grant select on t to bob => ddl|W||t
alter role bob set a.b = 'c' => ddl|W|defaults
alter system set a.b = 'c' => ddl|WC
create database d => ddl|WC
refresh materialized view v => ddl|W||v
refresh materialized view concurrently v => ddl|W||v
comment on table t is 'x' => ddl|W
do $$ begin end $$ => do|WC
call p(1) => call|WC||||p
vacuum => vacuum|WC
vacuum (full) t => vacuum|WC||t
analyze t => vacuum|WC||t
cluster t => vacuum|WC||t
reindex table t => vacuum|WC||t
checkpoint => vacuum|WC
lock table t in share mode => lock|||t
load 'x' => load|W|load
import foreign schema s from server x into app => ddl|W
security label on table t is 'x' => ddl|W
/* pgdial: off */ select a from t -- x => select|R||t
select query_to_xml('select 1', true, true, '') => select|R|opaque|||query_to_xml
select table_to_xml('v', true, true, '') => select|R|opaque|||table_to_xml
select schema_to_xmlschema('s', true, true, '') => select|R|opaque|||schema_to_xmlschema
select dblink_exec('c', 'x') => select|R||||dblink_exec
select lo_import('x') => select|R||||lo_import
select pg_replication_origin_session_setup('x') => select|R|opaque|||pg_replication_origin_session_setup
"#;
