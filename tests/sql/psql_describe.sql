-- psql's describe commands: long catalogue queries, OPERATOR(...) and COLLATE and all.
create table base (id serial primary key, name text not null, made date default '2024-01-01', unique (name));
create table child (id int references base on delete cascade, n numeric(5, 1) check (n > 0));
create view v as select id, upper(name) as u from base;
create materialized view mv as select * from base;
create index child_n on child (n desc) where n < 100;
create function add(a int, b int default 1) returns int language sql immutable as 'select a + b';
create procedure proc(inout x int) language plpgsql as $$ begin x := x + 1; end $$;
create aggregate agg(int) (sfunc = int4pl, stype = int);
create type comp as (x int, y text);
create domain dom as int check (value > 0);
create type en as enum ('a', 'b');
create sequence sq increment 5;
create rule r as on update to child do also nothing;
create function tf() returns trigger language plpgsql as $$ begin return new; end $$;
create trigger trg before insert on child for each row execute function tf();
comment on table base is 'the base';
\d
\d base
\d child
\d+ child
\d v
\d+ v
\d mv
\d sq
\d child_n
\d nosuch
\d base*
\dt
\dt public.c*
\dv
\dm
\ds
\di
\dn
\df
\df+ add
\df nosuch
\da agg
\do +++
\dT
\dT+ en
\dD
\dC dom
\dy
\dp base
\ddp
\dd
\des
\dew
\dF simple
\dL
\dO nosuch
\dx
\drds nosuch
\du nosuch
\db pg_default
\sf add
\sf+ tf
\sv v
\ef nosuch
\l nosuch
\dP
\dconfig work_mem
\dtS pg_class
\d pg_catalog.pg_am
\d "no such"
\d public.base.x.y
\z child
\lo_list
\encoding
\encoding latin1
\encoding
\encoding utf8
\prompt
\password nosuch nosuch
\conninfo nosuch
\h nosuch
\echo done
