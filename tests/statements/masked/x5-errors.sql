# X5: errors, notices and what else the server says by itself.
select ssn::int from pii.people
select ssn::bigint from pii.people
select ssn::date from pii.people
select ssn::uuid from pii.people
select ssn::json from pii.people
select ssn::inet from pii.people
select ssn::boolean from pii.people
select ssn::xml from pii.people
select ssn::numeric from pii.people
select ssn::int4range from pii.people
select ssn::regclass from pii.people
select ssn::regtype from pii.people
select ssn::regrole from pii.people
select ssn::timestamptz from pii.people
select ssn::interval from pii.people
select ssn::point from pii.people
select ssn::bit(8) from pii.people
select ssn::text[] from pii.people
select ssn::tsquery from pii.people
select ssn::macaddr from pii.people
select ssn::money from pii.people
select 1 from pii.people where ssn::int = 1
select 1 from pii.people where ssn::date > now()
select 1 from pii.people order by ssn::int
select 1 from pii.people group by ssn::int
select 1 from pii.people having max(ssn)::int > 1
select count(*) from pii.people where (ssn || '')::int = 1
select 1 from pii.people p join pii.notes n on p.ssn::int = n.id
select 1 / (case when ssn like 'a%' then 0 else 1 end) from pii.people
select note from pii.notes limit (select ssn::int from pii.people limit 1)
select note from pii.notes offset (select ssn::int from pii.people limit 1)
select to_date(ssn, 'YYYY') from pii.people
select to_number(ssn, '999') from pii.people
select to_timestamp(ssn, 'YYYY') from pii.people
select decode(ssn, 'hex') from pii.people
select decode(ssn, 'base64') from pii.people
select convert_from(blob, 'SJIS') from pii.people
select chr(num::int) from pii.people
select num::int from pii.people
select num::smallint from pii.people
select num * 100000000000 from pii.people
select sqrt(-num::float8) from pii.people
select make_date(num::int, 1, 1) from pii.people
select ('{' || ssn || '}')::int[] from pii.people
select ('(' || ssn || ',1)')::pii.pair from pii.people
select ('[' || ssn || ']')::jsonb from pii.people
select regexp_match('a', '(' || ssn) from pii.people
select 'a' ~ ('*' || ssn) from pii.people
select 'a' similar to ('(' || ssn) from pii.people
select format(ssn || '%z') from pii.people
select nextval(ssn) from pii.people
select ssn::pii.short from pii.people
select xmlparse(document ssn) from pii.people
select jsonb_path_query('{}', ssn::jsonpath) from pii.people
select current_setting(ssn) from pii.people
select pg_input_is_valid(ssn, 'int') from pii.people
select has_table_privilege(ssn, 'select') from pii.people
select to_regclass(ssn) from pii.people
select array[1, 2, ssn::int] from pii.people
insert into pii.people (id, ssn) values (2, null)
insert into pii.people (id, email) select 3, email from pii.people where id = 1
insert into pii.people (id) values (1)
insert into pii.uniq (a) select ssn from pii.people
insert into pii.uniq (a) values ('taken'), ('taken')
insert into pii.people (id, ssn) select 1, ssn from pii.people
update pii.people set id = null where id = 1
update pii.people set id = 2 where id = 1
update pii.people set must = null where id = 1
update pii.people set must = '' where id = 1
update pii.people set small = 1000 where id = 1
update pii.people set note = repeat('x', 100) where id = 1
update pii.part set id = 99 where id = 1
begin ;; delete from pii.people where id = 1 ;; rollback
alter table pii.people alter column ssn type int using ssn::int
alter table pii.people alter column ssn type varchar(3)
alter table pii.people add check (length(ssn) < 2)
alter table pii.people add unique (must)
alter table pii.people add primary key (note)
create unique index on pii.people (must)
insert into pub.log (line) select ssn::int::text from pii.people
create table pub.err as select ssn::int from pii.people
prepare q(text) as select $1::int ;; execute q((select ssn from pii.people limit 1))
select * from pii.people where id = (select ssn from pii.people limit 1)::int
select lag(note, ssn::int) over () from pii.people
select note from pii.people order by id for update skip locked limit (select length(ssn) from pii.people limit 1)
select 1 / (case when ssn like 'Q%' then 0 else 1 end) from pii.people
select 1 / (num - num) from pii.people
select (case when ssn like 'a%' then 'x' else ssn end)::int from pii.people
select cast(email as int) from pii.people
select key::text::int from pii.people
select (doc ->> 'k')::int from pii.people
select (tags[1])::int from pii.people
select ssn::pg_lsn from pii.people
select ssn::tid, ssn::bytea, ssn::cidr from pii.people
select to_char(num, ssn) from pii.people
select substr(ssn, -1, -1) from pii.people
select repeat(ssn, 1000000000) from pii.people
select array_fill(ssn, array[-1]) from pii.people
select width_bucket(num::float8, 1, 1, 1) from pii.people
select jsonb_set(doc, '{k}', ssn::jsonb) from pii.people
select json_object(array[ssn, null, null]) from pii.people
select jsonb_object_agg(null, ssn) from pii.people
select row(ssn)::pii.pair from pii.people
select lower(ssn) collate "no-such" from pii.people
select ssn at time zone 'x' from pii.people
select extract(ssn from now()) from pii.people
select date_trunc(ssn, now()) from pii.people
select now() at time zone ssn from pii.people
select encode(blob, ssn) from pii.people
select convert(blob, 'UTF8', ssn) from pii.people
select set_byte(blob, 1000, 1) from pii.people
select xpath(ssn, '<a/>') from pii.people
select websearch_to_tsquery(ssn::regconfig, 'a') from pii.people
select ('x' || num)::regprocedure from pii.people
select set_config(ssn, 'x', false) from pii.people
select pg_get_serial_sequence(ssn, ssn) from pii.people
select pg_describe_object(num::oid, 1, 1) from pii.people
insert into pii.people (id, small) values (901, 100000)
insert into pii.people (id, must) values (902, null)
insert into pii.people (id, email) values (903, 'x'), (904, 'x')
insert into pii.uniq values ('a'), ('a')
begin ;; update pii.people set id = 1 where id = 2 ;; rollback
begin ;; update pii.people set id = id + 1 where true ;; rollback
update pii.people set small = small / 0, note = 'x' where id = 1
begin ;; update pii.people set id = -id where true ;; select 1/0 ;; rollback
explain analyze update pii.people set must = null where id = 1
alter table pii.people alter column ssn type date using ssn::date
alter table pii.people alter column ssn type uuid using key
alter table pii.people add constraint c1 check (must = 'nothing')
alter table pii.people add foreign key (id) references pii.notes (id)
create unique index on pii.people ((1))
