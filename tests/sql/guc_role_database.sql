-- ALTER ROLE and ALTER DATABASE ... SET, and functions with settings of their own.
select current_database() as db \gset
create role guc_role_user login;
alter role guc_role_user set work_mem = '33MB';
alter role guc_role_user in database :"db" set statement_timeout = '44s';
alter database :"db" set my.setting = 'of the database';
select r.rolname, d.datname = current_database() as here, s.setconfig from pg_db_role_setting s
  left join pg_roles r on r.oid = s.setrole left join pg_database d on d.oid = s.setdatabase
  where r.rolname = 'guc_role_user' or d.datname = current_database() order by 1, 2;
show my.setting;
\c -
show my.setting;
select name, setting, source from pg_settings where name in ('my.setting', 'client_encoding') order by 1;
set my.setting = 'mine';
reset my.setting;
show my.setting;
alter database :"db" reset my.setting;
\c -
select current_setting('my.setting', true) is null as absent;
set session authorization guc_role_user;
show work_mem;
reset session authorization;
alter role guc_role_user reset all;
alter role guc_role_user in database :"db" reset statement_timeout;
create function with_setting() returns text language sql set work_mem = '55MB' as $$ select current_setting('work_mem') $$;
select with_setting(), current_setting('work_mem');
create function sets_inside() returns text language plpgsql as $$
begin
  set work_mem = '66MB';
  return current_setting('work_mem');
end $$;
select sets_inside();
show work_mem;
reset work_mem;
create function sets_local() returns text language plpgsql as $$
begin
  set local work_mem = '67MB';
  return current_setting('work_mem');
end $$;
select sets_local();
show work_mem;
alter function sets_inside() set work_mem = '68MB';
select sets_inside();
show work_mem;
alter function sets_inside() reset all;
select sets_inside();
show work_mem;
alter system set work_mem = '69MB' foo;
create procedure sets_in_procedure() language plpgsql as $$ begin set work_mem = '70MB'; commit; set local work_mem = '71MB'; end $$;
call sets_in_procedure();
show work_mem;
reset all;
show work_mem;
drop role guc_role_user;
