create schema pii;
create schema pub;
create type pii.pair as (a int, b text);
create domain pii.words as text;
create domain pii.short as varchar check (length(value) < 3);
create table pii.people (
    id int primary key, ssn text, email text unique, num bigint, born date, key uuid, blob bytea, tags text[],
    doc jsonb, w pii.words, both_of pii.pair, note varchar(60), must text not null default 'm' check (must <> ''),
    small smallint
);
create table pii.member (extra text) inherits (pii.people);
create table pii.notes (id int primary key, note text);
create table pii.uniq (a text unique);
create table pii.part (id int, ssn text) partition by list (id);
create table pii.part_one partition of pii.part for values in (1);
create table pii.loud (id int, ssn text, loud text generated always as (upper(ssn)) stored);
create table pii.papers (
    id int primary key, doc jsonb, txt text, tags text[], amount numeric, spot inet, raw bytea, due interval
);
create table pub.log (line text unique);
create table pub.other (line text);
create sequence pub.seq;
insert into pii.people values
    (1, 'Qx7Kz9Vw3LpHm', 'vq9wzxkjhgtrbn@mfdpqz', 7391846205173, '1873-09-27', 'c7e1b94a-53d2-4f86-9a0e-7db1865f3c24',
     'Zt5Gh2NkWq8Xe', array['Ub3Fm9PxLd7Cv'], '{"k": "Ey6Ws2HqRa4Jn"}', 'Oi8Mb5KtVz1Dg', (1, 'Xp2Lc7QyTn9Ws'), 'one'),
    (2, 'Jd4Rn8Tb6YcSf', null, 8420573916284, null, null, null, null, null, null, null, 'two');
insert into pii.member (id, ssn, note) values (4, 'Mk2Gv5XsBq9Nz', 'four');
insert into pii.part values (1, 'Rf4Jx8Bd2VgMk');
insert into pii.loud values (1, 'Rf4Jx8Bd2VgMk');
insert into pii.notes values (1, 'one'), (2, 'two'), (3, 'three');
insert into pii.uniq values ('taken');
insert into pii.papers values
    (1, '{"k": {"ssn": "Wq7Tz3NmXc5Lb"}, "list": [{"ssn": "Wq7Tz3NmXc5Lb"}], "kept": "seen"}',
     '{"k": {"ssn": "Wq7Tz3NmXc5Lb"}, "kept": "seen"}', array['Ub3Fm9PxLd7Cv', null], 5928174630291.5, '8b4d:17e9:3c5f::1/64',
     'Zt5Gh2NkWq8Xe', '7 years 3 days'),
    (2, '{"ssn": ["Wq7Tz3NmXc5Lb"]}', 'ssn Wq7Tz3NmXc5Lb', '{}', -1, null, '', null);
insert into pub.log values ('first');
create table pii.tagged (id int primary key, code text unique, free text);
comment on column pii.tagged.code is 'What opens the door (pii:code)';
insert into pii.tagged values (1, 'Hs5Wb9YcJt3Ln', 'free');
create table pii.sealed (id int primary key, inside text);
comment on table pii.sealed is 'Pii:Sealed';
insert into pii.sealed values (1, 'Vd8Pk4GzTr6Qm');
create view pii.v_tagged as select code as c, free from pii.tagged;
create view pii.v as select ssn as s from pii.people;
create view pii.v_expr as select upper(ssn) as u from pii.people;
create view pii.v_over as select s as o from pii.v;
create view pii.v_star as select * from pii.people;
create view pii.v_row as select p as r from pii.people p;
create view pii.v_union as select ssn as a from pii.people union all select note from pii.notes;
create view pii.v_cte as with w as (select ssn as a from pii.people) select a from w;
create view pii.v_agg as select string_agg(ssn, ',') as a from pii.people;
create view pii.v_part as select ssn as s from pii.part;
create view pii.v_loud as select loud from pii.loud;
create materialized view pii.mat as select ssn as kept from pii.people;
alter schema pii owner to svc;
alter schema pub owner to svc;
alter type pii.pair owner to svc;
alter domain pii.words owner to svc;
alter domain pii.short owner to svc;
do $$ declare r record; begin
    for r in select oid::regclass as name, relkind from pg_class
        where relnamespace in ('pii'::regnamespace, 'pub'::regnamespace) and relkind in ('r', 'p', 'v', 'm', 'S')
    loop
        execute format('alter %s %s owner to svc',
            case r.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'S' then 'sequence' else 'table' end, r.name);
    end loop;
end $$;
analyze;
alter role svc nosuperuser;
