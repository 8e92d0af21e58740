use std::sync::Arc;

use proptest::prelude::*;

use super::cases::Asker;
use super::*;

pub(super) const DEMO: &str = include_str!("../../../policies/demo.yaml");
pub(super) const EVERYTHING: &str = include_str!("../../../policies/allow-everything.yaml");

pub(super) fn set(texts: &[&str]) -> PolicySet {
    let documents = texts
        .iter()
        .flat_map(|t| parse(t, "test.yaml").unwrap())
        .collect();
    PolicySet::compile(documents).unwrap()
}

#[test]
fn no_policy_allows_nothing() {
    let question = Asker::default().question("SELECT 1").unwrap();
    assert!(matches!(
        decide(&PolicySet::default(), &question),
        Decision::Deny(_)
    ));
}

#[test]
fn errors_name_the_place() {
    for (text, line) in [
        (
            DEMO.replace("statements: [update]", "statements: [updat]"),
            10,
        ),
        (
            DEMO.replace("tables: [sales.orders]", "tables: [orders]"),
            10,
        ),
        (
            DEMO.replace(
                "effect: allow, statements: [read]",
                "effekt: allow, statements: [read]",
            ),
            9,
        ),
        (DEMO.replace("keep_last: 4", "keep_lst: 4"), 14),
    ] {
        let errors = parse(&text, "demo.yaml").unwrap_err();
        assert_eq!(errors[0].line, line, "{}", errors[0]);
        assert!(errors[0].column > 0);
        assert!(
            errors[0].to_string().starts_with("demo.yaml:"),
            "{}",
            errors[0]
        );
    }
}

#[test]
fn a_document_that_makes_no_sense_is_refused() {
    for (from, to) in [
        (
            "subjects: [ { groups: [ai-agents], workloads: [claude] } ]",
            "subjects: []",
        ),
        ("targets: [ orders ]", "targets: []"),
        ("name: never", "name: deletions"),
        (", reviewers: { groups: [dba] }", ""),
        (
            "statements: [drop, truncate, copy_program]",
            "statements: []",
        ),
        (
            "statements: [drop,",
            "without_where: true, statements: [drop,",
        ),
    ] {
        let text = DEMO.replace(from, to);
        assert_ne!(text, DEMO, "{from}");
        assert!(
            PolicySet::compile(parse(&text, "x").unwrap()).is_err(),
            "{to}"
        );
    }
    let twice = [parse(DEMO, "a").unwrap(), parse(DEMO, "b").unwrap()].concat();
    assert!(PolicySet::compile(twice).is_err());
}

#[test]
fn the_version_follows_the_content() {
    assert_eq!(
        set(&[DEMO, EVERYTHING]).version(),
        set(&[EVERYTHING, DEMO]).version()
    );
    assert_ne!(
        set(&[DEMO]).version(),
        set(&[&DEMO.replace("50", "51")]).version()
    );
}

#[test]
fn names_are_needed_only_where_a_rule_names_one() {
    let question = Asker::default().question("SELECT 1").unwrap();
    let needs =
        |documents: &[&str]| set(documents).needs(&question.principal, &question.target, &[]);
    assert!(needs(&[DEMO]).relations != Needed::No && needs(&[DEMO]).calls != Needed::No);
    assert!(needs(&[EVERYTHING]).relations == Needed::No);
    assert!(needs(&[EVERYTHING]).calls == Needed::No);
    assert!(needs(&[EVERYTHING, DEMO]).calls != Needed::No);
    // What is denied by name may be behind an operator, which only its definition tells.
    let denying = EVERYTHING.replace("allow: [\"*\"]", "allow: ['*'], deny: ['app.f(*)']");
    assert_ne!(denying, EVERYTHING);
    assert!(needs(&[&denying]).calls != Needed::No);
}

#[test]
fn a_view_made_by_code_counts_as_masked_while_any_mask_is_in_force() {
    let policy = set(&["\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: p }
mode: enforce
subjects: [ { groups: [ai-agents] } ]
targets: [ '*' ]
rules:
  - { name: all, effect: allow, statements: [read, create, copy_out], tables: ['*.*'] }
masks:
  - { name: ssn, columns: [sales.customers.ssn], with: { keep_last: 4 } }
"]);
    for (opaque, text, touches) in [
        (false, "SELECT n FROM app.v", Some(false)),
        (true, "SELECT n FROM app.v", Some(true)),
        (false, "COPY app.v TO STDOUT", Some(false)),
        (true, "COPY app.v TO STDOUT", Some(true)),
        (true, "COPY (SELECT n FROM app.v) TO STDOUT", Some(true)),
        (true, "COPY app.v TO STDOUT (FORMAT binary)", None),
        (true, "CREATE TABLE app.t AS SELECT n FROM app.v", None),
        (true, "SELECT n FROM app.v WHERE ssn LIKE '1%'", None),
    ] {
        let mut question = Asker::default().question(text).unwrap();
        if opaque {
            let view = RelationName {
                schema: Some("app".to_owned()),
                name: "v".to_owned(),
            };
            question.names = Arc::new(ResolvedNames {
                opaque: vec![view],
                ..ResolvedNames::default()
            });
        }
        let seen = match decide(&policy, &question) {
            Decision::Allow(allow) => Some(allow.obligations.touches_masked),
            Decision::Deny(_) => None,
            Decision::Hold(_) => panic!("nobody asks"),
        };
        assert_eq!(seen, touches, "{opaque} {text}");
    }
}

#[test]
fn nothing_that_a_mask_is_on_is_renamed_moved_or_attached() {
    let policy = set(&["\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: p }
mode: enforce
subjects: [ { groups: [ai-agents] } ]
targets: [ '*' ]
rules:
  - { name: all, effect: allow, statements: [read, create, alter, drop, admin], tables: ['*.*'] }
masks:
  - { name: ssn, columns: [sales.customers.ssn], with: { keep_last: 4 } }
"]);
    let mut asker = Asker::default();
    asker
        .names
        .insert("customers".to_owned(), vec!["sales".to_owned()]);
    asker
        .names
        .insert("notes".to_owned(), vec!["app".to_owned()]);
    let parent = vec!["sales.customers".to_owned()];
    asker
        .reaches
        .insert("sales.customers_2026".to_owned(), parent);
    for (text, refused) in [
        (
            "ALTER TABLE sales.customers RENAME COLUMN ssn TO note",
            true,
        ),
        ("ALTER TABLE customers RENAME COLUMN ssn TO note", true),
        ("ALTER TABLE sales.customers RENAME TO people", true),
        ("ALTER INDEX sales.customers RENAME TO people", true),
        ("ALTER VIEW sales.customers RENAME COLUMN ssn TO note", true),
        ("ALTER TABLE sales.customers SET SCHEMA app", true),
        ("ALTER SCHEMA sales RENAME TO shop", true),
        (
            "ALTER TABLE sales.customers_2026 NO INHERIT sales.customers",
            true,
        ),
        ("ALTER TABLE app.t INHERIT sales.customers", true),
        (
            "ALTER TABLE sales.customers DETACH PARTITION sales.customers_2026",
            true,
        ),
        (
            "ALTER TABLE sales.customers_2026 RENAME COLUMN ssn TO note",
            true,
        ),
        (
            "ALTER TABLE app.t ATTACH PARTITION sales.customers DEFAULT",
            true,
        ),
        ("ALTER TABLE sales.customers OF app.person", true),
        ("ALTER TABLE sales.customers NOT OF", true),
        (
            "ALTER TYPE app.person RENAME ATTRIBUTE ssn TO note CASCADE",
            true,
        ),
        ("ALTER EXTENSION e SET SCHEMA app", true),
        // Under another column, or by a computed one.
        (
            "ALTER TABLE sales.customers ALTER COLUMN name TYPE text USING ssn",
            true,
        ),
        (
            "ALTER TABLE sales.customers ADD COLUMN c text GENERATED ALWAYS AS (ssn) STORED",
            true,
        ),
        // What leaves every name where it is, and what no mask is on.
        ("ALTER TABLE sales.customers ADD COLUMN note text", false),
        ("ALTER TABLE sales.customers DROP COLUMN name", false),
        ("ALTER TABLE notes RENAME COLUMN a TO b", false),
        ("ALTER TABLE sales.orders RENAME TO purchases", false),
        ("ALTER SCHEMA app RENAME TO shop", false),
        ("ALTER TABLE app.t ATTACH PARTITION app.u DEFAULT", false),
    ] {
        let question = asker.question(text).unwrap();
        match decide(&policy, &question) {
            Decision::Deny(denial) => {
                let rule = denial.rule.map(|rule| rule.rule.to_string());
                assert!(refused, "{text}: {}", denial.refusal);
                assert_eq!(rule.as_deref(), Some("ssn"), "{text}: {}", denial.refusal);
            }
            Decision::Allow(_) => assert!(!refused, "{text} is allowed"),
            Decision::Hold(_) => panic!("nobody asks"),
        }
    }
}

#[test]
fn masks_are_those_in_force() {
    let set = set(&[DEMO]);
    let question = Asker::default().question("SELECT 1").unwrap();
    assert_eq!(
        set.masks_for(&question.principal, &question.target)
            .masks
            .len(),
        1
    );
    let reader = Asker {
        groups: vec!["ai-agents".to_owned(), "pii-readers".to_owned()],
        ..Asker::default()
    };
    let question = reader.question("SELECT 1").unwrap();
    assert_eq!(
        set.masks_for(&question.principal, &question.target)
            .masks
            .len(),
        0
    );
}

#[test]
fn a_condition_that_fails_denies() {
    let text = r#"
apiVersion: node-agent/v1
kind: Policy
metadata: { name: p }
subjects: [ { workloads: ["*"] } ]
targets: [ "*" ]
rules:
  - { name: a, effect: allow, statements: [select, insert], when: 'true' }
  - { name: d, effect: deny, statements: [insert], when: 'principal.claims.level == 1' }
  - { name: e, effect: allow, statements: [update], when: 'principal.claims.level == 1' }
"#;
    let set = set(&[text]);
    for (sql, allowed) in [
        ("SELECT 1", true),
        ("INSERT INTO a.t VALUES (1)", false),
        ("UPDATE a.t SET x = 1 WHERE id = 1", false),
    ] {
        let decision = decide(&set, &Asker::default().question(sql).unwrap());
        assert_eq!(matches!(decision, Decision::Allow(_)), allowed, "{sql}");
    }
}

#[test]
fn a_set_is_shared_between_tasks() {
    fn shared<T: Send + Sync>() {}
    shared::<Arc<PolicySet>>();
}

pub(super) fn statement() -> impl Strategy<Value = String> {
    let table = prop::sample::select(vec![
        "sales.orders",
        "sales.customers",
        "hr.salaries",
        "orders",
        "pg_class",
        "pg_authid",
    ]);
    let shape = prop::sample::select(vec![
        "SELECT * FROM {}",
        "SELECT id FROM {} WHERE ssn = '1'",
        "UPDATE {} SET a = 1 WHERE id = 1",
        "DELETE FROM {}",
        "DROP TABLE {}",
        "COPY {} TO STDOUT",
        "EXPLAIN SELECT * FROM {}",
        "INSERT INTO {} SELECT 1",
        "BEGIN; SELECT * FROM {}",
        "SELEC {}",
    ]);
    (shape, table).prop_map(|(shape, table)| shape.replace("{}", table))
}

fn deny_rule() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec!["select", "read", "write", "ddl", "'*'", "delete"]);
    let tables = prop::sample::select(vec!["'*.*'", "'sales.*'", "sales.orders", "'hr.*'"]);
    (words, tables).prop_map(|(words, tables)| {
        format!(
            "apiVersion: node-agent/v1\nkind: Policy\nmetadata: {{ name: more }}\n\
             subjects: [ {{ workloads: ['*'] }} ]\ntargets: [ '*' ]\nrules:\n  \
             - {{ name: d, effect: deny, statements: [{words}], tables: [{tables}] }}\n"
        )
    })
}

proptest! {
    #[test]
    fn the_same_question_gets_the_same_answer(sql in statement()) {
        let set = set(&[DEMO]);
        let question = Asker::default().question(&sql).unwrap();
        prop_assert_eq!(decide(&set, &question), decide(&set, &question));
    }

    #[test]
    fn one_more_deny_rule_never_allows_more(sql in statement(), deny in deny_rule()) {
        for base in [DEMO, EVERYTHING] {
            let question = Asker::default().question(&sql).unwrap();
            let before = decide(&set(&[base]), &question);
            let after = decide(&set(&[base, &deny]), &question);
            if matches!(before, Decision::Deny(_)) {
                prop_assert!(matches!(after, Decision::Deny(_)), "{}", sql);
            }
        }
    }
}

/// A document that allows reading `sales.*` and, on request, texts that cannot be judged.
fn reading(witnesses: &str, opaque: &str) -> String {
    format!(
        "apiVersion: node-agent/v1\nkind: Policy\nmetadata: {{ name: reading }}\n{witnesses}\
         subjects: [ {{ groups: [\"*\"] }} ]\ntargets: [ \"*\" ]\nrules:\n  \
         - {{ name: read, effect: allow, statements: [read], tables: [\"sales.*\"] }}\n{opaque}"
    )
}

/// A question about a text that the second parser reads as reading `relation` too.
fn contested(relation: &str) -> Question {
    let mut question = Asker::default()
        .question("SELECT id FROM sales.orders")
        .unwrap();
    let mut other = Asker::default()
        .question(&format!("SELECT id FROM {relation}"))
        .unwrap();
    let adds = std::mem::take(&mut Arc::make_mut(&mut other.analysis).statements);
    Arc::make_mut(&mut question.analysis).second =
        crate::sql::Second::Differs(Box::new(crate::sql::Differing {
            about: vec![crate::sql::Difference::Relations],
            what: format!("a second parser finds relation {relation}"),
            adds,
        }));
    question
}

#[test]
fn what_two_parsers_read_differently_is_refused_unless_policy_wants_the_union() {
    let strict = set(&[&reading("", "")]);
    let union = set(&[&reading("witnesses: union\n", "")]);
    let also = reading("", "").replace("name: reading", "name: also");
    let mixed = set(&[&reading("witnesses: union\n", ""), &also]);
    // (what the second parser finds, allowed under union)
    for (relation, allowed) in [("sales.customers", true), ("hr.salaries", false)] {
        let question = contested(relation);
        for policy in [&strict, &mixed] {
            let Decision::Deny(denial) = decide(policy, &question) else {
                panic!("{relation}")
            };
            assert!(
                denial.refusal.message.contains("second parser"),
                "{denial:?}"
            );
        }
        let decision = decide(&union, &question);
        assert_eq!(
            matches!(decision, Decision::Allow(_)),
            allowed,
            "{decision:?}"
        );
    }
}

#[test]
fn opaque_allows_what_two_parsers_read_differently_but_no_more_than_each_reading() {
    let opaque = "  - { name: any, effect: allow, statements: [opaque] }\n";
    let policy = set(&[&reading("", opaque)]);
    assert!(matches!(
        decide(&policy, &contested("sales.customers")),
        Decision::Allow(_)
    ));
    assert!(matches!(
        decide(&policy, &contested("hr.salaries")),
        Decision::Deny(_)
    ));
    // Under a mask nothing is allowed that cannot be judged.
    let mask = format!(
        "{}masks:\n  - {{ name: m, columns: [\"sales.customers.ssn\"], with: redact }}\n",
        reading("", opaque)
    );
    assert!(matches!(
        decide(&set(&[&mask]), &contested("sales.customers")),
        Decision::Deny(_)
    ));
}

proptest! {
    #[test]
    fn a_second_reading_never_makes_a_decision_milder(
        first in 0..5_usize, second in 0..5_usize, union in any::<bool>(),
    ) {
        let texts = [
            "SELECT id FROM sales.orders",
            "DELETE FROM sales.orders",
            "CREATE TABLE sales.n (a int)",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'select 1'",
            "SELECT ssn FROM sales.customers",
        ];
        let witnesses = if union { "witnesses: union\n" } else { "" };
        let policy = set(&[&reading(witnesses, ""), &DEMO.replace("groups: [ai-agents]", "groups: [\"*\"]")]);
        let alone = Asker::default().question(texts[first]).unwrap();
        let mut both = Asker::default().question(texts[first]).unwrap();
        let adds = analyzed(texts[second]).statements;
        Arc::make_mut(&mut both.analysis).second =
            crate::sql::Second::Differs(Box::new(crate::sql::Differing {
                about: vec![crate::sql::Difference::Class],
                what: "a second parser finds something else".to_owned(),
                adds,
            }));
        let mildness = |question: &Question| match decide(&policy, question) {
            Decision::Allow(_) => 2,
            Decision::Hold(_) => 1,
            Decision::Deny(_) => 0,
        };
        prop_assert!(mildness(&both) <= mildness(&alone));
    }
}

fn analyzed(text: &str) -> Analysis {
    crate::sql::analyze(crate::model::Dialect::Postgres, text)
}
const FEW: &str = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: few }
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
rules:
  - { name: read, effect: allow, statements: [read] }
  - { name: ten, effect: allow, statements: [write], tables: ['s.*'], max_rows_affected: 10 }
  - { name: five, effect: allow, statements: [delete, truncate], tables: ['s.*'], max_rows_affected: 5 }
limits: { rows_affected: 100 }
";

#[test]
fn the_smallest_limit_of_rows_counts_and_is_named_with_its_rule() {
    let enforced = set(&[FEW]);
    let observed = FEW.replace("targets:", "mode: observe\ntargets:");
    let observed = observed.replace("name: few", "name: fewer");
    let observed = observed.replace("max_rows_affected: 10", "max_rows_affected: 3");
    let both = set(&[FEW, &observed]);
    let table = [
        ("select * from s.t", 100, "limits", None),
        ("insert into s.t values (1)", 10, "ten", Some(3)),
        ("update s.t set a = 1 where b = 2", 10, "ten", Some(3)),
        ("delete from s.t where b = 2", 5, "five", Some(3)),
        ("truncate s.t", 5, "five", None),
    ];
    for (text, rows, rule, watched) in table {
        let question = Asker::default().question(text).unwrap();
        for (set, watched) in [(&enforced, None), (&both, watched)] {
            let Decision::Allow(allow) = decide(set, &question) else {
                panic!("{text} is allowed");
            };
            let obligations = &allow.obligations;
            assert_eq!(obligations.limits.rows_affected, Some(rows), "{text}");
            let named = obligations.rows_rule.as_ref().unwrap();
            assert_eq!((&*named.policy, &*named.rule), ("few", rule), "{text}");
            let seen = allow.watched.as_ref().and_then(|w| w.limits.rows_affected);
            assert_eq!(seen, watched, "{text}");
        }
    }
}

/// A document that observes, with everything in it that could be in the way.
fn observer() -> impl Strategy<Value = String> {
    let rules = prop::sample::select(vec![
        "  - { name: d, effect: deny, statements: ['*'] }\n",
        "  - { name: d, effect: deny, statements: [write], tables: ['sales.*'] }\n",
        "  - { name: a, effect: approve, statements: [select], reviewers: { groups: [dba] } }\n",
        "  - { name: r, effect: allow, statements: [read], tables: ['sales.*'], when: \"reason != ''\" }\n",
        "  - { name: r, effect: allow, statements: ['*'], max_rows_affected: 0 }\n",
        "  - { name: r, effect: deny, statements: [select], when: 'principal.claims.level == 1' }\n",
    ]);
    let more = prop::sample::select(vec![
        "",
        "masks:\n  - { name: m, columns: ['*.*.*'], with: redact }\n",
        "limits: { rows_returned: 0, bytes_returned: 0, statement_timeout: 1ms, rows_affected: 0 }\n",
        "budgets: { statements_per_minute: 0, rows_returned_per_day: 0 }\n",
        "require: { reason: true, ticket: 'no such' }\n",
        "functions: { deny: ['*.*(*)'] }\n",
    ]);
    (rules, more).prop_map(|(rules, more)| {
        format!(
            "apiVersion: node-agent/v1\nkind: Policy\nmetadata: {{ name: watch }}\nmode: observe\n\
             subjects: [ {{ workloads: ['*'] }} ]\ntargets: [ '*' ]\nrules:\n{rules}{more}"
        )
    })
}

proptest! {
    /// What observes is not there: whatever it says, what is refused, held or allowed, and what must be
    /// done with the answer, is what it would be without it.
    #[test]
    fn a_document_that_observes_changes_nothing_but_what_is_noted(
        sql in statement(), watch in observer(), base in 0..3_usize,
    ) {
        let question = Asker::default().question(&sql).unwrap();
        let bases: &[&str] = [&[][..], &[DEMO], &[EVERYTHING]][base];
        let without = decide(&set(bases), &question);
        let with = decide(&set(&[bases, &[watch.as_str()]].concat()), &question);
        match (without, with) {
            (Decision::Allow(without), Decision::Allow(with)) => {
                prop_assert_eq!(without.rules, with.rules);
                prop_assert_eq!(without.obligations, with.obligations);
            }
            // With nobody else to decide, it lets everything pass.
            (Decision::Deny(_), Decision::Allow(with)) => {
                prop_assert!(bases.is_empty());
                prop_assert_eq!(&*with.obligations, &Obligations::default());
            }
            (without, with) => {
                prop_assert!(!bases.is_empty());
                prop_assert_eq!(without, with);
            }
        }
    }
}

#[test]
fn an_approve_rule_may_hold_the_commit() {
    let text = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: gate }
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
rules:
  - { name: ask, effect: approve, statements: [delete], tables: ['s.*'], reviewers: { groups: [dba] }, hold: commit, timeout: 5m }
";
    let question = Asker::default()
        .question("delete from s.t where a = 1")
        .unwrap();
    let Decision::Hold(hold) = decide(&set(&[text]), &question) else {
        panic!("not held");
    };
    assert_eq!(hold.asks.gate, Gate::Commit);
    assert_eq!(hold.asks.timeout_seconds, Some(300));
    let wrong = text.replace("approve", "allow");
    assert!(PolicySet::compile(parse(&wrong, "x").unwrap()).is_err());
}

#[test]
fn a_reason_is_wanted_by_what_allows_and_by_what_holds() {
    let text = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: told }
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
require: { reason: true }
rules:
  - { name: read, effect: allow, statements: [read], tables: ['s.*'] }
  - { name: write, effect: allow, statements: [write], tables: ['s.*'], require: { ticket: '[0-9]+' } }
  - { name: ask, effect: approve, statements: [delete], tables: ['s.*'], reviewers: { groups: [dba] } }
  - { name: never, effect: deny, statements: [insert], when: \"ticket == '13'\" }
";
    let policy = set(&[text]);
    // (statement, what it comes with, the decision)
    for (sql, said, expected) in [
        ("select a from s.t", "", "told"),
        ("select a from s.t", "/*reason='x'*/", "allow"),
        ("begin", "", "allow"),
        ("select 1 from pg_class", "", "told"),
        ("insert into s.t values (1)", "/*reason='x'*/", "told"),
        (
            "insert into s.t values (1)",
            "/*reason='x',ticket='a'*/",
            "told",
        ),
        (
            "insert into s.t values (1)",
            "/*reason='x',ticket='7'*/",
            "allow",
        ),
        (
            "insert into s.t values (1)",
            "/*reason='x',ticket='13'*/",
            "deny",
        ),
        ("delete from s.t where a = 1", "", "told"),
        ("delete from s.t where a = 1", "/*reason='x'*/", "hold"),
        (
            "delete from s.t where a = 1",
            "/*reason='x',ticket='7'*/",
            "hold",
        ),
        ("select a from hr.t", "/*reason='x'*/", "deny"),
        ("select a from hr.t", "", "deny"),
    ] {
        let question = Asker::default().question(&format!("{sql} {said}")).unwrap();
        let decision = decide(&policy, &question);
        let seen = match &decision {
            Decision::Allow(_) => "allow",
            Decision::Hold(_) => "hold",
            Decision::Deny(denial) => {
                let because = denial.refusal.particulars.as_ref().unwrap();
                if because.cause == Some(crate::model::Cause::Purpose) {
                    "told"
                } else {
                    "deny"
                }
            }
        };
        assert_eq!(seen, expected, "{sql} {said}: {decision:?}");
    }
    let question = Asker {
        application: Some("psql;reason=by name;ticket=7".to_owned()),
        ..Asker::default()
    };
    let question = question.question("insert into s.t values (1)").unwrap();
    assert!(matches!(decide(&policy, &question), Decision::Allow(_)));
    let wrong = text.replace(
        "statements: [insert], when",
        "statements: [insert], require: { reason: true }, when",
    );
    assert!(PolicySet::compile(parse(&wrong, "x").unwrap()).is_err());
    let wrong = text.replace("[0-9]+", "[0-9");
    assert!(parse(&wrong, "x").is_err());
}

#[test]
fn budgets_are_those_of_all_documents_that_speak() {
    let more = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: spare }
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
budgets: { statements_per_minute: 60, bytes_returned_per_day: 1GiB }
";
    let observed = more.replace(
        "metadata: { name: spare }",
        "metadata: { name: seen }\nmode: observe",
    );
    let question = Asker::default().question("select 1").unwrap();
    let Decision::Allow(allow) = decide(&set(&[EVERYTHING, more, &observed]), &question) else {
        panic!("allowed");
    };
    let named: Vec<String> = allow
        .obligations
        .budgets
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(named, ["statements_per_minute", "bytes_returned_per_day"]);
    assert_eq!(allow.obligations.budgets[1].most, 1 << 30);
    let watched = allow.watched.unwrap();
    assert!(
        watched
            .budgets
            .iter()
            .all(|budget| &*budget.policy == "seen")
    );
    assert_eq!(watched.budgets.len(), 2);
    assert!(
        parse(
            &more.replace("statements_per_minute", "statements_per_second"),
            "x"
        )
        .is_err()
    );
}

#[test]
fn equality_with_a_named_value_is_all_that_equality_allows() {
    let policy = set(&["\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: p }
mode: enforce
subjects: [ { groups: [ai-agents] } ]
targets: [ '*' ]
rules:
  - { name: all, effect: allow, statements: ['*'], tables: ['*.*'], without_where: true }
masks:
  - { name: ssn, columns: ['*.*.ssn'], with: redact, predicates: equality }
  - { name: email, columns: [sales.customers.email], with: redact }
"]);
    let mut asker = Asker::default();
    asker
        .names
        .insert("customers".to_owned(), vec!["sales".to_owned()]);
    let from = vec!["sales.customers".to_owned()];
    asker.reaches.insert("app.v".to_owned(), from);
    for (text, allowed) in [
        ("SELECT id FROM sales.customers WHERE ssn = '1'", true),
        (
            "SELECT id FROM sales.customers c WHERE '1' = c.ssn AND id > 5",
            true,
        ),
        (
            "SELECT id FROM sales.customers WHERE ssn = $1 OR ssn IN ('1', '2')",
            true,
        ),
        (
            "SELECT id FROM customers WHERE ssn = ANY ($1) AND NOT (ssn = '1'::text)",
            true,
        ),
        (
            "SELECT id FROM sales.customers WHERE ssn = ANY (ARRAY['1', '2'])",
            true,
        ),
        (
            "SELECT count(*) FILTER (WHERE ssn = '1') FROM sales.customers",
            true,
        ),
        (
            "UPDATE sales.customers SET note = 'x' WHERE ssn = '1'",
            true,
        ),
        ("DELETE FROM sales.customers WHERE ssn = '1'", true),
        ("SELECT id FROM sales.customers WHERE email = 'a'", false),
        (
            "SELECT id FROM sales.customers WHERE ssn = '1' AND email = 'a'",
            false,
        ),
        (
            "SELECT id FROM sales.customers WHERE ssn = '1' ORDER BY ssn",
            false,
        ),
        (
            "SELECT id FROM sales.customers WHERE ssn = '1' OR ssn > '2'",
            false,
        ),
        ("SELECT id FROM sales.customers WHERE ssn <> '1'", false),
        ("SELECT id FROM sales.customers WHERE ssn LIKE '1'", false),
        (
            "SELECT id FROM sales.customers WHERE ssn NOT IN ('1')",
            false,
        ),
        ("SELECT id FROM sales.customers WHERE ssn IS NULL", false),
        ("SELECT id FROM sales.customers WHERE ssn = note", false),
        (
            "SELECT id FROM sales.customers WHERE ssn = lower($1)",
            false,
        ),
        (
            "SELECT id FROM sales.customers WHERE ssn = ALL ('{1}')",
            false,
        ),
        (
            "SELECT id FROM sales.customers WHERE ssn OPERATOR(app.=) '1'",
            false,
        ),
        (
            "SELECT id FROM sales.customers WHERE lower(ssn) = '1'",
            false,
        ),
        ("SELECT id FROM sales.customers WHERE ssn::int = 1", false),
        (
            "SELECT id FROM sales.customers WHERE ssn COLLATE app.c = '1'",
            false,
        ),
        (
            "SELECT id FROM sales.customers WHERE (id, ssn) = (1, '1')",
            false,
        ),
        (
            "SELECT id FROM sales.customers WHERE CASE ssn WHEN '1' THEN true END",
            false,
        ),
        (
            "SELECT a.id FROM sales.customers a JOIN sales.customers b USING (ssn)",
            false,
        ),
        (
            "SELECT a.id FROM sales.customers a JOIN sales.customers b ON a.ssn = b.ssn",
            false,
        ),
        (
            "SELECT id FROM (SELECT id, left(ssn, 1) AS ssn FROM sales.customers) x WHERE ssn = '1'",
            false,
        ),
        (
            "WITH x AS (SELECT id, left(ssn, 1) AS ssn FROM sales.customers) SELECT id FROM x WHERE ssn = '1'",
            false,
        ),
        (
            "SELECT id FROM sales.customers c (ssn, id) WHERE ssn = '1'",
            false,
        ),
        (
            "SELECT ssn.id FROM sales.customers ssn WHERE ssn = '1'",
            false,
        ),
        (
            "SELECT DISTINCT ssn FROM sales.customers WHERE ssn = '1'",
            false,
        ),
        (
            "SELECT id FROM sales.customers GROUP BY ssn, id HAVING ssn = '1'",
            false,
        ),
        ("SELECT id FROM app.v WHERE ssn = '1'", false),
        ("SELECT id FROM unknown WHERE ssn = '1'", false),
    ] {
        let mut question = asker.question(text).unwrap();
        let mut names = (*question.names).clone();
        if text.contains("unknown") {
            names.unknown.push(RelationName {
                schema: None,
                name: "unknown".to_owned(),
            });
        }
        question.names = Arc::new(names.clone());
        match decide(&policy, &question) {
            Decision::Allow(_) => assert!(allowed, "{text} is allowed"),
            Decision::Deny(denial) => assert!(!allowed, "{text}: {}", denial.refusal),
            Decision::Hold(_) => panic!("nobody asks"),
        }
        // Whose `=` it is, nobody can say.
        names.operators.push(("=".to_owned(), Vec::new()));
        question.names = Arc::new(names);
        let seen = decide(&policy, &question);
        assert!(matches!(seen, Decision::Deny(_)), "{text}");
    }
}

#[test]
fn a_view_decides_by_what_it_shows_under_whatever_name() {
    let policy = |predicates: &str| {
        set(&[&format!(
            "\
apiVersion: node-agent/v1
kind: Policy
metadata: {{ name: p }}
mode: enforce
subjects: [ {{ groups: [ai-agents] }} ]
targets: [ '*' ]
rules:
  - {{ name: all, effect: allow, statements: ['*'], tables: ['*.*'] }}
masks:
  - {{ name: ssn, columns: [sales.customers.ssn], with: redact, predicates: {predicates} }}
"
        )])
    };
    let view = RelationName {
        schema: Some("app".to_owned()),
        name: "v".to_owned(),
    };
    let column = |name: &str, from: Option<&str>| ViewColumn {
        name: name.to_owned(),
        from: from.map(|base| vec![("sales".to_owned(), "customers".to_owned(), base.to_owned())]),
    };
    let mut asker = Asker::default();
    let from = vec!["sales.customers".to_owned()];
    asker.reaches.insert("app.v".to_owned(), from);
    for (text, denied) in [
        ("SELECT s FROM app.v", false),
        ("SELECT s FROM app.v WHERE id = 1", false),
        ("SELECT s FROM app.v WHERE s = '1'", true),
        ("SELECT id FROM app.v ORDER BY s", true),
        (
            "SELECT x FROM (SELECT s AS x FROM app.v) t WHERE x > '1'",
            true,
        ),
        ("SELECT id FROM app.v WHERE what = 1", true),
        ("SELECT id FROM app.v WHERE none = 1", false),
        ("SELECT id FROM sales.orders WHERE s = '1'", false),
    ] {
        for (predicates, asks) in [("deny", true), ("equality", true), ("allow", false)] {
            let mut question = asker.question(text).unwrap();
            let mut names = (*question.names).clone();
            names.views.push((
                view.clone(),
                vec![
                    column("id", Some("id")),
                    column("s", Some("ssn")),
                    column("what", None),
                ],
            ));
            question.names = Arc::new(names);
            let seen = matches!(decide(&policy(predicates), &question), Decision::Deny(_));
            assert_eq!(seen, denied && asks, "{predicates} {text}");
        }
    }
}
