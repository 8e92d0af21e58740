//! What the text says a column is made of, beside what the wire says: through views, generated columns
//! and names, to what is masked in the end.

use std::sync::Arc;

use super::{Attribute, Made, MaskKey, Relations, plan, traced};
use crate::model::{ColumnHead, ColumnOrigin, Dialect, Format, ResultHead, Secret};
use crate::policy::cases::Asker;
use crate::policy::{Decision, Obligations, PolicySet, Trace, decide, parse};
use crate::sql::{Base, RelationName};

/// `sales.customers(id, ssn, city, shout)` with `shout` generated from ssn; `sales.notes(id, note)`;
/// `sales.v(c, s, j)` over customers, of city, ssn and code; `sales.kept` as v; `sales.far`, foreign.
struct Shop;

const NAMES: [(u32, &str, &[&str]); 5] = [
    (1, "customers", &["id", "ssn", "city", "shout"]),
    (2, "notes", &["id", "note"]),
    (3, "v", &["c", "s", "j"]),
    (4, "over", &["cc", "ss"]),
    (5, "far", &["x"]),
];

fn base(table: &str, column: &str) -> Base {
    Base {
        relation: Arc::new(RelationName {
            schema: Some("sales".to_owned()),
            name: table.to_owned(),
        }),
        column: column.into(),
    }
}

impl Relations for Shop {
    fn attribute(&self, relation: u32, number: i16) -> Option<Attribute<'_>> {
        let (_, table, columns) = NAMES.iter().find(|(oid, ..)| *oid == relation)?;
        Some(Attribute {
            schema: "sales",
            table,
            column: columns.get(usize::try_from(number).ok()? - 1)?,
            stored: self.stored(relation),
        })
    }

    fn ancestors(&self, relation: u32) -> Vec<(&str, &str)> {
        match relation {
            3 | 4 => vec![("sales", "customers")],
            _ => Vec::new(),
        }
    }

    fn relation(&self, schema: &str, name: &str) -> Option<u32> {
        let mut known = NAMES.iter().filter(|_| schema == "sales");
        Some(known.find(|(_, table, _)| *table == name)?.0)
    }

    fn name(&self, relation: u32) -> Option<(&str, &str)> {
        let known = NAMES.iter().find(|(oid, ..)| *oid == relation)?;
        Some(("sales", known.1))
    }

    fn columns(&self, relation: u32) -> Option<Vec<Arc<str>>> {
        let known = NAMES.iter().find(|(oid, ..)| *oid == relation)?;
        Some(known.2.iter().map(|name| Arc::from(*name)).collect())
    }

    fn stored(&self, relation: u32) -> bool {
        relation <= 2
    }

    fn made(&self, relation: u32, column: &str) -> Made {
        match (relation, column) {
            (1, "shout") => Made::Of(vec![base("customers", "ssn")]),
            (1 | 2, _) => Made::Stored,
            (3, "c") => Made::Of(vec![base("customers", "city")]),
            (3, "s") => Made::Of(vec![base("customers", "ssn")]),
            (4, "cc") => Made::Of(vec![base("v", "c"), base("notes", "note")]),
            (4, "ss") => Made::Of(vec![base("v", "s")]),
            _ => Made::Unknown,
        }
    }
}

fn obligations(text: &str) -> Arc<Obligations> {
    let mut asker = Asker::default();
    for (_, name, _) in NAMES {
        asker
            .names
            .insert(name.to_owned(), vec!["sales".to_owned()]);
    }
    for view in ["v", "over"] {
        let base = vec![
            "sales.customers".to_owned(),
            "sales.v".to_owned(),
            "sales.notes".to_owned(),
        ];
        asker.reaches.insert(view.to_owned(), base);
    }
    let policy = parse(
        "apiVersion: node-agent/v1\n\
         kind: Policy\n\
         metadata: { name: p }\n\
         mode: enforce\n\
         subjects: [ { groups: [ai-agents] } ]\n\
         targets: [ '*' ]\n\
         rules: [ { name: all, effect: allow, statements: ['*', opaque], tables: ['*.*'], without_where: true } ]\n\
         functions: { allow: ['*'] }\n\
         masks: [ { name: ssn, columns: [sales.customers.ssn], with: { keep_last: 4 }, predicates: allow } ]\n",
        "p.yaml",
    );
    let policy = PolicySet::compile(policy.unwrap()).unwrap();
    match decide(&policy, &asker.question(text).unwrap()) {
        Decision::Allow(allow) => allow.obligations,
        other => panic!("{text}: {other:?}"),
    }
}

/// Columns of a result: name, origin.
type Columns<'a> = &'a [(&'a str, ColumnOrigin)];

const NOWHERE: ColumnOrigin = ColumnOrigin::Unknown;

const fn at(relation: u32, number: i16) -> ColumnOrigin {
    ColumnOrigin::Attribute { relation, number }
}

/// Who masks each column; `-`: nobody. And how often the witnesses disagree.
fn masked(text: &str, columns: Columns<'_>) -> (String, u32) {
    let obligations = obligations(text);
    let lineage = match &obligations.trace {
        Trace::By(names) => traced(Dialect::Postgres, text, names, &Shop),
        Trace::Nothing => crate::sql::Lineage::unknown(),
    };
    let head = ResultHead {
        columns: columns
            .iter()
            .map(|(name, origin)| ColumnHead {
                name: Arc::from(*name),
                origin: *origin,
                type_id: 25,
                format: Format::Text,
            })
            .collect(),
    };
    let key = MaskKey::new(&Secret::new([1; 32]));
    let plan = plan(&head, &obligations, &lineage, &Shop, &key);
    let mut who = vec!["-".to_owned(); columns.len()];
    for (position, rule) in plan.applied() {
        who[usize::from(position)] = rule.rule.to_string();
    }
    assert_eq!(plan.passes(), who.iter().all(|one| one == "-"));
    assert!(plan.disagreements() == 0 || plan.met_unknown());
    (who.join(" "), plan.disagreements())
}

#[test]
fn a_column_passes_where_the_text_and_the_wire_say_that_nothing_masked_is_in_it() {
    let mut wrong = Vec::new();
    for (text, columns, want, disagreements) in [
        (
            "select count(*), upper(city), id + 1, ssn from customers",
            &[
                ("count", NOWHERE),
                ("upper", NOWHERE),
                ("?column?", NOWHERE),
                ("ssn", at(1, 2)),
            ][..],
            "- - - ssn",
            0,
        ),
        (
            "select upper(ssn), count(ssn), coalesce(city, ssn) from customers",
            &[
                ("upper", NOWHERE),
                ("count", NOWHERE),
                ("coalesce", NOWHERE),
            ],
            "made-of-masked made-of-masked made-of-masked",
            0,
        ),
        // By code, or by what is not known, it may carry anything.
        (
            "select app.f(1), upper(city) from customers",
            &[("f", NOWHERE), ("upper", NOWHERE)],
            "unknown-origin unknown-origin",
            0,
        ),
        (
            "select currval('s'), upper(city) from customers",
            &[("currval", NOWHERE), ("upper", NOWHERE)],
            "unknown-origin -",
            0,
        ),
        (
            "select 1 from customers; select upper(city) from customers",
            &[("upper", NOWHERE)],
            "unknown-origin",
            0,
        ),
        (
            "explain select city from customers",
            &[("QUERY PLAN", NOWHERE)],
            "unknown-origin",
            0,
        ),
        (
            "select upper(x) from customers, elsewhere",
            &[("upper", NOWHERE)],
            "unknown-origin",
            0,
        ),
        (
            "select upper(x) from customers, far",
            &[("upper", NOWHERE)],
            "unknown-origin",
            0,
        ),
        // Whole rows.
        (
            "select n from notes n, customers",
            &[("n", at(2, 0))],
            "-",
            0,
        ),
        (
            "select c from notes n, customers c",
            &[("c", at(1, 0))],
            "whole-row",
            0,
        ),
        (
            "select n from notes n, customers",
            &[("n", at(1, 0))],
            "whole-row",
            0,
        ),
        (
            "select row_to_json(n), row_to_json(c) from notes n, customers c",
            &[("row_to_json", NOWHERE), ("row_to_json", NOWHERE)],
            "- made-of-masked",
            0,
        ),
        // What is generated from a masked column is as masked, whoever names it.
        (
            "select shout, lower(shout), s from (select shout as s, * from customers) x",
            &[("shout", at(1, 4)), ("lower", NOWHERE), ("s", at(1, 4))],
            "made-of-masked made-of-masked made-of-masked",
            0,
        ),
        (
            "select app.f(id), shout, id from customers",
            &[("f", NOWHERE), ("shout", at(1, 4)), ("id", at(1, 1))],
            "unknown-origin made-of-masked -",
            0,
        ),
        // Views.
        (
            "select c, s, j from v",
            &[("c", at(3, 1)), ("s", at(3, 2)), ("j", at(3, 3))],
            "- computed-relation computed-relation",
            0,
        ),
        (
            "select upper(c), upper(s), upper(j) from v",
            &[("upper", NOWHERE), ("upper", NOWHERE), ("upper", NOWHERE)],
            "- made-of-masked unknown-origin",
            0,
        ),
        (
            "select cc, ss, cc || 'a', ss || 'a' from over",
            &[
                ("cc", at(4, 1)),
                ("ss", at(4, 2)),
                ("?column?", NOWHERE),
                ("?column?", NOWHERE),
            ],
            "- computed-relation - made-of-masked",
            0,
        ),
        // The witnesses disagree.
        (
            "select city from customers",
            &[("city", at(1, 1))],
            "disagreement",
            1,
        ),
        (
            "select upper(city) as a, id from customers, notes",
            &[("a", at(1, 3)), ("id", at(2, 2))],
            "- disagreement",
            1,
        ),
        (
            "select city as a from customers",
            &[("b", NOWHERE)],
            "unknown-origin",
            1,
        ),
        (
            "select * from customers",
            &[("id", at(1, 1)), ("ssn", at(1, 2)), ("city", at(1, 3))],
            "- ssn -",
            1,
        ),
        (
            "select city, id from customers",
            &[("city", NOWHERE)],
            "unknown-origin",
            1,
        ),
        ("select c from v", &[("c", at(3, 2))], "disagreement", 1),
        // System columns.
        (
            "select ctid, xmin from customers",
            &[("ctid", at(1, -1)), ("xmin", NOWHERE)],
            "- -",
            0,
        ),
        // Nothing masked is touched: nothing hangs on it.
        (
            "select upper(note) from notes",
            &[("upper", NOWHERE)],
            "-",
            0,
        ),
    ] {
        let said = masked(text, columns);
        if said != (want.to_owned(), disagreements) {
            wrong.push(format!("{text}\n    {said:?}\n    {want} {disagreements}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
