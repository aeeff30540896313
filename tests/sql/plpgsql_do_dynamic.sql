-- DO blocks and dynamic SQL.
create table t (k text, v int);
do $$ begin for i in 1..5 loop insert into t values ('k' || i, i); end loop; end $$;
select sum(v) from t;
do language plpgsql $$ declare n int; begin execute 'select count(*) from t' into n; raise notice '% rows', n; end $$;
do $$
declare tab text; c int;
begin
  foreach tab in array array['t', 'pg_temp_none'] loop
    begin
      execute format('select count(*) from %I', tab) into c;
      raise notice '% has %', tab, c;
    exception when undefined_table then raise notice '% is missing', tab;
    end;
  end loop;
end $$;
do $$ begin execute 'insert into t values ($1, $2)' using 'dyn', 77; end $$;
select * from t where k = 'dyn';
do $$ declare r record; begin for r in execute 'select * from t where v > $1 order by v' using 3 loop raise notice '%', r; end loop; end $$;
do $$ begin execute 'create table made (a int)'; execute 'insert into made values (1)'; end $$;
table made;
do $$ begin create temp table tmp_made (a int); insert into tmp_made values (5); end $$;
table tmp_made;
do $$ begin create temp table tmp_drop (a int) on commit drop; perform * from tmp_drop; end $$;
table tmp_drop;
do $$ begin execute 'set work_mem = ''9MB'''; end $$;
show work_mem;
reset work_mem;
do $$ begin perform set_config('work_mem', '11MB', true); raise notice '%', current_setting('work_mem'); end $$;
show work_mem;
do $$ begin execute 'prepare from_do as select 5 as five'; end $$;
execute from_do;
deallocate from_do;
do $$ begin perform pg_advisory_lock(4711); end $$;
select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid();
select pg_advisory_unlock(4711);
do $$ begin perform setseed(0.25); end $$;
select random() as r \gset
select setseed(0.25);
select random() = :r as same_sequence;
do $$ begin commit; insert into t values ('after commit', 1); rollback; end $$;
select count(*) from t where k = 'after commit';
begin;
do $$ begin commit; end $$;
rollback;
do $$ begin syntax error; end $$;
do $$ begin perform 1; end;
$$;
do language sql 'select 1';
do language nosuch 'x';
do $$ declare x int := 'a'; begin end $$;
do $$ << outer >> declare x int := 1; begin declare x int := 2; begin raise notice '% %', outer.x, x; end; end $$;
do $$ begin if true then raise notice 'yes'; else raise notice 'no'; end if; case 3 when 1, 2 then raise notice 'low'; when 3 then raise notice 'three'; end case; end $$;
do $$ begin case 9 when 1 then null; end case; end $$;
