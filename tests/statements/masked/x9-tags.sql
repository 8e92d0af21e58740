# X9: columns that only the comments of the catalogue say are to be masked, one by one or as a whole table.
select code from pii.tagged
select * from pii.tagged
select t.code as id from pii.tagged t
select t from pii.tagged t
select row(t.*) from pii.tagged t
select (t).code from pii.tagged t
select upper(code) from pii.tagged
select code || '' from pii.tagged
select c from pii.v_tagged
select * from pii.v_tagged
select reverse(c) from pii.v_tagged
select to_jsonb(t) from pii.tagged t
select string_agg(code, ',') from pii.tagged
select array_agg(code) from pii.tagged
with w as (select code as x from pii.tagged) select x from w
select code from pii.tagged union all select free from pii.tagged
select x from (select code as x from pii.tagged) y order by x
select id from pii.tagged where code like 'H%'
select count(*) from pii.tagged group by code
select max(code) from pii.tagged
select inside from pii.sealed
select * from pii.sealed
select s from pii.sealed s
select md5(inside), length(inside), left(inside, 7) from pii.sealed
select inside::bytea from pii.sealed
select id from pii.sealed where inside > 'V'
select t.free, s.inside from pii.tagged t join pii.sealed s on s.id = t.id
begin ;; insert into pub.other select code from pii.tagged ;; select * from pub.other ;; rollback
begin ;; create temp table copied as select inside as i from pii.sealed ;; select i from copied ;; rollback
begin ;; update pii.tagged set free = code returning free ;; rollback
begin ;; insert into pii.tagged select id + 1, code, free from pii.tagged ;; rollback
begin ;; insert into pii.sealed select id + 1, null from pii.sealed returning inside ;; rollback
begin ;; comment on column pii.tagged.code is '' ;; select code from pii.tagged ;; rollback
begin ;; comment on table pii.sealed is null ;; select inside from pii.sealed ;; rollback
begin ;; alter table pii.tagged rename column code to open ;; select open from pii.tagged ;; rollback
begin ;; declare c cursor for select code from pii.tagged ;; fetch all from c ;; rollback
prepare tagged as select code from pii.tagged ;; execute tagged
set search_path = pii ;; select code from tagged
select code::int from pii.tagged
select most_common_vals from pg_stats where tablename in ('tagged', 'sealed')
explain (costs off) select code from pii.tagged order by code
