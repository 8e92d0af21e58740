# X7: what a value decides. The value itself must not come out; what decides is refused by `predicates`.
select id from pii.people where ssn = 'a'
select id from pii.people where ssn like 'a%'
select id from pii.people where ssn ~ '^a'
select id from pii.people where ssn between 'a' and 'z'
select id from pii.people where ssn in ('a', 'b')
select id from pii.people where ssn = any (array['a'])
select id from pii.people where ssn is distinct from 'a'
select id from pii.people where starts_with(ssn, 'a')
select id from pii.people where length(ssn) > 3
select id from pii.people where md5(ssn) like '0%'
select id from pii.people where (id, ssn) = (1, 'a')
select id from pii.people where (ssn, id) > ('a', 1)
select id from pii.people p where p = row(1, 'a', 'b')
select id from pii.people p where p::text like '%a%'
select id from pii.people p where to_jsonb(p) ->> 'ssn' like 'a%'
select id from pii.people p where p.* is not null
select id from pii.people order by ssn
select id from pii.people order by upper(ssn) desc
select id from pii.people order by 2, ssn
select id, ssn from pii.people order by 2
select id, ssn as s from pii.people order by s
select id from pii.people group by id, ssn
select count(*) from pii.people group by ssn
select ssn, count(*) from pii.people group by 1
select count(*) from pii.people group by grouping sets ((ssn), ())
select count(distinct ssn) from pii.people
select count(*) filter (where ssn like 'a%') from pii.people
select count(*) from pii.people having max(ssn) > 'm'
select distinct on (ssn) id from pii.people
select rank() over (order by ssn) from pii.people
select row_number() over (partition by ssn) from pii.people
select id, ntile(2) over (order by ssn) from pii.people
select n.note from pii.notes n join pii.people p on p.ssn = n.note
select n.note from pii.notes n join pii.people p using (note)
select n.note from pii.notes n, pii.people p where n.note < p.ssn
select note from pii.notes where note = (select ssn from pii.people limit 1)
select note from pii.notes where exists (select 1 from pii.people where ssn like 'a%')
select note from pii.notes where note in (select ssn from pii.people)
select note from pii.notes where note > all (select ssn from pii.people)
select exists (select 1 from pii.people where ssn > 'm')
select 1 where (select ssn from pii.people limit 1) like 'a%'
select note from pii.notes limit (select length(ssn) from pii.people limit 1)
select case when ssn like 'a%' then 'yes' else 'no' end from pii.people
select bool_or(ssn like 'a%') from pii.people
select max(case when ssn like 'a%' then 1 else 0 end) from pii.people
select nullif(ssn, 'a') is null from pii.people
select coalesce(nullif(ssn, 'a'), 'equal') from pii.people
select generate_series(1, length(ssn)) from pii.people
select repeat('x', length(ssn)) from pii.people
select lpad('', ascii(ssn), 'x') from pii.people
update pii.notes set note = 'hit' where id in (select id from pii.people where ssn like 'a%')
delete from pii.notes where note = (select ssn from pii.people limit 1)
insert into pub.log (line) select 'hit' from pii.people where ssn like 'a%'
select s from pii.v where s like 'a%'
select kept from pii.mat where kept like 'a%'
select id from pii.people where ssn > 'm' union select 0
with w as (select ssn s, id from pii.people) select id from w where s like 'a%'
with w(a, b) as (select id, ssn from pii.people) select a from w order by b
select x.i from (select id i, ssn s from pii.people) x where x.s > 'a'
select id from pii.people natural join (select 'a' as ssn) g
select id from pii.people join (values ('a')) g(ssn) using (ssn)
select id from pii.people where ssn is null
select id from pii.people where num = 1 or num > 5
select id from pii.people where not (ssn = 'a')
select id from pii.people where (ssn = 'a') is true
select id from pii.people where ssn in (select note from pii.notes)
select id from pii.people where ssn = any (array(select note from pii.notes))
select id from pii.people where ssn = note
select id from pii.people where ssn::varchar = 'a'
select id from pii.people where lower(ssn) = 'a'
select id from pii.people where ssn collate "C" = 'a'
select id from pii.people where left(ssn, 1) = 'a'
select id from pii.people where ssn || '' = 'a'
select id from pii.people where coalesce(ssn, '') = ''
select id from pii.people where 'a' = ssn and id = 1
select id from pii.people where num % 2 = 0
select id from pii.people where num between 1 and 5
select id from pii.people where born = '1900-01-01'
select id from pii.people where key = '00000000-0000-0000-0000-000000000000'
select id from pii.people where doc @> '{"k": "a"}'
select id from pii.people where doc ? 'k'
select id from pii.people where tags && array['a']
select id from pii.people where 'a' = any (tags)
select id from pii.people order by num limit 1
select id from pii.people order by born desc nulls last
select max(id) from pii.people group by born
select id from pii.people order by case when ssn = 'a' then 0 else 1 end
select id from (select id, ssn from pii.people order by ssn limit 1) x
select id from (select id, left(ssn, 1) as ssn from pii.people) x where ssn = 'a'
with x(id, ssn) as (select id, left(ssn, 1) from pii.people) select id from x where ssn = 'a'
select a.id from pii.people a join pii.people b on a.ssn = b.ssn and a.id <> b.id
select first_value(id) over (order by num) from pii.people
select sum(id) over (partition by born) from pii.people
select percentile_disc(0.5) within group (order by num) from pii.people
select mode() within group (order by ssn) from pii.people
select array_agg(id order by ssn) from pii.people
select string_agg(note, ',' order by ssn) from pii.people
select count(*) from pii.people where exists (select 1 where people.ssn like 'a%')
select least(num, 5) from pii.people
select num > 5 from pii.people
select ssn = 'a' from pii.people
select ssn like 'a%' as hit, id from pii.people
select sign(num - 5) from pii.people
select pg_typeof(ssn), pg_column_size(ssn) from pii.people
select octet_length(ssn), bit_length(ssn), char_length(email) from pii.people
select hashtext(ssn), md5(ssn), sha256(ssn::bytea) from pii.people
update pii.people set note = 'x' where ssn like 'a%' returning id
update pii.people set note = 'x' where id = 1 and ssn > 'm'
delete from pii.people where ssn like 'zzz%'
select id from pii.v_star where ssn = 'a'
select 1 from pii.v where s = 'a'
select 1 from pii.v order by s
select 1 from pii.v_over where o > 'm'
select x from (select s as x from pii.v) t where x > 'm'
select count(*) from pii.v_expr where u like 'A%'
select count(*) from pii.v_agg where a like 'a%'
select count(*) from pii.v_part where s < 'm'
select count(*) from pii.mat group by kept
select 1 / (num - 5) from pii.people
select num + 9223372036854775807 from pii.people
select -num from pii.people
select substr('abc', small) from pii.people
select chr(ascii(ssn)) from pii.people
select date_trunc(ssn, now()) from pii.people
select substr(ssn, 1, 1)::int from pii.people
select (left(ssn, 1) || '.5')::numeric from pii.people
select array[1, ssn::int] from pii.people
select json_build_object(ssn, 1) from pii.people
alter domain pii.words add constraint w1 check (value < 'a')
alter domain pii.words add constraint w2 check (value < 'a') not valid ;; alter domain pii.words validate constraint w2
create unique index on pii.people (ssn)
alter table pii.people add unique (ssn)
select (select "coalesce"."coalesce" from coalesce(p.ssn, '')) from pii.people p, (select 'a'::text as "coalesce") "coalesce"
select (select "upper"."upper" from rows from (upper(p.ssn), lower('x'))) from pii.people p, (select 'a'::text as "upper") "upper"
select (select "ssn"."ssn" from cast(p.ssn as text)) from pii.people p, (select 'a'::text as ssn) ssn
select c, 0, array_agg(id) from (select id, substr(ssn, 1, 1) from pii.people) s(id, c) group by (1, 2)
select c, 0, array_agg(id) from (select id, substr(ssn, 1, 1) from pii.people) s(id, c) group by rollup ((1, 2))
select count(*) from (select ((substr(ssn, 1, 1) || ' 0 1 2').to_tsvector).unnest from pii.people where id = 1) s
select count(*) from (select (tags).unnest from pii.people where id = 1) s
select 1 from pii.people p, unnest(p.tags, array[1]) where p.id = 1
with recursive r(id, k) as (select id, substr(ssn, 1, 1) from pii.people where id = 1 union all select id, '5' from r) cycle k set c using p select count(*) from r
select starts_with(ssn, '5') and 1 / (id - 1) = 0 from pii.people where id = 1
select ssn in (select 'a') and 1 / (id - 1) = 0 from pii.people where id = 1
select coalesce(ssn, (1 / (id - 1))::text) from pii.people where id = 1
select (translate(substr(ssn, 1, 1), '5', 'x')).int4 from pii.people where id = 1
select id from (select id, ssn as system_user from pii.people) s where system_user = 'a'
