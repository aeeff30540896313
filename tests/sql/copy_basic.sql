-- COPY in text format, in and out, with and without trouble.
create table t (a int, b text, c date);
copy t from stdin;
1	one	2020-01-01
2	two	2020-02-02
3	\N	\N
4	tab\there\nline	2020-04-04
\.
copy t to stdout;
copy t (b, a) to stdout;
copy (select a, b from t where a < 3 order by a desc) to stdout;
copy (values (1, 'x'), (2, 'y')) to stdout with (delimiter '|');
copy t from stdin with (delimiter ',', null 'nil');
5,five,2020-05-05
6,nil,nil
\.
copy t to stdout (null 'NULL', delimiter ';');
copy t (a) from stdin;
7
8
\.
select count(*) from t;
begin;
copy t (a) from stdin;
100
\.
rollback;
select count(*) from t;
begin;
copy t from stdin;
9	nine	2020-09-09
\.
copy t to stdout;
commit;
copy (delete from t where a > 6 returning a) to stdout;
copy (insert into t values (70, 'seventy') returning *) to stdout;
copy (update t set b = upper(b) where a = 1 returning b) to stdout;
copy (select 1; select 2) to stdout;
copy nosuch to stdout;
copy nosuch from stdin;
copy t (nosuch) to stdout;
copy (select * from nosuch) to stdout;
copy t to stdout (format nosuch);
copy t to stdout (delimiter 'ab');
create view v as select * from t;
copy v to stdout;
copy (select * from v order by a) to stdout;
copy (select 1 / 0) to stdout;
copy (select 1/(3 - g) from generate_series(1, 5) g) to stdout;
set datestyle = 'German';
copy (select c from t order by a) to stdout;
reset datestyle;
copy t from stdin (freeze);
\.
copy t to stdout (format text, header);
begin; create table f (a int); copy f from stdin (freeze);
1
\.
table f; commit;
copy (select 'é', 'ü€') to stdout (encoding 'LATIN9');
copy t to '/nosuch/folder/file';
copy t from '/nosuch/file';
copy t to program 'exit 3';
copy (select 1) to program 'cat > /dev/null';
select * from t order by a;
