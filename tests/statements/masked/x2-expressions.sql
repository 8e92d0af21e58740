# X2: the value inside an expression.
select ssn || '' from pii.people
select '' || ssn from pii.people
select ssn::text from pii.people
select ssn::varchar from pii.people
select ssn::varchar(8) from pii.people
select ssn::char(20) from pii.people
select ssn::name from pii.people
select ssn::bytea from pii.people
select cast(ssn as pii.words) from pii.people
select ssn collate "C" from pii.people
select (ssn) from pii.people
select ((ssn)) as id from pii.people
select substring(ssn from 1 for 8) from pii.people
select substr(ssn, 2, 9) from pii.people
select left(ssn, 7) from pii.people
select right(ssn, 7) from pii.people
select reverse(ssn) from pii.people
select upper(ssn) from pii.people
select lower(ssn) from pii.people
select initcap(ssn) from pii.people
select trim(both ' ' from ssn) from pii.people
select lpad(ssn, 40, '*') from pii.people
select repeat(ssn, 2) from pii.people
select replace(ssn, 'q', 'q') from pii.people
select translate(ssn, 'abc', 'abc') from pii.people
select overlay(ssn placing 'x' from 1 for 1) from pii.people
select split_part(ssn, '-', 1) from pii.people
select regexp_replace(ssn, '^(.)', '\1') from pii.people
select regexp_matches(ssn, '(.*)') from pii.people
select regexp_split_to_table(ssn, ' ') from pii.people
select string_to_array(ssn, '#') from pii.people
select string_to_table(ssn, '#') from pii.people
select unnest(string_to_array(ssn, null)) from pii.people
select array_to_string(string_to_array(ssn, null), '') from pii.people
select encode(ssn::bytea, 'hex') from pii.people
select encode(ssn::bytea, 'base64') from pii.people
select encode(convert_to(ssn, 'UTF8'), 'escape') from pii.people
select convert_from(ssn::bytea, 'UTF8') from pii.people
select ascii(ssn) from pii.people
select ascii(substr(ssn, 1, 1)), ascii(substr(ssn, 2, 1)) from pii.people
select md5(ssn) from pii.people
select sha256(ssn::bytea) from pii.people
select hashtext(ssn) from pii.people
select quote_literal(ssn) from pii.people
select quote_ident(ssn) from pii.people
select quote_nullable(ssn) from pii.people
select format('%s', ssn) from pii.people
select format('%I', ssn) from pii.people
select concat(ssn) from pii.people
select concat(variadic array[ssn]) from pii.people
select concat_ws('', ssn, '') from pii.people
select coalesce(ssn, '') from pii.people
select nullif(ssn, '') from pii.people
select greatest(ssn, '') from pii.people
select least(ssn, 'zzzz') from pii.people
select case when true then ssn end from pii.people
select case id when 1 then ssn else email end from pii.people
select case when ssn is null then '' else ssn end from pii.people
select min(ssn) from pii.people
select max(ssn) from pii.people
select max(ssn) filter (where true) from pii.people
select string_agg(ssn, ',') from pii.people
select string_agg(ssn, ',' order by id) from pii.people
select array_agg(ssn) from pii.people
select (array_agg(ssn))[1] from pii.people
select mode() within group (order by ssn) from pii.people
select percentile_disc(0.5) within group (order by ssn) from pii.people
select json_agg(ssn) from pii.people
select jsonb_agg(p) from pii.people p
select json_agg(p.*) from pii.people p
select json_object_agg(id, ssn) from pii.people
select jsonb_object_agg(ssn, id) from pii.people
select xmlagg(xmlelement(name a, ssn)) from pii.people
select xmlforest(ssn) from pii.people
select xmlelement(name a, xmlattributes(ssn as b)) from pii.people
select array[ssn] from pii.people
select array(select ssn from pii.people)
select (array(select ssn from pii.people))[1]
select array[[ssn, email]] from pii.people
select array_append(array['a'], ssn) from pii.people
select array_prepend(ssn, array['a']) from pii.people
select array_cat(array['a'], array[ssn]) from pii.people
select array_remove(array[ssn], 'a') from pii.people
select array_fill(ssn, array[2]) from pii.people
select unnest(array[ssn]) from pii.people
select u from pii.people, unnest(array[ssn, email]) u
select row(ssn) from pii.people
select row(ssn, 1) from pii.people
select (row(ssn, 1)).f1 from pii.people
select row(id, ssn)::pii.pair from pii.people
select (row(id, ssn)::pii.pair).b from pii.people
select row_to_json(p) from pii.people p
select to_json(ssn) from pii.people
select to_jsonb(p) from pii.people p
select to_jsonb(p) -> 'ssn' from pii.people p
select to_jsonb(p) ->> 'ssn' from pii.people p
select jsonb_pretty(to_jsonb(p)) from pii.people p
select p.to_json from pii.people p
select json_build_object('a', ssn) from pii.people
select json_build_array(ssn) from pii.people
select jsonb_build_object(ssn, 1) from pii.people
select json_each_text(row_to_json(p)) from pii.people p
select e.value from pii.people p, json_each_text(row_to_json(p)) e
select e.* from pii.people p, jsonb_each(to_jsonb(p)) e
select k from pii.people p, jsonb_array_elements_text(jsonb_build_array(p.ssn)) k
select jsonb_path_query(to_jsonb(p), '$.ssn') from pii.people p
select r.ssn from pii.people p, jsonb_to_record(to_jsonb(p)) as r(ssn text)
select r.* from pii.people p, jsonb_populate_record(null::pii.people, to_jsonb(p)) r
select doc from pii.people
select doc -> 'k' from pii.people
select doc ->> 'k' from pii.people
select doc #>> '{k}' from pii.people
select doc['k'] from pii.people
select jsonb_extract_path_text(doc, 'k') from pii.people
select jsonb_object_keys(jsonb_build_object(ssn, 1)) from pii.people
select p::text from pii.people p
select cast(p as text) from pii.people p
select p::text as id from pii.people p
select textin(record_out(p)) from pii.people p
select num + 0 from pii.people
select -num from pii.people
select abs(num) from pii.people
select num::text from pii.people
select num::numeric / 1 from pii.people
select round(num::numeric, 0) from pii.people
select sum(num) from pii.people
select avg(num) from pii.people
select to_char(num, '9999999999999') from pii.people
select num % 1000000000 from pii.people
select num / 100 from pii.people
select num # 0 from pii.people
select num | 0 from pii.people
select to_hex(num) from pii.people
select generate_series(num, num) from pii.people
select int8range(num, num + 1) from pii.people
select lower(int8range(num, num + 1)) from pii.people
select born::text from pii.people
select born + 0 from pii.people
select to_char(born, 'YYYY-MM-DD') from pii.people
select extract(epoch from born) from pii.people
select born - date '2000-01-01' from pii.people
select date_trunc('day', born) from pii.people
select key::text from pii.people
select blob from pii.people
select encode(blob, 'escape') from pii.people
select tags from pii.people
select tags[1] from pii.people
select unnest(tags) from pii.people
select array_to_string(tags, ',') from pii.people
select array_to_json(tags) from pii.people
select cardinality(tags), tags[1:2] from pii.people
select w from pii.people
select w::text from pii.people
select both_of from pii.people
select (both_of).b from pii.people
select to_tsvector('simple', ssn) from pii.people
select ts_headline('simple', ssn, to_tsquery('simple', 'a')) from pii.people
select plainto_tsquery('simple', ssn) from pii.people
select inet '10.0.0.1' + num - num + (num % 100) from pii.people
select pg_typeof(ssn), ssn from pii.people
select num_nonnulls(ssn), ssn from pii.people
select ssn is null, coalesce(ssn, 'x') from pii.people
select pg_column_size(ssn) from pii.people
select length(ssn) from pii.people
select octet_length(ssn) from pii.people
select char_length(ssn) from pii.people
select strpos(ssn, 'a') from pii.people
select position('a' in ssn) from pii.people
select ssn = 'a' from pii.people
select ssn like 'a%' from pii.people
select ssn ~ '^a' from pii.people
select ssn > 'm' from pii.people
select starts_with(ssn, 'a') from pii.people
select array_position(array[ssn], 'a') from pii.people
select upper(s.coalesce) from (select coalesce(ssn, '') from pii.people) s
select lower(s."case") from (select case when id = 1 then ssn else note end from pii.people) s
select ((array_agg(p))[1]).ssn || '' from pii.people p
select upper((select q.ssn from pii.people q where q.id = p.id)) from pii.people p
select string_agg(x.v, ',') from pii.people p, lateral (values (p.ssn), (p.note)) x(v)
select upper(v) from pii.people p, jsonb_each_text(to_jsonb(p)) j(k, v)
select upper(v) from pii.people p, jsonb_each_text(jsonb_build_object('a', p.ssn)) j(k, v)
select max(j.value) from pii.people p, json_each_text(row_to_json(p)) j
select first_value(note) over w || last_value(ssn) over w from pii.people window w as ()
select lag(note) over (order by id) || lead(ssn) over (order by id) from pii.people
select t.c from pii.people p, xmltable('/r' passing (xmlelement(name r, p.ssn)) columns c text path '.') t
select (x.r).f2 || '' from (select row(id, ssn) as r from pii.people) x
select upper(g.x) from pii.people p cross join lateral unnest(array[p.ssn, p.note]) with ordinality g(x, n)
select upper(f) from (select unnest(tags) f from pii.people) x
select p.note || n.note from (select ssn as note from pii.people) p join pii.notes n on true
select upper(a || b) from (values ('x', (select ssn from pii.people where id = 1))) v(a, b)
select string_agg(column1, ',') from (values ('x'), ((select ssn from pii.people where id = 1))) v
select count(*) filter (where id = 1) || max(ssn) from pii.people
select exists (select ssn from pii.people), upper((select ssn from pii.people where id = 1))
select array_to_string(array(select ssn from pii.people), ',')
select (select string_agg(o.ssn || n.note, ',') from pii.notes n) from pii.people o
select loud from pii.loud
select upper(loud) from pii.loud
select * from pii.loud
select l from pii.loud l
select row_to_json(l) from pii.loud l
select l from (select loud as l from pii.loud) x
select loud from pii.v_loud
select loud || '' from pii.v_loud
update pii.loud set id = id returning loud, upper(loud)
