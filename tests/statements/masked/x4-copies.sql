# X4: the value written where others read it, and read from there.
create table pub.copy1 as select ssn from pii.people ;; select * from pub.copy1
create table pub.copy2 as table pii.people ;; table pub.copy2
create table pub.copy3 (a) as select upper(ssn) from pii.people ;; select a from pub.copy3
create temp table copy4 as select ssn as a from pii.people ;; select a from copy4
create temporary table copy5 on commit preserve rows as select p from pii.people p ;; table copy5
create unlogged table pub.copy6 as select ssn from pii.people with data ;; table pub.copy6
create table pub.copy7 as select ssn from pii.people with no data ;; insert into pub.copy7 select ssn from pii.people ;; table pub.copy7
select ssn into pub.copy8 from pii.people ;; table pub.copy8
select ssn into temp copy9 from pii.people ;; table copy9
select * into temp table copy10 from pii.people ;; select ssn from copy10
prepare q as select ssn from pii.people ;; create table pub.copy11 as execute q ;; table pub.copy11
insert into pub.log select ssn from pii.people ;; select line from pub.log
insert into pub.log (line) select upper(ssn) from pii.people ;; select line from pub.log
insert into pub.log (line) values ((select ssn from pii.people limit 1)) ;; select line from pub.log
insert into pub.log (line) (select s.a from (select ssn a from pii.people) s) returning line
insert into pub.log (line) with w as (select ssn from pii.people) select * from w returning line
with i as (insert into pub.log (line) select ssn from pii.people returning line) select * from i
with r as (select ssn from pii.people) insert into pub.log (line) select ssn from r ;; select line from pub.log
insert into pub.log (line) select p::text from pii.people p ;; select line from pub.log
insert into pub.log (line) select to_jsonb(p)::text from pii.people p returning line
insert into pub.log (line) select s from pii.v returning line
insert into pub.log (line) select ssn from pii.part returning line
insert into pub.log (line) select kept from pii.mat returning line
update pub.log set line = (select ssn from pii.people limit 1) where true ;; select line from pub.log
update pub.log set line = p.ssn from pii.people p where true returning line
update pub.log set (line) = (select ssn from pii.people limit 1) where true returning line
update pii.people set note = ssn where true ;; select note from pii.people
update pii.people set note = upper(ssn) where true returning note
update pii.people set note = (select ssn from pii.people limit 1) where id = 1 returning note
update pii.people set note = email where id = 1 returning note
update pii.people p set note = q.ssn from pii.people q where q.id = p.id returning p.note
update pii.people set (note, id) = (ssn, id) where true returning note
insert into pii.people (id, note) select id + 500, ssn from pii.people returning note
insert into pii.people (id) values (1) on conflict (id) do update set note = people.ssn returning note
insert into pub.log (line) values ('x') on conflict (line) do update set line = (select ssn from pii.people limit 1) returning line
merge into pub.log l using pii.people p on false when not matched then insert (line) values (p.ssn) ;; select line from pub.log
merge into pii.people p using pii.notes n on p.id = n.id when matched then update set note = p.ssn ;; select note from pii.people
delete from pub.log where line = (select ssn from pii.people limit 1) returning line
create view pub.view1 as select ssn from pii.people ;; select * from pub.view1
create view pub.view2 (note) as select ssn from pii.people ;; select note from pub.view2
create temp view view3 as select upper(ssn) as n from pii.people ;; select n from view3
create or replace view pub.view4 as table pii.people ;; table pub.view4
create recursive view pub.view5 (n) as select ssn from pii.people ;; table pub.view5
create materialized view pub.mat1 as select ssn from pii.people ;; table pub.mat1
create materialized view pub.mat2 as select ssn from pii.people with no data ;; refresh materialized view pub.mat2 ;; table pub.mat2
create rule r as on select to pub.log do instead select ssn from pii.people ;; select * from pub.log
create rule r as on insert to pub.log do also insert into pub.other select ssn from pii.people ;; insert into pub.log (line) values ('y') ;; table pub.other
create function pub.f() returns text language sql as 'select ssn from pii.people limit 1' ;; select pub.f()
create function pub.g() returns setof pii.people language sql begin atomic select * from pii.people; end ;; select ssn from pub.g()
create procedure pub.p() language sql as 'insert into pub.log (line) select ssn from pii.people' ;; call pub.p()
create index on pii.people ((upper(ssn)))
create index on pii.people (id) where ssn = 'a'
create statistics pub.st on ssn, email from pii.people
create table pub.like1 (like pii.people including all) ;; insert into pub.like1 select * from pii.people ;; select ssn from pub.like1
create table pub.child () inherits (pii.people) ;; select ssn from pub.child
create table pub.typed of pii.pair ;; insert into pub.typed select id, ssn from pii.people ;; table pub.typed
alter table pii.people add column dup text generated always as (ssn) stored ;; select dup from pii.people
alter table pii.people alter column note type text using ssn ;; select note from pii.people
alter table pii.people rename column ssn to shown ;; select shown from pii.people
alter table pii.people rename to persons ;; select ssn from pii.persons
alter table pii.people set schema pub ;; select ssn from pub.people
alter table pii.people add constraint no_such check (ssn < 'a')
alter table pii.people add constraint few exclude using btree (ssn with =)
alter table pub.log add constraint k foreign key (line) references pii.people (ssn)
alter domain pii.words add constraint c check (value < 'a')
comment on column pii.people.ssn is 'x' ;; select col_description('pii.people'::regclass, 2)
select set_config('app.x', ssn, false) from pii.people ;; select current_setting('app.x')
select set_config('application_name', (select ssn from pii.people limit 1), false)
select set_config('app.y', string_agg(ssn, ','), true) from pii.people ;; show app.y
~ select pg_notify('ch', ssn) from pii.people
~ listen ch ;; select pg_notify('ch', ssn) from pii.people ;; select 1
select setval('pub.seq', num) from pii.people ;; select last_value from pub.seq
~ select pg_advisory_lock(num) from pii.people ;; select objid, classid from pg_locks where locktype = 'advisory'
~ select pg_try_advisory_lock_shared(num) from pii.people
~ select lo_from_bytea(0, ssn::bytea) from pii.people
~ select lo_put(lo_create(0), 0, ssn::bytea) from pii.people
~ select pg_logical_emit_message(true, 'x', ssn) from pii.people
~ select pg_sleep(num - num) from pii.people
select query_to_xml('select ssn from pii.people', true, true, '')
select table_to_xml('pii.people', true, true, '')
select cursor_to_xml('c', 1, true, true, '')
select schema_to_xml('pii', true, true, '')
select database_to_xml(true, true, '')
select query_to_xml_and_xmlschema('table pii.people', true, true, '')
select ts_stat('select to_tsvector(ssn) from pii.people')
select * from ts_stat('select to_tsvector(''simple'', ssn) from pii.people')
select ts_rewrite('a'::tsquery, 'select ssn::tsquery, ssn::tsquery from pii.people')
select dblink('dbname=leaks', 'select ssn from pii.people')
select pg_read_file('base/1/1259')
~ select lo_export(1, '/tmp/x')
~ select lo_import('/etc/passwd')
do $$ begin raise notice '%', (select ssn from pii.people limit 1); end $$
do $$ begin insert into pub.log (line) select ssn from pii.people; end $$ ;; select line from pub.log
do $$ begin execute 'copy pii.people to ''/tmp/node-agent-leak'''; end $$
lock table pii.people in access share mode ;; select ssn from pii.people
truncate pub.log ;; insert into pub.log select ssn from pii.people returning *
grant select on pii.people to public ;; select ssn from pii.people
security label on column pii.people.ssn is 'x'
update pii.people set note = note where id = 1 returning upper(ssn), lower(people.ssn)
update pii.notes n set note = n.note from pii.people p where n.id = p.id returning upper(p.ssn)
delete from pii.notes n using pii.people p where n.id = p.id returning p.ssn || n.note
with d as (delete from pii.notes n using pii.people p where n.id = p.id returning p.ssn as s) select upper(s) from d
insert into pii.people (id, note) values (77, 'x') returning upper(note), upper(ssn), people
insert into pii.people (id, note) values (1, 'x') on conflict (id) do update set note = excluded.note returning upper(ssn)
select set_config('app.z', email, true) from pii.people ;; select current_setting('app.z', true)
select set_config('DateStyle', 'ISO', false) from pii.people where ssn like 'a%'
set app.w = 'x' ;; select set_config('app.w', (table pii.v limit 1), false) ;; show app.w
select setval('pub.seq', length(ssn)) from pii.people ;; select last_value from pub.seq
select nextval('pub.seq') from pii.people where ssn like 'a%' ;; select last_value from pub.seq
create sequence pub.seq2 ;; select setval('pub.seq2', (select num from pii.people limit 1)) ;; select * from pub.seq2
~ select pg_advisory_xact_lock(num) from pii.people
~ select pg_advisory_lock(hashtext(ssn)) from pii.people ;; select classid, objid from pg_locks where locktype = 'advisory'
~ select pg_try_advisory_lock(length(ssn), id) from pii.people
~ begin ;; select pg_advisory_xact_lock(num) from pii.people ;; select * from pg_locks ;; rollback
~ listen ch2 ;; begin ;; select pg_notify('ch2', email) from pii.people ;; commit
~ select pg_notify(ssn, '') from pii.people
~ select lo_put(1, 0, blob) from pii.people
~ select lowrite(lo_open(lo_create(0), 131072), ssn::bytea) from pii.people
~ select lo_get(lo_from_bytea(0, convert_to(ssn, 'UTF8'))) from pii.people
create temp table if not exists t1 (a text) ;; insert into t1 select ssn from pii.people ;; table t1
create temp table t2 on commit drop as select ssn from pii.people
create table pub.copy12 as select id, note from pii.people where ssn like 'a%' ;; table pub.copy12
create materialized view if not exists pub.mat3 as select max(ssn) from pii.people ;; table pub.mat3
create view pub.view6 as select id from pii.people where ssn like 'a%' ;; table pub.view6
create view pub.view7 with (security_barrier) as select email as note from pii.people ;; table pub.view7
begin ;; alter view pii.v alter column s set default 'x' ;; select s from pii.v ;; rollback
alter materialized view pii.mat rename column kept to shown ;; select shown from pii.mat
alter table pii.people add column c1 text default (select ssn from pii.people limit 1)
alter table pii.people add column c2 text ;; update pii.people set c2 = ssn where true ;; select c2 from pii.people
alter table pub.log add check (line <> (select ssn from pii.people limit 1))
alter table pii.people add check (ssn not like '1%') not valid
alter table pii.people add constraint oracle check (num < 5) not valid ;; alter table pii.people validate constraint oracle
alter table pii.people add constraint len check (length(ssn) = 13)
alter table pii.people alter column ssn set not null
alter table pii.people alter column ssn type varchar(13) using left(ssn, 13)
alter table pii.people alter column note set default 'Q'
alter table pii.people add exclude using btree ((length(ssn)) with =)
create index on pii.people ((ssn || email))
create index on pii.people ((1 / (num - 5)))
create unique index on pii.people ((left(ssn, 1)))
create unique index on pii.people (ssn) where ssn like 'a%'
create statistics pub.st2 (mcv) on (upper(ssn)), id from pii.people ;; analyze pii.people ;; select * from pg_stats_ext_exprs
create statistics pub.st3 (ndistinct) on ssn, note from pii.people ;; analyze pii.people ;; select * from pg_statistic_ext_data
create policy p1 on pii.people using (ssn like 'a%')
create publication pub1 for table pii.people where (ssn like 'a%')
create trigger tr before update on pii.people for each row when (old.ssn like 'a%') execute function suppress_redundant_updates_trigger()
create rule r2 as on update to pii.people do also insert into pub.other values (old.ssn)
create aggregate pub.agg (text) (sfunc = textcat, stype = text) ;; select pub.agg(ssn) from pii.people
create cast (text as pii.pair) with inout ;; select ssn::pii.pair from pii.people
create domain pub.d as text check (value < 'M') ;; select ssn::pub.d from pii.people
create function pub.t() returns trigger language plpgsql as $$ begin raise notice '%', old.ssn; return new; end $$
create event trigger ev on ddl_command_end execute function pub.t()
comment on table pii.people is 'x' ;; select obj_description('pii.people'::regclass)
insert into pub.other select to_json(p)::text from pii.people p ;; table pub.other
insert into pub.other (line) select p.* from (select ssn from pii.people) p ;; table pub.other
insert into pub.other values ((select max(email) from pii.people)) returning *
update pub.other set line = (select string_agg(ssn, ',') from pii.people) where true ;; table pub.other
update pub.other o set line = m.kept from pii.mat m where true returning o.line
update pub.other set line = excluded.line from (select ssn as line from pii.people) excluded where true returning *
insert into pub.log (line) values ('first') on conflict (line) do update set line = (select email from pii.people limit 1) returning line
insert into pub.log (line) values ('first') on conflict (line) do nothing returning (select ssn from pii.people limit 1)
merge into pub.other o using (select ssn from pii.people) p on true when matched then update set line = p.ssn when not matched then insert values (p.ssn)
merge into pub.log l using (values (1)) v on false when not matched then insert (line) values ((select ssn from pii.people limit 1))
delete from pub.other using pii.people p where true returning p.ssn
