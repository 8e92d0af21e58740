use super::cases::Asker;
use super::suggest::LARGE;
use super::{Decision, PolicySet, decide, limit_rows, parse};
use crate::model::Suggestion;

const POLICY: &str = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: some }
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
functions: { allow: ['app.price(*)'], deny: ['*.upper(*)'] }
rules:
  - { name: read, effect: allow, statements: [read], tables: ['sales.*'] }
  - { name: fix, effect: allow, statements: [update, delete], tables: [sales.orders, sales.customers] }
  - { name: careful, effect: approve, statements: [delete], tables: [sales.archive], reviewers: { groups: [dba] } }
  - { name: told, effect: allow, statements: [insert, delete], tables: [sales.log], require: { reason: true, ticket: '[A-Z]+-[0-9]+' } }
masks:
  - { name: ssn, columns: [sales.customers.ssn, sales.customers.tax_id], with: redact }
";

fn asker() -> Asker {
    let mut asker = Asker::default();
    let both = vec!["sales".to_owned(), "hr".to_owned()];
    asker.names.insert("orders".to_owned(), both.clone());
    asker.names.insert("customers".to_owned(), both);
    asker
        .names
        .insert("log".to_owned(), vec!["sales".to_owned()]);
    asker
}

fn set() -> PolicySet {
    PolicySet::compile(parse(POLICY, "some.yaml").unwrap()).unwrap()
}

/// What the refusal suggests, and its hint.
fn refused(text: &str) -> (Option<Suggestion>, String) {
    let question = asker().question(text).unwrap();
    match decide(&set(), &question) {
        Decision::Deny(denial) => {
            let hint = denial.refusal.hint.unwrap_or_default();
            (denial.refusal.particulars.and_then(|p| p.suggest), hint)
        }
        other => panic!("{text}: {other:?}"),
    }
}

fn passes(text: &str) -> bool {
    let question = asker().question(text).unwrap();
    !matches!(decide(&set(), &question), Decision::Deny(_))
}

/// Statement, words of the hint, the statement with the change made.
const TABLE: &[(&str, &str, &str)] = &[
    (
        "delete from sales.orders",
        "Add a WHERE clause that reads a column, one that is not masked. The statement is allowed then.",
        "delete from sales.orders where id = 1",
    ),
    (
        "update sales.customers set name = 'x'",
        "Add a WHERE",
        "update sales.customers set name = 'x' where name = 'y'",
    ),
    (
        "select name from sales.customers where ssn = '1' and name = 'x' order by tax_id",
        "Leave ssn, tax_id out of WHERE, JOIN, GROUP BY and ORDER BY",
        "select name from sales.customers where name = 'x'",
    ),
    (
        "delete from sales.customers where ssn = '1'",
        "Leave ssn out of WHERE, JOIN, GROUP BY and ORDER BY; in the select list it is masked. Add a WHERE",
        "delete from sales.customers where name = 'x'",
    ),
    (
        "select s.x from (select ssn as x from sales.customers) s order by s.x",
        "Leave x out of",
        "select s.x from (select ssn as x from sales.customers) s",
    ),
    (
        "update sales.customers set note = ssn where name = 'x'",
        "Write nothing that comes from ssn.",
        "update sales.customers set note = 'y' where name = 'x'",
    ),
    (
        "select distinct * from sales.customers",
        "Name the columns in place of * or the whole row, without ssn, tax_id.",
        "select distinct name from sales.customers",
    ),
    (
        "copy sales.customers to stdout (format binary)",
        "Use SELECT alone",
        "select * from sales.customers",
    ),
    (
        "select id from orders",
        "Write sales.orders in place of orders.",
        "select id from sales.orders",
    ),
    (
        "delete from orders",
        "one that is not masked. Write sales.orders in place of orders.",
        "delete from sales.orders where id = 1",
    ),
    (
        "select price(id) from sales.orders",
        "Call app.price in place of price.",
        "select app.price(id) from sales.orders",
    ),
    (
        "select pg_sleep(id) from sales.orders",
        "Do not call pg_sleep.",
        "select id from sales.orders",
    ),
    (
        "select upper(note), app.other(id) from sales.orders",
        "Do not call upper. Do not call app.other.",
        "select note, id from sales.orders",
    ),
    (
        "select id from sales.orders for update",
        "Leave out FOR UPDATE or FOR SHARE.",
        "select id from sales.orders",
    ),
    (
        "truncate sales.orders",
        "Use DELETE with a WHERE clause that reads a column.",
        "delete from sales.orders where id = 1",
    ),
    (
        "truncate sales.archive",
        "A human decides about it then.",
        "delete from sales.archive where id = 1",
    ),
    (
        "insert into sales.log values (1)",
        "End the statement with a comment such as /*reason='why%20it%20is%20needed',ticket='OPS-12'*/, or connect with \
         application_name myapp;reason=why%20it%20is%20needed;ticket=OPS-12. The statement is allowed then.",
        "insert into sales.log values (1) /*reason='why%20it%20is%20needed',ticket='OPS-12'*/",
    ),
    (
        "insert into sales.log values (1) /*reason='x',ticket='12'*/",
        "/*ticket='OPS-12'*/",
        "insert into sales.log values (1) /*ticket='OPS-12',reason='x'*/",
    ),
    (
        "delete from sales.log",
        "Add a WHERE clause that reads a column",
        "delete from sales.log where id = 1 /*ticket='OPS-12',reason='x'*/",
    ),
];

#[test]
fn a_change_that_is_named_is_one_that_passes() {
    for (text, words, with) in TABLE {
        let (suggestion, hint) = refused(text);
        assert!(suggestion.is_some(), "{text}: {hint}");
        assert!(hint.contains(words), "{text}: {hint}");
        assert!(passes(with), "{text}: {hint}: {with}");
    }
}

#[test]
fn a_change_that_would_not_pass_is_not_named() {
    for text in [
        "delete from hr.salaries",
        "drop table sales.orders",
        "insert into sales.orders values (1)",
        "truncate hr.salaries",
        "copy hr.salaries to stdout",
        "lock table sales.orders",
        "select id from hr.salaries for update",
        "select pg_sleep(id) from hr.salaries",
        "select id from hr.salaries where ssn = '1'",
        "call app.other()",
        "not a statement",
    ] {
        let (suggestion, hint) = refused(text);
        assert_eq!(suggestion, None, "{text}: {hint}");
        assert!(!hint.contains("then."), "{text}: {hint}");
    }
}

#[test]
fn a_view_that_reaches_what_is_denied_is_not_suggested_by_its_schema() {
    let deny = POLICY.replace(
        "  - { name: read,",
        "  - { name: never, effect: deny, statements: [select], tables: [hr.salaries] }\n  - { name: read,",
    );
    let set = PolicySet::compile(parse(&deny, "some.yaml").unwrap()).unwrap();
    let mut asker = asker();
    asker
        .reaches
        .insert("orders".to_owned(), vec!["hr.salaries".to_owned()]);
    let question = asker.question("select id from orders").unwrap();
    let Decision::Deny(denial) = decide(&set, &question) else {
        panic!("allowed");
    };
    assert_eq!(denial.refusal.particulars.unwrap().suggest, None);
}

#[test]
fn the_search_is_bounded() {
    let calls: Vec<String> = (0..500).map(|n| format!("app.f{n}(id)")).collect();
    let text = format!("select {} from sales.orders", calls.join(", "));
    assert_eq!(refused(&text).0, None);
    let many: Vec<String> = (0..LARGE).map(|n| format!("c{n}")).collect();
    let text = format!(
        "select {} from sales.orders where pg_sleep(1) is null",
        many.join(", ")
    );
    assert_eq!(refused(&text).0, None);
}

#[test]
fn an_answer_with_too_many_rows_is_told_its_limit_where_one_can_be_added() {
    use crate::model::Dialect;
    use crate::sql::analyze;
    for (text, fits) in [
        ("select * from t", true),
        ("select * from t limit 500", true),
        ("copy t to stdout", false),
        ("fetch 100 from c", false),
        ("execute p", false),
        ("select * from t for update", false),
        ("delete from t where i = 1 returning *", false),
        ("select 1; select 2", false),
        ("explain select 1", false),
    ] {
        let analysis = analyze(Dialect::Postgres, text);
        assert_eq!(limit_rows(&analysis, 10).is_some(), fits, "{text}");
    }
}
