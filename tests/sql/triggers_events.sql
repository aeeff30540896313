-- Event triggers.
create function on_ddl() returns event_trigger language plpgsql as $$
declare r record;
begin
  for r in select command_tag, object_type, object_identity from pg_event_trigger_ddl_commands() loop
    raise notice '% % % %', tg_event, r.command_tag, r.object_type, r.object_identity;
  end loop;
end $$;
create function on_drop() returns event_trigger language plpgsql as $$
declare r record;
begin
  for r in select object_type, object_identity from pg_event_trigger_dropped_objects() where not is_temporary and object_type in ('table', 'index', 'view') and schema_name <> 'pg_toast' order by 1, 2 loop
    raise notice 'dropped % %', r.object_type, r.object_identity;
  end loop;
end $$;
create function on_start() returns event_trigger language plpgsql as $$
begin
  if tg_tag = 'CREATE VIEW' then raise exception 'no views today'; end if;
end $$;
create function on_rewrite() returns event_trigger language plpgsql as $$ begin raise notice 'rewrites %', pg_event_trigger_table_rewrite_oid()::regclass; end $$;
create event trigger ends on ddl_command_end execute function on_ddl();
create event trigger starts on ddl_command_start when tag in ('CREATE VIEW') execute function on_start();
create event trigger drops on sql_drop execute function on_drop();
create event trigger rewrites on table_rewrite execute function on_rewrite();
create table t (a int primary key);
alter table t add column b text;
alter table t alter column a type bigint;
create view v as select * from t;
create index on t (b);
drop index t_b_idx;
create table u (x int);
drop table t, u;
alter event trigger starts disable;
create view v as select 1 as x;
drop view v;
select evtname, evtevent, evtenabled, evttags from pg_event_trigger order by 1;
create event trigger bad on nosuch execute function on_ddl();
select pg_event_trigger_ddl_commands();
create temp table tmp (a int);
drop table tmp;
begin;
create table z (a int);
rollback;
select 'a select fires nothing';
drop event trigger ends;
drop event trigger starts;
drop event trigger drops;
drop event trigger rewrites;
create view v as select 1 as x;
