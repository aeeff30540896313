-- Errors in plpgsql: caught, rethrown, with context, diagnostics and SQLSTATE.
create table t (a int primary key);
create function try(n int) returns text language plpgsql as $$
declare m text; d text; c text;
begin
  if n = 1 then perform 1 / 0;
  elsif n = 2 then insert into t values (1), (1);
  elsif n = 3 then raise exception 'mine' using errcode = 'U1234', detail = 'a detail', hint = 'a hint';
  elsif n = 4 then raise unique_violation using message = 'as if';
  elsif n = 5 then execute 'select nosuch';
  elsif n = 6 then assert n < 0, 'not below zero';
  end if;
  return 'fine';
exception
  when division_by_zero then return 'caught division';
  when sqlstate 'U1234' then
    get stacked diagnostics m = message_text, d = pg_exception_detail, c = returned_sqlstate;
    return m || '/' || d || '/' || c;
  when unique_violation then return 'unique: ' || sqlerrm || ' ' || sqlstate;
end $$;
select try(g) from generate_series(0, 4) g;
select try(5);
select try(6);
table t;
create function nested() returns text language plpgsql as $$
begin
  begin
    insert into t values (10);
    raise exception 'inner';
  exception when others then
    insert into t values (11);
    raise notice 'caught %, %', sqlerrm, sqlstate;
  end;
  begin
    raise exception 'second' using errcode = '22012';
  exception when division_by_zero then raise;
  end;
  return 'no';
end $$;
select nested();
table t;
create function levels() returns void language plpgsql as $$
begin
  raise debug 'debug'; raise log 'log'; raise info 'info'; raise notice 'notice %', 1; raise warning 'warning %%';
end $$;
select levels();
set client_min_messages = warning;
select levels();
set client_min_messages = error;
select levels();
set client_min_messages = debug1;
do $$ begin raise debug 'seen now'; end $$;
reset client_min_messages;
\set VERBOSITY verbose
do $$ begin raise exception 'verbose' using errcode = 'P0001', table = 't', column = 'a', schema = 's', constraint = 'c', datatype = 'd'; end $$;
\set VERBOSITY terse
do $$ begin raise exception 'terse'; end $$;
\set VERBOSITY sqlstate
do $$ begin raise exception 'state' using errcode = '12345'; end $$;
\set VERBOSITY default
\set SHOW_CONTEXT always
do $$ begin raise notice 'with context'; end $$;
\set SHOW_CONTEXT errors
do $$ begin raise exception using message = 'only ' || 'expression'; end $$;
do $$ begin raise; end $$;
do $$ begin raise exception 'too few %'; end $$;
create function outer_one() returns void language plpgsql as $$ begin perform try(5); end $$;
select outer_one();
select 'still here';
