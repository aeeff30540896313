-- INSERT ... ON CONFLICT and MERGE, RETURNING, defaults.
create table t (a int primary key, b text default 'def', c int generated always as (a * 2) stored, unique (b));
insert into t (a) values (1) returning *;
insert into t values (1, 'x');
insert into t values (1, 'x') on conflict do nothing returning *;
insert into t values (1, 'x') on conflict (a) do update set b = excluded.b || '+' || t.b returning *;
insert into t values (2, 'y'), (2, 'z') on conflict (a) do update set b = excluded.b;
insert into t values (3, 'x+def') on conflict (b) do update set a = 30 returning *;
insert into t values (4, 'w') on conflict on constraint t_pkey do nothing;
insert into t values (4, 'v') on conflict (a) do update set b = 'v' where t.b <> 'w' returning a;
insert into t values (5) on conflict (nosuch) do nothing;
insert into t values (5) on conflict (c) do nothing;
insert into t (a, c) values (6, 1);
insert into t default values;
insert into t values (7, default) returning b, c;
insert into t (a) select g from generate_series(100, 102) g on conflict do nothing;
select * from t order by a;
create table src (a int, b text);
insert into src values (4, 'merged'), (500, 'inserted'), (30, null);
merge into t using src s on t.a = s.a
  when matched and s.b is null then delete
  when matched then update set b = s.b
  when not matched then insert (a, b) values (s.a, s.b);
select * from t order by a;
merge into t using src s on t.a = s.a when matched then do nothing when not matched then insert values (s.a, 'again');
select * from t order by a;
merge into t using (values (1, 'a'), (1, 'b')) s (a, b) on t.a = s.a when matched then update set b = s.b;
merge into t using (values (900, 'x')) s (a, b) on t.a = s.a when not matched and s.a > 1000 then insert values (s.a, s.b);
merge into nosuch using src s on true when matched then delete;
update t set b = 'upd', a = a + 1000 where a = 4 returning t.*, a as new_a;
update t set (a, b) = (select 2000, 'sub') where a = 1004 returning *;
update t set b = 'u' from src where src.a = t.a returning t.a, src.b;
update t set c = 5;
update t set a = null;
delete from t using src where t.a = src.a returning *;
delete from t where a in (select a from t order by a limit 1) returning a;
truncate t;
table t;
begin;
insert into t values (1, 'in transaction') on conflict (a) do update set b = 'never';
insert into t values (1, 'in transaction') on conflict (a) do update set b = 'always' returning b;
rollback;
prepare up (int, text) as insert into t values ($1, $2) on conflict (a) do update set b = excluded.b returning (xmax = 0) as inserted;
execute up (1, 'one');
execute up (1, 'uno');
table t;
