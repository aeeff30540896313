-- COPY that fails: where, why, and that the connection goes on.
create table t (a int primary key, b text not null, c int check (c > 0));
copy t from stdin;
1	one	1
x	two	2
\.
table t;
copy t from stdin;
1	one	1
1	dup	1
\.
copy t from stdin;
1	one
\.
copy t from stdin;
1	one	1	extra
\.
copy t from stdin;
2	\N	1
\.
copy t from stdin;
3	three	-3
\.
copy t from stdin csv;
1,"unterminated,1
\.
select 'alive' as still;
begin;
copy t from stdin;
5	five	5
\.
copy t from stdin;
bad	row	1
\.
select 1;
commit;
table t;
begin;
savepoint s;
copy t from stdin;
bad	row	1
\.
rollback to s;
copy t from stdin;
6	six	6
\.
commit;
table t;
create function refuse() returns trigger language plpgsql as $$ begin if new.a = 99 then raise exception 'refused %', new.a; end if; return new; end $$;
create trigger refuse before insert on t for each row execute function refuse();
copy t from stdin;
98	fine	1
99	not	1
\.
table t;
create function skip() returns trigger language plpgsql as $$ begin if new.a % 2 = 0 then return null; end if; new.b := upper(new.b); return new; end $$;
create trigger skip before insert on t for each row execute function skip();
copy t from stdin;
11	odd	1
12	even	1
13	odd	1
\.
table t;
create view v as select * from t;
copy v from stdin;
1	2	3
\.
create function ins_v() returns trigger language plpgsql as $$ begin insert into t values (new.a, new.b, new.c); return new; end $$;
create trigger ins_v instead of insert on v for each row execute function ins_v();
copy v from stdin;
21	through view	3
\.
select * from t where a = 21;
create table p (a int) partition by list (a);
create table p1 partition of p for values in (1);
copy p from stdin;
1
2
\.
table p;
copy t(a, b) to stdout (format csv, force_quote (c));
set statement_timeout = '300ms';
copy (select pg_sleep(5)) to stdout;
reset statement_timeout;
select 1 \; copy (select 2) to stdout \; select 3;
copy (select 4) to stdout \; select 1/0 \; copy (select 5) to stdout;
select 'end' as the;
