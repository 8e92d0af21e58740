-- What the statements of both corpora are about. The policies speak of the schemas app and public;
-- hr and evil are nobody's business.
create schema app;
create schema hr;
create schema evil;

create type app.state as enum ('new', 'paid', 'sent', 'closed');
create domain app.sku as text check (value ~ '^[A-Z]+-[0-9]+$');
create table app.customers (
  id serial primary key, name text not null, email text unique, address jsonb not null default '{}',
  tags text[] not null default '{}', active boolean not null default true,
  created_at timestamptz not null default now(), updated_at timestamp, lock_version int not null default 0);
create table app.orders (
  id bigserial primary key, customer_id int references app.customers (id), state app.state not null default 'new',
  total numeric(12, 2) not null default 0, note text, placed_at timestamptz not null default '2026-01-01', data jsonb);
create table app.items (
  order_id bigint not null references app.orders (id) on delete cascade, line int not null,
  sku app.sku not null, quantity int not null default 1, price numeric(12, 2) not null,
  primary key (order_id, line));
create table app.events (id uuid primary key default gen_random_uuid(), kind text not null, body bytea, at timestamptz default now());
create table app.counters (name text primary key, value bigint not null default 0);
create table app.measures (at date not null, what text not null, value double precision) partition by range (at);
create table app.measures_2026 partition of app.measures for values from ('2026-01-01') to ('2027-01-01');
create table app.measures_rest partition of app.measures default;
create table app.documents (id int generated always as identity primary key, title text, body text,
  words tsvector generated always as (to_tsvector('english', coalesce(title, '') || ' ' || coalesce(body, ''))) stored,
  parent_id int references app.documents (id));
create index orders_by_customer on app.orders (customer_id, placed_at desc);
create index customers_by_name on app.customers (lower(name));
create index documents_by_words on app.documents using gin (words);
create view app.open_orders as select * from app.orders where state <> 'closed';
create materialized view app.totals as select customer_id, sum(total) as total from app.orders group by 1;
create sequence app.tickets;
create table public.settings (key text primary key, value text);
create table public."Users" (id serial primary key, "firstName" text, "createdAt" timestamp(3) not null default '2026-01-01');
create table public.django_session (session_key varchar(40) primary key, session_data text not null, expire_date timestamptz not null);
create table public.schema_migrations (version varchar primary key);

insert into app.customers (name, email, address, tags, created_at)
  select 'Customer ' || g, 'c' || g || '@example.test', jsonb_build_object('city', case when g % 2 = 0 then 'Ulm' else 'Trier' end, 'zip', g),
    array['t' || g % 3], '2026-01-01'::timestamptz + g * interval '1 day' from generate_series(1, 20) g;
insert into app.orders (customer_id, state, total, note, placed_at, data)
  select g % 20 + 1, (array['new', 'paid', 'sent', 'closed'])[g % 4 + 1]::app.state, g, 'order ' || g,
    '2026-01-01'::timestamptz + g * interval '1 hour', jsonb_build_object('n', g) from generate_series(1, 1500) g;
insert into app.items select o.id, l, 'SKU-' || l, l, 10 * l from app.orders o, generate_series(1, 2) l where o.id <= 100;
insert into app.counters select 'counter ' || g, g from generate_series(1, 5) g;
insert into app.measures select '2026-01-01'::date + g, 'heat', g / 2.0 from generate_series(1, 30) g;
insert into app.documents (title, body) select 'Document ' || g, 'the quick brown fox ' || g from generate_series(1, 10) g;
insert into app.events (id, kind, body, at) select md5(g::text)::uuid, 'login', decode('00ff', 'hex'), '2026-01-01' from generate_series(1, 5) g;
insert into public.settings values ('colour', 'blue'), ('size', 'XL');
insert into public."Users" ("firstName") values ('Ada'), ('Grace');
insert into public.schema_migrations values ('20260101000000');
insert into public.django_session values ('abc', 'e30:x', '2027-01-01');
refresh materialized view app.totals;

create table hr.people (id serial primary key, name text not null, salary int not null);
create table hr.audit (n int, at timestamptz default '2026-01-01');
create table hr.orders (id bigint primary key, note text);
create view hr.everybody as select * from hr.people;
create materialized view hr.payroll as select sum(salary) from hr.people;
create sequence hr.numbers;
insert into hr.people (name, salary) select 'Person ' || g, 1000 * g from generate_series(1, 5) g;
insert into hr.audit values (1), (2);
insert into hr.orders values (1, 'not yours'), (2, 'nor this');

-- Code of the owner's, that changes what the policies do not speak of.
create function app.wipe() returns int language plpgsql as 'begin delete from hr.people; return 1; end';
create function app.wipe(anyelement) returns anyelement language plpgsql as 'begin delete from hr.people; return $1; end';
create function app.wipe_rows() returns setof int language plpgsql as 'begin delete from hr.people; return next 1; end';
create function app.wipe_two(int, int) returns boolean language plpgsql as 'begin delete from hr.people; return true; end';
create function app.wipe_all(variadic int[]) returns int language plpgsql as 'begin delete from hr.people; return 1; end';
create function app.wipe_text(text) returns text language plpgsql as 'begin execute $1; return $1; end';
create function public.wipe_of(app.customers) returns int language plpgsql as 'begin delete from hr.people; return 1; end';
create function public.bump(int) returns int language plpgsql as 'begin insert into hr.audit values ($1); return $1; end';
create function evil.lower(text) returns text language plpgsql as 'begin delete from hr.people; return $1; end';
create function evil.count(int) returns int language plpgsql as 'begin delete from hr.people; return 1; end';
create function evil.step(int, int) returns int language plpgsql as 'begin delete from hr.people; return 1; end';
create function evil.handler() returns trigger language plpgsql as 'begin delete from hr.people; return new; end';
create procedure app.purge() language plpgsql as 'begin delete from hr.people; end';
create procedure app.purge(inout n int) language plpgsql as 'begin delete from hr.people; n := 0; end';
create operator app.!!! (function = app.wipe_two, leftarg = int, rightarg = int);
create operator evil.+ (function = app.wipe_two, leftarg = int, rightarg = int);
create aggregate app.sweep(int) (sfunc = evil.step, stype = int, initcond = '0');
create function evil.no_harm(text) returns boolean language plpgsql as 'begin delete from hr.people; return true; end';
create domain app.trap as text check (evil.no_harm(value));
create domain public.snare as text check (evil.no_harm(value));
create type app.pair as (a int, b int);
create function app.as_pair(int) returns app.pair language plpgsql as 'begin delete from hr.people; return row($1, $1)::app.pair; end';
create cast (int as app.pair) with function app.as_pair(int);
create table app.old (n int);
create table hr.parent (n int);
create table hr.child () inherits (hr.parent);
insert into hr.parent values (1);
insert into hr.child values (2);
select lo_from_bytea(424242, 'large');
create role victim;
create role staff;
grant select on hr.people to staff;
create publication news for table hr.people;
comment on table hr.people is 'people';
