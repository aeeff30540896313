-- Where a setting comes from.
select name, setting, source from pg_settings where name in ('application_name', 'client_encoding') order by 1;
