-- What psql does with the protocol: \gdesc, \gset, \gexec, \crosstabview, \bind-less variables, -c with several statements.
create table t (a int, b text, c numeric(8, 3));
insert into t values (1, 'x', 1.5), (2, 'y', 2.5), (3, null, null);
select a, b, c, a + c as sum, now() from t \gdesc
select nosuch from t \gdesc
update t set a = a \gdesc
select 1 as one, 'two' as two \gset pre_
\echo :pre_one :pre_two
select * from t where a > 5 \gset
select * from t \gset
select 'select ' || a || ' as n' from t order by a \gexec
select b, a, c from t \crosstabview
select 'begin' union all select 'create table from_gexec (x int)' union all select 'rollback' \gexec
\set v 'it''s'
select :'v', :"v", :v;
\set n 3
select * from t where a = :n;
select :{?n} as defined, :{?nosuch} as not_defined;
\if :{?n}
select 'in if';
\else
select 'in else';
\endif
select 1 \; select 2 as second \; select 3 as third;
select 1 as a \; select nosuch \; select 3;
begin \; insert into t values (9, 'multi', 0) \; commit \; select count(*) from t;
\! $PSQL -X -c "select 'from -c' as x; select 2 as y; create table made_by_c (a int); insert into made_by_c values (1)"
table made_by_c;
\! $PSQL -X -c "insert into made_by_c values (2); select 1/0" ; echo exit $?
table made_by_c;
\! $PSQL -X -1 -c "insert into made_by_c values (3)" -c "insert into made_by_c values (4)"
\! $PSQL -X -1 -v ON_ERROR_STOP=1 -c "insert into made_by_c values (5)" -c "select nosuch"; echo exit $?
select * from made_by_c order by a;
\! printf 'select 1;\nselect nosuch;\nselect 2;\n' | $PSQL -X -v ON_ERROR_STOP=1; echo exit $?
\! $PSQL -X -A -t -F, -c "select 1, 2" -c "select 3"
\! $PSQL -X -l -A -t $PGDATABASE | grep -c "^$PGDATABASE|"
\set FETCH_COUNT 2
select a, b from t order by a;
select 1/(a - 3) from t order by a;
select count(*) from generate_series(1, 5000);
\set FETCH_COUNT 0
\set AUTOCOMMIT off
insert into t values (100, 'not yet', 0);
select count(*) from t where a = 100;
rollback;
select count(*) from t where a = 100;
commit;
\set AUTOCOMMIT on
\set SINGLESTEP off
\timing off
\x on
select * from t where a = 1;
\x off
\pset null 'NULL'
select * from t where a = 3;
\pset null ''
\a
\t
select a, b from t where a < 3 order by a;
\t
\a
\pset format csv
select a, b from t where a < 3 order by a;
\pset format aligned
\set ECHO_HIDDEN off
\errverbose
select 1/0;
\errverbose
\echo :ERROR :SQLSTATE :ROW_COUNT :LAST_ERROR_MESSAGE
select a from t;
\echo :ERROR :SQLSTATE :ROW_COUNT :LAST_ERROR_MESSAGE
\q
