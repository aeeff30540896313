-- Wide and long results, long statements, many columns, many parameters.
create table big (id int primary key, pad text);
insert into big select g, repeat(chr(97 + g % 26), 1000) from generate_series(1, 3000) g;
\pset format unaligned
\o big.out
select * from big order by id;
\o
\! md5sum < big.out
\! wc -c < big.out
select md5(string_agg(pad, '' order by id)) from big;
\o wide.out
select string_agg(format('%s as c%s', g, g), ', ') as cols from generate_series(1, 1000) g \gset
select :cols;
\o
\! md5sum < wide.out
select string_agg(g::text, ',') as list from generate_series(1, 5000) g \gset
select count(*) from big where id in (:list);
select length('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa');
select length(repeat('x', 20000000));
\o one.out
select repeat('y', 5000000);
\o
\! wc -c < one.out
copy big to stdout \g copied.out
\! wc -l < copied.out
create table big2 (like big);
\copy big2 from 'copied.out'
select count(*), sum(length(pad)) from big2;
\copy (select id, pad from big order by id) to 'csv.out' csv
\! md5sum < csv.out
select count(*) from (select * from big except select * from big2) d;
\o err.out
select id, pad, 1 / (id - 2500) from big order by id;
\o
\! wc -c < err.out
select 'alive' as still;
begin;
declare c cursor for select * from big order by id;
fetch 1000 from c \g f1.out
\! wc -l < f1.out
move 1500 from c;
fetch all from c \g f2.out
\! wc -l < f2.out
commit;
\set FETCH_COUNT 100
select * from big order by id \g fc.out
\! md5sum < fc.out
\set FETCH_COUNT 0
do $$ begin execute 'select ' || string_agg('1', '+') from generate_series(1, 500); end $$;
select count(*) from (select generate_series(1, 200000)) s;
drop table big, big2;
