-- plpgsql: control flow, rows, arrays, out parameters, recursion.
create table emp (id int primary key, name text, boss int, pay numeric);
insert into emp values (1, 'ada', null, 100), (2, 'bob', 1, 50), (3, 'cyd', 1, 60), (4, 'dee', 2, 30);
create function chain(int) returns text language plpgsql as $$
declare r emp%rowtype; out text := '';
begin
  select * into strict r from emp where id = $1;
  out := r.name;
  while r.boss is not null loop
    select * into r from emp where id = r.boss;
    out := out || '>' || r.name;
  end loop;
  return out;
end $$;
select chain(4);
select chain(99);
create function raise_all(pct numeric, out changed int, out total numeric) language plpgsql as $$
begin
  update emp set pay = round(pay * (1 + pct / 100), 2);
  get diagnostics changed = row_count;
  select sum(pay) into total from emp;
end $$;
select * from raise_all(10);
create function fib(n int) returns bigint language plpgsql immutable as $$
begin
  if n < 2 then return n; end if;
  return fib(n - 1) + fib(n - 2);
end $$;
select fib(15);
create function team(b int) returns setof emp language plpgsql stable as $$
declare r emp;
begin
  for r in select * from emp where boss = b order by id loop
    return next r;
  end loop;
  return query select * from emp where id = b;
end $$;
select * from team(1);
create function tab(n int) returns table (i int, sq int) language plpgsql as $$
begin for i in 1..n loop sq := i * i; return query select i, sq; end loop; end $$;
select * from tab(4);
create function arr(a int[]) returns int language plpgsql as $$
declare s int := 0; x int;
begin
  foreach x in array a loop continue when x % 2 = 0; exit when x > 7; s := s + x; end loop;
  return s;
end $$;
select arr(array[1, 2, 3, 5, 9, 11]);
create function poly(anyelement, anyelement) returns anyelement language plpgsql as $$ begin return case when $1 > $2 then $1 else $2 end; end $$;
select poly(1, 2), poly('a'::text, 'b'), poly(now(), now()) = now();
create function variadic_sum(variadic int[]) returns bigint language sql as $$ select sum(x) from unnest($1) x $$;
select variadic_sum(1, 2, 3), variadic_sum(variadic array[4, 5]);
create function named(a int, b int default 2, c int default 3) returns text language sql as $$ select format('%s-%s-%s', a, b, c) $$;
select named(1), named(1, c => 9), named(b => 5, a => 4);
create function bad() returns int language plpgsql as $$ begin retrun 1; end $$;
create function bad() returns int language plpgsql as $$ begin return nosuch; end $$;
select bad();
create function noreturn() returns int language plpgsql as $$ begin end $$;
select noreturn();
create or replace function chain(int) returns int language sql as 'select 1';
drop function chain;
select chain(1);
