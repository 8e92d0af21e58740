//! Statements and what each column of their result can carry.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// `people(id, ssn, city, email)`, `notes(id, note, person)`, `app.log(line)`; a view `v(id, s)`;
/// everything else is unknown.
struct Town;

impl Columns for Town {
    fn of(&self, relation: &RelationName) -> Option<Shape> {
        let (columns, rows): (&[&str], Rows) = match (relation.schema.as_deref(), &*relation.name) {
            (None | Some("app"), "people") => (&["id", "ssn", "city", "email"], Rows::Stored),
            (None | Some("app"), "notes") => (&["id", "note", "person"], Rows::Stored),
            (Some("app"), "log") => (&["line"], Rows::Stored),
            (None | Some("app"), "v") => (&["id", "s"], Rows::Computed),
            _ => return None,
        };
        Some(Shape {
            columns: columns.iter().map(|name| Arc::from(*name)).collect(),
            rows,
        })
    }
}

fn shown(carried: &Carried) -> String {
    match carried {
        Carried::Unknown => "?".to_owned(),
        Carried::Of(bases) if bases.is_empty() => "-".to_owned(),
        Carried::Of(bases) => {
            let one = |base: &Base| format!("{}.{}", base.relation.name, base.column);
            bases.iter().map(one).collect::<Vec<_>>().join("+")
        }
    }
}

/// `a b | c` in words: columns parted by blanks; behind `each` what each of them carries.
fn lineage(text: &str) -> String {
    match trace(Dialect::Postgres, text, &Town) {
        Lineage::Each(carried) => format!("each {}", shown(&carried)),
        Lineage::Columns(columns) => {
            let all: Vec<String> = columns.iter().map(|c| shown(&c.carried)).collect();
            all.join(" ")
        }
    }
}

const PEOPLE: &str = "people.city+people.email+people.id+people.ssn";
const NOTES: &str = "notes.id+notes.note+notes.person";

#[test]
fn each_column_carries_what_stands_in_it() {
    let mut wrong = Vec::new();
    for (text, want) in [
        ("select 1, 'a', $1, now(), current_user", "- - - - -"),
        (
            "select count(*), upper(city), id + 1 from people",
            "- people.city people.id",
        ),
        (
            "select ssn as city, city as ssn from people",
            "people.ssn people.city",
        ),
        (
            "select p.ssn, people2.id from people p, notes people2",
            "people.ssn notes.id",
        ),
        ("select app.people.ssn from app.people", "people.ssn"),
        ("select app.people.ssn from people", "people.ssn"),
        ("select x.people.ssn from app.people", "?"),
        ("select db.app.people.ssn from app.people", "people.ssn"),
        ("select * from notes", "notes.id notes.note notes.person"),
        ("table notes", "notes.id notes.note notes.person"),
        (
            "select n.*, p.id from people p, notes n",
            "notes.id notes.note notes.person people.id",
        ),
        (
            "select app.notes.* from app.notes",
            "notes.id notes.note notes.person",
        ),
        ("select ctid, n.xmin, tableoid from notes n", "- - -"),
        ("select nothing from people", "?"),
        ("select p.nothing from people p", "?"),
        ("select q.ssn from people p", "?"),
        ("select people.ssn from people p", "?"),
        // Casts, conditions, calls.
        (
            "select ssn::varchar, cast(id as text), city collate \"C\" from people",
            "people.ssn people.id people.city",
        ),
        ("select ssn::app.words from people", "?"),
        (
            "select case when ssn > 'a' then city else 'x' end, case city when 'a' then 1 end from people",
            "people.city+people.ssn people.city",
        ),
        (
            "select coalesce(city, email), nullif(id, 1), greatest(id, 2), city is null from people",
            "people.city+people.email people.id people.id people.city",
        ),
        (
            "select city || ssn, id between 1 and 2, city like 'a%', id in (1, 2) from people",
            "people.city+people.ssn people.id people.city people.id",
        ),
        (
            "select id operator(pg_catalog.+) 1, id operator(app.+) 1 from people",
            "people.id ?",
        ),
        (
            "select array[id, 2], row(city, 1), (array[ssn])[id] from people",
            "people.id people.city people.id+people.ssn",
        ),
        (
            "select app.f(1), f(1), currval('s'), current_setting('app.x'), pg_catalog.lower('A')",
            "? ? ? ? -",
        ),
        (
            "select query_to_xml('select ssn from people', true, true, '')",
            "?",
        ),
        (
            "select json_object('a': ssn), json_scalar(1), merge_action() from people",
            "? ? ?",
        ),
        (
            "select xmlforest(ssn as a, city), xmlelement(name x, email) from people",
            "people.city+people.ssn people.email",
        ),
        ("select system_user from people", "?"),
        // Aggregates and windows.
        (
            "select count(ssn), count(distinct ssn), count(id), max(city) from people",
            "people.ssn people.ssn people.id people.city",
        ),
        (
            "select count(*) filter (where ssn = 'a'), string_agg(city, ',' order by email) from people",
            "people.ssn people.city+people.email",
        ),
        (
            "select rank() over (partition by city order by ssn), lag(id, 1) over w from people window w as (order by email)",
            "people.city+people.ssn people.email+people.id",
        ),
        (
            "select sum(id) over (w rows 1 preceding) from people window w as (partition by ssn)",
            "people.id+people.ssn",
        ),
        (
            "select percentile_cont(0.5) within group (order by id) from people",
            "people.id",
        ),
        (
            "select grouping(city), city from people group by rollup (city)",
            "people.city people.city",
        ),
        // Whole rows.
        ("select n from notes n", NOTES),
        ("select notes from notes", NOTES),
        (
            "select row_to_json(n), to_jsonb(n.*) from notes n",
            &format!("{NOTES} {NOTES}"),
        ),
        ("select (n).note from notes n", NOTES),
        ("select (n).* from notes n", &format!("each {NOTES}")),
        ("select array_agg(n) from notes n, people p", NOTES),
        ("select (n).currval from notes n", "?"),
        // Subqueries.
        (
            "select x.a from (select city as a, ssn as b from people) x",
            "people.city",
        ),
        (
            "select b from (select city, ssn from people) x(a, b)",
            "people.ssn",
        ),
        (
            "select a, b from (select city, ssn from people) x(a, b)",
            "people.city people.ssn",
        ),
        ("select city from (select * from people) x", "people.city"),
        ("select a from (select * from people) x(a)", PEOPLE),
        ("select x.a from people x(i, a)", PEOPLE),
        // A column of that name may have come a moment ago.
        ("select a from (select 1 a) x, people", "people.a"),
        ("select city from people x(i, a)", PEOPLE),
        (
            "select upper(x.city) from (select p.* from people p) x",
            "people.city",
        ),
        (
            "select upper from (select upper(city) from people) x",
            "people.city",
        ),
        (
            "select x.upper, x.lower from (select upper(city), lower(ssn), id from people) x",
            "people.city+people.id+people.ssn people.city+people.id+people.ssn",
        ),
        ("select (select city from people limit 1)", "people.city"),
        ("select (select p.city) from people p", "people.city"),
        (
            "select (select note from notes where person = ssn) from people",
            "notes.note",
        ),
        ("select array(select city from people)", "people.city"),
        (
            "select exists (select 1 from people where ssn = 'a'), exists (select * from people)",
            "people.ssn -",
        ),
        (
            "select exists (select 1 from (select 1 from people where ssn = 'a') x)",
            "people.ssn",
        ),
        (
            "select exists (select 1 from people p join notes n on n.note = p.ssn)",
            "notes.note+people.ssn",
        ),
        (
            "select exists (select 1 from people natural join notes)",
            "notes.id+people.id",
        ),
        (
            "select id in (select person from notes where note = 'a') from people",
            "notes.note+notes.person+people.id",
        ),
        (
            "select id = any (select person from notes), (id, 1) < all (select person, 1 from notes) from people",
            "notes.person+people.id notes.person+people.id",
        ),
        (
            "select x.ssn from people p, lateral (select p.ssn) x",
            "people.ssn",
        ),
        // Without LATERAL it is another p, and there is none.
        ("select x.a from people p, (select p.city as a) x", "?"),
        (
            "select (select x.a from notes p, (select p.city as a) x) from people p",
            "people.city",
        ),
        (
            "select (select x.a from notes p, lateral (select p.note as a) x) from people p",
            "notes.note",
        ),
        // CTEs.
        (
            "with w as (select city c, ssn s from people) select c from w",
            "people.city",
        ),
        (
            "with w(a, b) as (select city, ssn from people) select b, a from w",
            "people.ssn people.city",
        ),
        (
            "with w(a) as (select * from people) select a from w",
            PEOPLE,
        ),
        (
            "with people as (select note as ssn from notes) select ssn from people",
            "notes.note",
        ),
        (
            "with people as (select note as ssn from notes) select ssn from app.people",
            "people.ssn",
        ),
        (
            "with people as (select ssn from people) select ssn from people",
            "people.ssn",
        ),
        (
            "with a as (select ssn x from people), b as (select x y from a) select y z from b",
            "people.ssn",
        ),
        (
            "with a as (with b as (select ssn q, city from people) select city from b) select * from a",
            "people.city",
        ),
        (
            "select (with w as (select p.city c) select c from w) from people p",
            "people.city",
        ),
        (
            "with recursive w(a, n) as (select city, 1 from people union all select a, n + 1 from w where n < 2) select a, n from w",
            "people.city -",
        ),
        (
            "with recursive w(a, b, c) as (select city, 1, ssn from people union all select c, b, a from w) select a, b, c from w",
            "people.city+people.ssn - people.city+people.ssn",
        ),
        (
            "with recursive w as (select city, 1 n from people union all select * from w) select city, n from w",
            "people.city -",
        ),
        (
            "with recursive w(a, b, c, d) as (select ssn, '', '', '' from people union all select a, a, b, c from w) select d, a from w",
            "people.ssn people.ssn",
        ),
        (
            "with recursive a as (select x from b), b as (select city as x from people) select x from a",
            "people.city",
        ),
        (
            "with recursive w(id) as (select id from people union select id from w) search depth first by id set o select id, o from w",
            "people.id people.id",
        ),
        (
            "with d as (delete from notes returning note) select upper(note) from d",
            "notes.note",
        ),
        // Set operations.
        (
            "select ssn, 1 from people union select note, id from notes",
            "notes.note+people.ssn notes.id",
        ),
        (
            "select a from (select ssn a, city b from people union all select note, note from notes) x",
            "notes.note+people.ssn",
        ),
        (
            "select city from people union all select note from notes",
            "notes.note+people.city",
        ),
        (
            "select id, note, 1 from notes union select * from notes",
            &format!("{NOTES} {NOTES} {NOTES}"),
        ),
        (
            "select city from people except select ssn from people",
            "people.city+people.ssn",
        ),
        (
            "values (1, 'a'), ((select id from people), ssn)",
            "people.id ?",
        ),
        (
            "values (1, 'a'), ((select id from people), 'b')",
            "people.id -",
        ),
        ("select column1 from (values (1, 2)) x", "-"),
        ("select x.b from people, (values (1, 2)) x(a, b)", "-"),
        // Joins.
        (
            "select id, note from people join notes using (id)",
            "notes.id+people.id notes.note+people.note",
        ),
        (
            "select * from notes a join notes b using (id)",
            "notes.id notes.note notes.person notes.note notes.person",
        ),
        (
            "select * from people natural join notes",
            "notes.id+people.id people.ssn people.city people.email notes.note notes.person",
        ),
        (
            "select * from people full join notes using (id)",
            "notes.id+people.id people.ssn people.city people.email notes.note notes.person",
        ),
        (
            "select j.id from people join notes using (id) as j",
            "notes.id+people.id",
        ),
        ("select j.ssn from people join notes using (id) as j", "?"),
        (
            "select j.city, j.id from (people join notes using (id)) as j",
            "people.city notes.id+people.id",
        ),
        (
            "select p.city from (people p join notes using (id)) as j",
            "?",
        ),
        (
            "select upper(p.city) from people p left join notes n on n.note = p.ssn",
            "people.city",
        ),
        (
            "select n.note from people p cross join lateral (select note from notes where person = p.id) n",
            "notes.note",
        ),
        (
            "select city from people tablesample system (10)",
            "people.city",
        ),
        // A merged column is whichever side the join takes it from.
        (
            "select upper(note) from people p, (notes n right join json_to_record(to_json(p.ssn)) as r(note text) using (note))",
            "notes.note+people.note+people.ssn",
        ),
        (
            "select upper from notes n(id, upper) right join (select upper(ssn) from people) r using (upper)",
            "notes.id+notes.note+notes.person+notes.upper+people.ssn",
        ),
        (
            "select upper from notes n(id, upper) natural right join (select upper(ssn) from people) r",
            "notes.id+notes.note+notes.person+notes.upper+people.ssn",
        ),
        (
            "select * from notes n(id, upper) natural right join (select upper(ssn) from people) r",
            "each notes.id+notes.note+notes.person+people.ssn",
        ),
        // Functions in FROM.
        (
            "select g, g.g, upper(city) from people, generate_series(1, 3) g",
            "- - people.city",
        ),
        (
            "select g.x from people, unnest(array[ssn]) g(x)",
            "people.ssn",
        ),
        (
            "select g.x, count(*), upper(city) from people, unnest(array[ssn]) g(x)",
            "people.ssn people.ssn people.city+people.ssn",
        ),
        (
            "select count(*) from (select city from people, unnest(array[ssn])) x",
            "people.ssn",
        ),
        ("select * from json_each('{}') j", "each -"),
        (
            "select j.key, o from people, json_each(row_to_json(people)) with ordinality j(k, v, o)",
            &format!("{PEOPLE} {PEOPLE}"),
        ),
        // The server names them; what is named so outside is another.
        (
            r#"select (select "coalesce"."coalesce" from coalesce(p.ssn, ''))
               from people p, (select 'a'::text as "coalesce") "coalesce""#,
            "people.ssn",
        ),
        (
            r#"select (select "upper"."upper" from rows from (upper(p.ssn), lower('x')))
               from people p, (select 'a'::text as "upper") "upper""#,
            "people.ssn",
        ),
        (
            "select (select j.x from json_table(to_jsonb(p.ssn), '$' columns (x text path '$')) j)
             from people p, (select 'a'::text as x) j",
            "?",
        ),
        // What makes rows is counted.
        (
            "select count(*) from (select (email).unnest from people) s",
            "people.email",
        ),
        (
            "select count(*) from (select generate_series(1, id) from people) s",
            "people.id",
        ),
        (
            "with recursive r(id, k) as (select id, ssn from people union all select id, '5' from r)
             cycle k set c using p select count(*) from r",
            "people.id+people.ssn",
        ),
        ("select upper(xmin::text) from v", "?"),
        ("select upper(xmin::text) from people", "-"),
        ("select x from app.f(1) x", "?"),
        ("select x.a from json_to_record('{}') as x(a int)", "-"),
        (
            "select x.a from json_to_record('{}') as x(a app.words)",
            "?",
        ),
        (
            "select x.c from people, xmltable('/a' passing (ssn::xml) columns c text) x",
            "people.ssn",
        ),
        // Views are columns of their own here.
        ("select s, upper(s) from v", "v.s v.s"),
        // What nobody knows hides what could be its.
        ("select * from people, nowhere", "each ?"),
        (
            "select p.city, city, nowhere.city from people p, nowhere",
            "people.city nowhere.city+people.city ?",
        ),
        // Changes.
        (
            "insert into notes (note) values ('a') returning id, note, upper(note), 1",
            "notes.id notes.note notes.note -",
        ),
        (
            "insert into notes (note) select city from people returning *",
            "notes.id+people.city notes.note+people.city notes.person+people.city",
        ),
        (
            "insert into notes values (1, 'a') on conflict (id) do update set note = excluded.note || notes.note returning id",
            "notes.id+notes.note",
        ),
        (
            "update notes n set note = p.city from people p returning n.id, p.ssn, upper(n.note)",
            "notes.id+people.city people.ssn notes.note+people.city",
        ),
        (
            "delete from notes using people p where person = p.id returning notes.note, p.*",
            "notes.note people.id people.ssn people.city people.email",
        ),
        (
            "update notes set note = 'a' returning old.note, new.note, old",
            &format!("notes.note notes.note {NOTES}"),
        ),
        (
            "update notes set note = 'a' returning with (old as o) o.note",
            "notes.note",
        ),
        (
            "merge into notes n using people p on p.id = n.person when matched then update set note = p.city returning upper(n.note), p.email",
            "notes.note+people.city people.email",
        ),
        (
            "merge into notes n using people p on p.id = n.person when matched then delete returning *",
            &format!("each {NOTES}+{PEOPLE}"),
        ),
        ("insert into v (id) values (1) returning s", "?"),
        ("delete from notes", ""),
        // What returns other things, or nothing that is known.
        ("explain select city from people", "each ?"),
        ("select city into other from people", "each ?"),
        ("fetch all from c", "each ?"),
        ("execute p", "each ?"),
        ("declare c cursor for select city from people", "each ?"),
        ("copy (select city from people) to stdout", "people.city"),
        ("copy people (ssn, id) to stdout", "people.ssn people.id"),
        ("copy notes to stdout", &format!("each {NOTES}")),
        ("copy people (nothing) to stdout", "each ?"),
        ("copy people from stdin", "each ?"),
        ("show work_mem", "each ?"),
        ("call app.p()", "each ?"),
        ("select 1; select 2", "each ?"),
        ("", "each ?"),
        ("select (", "each ?"),
    ] {
        let said = lineage(text);
        if said != want {
            wrong.push(format!("{text}\n    {said}\n    {want}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_names_of_a_result_are_told_where_they_are_sure() {
    let text = "select id, city as c, upper(city), p.* from people p";
    let lineage = trace(Dialect::Postgres, text, &Town);
    let names = |names: &'static [&'static str]| lineage.fit(names.iter().copied());
    let good = ["id", "c", "upper", "id", "ssn", "city", "email"];
    assert!(lineage.fit(good.into_iter()).is_some());
    for other in [
        &["id", "c", "upper", "id", "city", "ssn", "email"][..],
        &["id", "d", "upper", "id", "ssn", "city", "email"],
        &["id", "c", "upper", "id", "ssn", "city"],
        &[],
    ] {
        assert_eq!(names(other), None, "{other:?}");
    }
    let each = Lineage::unknown();
    let fits = each.fit(["a", "b"].into_iter());
    assert_eq!(fits, Some(vec![&Carried::Unknown; 2]));
}

#[test]
fn what_would_take_too_many_steps_is_unknown() {
    let many = |piece: &str, n: usize| vec![piece; n].join(", ");
    let mut nested = "select ssn a, city b from people".to_owned();
    for _ in 0..20 {
        nested = format!("select a, b from ({nested}) x union all select b, a from ({nested}) y");
        if nested.len() > 60_000 {
            break;
        }
    }
    for text in [
        format!("select {} from people", many("*", 9_000)),
        format!("select {} from people", many("array_agg(people)", 3_000)),
        nested,
        format!("select '{}'", "a".repeat(MAX_TRACED)),
        format!("select {}1{}", "(".repeat(3000), ")".repeat(3000)),
    ] {
        let _any = trace(Dialect::Postgres, &text, &Town);
    }
    let doubled = |n: usize| match n {
        0 => "c0 as (select *, * from people)".to_owned(),
        n => format!("c{n} as (select *, * from c{})", n - 1),
    };
    let wide: Vec<String> = (0..30).map(doubled).collect();
    let text = format!("with {} select * from c29", wide.join(", "));
    let began = std::time::Instant::now();
    assert_eq!(trace(Dialect::Postgres, &text, &Town), Lineage::unknown());
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
}

/// A query of known columns: its text, and for each column its name and what it truly carries.
#[derive(Clone, Debug)]
struct Known {
    text: String,
    columns: Vec<(String, BTreeSet<&'static str>)>,
}

fn base() -> impl Strategy<Value = Known> {
    let pick = proptest::sample::subsequence(vec!["id", "ssn", "city", "email"], 1..=4);
    (pick, 0..3_usize).prop_map(|(columns, how)| {
        let set = |name: &'static str| BTreeSet::from([name]);
        let listed = columns.join(", ");
        match how {
            0 => Known {
                text: format!("select {listed} from people"),
                columns: columns.iter().map(|c| ((*c).to_owned(), set(c))).collect(),
            },
            1 => Known {
                text: "select * from people".to_owned(),
                columns: ["id", "ssn", "city", "email"]
                    .iter()
                    .map(|c| ((*c).to_owned(), set(c)))
                    .collect(),
            },
            _ => {
                let renamed: Vec<String> = columns
                    .iter()
                    .enumerate()
                    .map(|(n, c)| format!("p.{c} as c{n}"))
                    .collect();
                Known {
                    text: format!("select {} from people p", renamed.join(", ")),
                    columns: columns
                        .iter()
                        .enumerate()
                        .map(|(n, c)| (format!("c{n}"), set(c)))
                        .collect(),
                }
            }
        }
    })
}

/// One more construct around a query, or around two.
fn around(one: Known, other: Known, how: u8, at: usize) -> Known {
    let n = one.columns.len();
    let names: Vec<String> = (0..n).map(|n| format!("k{n}")).collect();
    let at = at % n;
    let (picked, carried) = one.columns[at].clone();
    let unique = one
        .columns
        .iter()
        .filter(|(name, _)| *name == picked)
        .count()
        == 1;
    let renamed = |columns: &[(String, BTreeSet<&'static str>)]| {
        let sets = columns.iter().map(|(_, set)| set.clone());
        names.iter().cloned().zip(sets).collect::<Vec<_>>()
    };
    let (a, b) = (&one.text, &other.text);
    match how {
        // By place.
        0 => Known {
            text: format!("select * from ({a}) x({})", names.join(", ")),
            columns: renamed(&one.columns),
        },
        1 => Known {
            text: format!("with w({}) as ({a}) select * from w", names.join(", ")),
            columns: renamed(&one.columns),
        },
        // By name.
        2 if unique => Known {
            text: format!("select x.{picked} as q, 1 as one from ({a}) x"),
            columns: vec![
                ("q".to_owned(), carried),
                ("one".to_owned(), BTreeSet::new()),
            ],
        },
        3 if unique => Known {
            text: format!("select upper({picked}::text) as q from ({a}) x where true"),
            columns: vec![("q".to_owned(), carried)],
        },
        4 => {
            let (second, more) = other.columns[at % other.columns.len()].clone();
            let both: BTreeSet<_> = carried.union(&more).copied().collect();
            if !unique || other.columns.iter().filter(|(c, _)| *c == second).count() != 1 {
                return one;
            }
            Known {
                text: format!(
                    "select coalesce((select x.{picked}::text from ({a}) x limit 1), y.{second}::text) as q \
                     from ({b}) y"
                ),
                columns: vec![("q".to_owned(), both)],
            }
        }
        5 if other.columns.len() == n => Known {
            text: format!("({a}) union all ({b})"),
            columns: one
                .columns
                .iter()
                .zip(&other.columns)
                .map(|((name, set), (_, more))| (name.clone(), set.union(more).copied().collect()))
                .collect(),
        },
        6 => Known {
            text: format!("select x.*, y.* from ({a}) x, lateral ({b}) y"),
            columns: [one.columns.clone(), other.columns.clone()].concat(),
        },
        7 if unique => Known {
            text: format!(
                "with recursive w(q, r) as (select x.{picked}::text, 'r' from ({a}) x \
                 union select r, q from w) select q, r from w"
            ),
            columns: vec![("q".to_owned(), carried.clone()), ("r".to_owned(), carried)],
        },
        8 => Known {
            text: format!("select row_to_json(x) as q, count(*) over () as n from ({a}) x"),
            columns: vec![
                (
                    "q".to_owned(),
                    one.columns
                        .iter()
                        .flat_map(|(_, set)| set.clone())
                        .collect(),
                ),
                ("n".to_owned(), BTreeSet::new()),
            ],
        },
        9 if unique => Known {
            text: format!(
                "select case when x.{picked} is null then 1 else 2 end as q, \
                 array(select y.{picked} from ({a}) y) as r from ({a}) x"
            ),
            columns: vec![("q".to_owned(), carried.clone()), ("r".to_owned(), carried)],
        },
        10 if unique => Known {
            text: format!(
                "select j.{picked} as q from (({a}) x cross join ({b}) y) as j({})",
                {
                    let more = (0..other.columns.len()).map(|n| format!("o{n}"));
                    let mut all: Vec<String> = one.columns.iter().map(|(c, _)| c.clone()).collect();
                    all.extend(more);
                    all.join(", ")
                }
            ),
            columns: vec![("q".to_owned(), carried)],
        },
        _ => one,
    }
}

fn known() -> impl Strategy<Value = Known> {
    base().prop_recursive(5, 24, 2, |inner| {
        (inner.clone(), inner, 0..11_u8, any::<usize>())
            .prop_map(|(one, other, how, at)| around(one, other, how, at))
    })
}

proptest! {
    #[test]
    fn whatever_is_nested_no_column_carries_more_than_is_said(known in known()) {
        let lineage = trace(Dialect::Postgres, &known.text, &Town);
        let carried = lineage.fit(known.columns.iter().map(|(name, _)| name.as_str()));
        let carried = carried.ok_or_else(|| TestCaseError::fail(known.text.clone()))?;
        for ((name, truth), said) in known.columns.iter().zip(carried) {
            // Nothing in there is beyond the engine.
            let Carried::Of(bases) = said else {
                return Err(TestCaseError::fail(format!("{name} of {}", known.text)));
            };
            let said: BTreeSet<&str> = bases.iter().map(|base| &*base.column).collect();
            prop_assert!(
                truth.iter().all(|column| said.contains(column)),
                "{} of {}: {:?} of {:?}", name, known.text, said, truth
            );
        }
    }
}
