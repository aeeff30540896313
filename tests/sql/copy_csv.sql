-- COPY in CSV format.
create table t (a int, b text, c text);
copy t from stdin csv;
1,plain,x
2,"quoted, comma","say ""hi"""
3,,""
4,"two
lines",y
\.
copy t to stdout csv;
copy t to stdout (format csv, header);
copy t to stdout (format csv, force_quote (b));
copy t to stdout (format csv, force_quote *, delimiter ';', quote '''');
copy t to stdout (format csv, null 'nil', escape '\');
copy t from stdin (format csv, header);
a,b,c
10,ten,z
\.
copy t (c, a) from stdin (format csv, header match);
c,a
cc,11
\.
copy t (c, a) from stdin (format csv, header match);
a,c
12,dd
\.
copy t from stdin (format csv, force_not_null (b), force_null (c));
20,,""
\.
select a, b is null as b_null, c is null as c_null from t order by a;
copy t from stdin (format csv, quote '"', escape '\', delimiter E'\t');
30	"esc \" aped"	z
\.
select * from t where a = 30;
copy t to stdout (format csv, quote 'ab');
copy t to stdout (format csv, delimiter '"');
copy t to stdout (format text, quote '"');
copy t from stdin (format csv, force_quote (a));
\.
copy t from stdin (format csv, null 'a,b');
\.
create table w (x int, y int default 5, z text default 'zz');
copy w (x) from stdin csv;
1
2
\.
table w;
copy w (x, x) from stdin csv;
\.
copy w from stdin (format csv) where x > 3;
3,3,three
4,4,four
\.
select * from w order by x, y;
copy (select g, null::int, 'a"b' from generate_series(1, 3) g) to stdout (format csv, header true);
\copy w to stdout csv header
\copy (select x from w order by x) to stdout
\copy w from stdin csv
9,9,nine
\.
select * from w where x = 9;
\copy w to 'w.csv' csv
truncate w;
\copy w from 'w.csv' csv
select count(*) from w;
\copy w from 'nosuch.csv' csv
\copy nosuch to stdout
