# X1: the column under other names, through other shapes. One case a line; steps are parted by `;;`, and `~` marks what nobody
# can compare: it is not the same twice, or holds what another waits for.
select ssn from pii.people
select ssn as id from pii.people
select ssn as "ssn""x" from pii.people
select p.ssn from pii.people p
select p.ssn from pii.people as p
select "ssn" from "pii"."people"
select U&"\0073sn" from pii.people
select U&"!0073!0073n" UESCAPE '!' from pii.people
select SSN from PII.PEOPLE
select leaks.pii.people.ssn from leaks.pii.people
select * from pii.people
select p.* from pii.people p
select p.*, 1 from pii.people p, pii.notes n
select (p).* from pii.people p
select (p).ssn from pii.people p
select p from pii.people p
select people from pii.people
select row(p.*) from pii.people p
select x from (select p from pii.people p) x
select (x.p).ssn from (select p from pii.people p) x
select a from pii.people as t(i, a)
select t.a from pii.people as t(i, a, b, c, d, e, f, g)
select x.s from (select ssn from pii.people) as x(s)
table pii.people
table only pii.people
select * from only pii.people
with w as (select ssn from pii.people) select * from w
with w(a) as (select ssn from pii.people) select a from w
with w(a) as materialized (select ssn from pii.people) select a from w
with w(a) as not materialized (select ssn from pii.people) select a from w
with people as (select ssn from pii.people) select ssn from people
with w as (table pii.people) table w
with recursive w(a, n) as (select ssn, 1 from pii.people union all select a, n + 1 from w where n < 2) select a from w
with recursive w(a) as (select 'start' union select p.ssn from pii.people p, w where w.a = 'start') select a from w
with a as (select ssn x from pii.people), b as (select x y from a), c as (select y z from b) select z from c
with a as (with b as (select ssn q from pii.people) select q from b) select * from a
select ssn from pii.people union select 'a'
select 'a' union select ssn from pii.people
select 'a' union all select ssn from pii.people
select note from pii.notes union select ssn from pii.people
select id, note from pii.notes union all select id, ssn from pii.people
select ssn from pii.people intersect select ssn from pii.people
select ssn from pii.people except select 'a'
(select ssn from pii.people) order by 1
(select ssn from pii.people limit 1) union all (select email from pii.people limit 1)
values ((select ssn from pii.people limit 1))
select * from (values ((select ssn from pii.people limit 1))) v(a)
select (select ssn from pii.people limit 1)
select (select ssn) from pii.people
select (select p.ssn from pii.notes limit 1) from pii.people p
select l.a from pii.people p, lateral (select p.ssn as a) l
select l.a from pii.people p cross join lateral (select p.ssn) l(a)
select l.a from pii.people p left join lateral (select p.ssn as a) l on true
select l.a from pii.people p, lateral (values (p.ssn), (p.email)) l(a)
select id, ssn from pii.people natural join pii.notes
select ssn from pii.people join pii.notes using (id)
select ssn from pii.people left join pii.notes using (id)
select x.ssn from pii.notes n join lateral (select * from pii.people p where p.id = n.id) x on true
select j.ssn from (pii.people natural join pii.notes) j
select j.s from (pii.people p join pii.notes n on p.id = n.id) j(i, s)
select a.ssn, b.ssn from pii.people a, pii.people b where a.id = b.id
select distinct ssn from pii.people
select distinct on (id) ssn from pii.people order by id
select first_value(ssn) over (order by id) from pii.people
select lag(ssn) over (order by id) from pii.people
select lead(ssn, 1, 'none') over w from pii.people window w as (order by id)
select nth_value(ssn, 1) over (order by id rows between unbounded preceding and unbounded following) from pii.people
select ssn from pii.people tablesample system (100)
select ssn from pii.people order by id limit 1 offset 0
select ssn from pii.people fetch first row only
select ssn from pii.people for key share
select ssn from pii.member
select ssn from pii.part
select ssn from pii.part_one
select s from pii.v
select * from pii.v
select u from pii.v_expr
select * from pii.v_over
select * from pii.v_star
select * from pii.v_row
select (r).ssn from pii.v_row
select * from pii.v_union
select * from pii.v_cte
select * from pii.v_agg
select * from pii.mat
select kept from pii.mat
set search_path = pii ;; select ssn from people
set search_path = pii ;; select * from v
set search_path = pii, public ;; table people
begin ;; set local search_path = pii ;; select ssn from people ;; rollback
select "ssn" "x" from "pii" . "people" /* ssn */ -- ssn
select/**/ssn/**/from/**/pii.people
select ssn from pii.people; select ssn from pii.people
select 1; select ssn as one from pii.people
select t.b from (select * from pii.people) as t(a, b)
select upper(b) from (select * from pii.people) as t(a, b)
select upper(t.b) from pii.people as t(a, b)
with w(a, b) as (select * from pii.people) select lower(b) from w
with w(a, b) as (table pii.people) select b || '' from w
select upper(q) from (select note as q from pii.notes union all select ssn from pii.people) x
select upper(n.note) from (select * from pii.notes union all select id, ssn from pii.people) n
select upper(x.id) from (select ssn as id from pii.people) x
select upper(x.note) from (select ssn as note from pii.people) x, pii.notes n
select (select upper(note) from (select p.ssn as note) x) from pii.people p
select (select upper(p.note) from (select p.ssn as note) p) from pii.people p
select (select upper(x.a) from pii.notes p, lateral (select q.ssn as a from pii.people q) x limit 1) from pii.people p
select upper(p.note) from pii.notes n, lateral (select q.ssn as note from pii.people q) p
select (select upper(x.a) from pii.notes p, (select p.ssn as a) x limit 1) from pii.people p
select upper(j.note) from (pii.people a cross join pii.notes b) as j(x, note)
select upper(u.ssn) from (pii.people join pii.notes using (id)) as u
select upper(u.ssn), count(*) over () from pii.people join pii.notes using (id) as v, pii.people u
with recursive w(n, a, b) as (select 1, 'x', ssn from pii.people union all select n + 1, b, a from w where n < 3) select upper(a) from w
with recursive a as (select upper(x) as y from b), b as (select ssn as x from pii.people) select y || '' from a
with people as (select 'x' as ssn) select upper(p.ssn) from pii.people p, people
with people as (select 'x' as ssn) select upper(people.ssn) from pii.people
with people as (select ssn as note from pii.people) select upper(note) from people
with w as (with people as (select ssn as note from pii.people) select note from people) select upper(note) from w
select upper(people.note) from (select ssn as note from pii.people) people
select upper(pii.people.ssn) from pii.people, pii.notes people2
select upper(note) from pii.people p, (pii.notes n right join jsonb_to_record(jsonb_build_object('note', p.ssn)) as r(note text) using (note))
select upper || '' from pii.notes n(id, upper) right join (select upper(ssn) from pii.people) r using (upper)
select u || '' from pii.notes n(id, u) natural full join (select ssn as u from pii.people) r
select coalesce(note, '') from (select ssn as note from pii.people) a full join pii.notes b using (note)
select upper(j.u) from (pii.notes n(id, u) natural full join (select ssn as u from pii.people) r) as j
select upper(k.note) from (select ssn as note from pii.people) a right join pii.notes b using (note) as k
