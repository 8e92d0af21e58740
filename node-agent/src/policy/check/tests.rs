use super::*;
use crate::policy::{Inventory, PolicySet, parse};

/// A document about somebody on `orders` with these further lines.
fn policy(name: &str, lines: &str) -> String {
    format!(
        "apiVersion: node-agent/v1\nkind: Policy\nmetadata: {{ name: {name} }}\n\
         subjects: [ {{ groups: [ai-agents] }} ]\ntargets: [ orders ]\n{lines}\n"
    )
}

/// `line code` of each finding, and the messages.
fn found(texts: &[&str]) -> (Vec<String>, String) {
    let documents: Vec<Document> = texts
        .iter()
        .flat_map(|text| parse(text, "p.yaml").unwrap())
        .collect();
    PolicySet::compile(documents.clone()).unwrap();
    told(&check(&documents))
}

fn told(findings: &[Finding]) -> (Vec<String>, String) {
    let codes = findings
        .iter()
        .map(|f| format!("{} {}", f.line, f.code))
        .collect();
    let words: Vec<String> = findings.iter().map(ToString::to_string).collect();
    (codes, words.join("\n"))
}

#[test]
fn rules_that_never_speak_are_found_at_their_lines() {
    let reviewers = "reviewers: { groups: [dba] }";
    // (rules, from line 7 on; what is found; words of it)
    let table: &[(&[&str], &[&str], &str)] = &[
        (
            &[
                "name: a, effect: allow, statements: [drop]",
                "name: d, effect: deny, statements: [ddl]",
            ],
            &["7 always-denied"],
            "all that it is about is denied by `p/d`",
        ),
        (
            // By two together.
            &[
                "name: a, effect: allow, statements: [drop, delete], tables: ['s.*']",
                "name: d, effect: deny, statements: [ddl]",
                "name: e, effect: deny, statements: [delete], tables: ['s*.*']",
            ],
            &["7 always-denied"],
            "`p/d`, `p/e`",
        ),
        (
            // One word of several, one pattern of several.
            &[
                "name: a, effect: allow, statements: [select, drop], tables: ['s.*', 't.*']",
                "name: d, effect: deny, statements: [drop]",
                "name: e, effect: deny, statements: ['*'], tables: ['t.*']",
            ],
            &["7 always-denied", "7 always-denied"],
            "`drop` is always denied, by `p/d`, `p/e`",
        ),
        (
            // A group is not blamed for one of its words.
            &[
                &format!("name: a, effect: approve, statements: [ddl], {reviewers}"),
                "name: d, effect: deny, statements: [drop, truncate]",
            ],
            &[],
            "",
        ),
        (
            // What only sometimes denies, or denies less, leaves something.
            &[
                "name: a, effect: allow, statements: [drop], tables: ['s.*']",
                "name: d, effect: deny, statements: [drop], when: 'now.getHours() < 6'",
                "name: e, effect: deny, statements: [drop], tables: ['s.x']",
            ],
            &[],
            "",
        ),
        (
            // Nothing but housekeeping is left of it.
            &[
                "name: a, effect: allow, statements: [read], tables: ['s.*']",
                "name: d, effect: deny, statements: [select, copy_out]",
            ],
            &["7 always-denied"],
            "",
        ),
        (
            &[
                "name: a, effect: allow, statements: [select], tables: [s.t]",
                "name: b, effect: allow, statements: [read], tables: ['s.*']",
            ],
            &["7 redundant"],
            "allows nothing that `p/b` does not already",
        ),
        (
            // The later of two twins.
            &[
                "name: a, effect: deny, statements: [drop]",
                "name: b, effect: deny, statements: [drop]",
            ],
            &["8 redundant"],
            "",
        ),
        (
            // A tighter bound, and a missing WHERE, are something of their own.
            &[
                "name: a, effect: allow, statements: [update], tables: [s.t], max_rows_affected: 5",
                "name: b, effect: allow, statements: [update], tables: [s.u], without_where: true",
                "name: c, effect: allow, statements: [write], tables: ['s.*'], max_rows_affected: 50",
            ],
            &[],
            "",
        ),
        (
            &[
                "name: a, effect: allow, statements: [update], tables: [s.t], max_rows_affected: 50",
                "name: c, effect: allow, statements: [write], tables: ['s.*'], max_rows_affected: 5",
            ],
            &["7 redundant"],
            "",
        ),
        (
            // The broader grants only to those who give a reason.
            &[
                "name: a, effect: allow, statements: [select], tables: [s.t]",
                "name: b, effect: allow, statements: [read], require: { reason: true }",
            ],
            &[],
            "",
        ),
        (
            // The broader holds only sometimes.
            &[
                "name: a, effect: allow, statements: [select], tables: [s.t]",
                "name: b, effect: allow, statements: [read], when: 'now.getHours() < 6'",
            ],
            &[],
            "",
        ),
        (
            &[
                "name: a, effect: allow, statements: [delete], tables: [s.t]",
                &format!("name: b, effect: approve, statements: [delete], {reviewers}"),
            ],
            &["7 always-held"],
            "held by `p/b`",
        ),
        (
            // The first approve rule names the reviewers: only a later one is too many.
            &[
                &format!(
                    "name: a, effect: approve, statements: [delete], tables: [s.t], {reviewers}"
                ),
                &format!("name: b, effect: approve, statements: [delete], {reviewers}"),
            ],
            &[],
            "",
        ),
        (
            &[
                &format!("name: b, effect: approve, statements: [delete], {reviewers}"),
                &format!(
                    "name: a, effect: approve, statements: [delete], tables: [s.t], {reviewers}"
                ),
            ],
            &["8 redundant"],
            "holds nothing that",
        ),
    ];
    for (rules, codes, words) in table {
        let lines: Vec<String> = rules
            .iter()
            .map(|rule| format!("  - {{ {rule} }}"))
            .collect();
        let (seen, all) = found(&[&policy("p", &format!("rules:\n{}", lines.join("\n")))]);
        assert_eq!(seen, *codes, "{rules:#?}\n{all}");
        assert!(all.contains(words), "{words}: {all}");
    }
}

#[test]
fn another_policy_shadows_only_where_it_is_in_force() {
    let one = policy(
        "p",
        "rules:\n  - { name: a, effect: allow, statements: [drop] }",
    );
    let guard = |subjects: &str, targets: &str, mode: &str| {
        policy(
            "g",
            "rules:\n  - { name: d, effect: deny, statements: [ddl] }",
        )
        .replace("{ groups: [ai-agents] }", subjects)
        .replace("[ orders ]", targets)
        .replace("targets:", &format!("mode: {mode}\ntargets:"))
    };
    for (subjects, targets, mode, shadowed) in [
        ("{ workloads: ['*'] }", "['*']", "enforce", true),
        ("{ groups: ['ai-*'] }", "['ord*']", "enforce", true),
        ("{ workloads: ['*'] }", "['*']", "observe", false),
        ("{ groups: [others] }", "['*']", "enforce", false),
        ("{ workloads: ['*'] }", "['prod*']", "enforce", false),
        (
            "{ groups: [ai-agents], labels: { team: x } }",
            "['*']",
            "enforce",
            false,
        ),
    ] {
        let (seen, words) = found(&[&one, &guard(subjects, targets, mode)]);
        assert_eq!(
            !seen.is_empty(),
            shadowed,
            "{subjects} {targets} {mode}: {words}"
        );
    }
}

#[test]
fn what_a_document_says_in_vain_is_found() {
    let allow = "rules:\n  - { name: a, effect: allow, statements: [read] }\n";
    let rule = |words: &str| format!("rules:\n  - {{ name: a, effect: allow, {words} }}");
    let table = [
        (String::new(), "1 says-nothing", "no rules"),
        (
            rule("statements: [read, select]"),
            "7 redundant",
            "entry 2 adds nothing to entry 1",
        ),
        (
            rule("statements: [read], tables: [s.t, 's.*']"),
            "7 redundant",
            "tables: entry 1",
        ),
        (
            rule("statements: [do], tables: ['s.*']"),
            "7 kinds-without-tables",
            "whatever `tables` says",
        ),
        (
            rule("statements: [opaque], tables: ['s.*']"),
            "7 kinds-without-tables",
            "never matches",
        ),
        (
            rule("statements: [select], max_rows_affected: 5"),
            "7 no-effect",
            "no change of rows",
        ),
        (
            rule("statements: [insert], without_where: true"),
            "7 no-effect",
            "neither update nor delete",
        ),
        (
            format!(
                "{}\nlimits: {{ rows_affected: 5 }}",
                rule("statements: [insert], max_rows_affected: 50")
            ),
            "7 no-effect",
            "the policy's own limit is 5",
        ),
        (
            format!(
                "{allow}masks:\n  - {{ name: m, columns: [s.t.c], with: redact, unless: {{ groups: ['ai-*'] }} }}"
            ),
            "9 never-in-force",
            "is exempt",
        ),
        (
            format!("{allow}masks:\n  - {{ name: m, columns: [s.t.c, s.t.*], with: redact }}"),
            "9 redundant",
            "mask `m`, columns: entry 1 adds nothing to entry 2",
        ),
        (
            format!("{allow}functions: {{ allow: ['*.pg_sleep(*)'] }}"),
            "8 no-effect",
            "only `*` reaches",
        ),
        (
            format!("{allow}functions: {{ allow: [pg_catalog.lower] }}"),
            "8 redundant",
            "anyway",
        ),
        (
            format!("{allow}functions: {{ allow: [app.f], deny: ['app.*'] }}"),
            "8 always-denied",
            "`app.f(*)` is denied by `app.*(*)`",
        ),
        (
            rule("statements: [read], when: 'now.getHours() > 23'"),
            "7 never-true",
            "never true",
        ),
        (
            rule("statements: [read], when: 'now.getHours() < 24'"),
            "7 always-true",
            "always true",
        ),
        (
            rule("statements: [read], when: 'now.getHours() >= 22 && now.getHours() < 6'"),
            "7 never-true",
            "",
        ),
        (
            rule("statements: [read], when: 'now.getMonth() == 1 && now.getDate() == 30'"),
            "7 never-true",
            "",
        ),
        (
            rule("statements: [read], when: 'false'"),
            "7 never-true",
            "",
        ),
        (
            rule("statements: [read], when: \"target == 'other'\""),
            "7 never-true",
            "about `orders` only",
        ),
        (
            rule("statements: [read], when: \"role == 'a' && role in ['b', 'c']\""),
            "7 never-true",
            "at once",
        ),
    ];
    for (lines, code, words) in &table {
        let (seen, all) = found(&[&policy("p", lines)]);
        assert_eq!(seen, [*code], "{lines}\n{all}");
        assert!(all.contains(words), "{words}: {all}");
    }
    let subjects = policy("p", allow).replace("{ groups: [ai-agents] }", "{ groups: [] }");
    assert_eq!(found(&[&subjects]).0, ["4 nobody"]);
    let twice = policy("p", allow).replace(
        "{ groups: [ai-agents] }",
        "{ groups: [a] }, { groups: [a], roles: [r] }",
    );
    assert_eq!(found(&[&twice]).0, ["4 redundant"]);
}

#[test]
fn what_makes_sense_is_not_blamed() {
    for when in [
        "now.getHours() >= 6 && now.getHours() < 20",
        "now.getDayOfWeek() in [1, 2, 3, 4, 5]",
        "now.getMonth() == 1 && now.getDate() == 29",
        "now.getMonth() == 1 && now.getDate() == 29 && now.getDayOfWeek() == 0",
        "now.getFullYear() < 2020",
        "now > 4102444800",
        "target == 'orders'",
        "database == 'app' || target == 'other'",
        "principal.claims.level == 'senior'",
        "!statement.missing_where",
        "role == 'a'",
        "statement.tables.all(t, t.startsWith('sales.'))",
    ] {
        let lines =
            format!("rules:\n  - {{ name: a, effect: allow, statements: [read], when: {when:?} }}");
        let (seen, words) = found(&[&policy("p", &lines)]);
        assert!(seen.is_empty(), "{words}");
    }
}

const INVENTORY: &str = r#"{
  "apiVersion": "node-agent/v1", "kind": "Catalogue", "database": "app",
  "relations": [
    { "schema": "sales", "name": "orders", "kind": "table",
      "columns": [ { "name": "id", "type": "bigint" }, { "name": "total", "type": "numeric" } ] },
    { "schema": "sales", "name": "customers", "kind": "table",
      "columns": [ { "name": "id", "type": "bigint" }, { "name": "ssn", "type": "text" } ] },
    { "schema": "sales", "name": "customers_2026", "kind": "table",
      "columns": [ { "name": "id", "type": "bigint" }, { "name": "ssn", "type": "text" } ],
      "reaches": [ [ "sales", "customers" ] ] },
    { "schema": "hr", "name": "people", "kind": "table",
      "columns": [ { "name": "ssn", "type": "text" } ] },
    { "schema": "hr", "name": "old", "kind": "view",
      "columns": [ { "name": "ssn", "type": "text" } ] }
  ],
  "functions": [ { "schema": "app", "name": "price", "arguments": 2 } ]
}"#;

#[test]
fn patterns_that_match_nothing_in_a_database_are_found() {
    let inventory = Inventory::read(INVENTORY).unwrap();
    let rule = |words: &str| format!("rules:\n  - {{ name: a, effect: allow, {words} }}");
    let mask =
        |columns: &str| format!("masks:\n  - {{ name: m, columns: [{columns}], with: redact }}");
    let table = [
        (
            rule("statements: [read], tables: ['sales.*', sales.orders, '*.people']"),
            None,
            "",
        ),
        (
            rule("statements: [read], tables: [pg_catalog.pg_stats, '*.pg_stats']"),
            None,
            "",
        ),
        (rule("statements: [read], tables: ['pg_temp.*']"), None, ""),
        (rule("statements: [create], tables: [sales.new]"), None, ""),
        (
            rule("statements: [create], tables: [slaes.new]"),
            Some("matches-nothing"),
            "`sales`?",
        ),
        (
            rule("statements: [read], tables: [sales.order]"),
            Some("matches-nothing"),
            "did you mean `orders`?",
        ),
        (
            rule("statements: [read], tables: ['sale.*']"),
            Some("matches-nothing"),
            "did you mean `sales`?",
        ),
        (mask("sales.customers.ssn, hr.people.ssn"), None, ""),
        (mask("'*.*.ssn'"), None, ""),
        (
            mask("'*.*.snn'"),
            Some("matches-nothing"),
            "did you mean `ssn`?",
        ),
        (
            mask("sales.custmers.ssn, '*.*.ssn'"),
            Some("matches-nothing"),
            "did you mean `customers`?",
        ),
        (
            mask("sales.customers.ssn"),
            Some("masks-miss"),
            "have no mask: `hr.people.ssn` [",
        ),
        ("functions: { allow: [app.price] }".to_owned(), None, ""),
        (
            "functions: { deny: ['*.pg_sleep(*)', 'pg_catalog.version'] }".to_owned(),
            None,
            "",
        ),
        (
            "functions: { allow: [app.prise] }".to_owned(),
            Some("matches-nothing"),
            "did you mean `price`?",
        ),
    ];
    for (lines, code, words) in &table {
        let documents = parse(&policy("p", lines), "p.yaml").unwrap();
        let findings = check_against(&documents, &inventory, Some("orders"));
        let codes: Vec<&str> = findings.iter().map(|f| f.code).collect();
        let (_, all) = told(&findings);
        assert_eq!(
            codes,
            code.iter().copied().collect::<Vec<_>>(),
            "{lines}\n{all}"
        );
        assert!(all.contains(words), "{words}: {all}");
        assert!(check_against(&documents, &inventory, Some("elsewhere")).is_empty());
    }
    assert!(Inventory::read("{}").is_err());
}
