# X2: documents that are masked by path, and values of other types than text.
select doc from pii.papers
select txt from pii.papers
select * from pii.papers
table pii.papers
select doc as kept, txt as id from pii.papers
select p from pii.papers p
select (p).doc from pii.papers p
select doc -> 'k' from pii.papers
select doc -> 'k' ->> 'ssn' from pii.papers
select doc ->> 'list' from pii.papers
select doc #> '{list,0}' from pii.papers
select doc['k']['ssn'] from pii.papers
select doc - 'kept' from pii.papers
select doc || '{"more": 1}' from pii.papers
select doc::text from pii.papers
select doc::json from pii.papers
select txt::jsonb from pii.papers where id = 1
select replace(txt, 'ssn', 'open') from pii.papers
select upper(txt) from pii.papers
select jsonb_pretty(doc) from pii.papers
select jsonb_strip_nulls(doc) from pii.papers
select jsonb_each_text(doc) from pii.papers
select e.* from pii.papers p, jsonb_each(p.doc) e
select e.value from pii.papers p, jsonb_each_text(p.doc) e
select e from pii.papers p, jsonb_array_elements(p.doc -> 'list') e where p.id = 1
select r.ssn from pii.papers p, jsonb_to_record(p.doc -> 'k') as r(ssn text)
select jsonb_path_query(doc, '$.**.ssn') from pii.papers
select jsonb_path_query_array(doc, '$.*') from pii.papers
select jsonb_build_object('other', doc) from pii.papers
select jsonb_build_object('open', doc -> 'k' -> 'ssn') from pii.papers
select jsonb_set(doc, '{open}', doc -> 'k' -> 'ssn') from pii.papers where id = 1
select jsonb_insert(doc, '{open}', doc -> 'list') from pii.papers where id = 1
select array[doc] from pii.papers
select array_agg(doc) from pii.papers
select jsonb_agg(doc) from pii.papers
select jsonb_object_agg(id, doc) from pii.papers
select to_jsonb(p) from pii.papers p
select row_to_json(p) from pii.papers p
select coalesce(doc, '{}') from pii.papers
select d.doc from (select doc from pii.papers) d
select d.x from (select doc as x from pii.papers union all select '{}') d
with w as (select doc as open from pii.papers) select open from w
update pii.papers set id = id returning doc, txt, tags, amount, spot, raw
update pii.papers set txt = doc::text returning id
update pii.papers set tags = array[txt] returning tags
insert into pub.log select txt from pii.papers
insert into pii.papers (id, doc) select 9, jsonb_build_object('open', doc) from pii.papers where id = 1 returning doc
begin ;; declare c cursor for select doc, txt, amount, spot, raw, tags from pii.papers ;; fetch all c ;; rollback
begin ;; declare c binary cursor for select doc, txt, amount, spot, raw, tags from pii.papers ;; fetch all c ;; rollback
prepare s as select doc, amount, spot from pii.papers ;; execute s
select id from pii.papers where doc @> '{"k": {}}'
select id from pii.papers where doc ? 'kept'
select id from pii.papers order by doc
select tags from pii.papers
select tags[1] from pii.papers
select tags[1:1] from pii.papers
select unnest(tags) from pii.papers
select array_to_string(tags, ',') from pii.papers
select tags || 'x'::text from pii.papers
select array_cat(tags, tags) from pii.papers
select t from pii.papers p, unnest(p.tags) t
select amount from pii.papers
select amount + 0 from pii.papers
select amount::text from pii.papers
select amount::float8 from pii.papers
select trunc(amount), abs(amount), -amount from pii.papers
select sum(amount), min(amount), max(amount), avg(amount) from pii.papers
select to_char(amount, 'FM9999999999999') from pii.papers
select amount % 10 ^ 12 from pii.papers
select spot from pii.papers
select host(spot), text(spot), abbrev(spot) from pii.papers
select network(spot), broadcast(spot), spot + 1 from pii.papers
select spot::cidr from pii.papers where id = 2
select raw from pii.papers
select encode(raw, 'hex'), encode(raw, 'base64'), encode(raw, 'escape') from pii.papers
select convert_from(raw, 'UTF8') from pii.papers
select raw || 'x' from pii.papers
select substring(raw from 1 for 8) from pii.papers
select sha256(raw), md5(raw) from pii.papers
select due from pii.papers
copy pii.papers to stdout
copy (select doc from pii.papers) to stdout
copy (select amount, spot, raw from pii.papers) to stdout (format binary)
begin ;; set local bytea_output = escape ;; select raw, array[raw] from pii.papers ;; rollback
