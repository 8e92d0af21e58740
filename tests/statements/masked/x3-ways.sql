# X3: every way out: COPY, cursors, prepared statements.
copy pii.people to stdout
copy pii.people (ssn) to stdout
copy pii.people (id, ssn) to stdout with (format csv)
copy pii.people (id, ssn) to stdout with (format csv, header, quote '''')
copy pii.people to stdout with (format binary)
copy (select ssn from pii.people) to stdout
copy (select ssn as note from pii.people) to stdout with csv
copy (select upper(ssn) from pii.people) to stdout
copy (table pii.people) to stdout
copy (with w as (select ssn from pii.people) select * from w) to stdout
copy (select p from pii.people p) to stdout
copy (values ((select ssn from pii.people limit 1))) to stdout
copy (update pii.people set id = id where id = 1 returning ssn) to stdout
copy pii.v to stdout
copy (select * from pii.v) to stdout
copy pii.part to stdout
copy (select * from pii.part) to stdout
copy pii.part_one to stdout
copy pii.mat to stdout
copy pii.people to '/tmp/node-agent-leak'
copy pii.people to program 'cat'
copy (select ssn from pii.people) to stdout; copy (select ssn from pii.people) to stdout
begin ;; declare c cursor for select ssn from pii.people ;; fetch all c ;; rollback
begin ;; declare c cursor for select ssn as note from pii.people ;; fetch 1 from c ;; fetch next from c ;; rollback
begin ;; declare c scroll cursor for select ssn from pii.people ;; fetch last c ;; fetch prior c ;; fetch first c ;; fetch absolute 1 c ;; fetch backward all c ;; rollback
begin ;; declare c binary cursor for select ssn from pii.people ;; fetch all c ;; rollback
begin ;; declare c cursor for select upper(ssn) from pii.people ;; fetch forward 1 c ;; rollback
begin ;; declare c insensitive cursor for table pii.people ;; move 0 c ;; fetch all c ;; rollback
declare c cursor with hold for select ssn from pii.people ;; fetch all c ;; close c
begin ;; declare c cursor for select p from pii.people p ;; fetch c ;; rollback
begin ;; declare c cursor for select ssn from pii.people ;; savepoint s ;; fetch c ;; rollback to s ;; fetch c ;; rollback
prepare q as select ssn from pii.people ;; execute q
prepare q as select ssn as note from pii.people ;; execute q ;; execute q
prepare q(int) as select ssn from pii.people where id = $1 ;; execute q(1)
prepare q as select upper(ssn) from pii.people ;; execute q ;; deallocate q
prepare q as table pii.people ;; execute q
prepare q as select n.note from pii.notes n ;; deallocate q ;; prepare q as select ssn from pii.people ;; execute q
prepare q as update pii.people set id = id where id = 1 returning ssn ;; execute q
begin ;; prepare q as select ssn from pii.people ;; rollback ;; execute q
prepare q as select ssn from pii.people ;; begin ;; declare c cursor for execute q ;; rollback
update pii.people set id = id where id = 1 returning ssn
update pii.people set id = id where id = 1 returning *
update pii.people p set id = p.id where p.id = 1 returning p
update pii.people set id = id where id = 1 returning upper(ssn)
update pii.people p set id = q.id from pii.people q where q.id = p.id and p.id = 1 returning q.ssn
delete from pii.people where id = -1 returning ssn
delete from pii.notes n using pii.people p where p.id = n.id and n.id = 3 returning p.ssn
insert into pii.people (id) values (100) on conflict (id) do nothing returning ssn
insert into pii.people (id) values (1) on conflict (id) do update set id = excluded.id returning ssn
insert into pii.people (id) values (1) on conflict (id) do update set id = people.id returning people
with u as (update pii.people set id = id where id = 1 returning ssn) select * from u
with u as (update pii.people set id = id where id = 1 returning *) select note from pii.notes, u
with d as (delete from pii.notes where id = 3 returning note) select d.note, p.ssn from d, pii.people p
merge into pii.notes n using pii.people p on n.id = p.id when matched then update set note = p.ssn
begin ;; select ssn from pii.people ;; commit
explain select ssn from pii.people
explain (verbose) select ssn from pii.people
~ explain (analyze, verbose, format json) select upper(ssn) from pii.people
~ explain (analyze) execute q
copy pii.people (ssn) to stdout with (format csv, header, force_quote *)
copy pii.people (ssn, email) to stdout with (delimiter '|', null 'none')
copy pii.people to stdout with (format csv, quote '''', escape '\', null 'x')
copy pii.people (ssn) to stdout with (encoding 'latin1')
copy binary pii.people to stdout
copy (select ssn from pii.people) to stdout with (format binary)
copy (select ssn::int from pii.people) to stdout
copy (select num::text from pii.people) to stdout
copy (select 1 / (case when ssn like 'a%' then 0 else 1 end) from pii.people) to stdout
copy (select id from pii.people where ssn > 'm') to stdout
copy (select ssn into pub.copied from pii.people) to stdout ;; table pub.copied
copy (with d as (delete from pii.notes where id = 3 returning note) select d.note, p.ssn from d, pii.people p) to stdout
copy (select ssn from pii.people for update) to stdout
copy (select * from pii.people order by id) to stdout
copy (select ssn, ssn || '' from pii.people) to stdout csv
copy (select doc, tags, both_of, w from pii.people) to stdout
copy (select * from pii.v_union) to stdout
copy (select r from pii.v_row) to stdout
copy pii.v_expr to stdout
copy pii.member to stdout
copy only pii.people to stdout
copy leaks.pii.people to stdout
begin ;; copy pii.people (ssn) to stdout ;; copy (select ssn from pii.people) to stdout ;; commit
begin ;; copy pii.people to stdout ;; rollback
copy pii.people (ssn) to stdout /* ) */ -- )
copy /* ( */ (select ')', ssn as "a)" from pii.people) to stdout
begin ;; declare c scroll cursor for select ssn from pii.people ;; fetch relative 1 c ;; move forward 1 in c ;; fetch backward 1 c ;; fetch absolute -1 c ;; commit
begin ;; declare c scroll cursor with hold for select ssn, num from pii.people ;; commit ;; fetch last c ;; fetch prior c ;; close c
begin ;; declare c binary scroll cursor for select ssn, num, key, born from pii.people ;; fetch first c ;; fetch last c ;; rollback
begin ;; declare c cursor for select ssn from pii.people ;; fetch 1 c ;; update pii.people set id = id where current of c returning ssn ;; rollback
begin ;; declare c cursor for table pii.people ;; copy (select 1) to stdout ;; fetch all c ;; rollback
prepare q as select ssn, num, key from pii.people ;; discard plans ;; execute q
insert into pii.people (id, ssn, note) values (900, 'x', 'y') on conflict (id) do update set note = 'z' where people.ssn like 'a%' returning ssn
insert into pii.people (id) values (1) on conflict on constraint people_pkey do update set note = 'n' returning *
merge into pii.notes n using pii.people p on n.id = p.id when matched and p.ssn like 'a%' then delete when not matched then do nothing
merge into pii.people p using pii.notes n on p.ssn = n.note when matched then do nothing
select ssn from pii.people for update skip locked
select ssn from pii.people tablesample system (100)
select ssn from pii.people fetch first 1 rows with ties
