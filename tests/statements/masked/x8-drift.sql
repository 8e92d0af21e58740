# X8: relations that are other ones, parents, children, and what came later.
select ssn from pii.member where id = 4
select * from pii.member
select p.ssn from pii.people p where p.tableoid = 'pii.member'::regclass
select ssn from only pii.member
select s from pii.v_part
select ssn from pii.part where id = 1
select * from pii.part_one
select (r).* from pii.v_row
select row_to_json(v) from pii.v v
select v from pii.v v
select v.s from pii.v v join pii.notes n on n.id = 1
select s from (select * from pii.v) x
with w as (select * from pii.v) select s from w
select * from pii.v_over natural join pii.notes
select upper(s) from pii.v
select array_agg(s) from pii.v
select to_jsonb(m) from pii.mat m
select m from pii.mat m
refresh materialized view pii.mat ;; select kept from pii.mat
select u || '' from pii.v_expr
begin ;; alter table pii.notes rename to people2 ;; select * from pii.people2 ;; rollback
begin ;; create temp table people (ssn text) ;; select ssn from pii.people ;; rollback
begin ;; create temp view people as select 1 as ssn ;; select ssn from pii.people ;; rollback
set search_path = pub, pii ;; select ssn from people
create schema people ;; select ssn from pii.people
begin ;; drop view pii.v_over ;; create view pii.v_over as select ssn as x from pii.people ;; select x from pii.v_over ;; rollback
begin ;; alter view pii.v rename column s to t ;; select t from pii.v ;; rollback
begin ;; alter view pii.v_over rename to v_other ;; select * from pii.v_other ;; rollback
select upper(a) from pii.v_union
select lower(a) from pii.v_cte
select a || '' from pii.v_agg
select upper(s) from pii.v_part
select (r).ssn || '' from pii.v_row
select upper(kept) from pii.mat
select upper(o) from pii.v_over
select upper(ssn) from pii.v_star
select upper(v.ssn), v.note from pii.v_star v, pii.notes n
begin ;; alter table pii.people drop column id cascade ;; select upper(a) from (select * from pii.people) as x(a, b) ;; rollback
begin ;; alter table pii.people drop column id cascade ;; select upper(a) from pii.people as x(a, b) ;; rollback
begin ;; alter table pii.people drop column id cascade ;; select upper(x.id) from (select 'x' as id, 'y' as ssn union all select * from (select ssn, email from pii.people) y) x ;; rollback
begin ;; alter table pii.notes add column ssn text ;; select upper(ssn) from pii.notes, pii.people p ;; rollback
begin ;; alter table pii.notes drop column note ;; select upper(note) from pii.notes n, lateral (select ssn as note from pii.people) p ;; rollback
begin ;; create temp table notes as select 'x' as note ;; select upper(p.ssn) from notes, pii.people p ;; rollback
begin ;; create view pii.v_clear as select note from pii.notes ;; select upper(ssn) from pii.v_clear, pii.people ;; rollback
