-- Procedures that commit and roll back, with out parameters, and nested calls.
create table t (a int, note text);
create procedure fill(n int) language plpgsql as $$
begin
  for i in 1..n loop
    insert into t values (i, 'fill');
    if i % 2 = 0 then commit; else rollback; end if;
  end loop;
end $$;
call fill(5);
select * from t order by a;
begin;
call fill(2);
rollback;
create procedure outp(in a int, out b int, inout c text) language plpgsql as $$ begin b := a * 2; c := c || '!'; end $$;
call outp(4, null, 'hey');
create procedure bad() language plpgsql as $$ begin insert into t values (100, 'bad'); commit; perform 1/0; end $$;
call bad();
select count(*) from t where a = 100;
create procedure outerp() language plpgsql as $$ begin insert into t values (200, 'outer'); call fill(1); insert into t values (201, 'outer'); commit; end $$;
call outerp();
select a from t where a >= 200 order by a;
create procedure sqlp(int) language sql as $$ insert into t values ($1, 'sql'); insert into t values ($1 + 1, 'sql') $$;
call sqlp(300);
select a from t where note = 'sql' order by a;
create procedure over(int) language plpgsql as $$ begin raise notice 'int'; end $$;
create procedure over(text) language plpgsql as $$ begin raise notice 'text'; end $$;
call over(1);
call over('x'::text);
call over('x');
call nosuch();
select fill(1);
create procedure isolation() language plpgsql as $$
begin
  commit;
  set transaction isolation level repeatable read;
  raise notice '%', current_setting('transaction_isolation');
  commit;
  raise notice '%', current_setting('transaction_isolation');
  commit and chain;
end $$;
call isolation();
create procedure loopc() language plpgsql as $$
declare r record;
begin
  for r in select generate_series(1, 3) as g loop
    insert into t values (400 + r.g, 'loop');
    commit;
  end loop;
end $$;
call loopc();
select count(*) from t where note = 'loop';
create procedure exc() language plpgsql as $$
begin
  begin insert into t values (500, 'exc'); perform 1/0; exception when others then raise notice 'caught'; end;
  insert into t values (501, 'exc');
  begin commit; exception when others then raise notice 'x %', sqlerrm; end;
end $$;
call exc();
select a from t where note = 'exc' order by a;
create procedure defn() language plpgsql security definer as $$ begin commit; end $$;
call defn();
create procedure withset() language plpgsql set work_mem = '5MB' as $$ begin commit; end $$;
call withset();
drop procedure over(text);
drop procedure over;
alter procedure fill(int) rename to filled;
call filled(0);
drop routine filled;
