-- Cursors inside plpgsql, bound, unbound, as refcursors handed to the client.
create table t (a int, b text);
insert into t select g, 'b' || g from generate_series(1, 6) g;
create function walk() returns text language plpgsql as $$
declare c cursor for select a from t order by a; x int; s text := '';
begin
  open c;
  loop fetch c into x; exit when not found; s := s || x; end loop;
  move prior from c;
  fetch c into x;
  close c;
  return s;
end $$;
select walk();
create function bound(k int) returns int language plpgsql as $$
declare c cursor (lo int) for select a from t where a > lo order by a; x int;
begin open c (lo := k); fetch last from c into x; close c; return x; end $$;
select bound(2);
create function hand(r refcursor) returns refcursor language plpgsql as $$ begin open r for select * from t order by a; return r; end $$;
begin;
select hand('mycur');
fetch 2 from mycur;
fetch all from mycur;
commit;
fetch 1 from mycur;
begin;
declare plain cursor for select a from t order by a;
create function from_outside() returns int language plpgsql as $$ declare r refcursor := 'plain'; x int; begin fetch r into x; return x; end $$;
select from_outside(), from_outside();
fetch 1 from plain;
commit;
create function upd() returns void language plpgsql as $$
declare c cursor for select a from t for update;
begin
  for r in c loop
    if r.a % 2 = 0 then update t set b = 'even' where current of c; end if;
  end loop;
end $$;
select upd();
select * from t order by a;
create function dyn(q text) returns int language plpgsql as $$
declare c refcursor; x int; n int := 0;
begin
  open c for execute q;
  loop fetch c into x; exit when not found; n := n + x; end loop;
  return n;
end $$;
select dyn('select a from t');
create function leak() returns refcursor language plpgsql as $$ declare c refcursor; begin open c for select 1 as leaked; return c; end $$;
begin; select leak() as cur \gset
fetch all from :"cur";
close :"cur";
commit;
-- Named, since from Postgres 16 on it would else get a number of the server process.
do $$ declare c cursor for select 1; begin c := 'twice'; open c; open c; end $$;
do $$ declare c cursor for select 1; x int; begin fetch c into x; end $$;
create procedure hold() language plpgsql as $$ declare r record; begin for r in select a from t order by a limit 3 loop commit; raise notice '%', r.a; end loop; end $$;
call hold();
select name from pg_cursors;
