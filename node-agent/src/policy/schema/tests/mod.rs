use std::collections::BTreeSet;

use super::*;
use crate::policy::{PolicySet, parse};

mod validate;

use validate::faults;

/// Every struct, enum and text form that the parser's types lead to.
#[derive(Default)]
struct Seen {
    keys: BTreeSet<(String, String)>,
    words: BTreeSet<(String, String)>,
    forms: BTreeSet<String>,
}

impl Seen {
    fn look(&mut self, path: &mut Vec<Step>) {
        let asked = ask::<Document>(path);
        let mut below = |seen: &mut Self, step| {
            path.push(step);
            seen.look(path);
            path.pop();
        };
        match asked {
            Asked::Struct { name, fields } => {
                for field in fields {
                    self.keys.insert((name.to_owned(), (*field).to_owned()));
                    below(self, Step::Field(field));
                }
            }
            Asked::Words { name, words } => {
                for word in words {
                    self.words.insert((name.to_owned(), (*word).to_owned()));
                    below(self, Step::Variant(word));
                }
            }
            Asked::List => below(self, Step::Item),
            Asked::Map => below(self, Step::Value),
            Asked::Text { form } => {
                self.forms.insert(form);
            }
            Asked::Number | Asked::Flag | Asked::Anything => {}
        }
    }
}

#[test]
fn every_key_word_and_form_of_the_parser_is_explained_and_no_other() {
    let mut seen = Seen::default();
    seen.look(&mut Vec::new());
    let keys: BTreeSet<(String, String)> = KEYS
        .iter()
        .map(|key| (key.of.to_owned(), key.name.to_owned()))
        .collect();
    assert_eq!(
        seen.keys, keys,
        "KEYS in schema/keys.rs explains what the parser takes"
    );
    let words: BTreeSet<(String, String)> = WORDS
        .iter()
        .map(|(of, word, _)| ((*of).to_owned(), (*word).to_owned()))
        .collect();
    assert_eq!(
        seen.words, words,
        "WORDS in schema/keys.rs explains what the parser takes"
    );
    let mut forms: BTreeSet<String> = FORMS.iter().map(|(form, _)| (*form).to_owned()).collect();
    forms.insert("a statement word".to_owned());
    assert_eq!(
        seen.forms, forms,
        "FORMS in schema/keys.rs knows what the parser expects"
    );
    // The reference knows each struct, and each enum that stands under a key by itself.
    for key in KEYS {
        assert!(
            PARTS.iter().any(|(name, _)| *name == key.of),
            "{} in PARTS",
            key.of
        );
    }
    let under: BTreeSet<&str> = WORDS_OF.iter().map(|(_, _, words)| *words).collect();
    let all: BTreeSet<&str> = WORDS.iter().map(|(of, ..)| *of).collect();
    let within_another = BTreeSet::from(["DateUnit"]);
    assert_eq!(
        all.difference(&under).copied().collect::<BTreeSet<_>>(),
        within_another
    );
    for (of, text) in CONDITIONS {
        serde_json::from_str::<Value>(text).unwrap_or_else(|e| panic!("{of}: {e}"));
    }
    for (form, text) in FORMS {
        serde_json::from_str::<Value>(text).unwrap_or_else(|e| panic!("{form}: {e}"));
    }
}

const WHOLE: &str = r#"{
  "apiVersion": "node-agent/v1", "kind": "Policy",
  "metadata": { "name": "whole", "description": "every key" },
  "mode": "enforce", "witnesses": "union", "require": { "reason": true, "ticket": "[A-Z]+-[0-9]+" },
  "budgets": { "statements_per_minute": 600, "bytes_returned_per_day": "1GiB" },
  "subjects": [ { "groups": ["a"], "users": ["u"], "issuers": ["https://i.example"],
    "workloads": ["w*"], "labels": { "team": "x" }, "claims": { "level": "y" },
    "databases": ["d"], "roles": ["r"] } ],
  "targets": ["*"],
  "rules": [
    { "name": "a", "effect": "allow", "statements": ["read", "update"], "tables": ["s.t", "\"S.x\".*"],
      "when": "true", "max_rows_affected": 5, "without_where": true, "require": { "ticket": true } },
    { "name": "b", "effect": "approve", "statements": ["*"], "timeout": "10m",
      "reviewers": { "groups": ["g"], "users": ["u"] } },
    { "name": "c", "effect": "deny", "statements": ["drop"] } ],
  "functions": { "allow": ["app.f(*)", "app.g", "*"], "deny": ["*.h"] },
  "masks": [
    { "name": "m", "columns": ["s.t.c"], "with": "redact", "predicates": "allow", "unless": { "groups": ["p"] } },
    { "name": "n", "columns": ["s.t.d"], "with": { "date_trunc": "month" } },
    { "name": "o", "columns": ["s.t.e"], "with": "null" },
    { "name": "p", "columns": ["s.t.f"], "with": { "keep_first": 2 } },
    { "name": "q", "columns": ["s.t.g"],
      "with": { "json": { "paths": ["$.a", "$..b[*]['it\\'s'].*", "$[0]"], "with": { "keep_last": 4 } } } },
    { "name": "r", "tags": ["pii:*", "*:ssn"], "with": "hash" } ],
  "limits": { "rows_returned": 1, "bytes_returned": "64MiB", "statement_timeout": "30s", "rows_affected": 2 }
}"#;

/// Whether the parser and the compiler take it. JSON is YAML.
fn taken(policy: &Value) -> bool {
    let text = serde_json::to_string_pretty(policy).unwrap();
    parse(&text, "p.json").and_then(PolicySet::compile).is_ok()
}

/// What stands at a pointer, with one key more or less.
fn changed(mut policy: Value, at: &str, key: &str, value: Option<Value>) -> Value {
    let place = policy.pointer_mut(at).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => place.insert(key.to_owned(), value),
        None => place.remove(key),
    };
    policy
}

#[test]
fn the_schema_takes_what_the_parser_takes_and_refuses_what_it_refuses() {
    let schema = schema();
    let whole: Value = serde_json::from_str(WHOLE).unwrap();
    assert_eq!(faults(&schema, &whole), Vec::<String>::new());
    assert!(taken(&whole));
    // Each key of each struct, taken away.
    let structs = [
        ("", "Document"),
        ("/metadata", "Metadata"),
        ("/subjects/0", "Subject"),
        ("/rules/0", "Rule"),
        ("/rules/1", "Rule"),
        ("/functions", "Functions"),
        ("/masks/0", "Mask"),
        ("/masks/4/with/json", "JsonMask"),
        ("/masks/5", "Mask"),
        ("/limits", "LimitWords"),
        ("/budgets", "BudgetWords"),
        ("/require", "Require"),
    ];
    for (at, name) in structs {
        for key in KEYS.iter().filter(|key| key.of == name) {
            let less = changed(whole.clone(), at, key.name, None);
            let good = faults(&schema, &less).is_empty();
            assert_eq!(good, taken(&less), "without {at}/{}", key.name);
            let more = changed(whole.clone(), at, "surprise", Some(json!(1)));
            assert!(!faults(&schema, &more).is_empty() && !taken(&more), "{at}");
        }
    }
}

#[test]
fn what_people_get_wrong_is_refused_by_schema_and_parser_alike() {
    let schema = schema();
    let whole: Value = serde_json::from_str(WHOLE).unwrap();
    let table = [
        ("", "apiVersion", json!("node-agent/v2")),
        ("", "kind", json!("Rule")),
        ("", "mode", json!("enforced")),
        ("", "witnesses", json!("loose")),
        ("", "subjects", json!([])),
        ("", "subjects", json!([{}])),
        ("", "targets", json!("orders")),
        ("", "targets", json!([])),
        ("/metadata", "name", json!("")),
        ("/rules/0", "effect", json!("permit")),
        ("/rules/0", "effect", json!("deny")),
        ("/rules/0", "statements", json!(["selct"])),
        ("/rules/0", "statements", json!([])),
        ("/rules/0", "statements", json!("select")),
        ("/rules/0", "tables", json!(["orders"])),
        ("/rules/0", "tables", json!(["a.b.c"])),
        ("/rules/0", "tables", json!([])),
        ("/rules/0", "max_rows_affected", json!(-1)),
        ("/rules/0", "max_rows_affected", json!("many")),
        ("/rules/0", "without_where", json!("maybe")),
        ("/rules/0", "reviewers", json!({ "groups": ["g"] })),
        ("/rules/0", "timeout", json!("10m")),
        ("/rules/1", "timeout", json!("10 minutes")),
        ("/rules/1", "reviewers", json!({})),
        ("/rules/1", "reviewers", json!({ "groups": [] })),
        ("/functions", "allow", json!(["price"])),
        ("/masks/0", "with", json!("blank")),
        ("/masks/0", "with", json!({ "keep_last": "four" })),
        ("/masks/0", "with", json!({ "date_trunc": "week" })),
        ("/masks/0", "columns", json!(["t.c"])),
        ("/masks/0", "with", json!("json")),
        (
            "/masks/0",
            "with",
            json!({ "json": { "paths": ["$.a"], "with": { "json": {} } } }),
        ),
        ("/masks/4/with/json", "paths", json!([])),
        ("/masks/4/with/json", "paths", json!("$.a")),
        ("/masks/4/with/json", "paths", json!(["a"])),
        ("/masks/4/with/json", "paths", json!(["$.a-b"])),
        ("/masks/4/with/json", "paths", json!(["$[1:2]"])),
        ("/masks/4/with/json", "with", json!("blank")),
        ("/masks/0", "columns", json!([])),
        ("/masks/0", "tags", json!(["pii"])),
        ("/masks/0", "tags", json!(["pii ssn:x"])),
        ("/masks/0", "tags", json!(["s/t:x"])),
        ("/masks/0", "tags", json!("pii:ssn")),
        ("/masks/5", "tags", json!([])),
        ("/masks/0", "predicates", json!("maybe")),
        ("/masks/0", "unless", json!({})),
        ("/masks/0", "unless", json!({ "roles": ["r"] })),
        ("/limits", "bytes_returned", json!("64 megs")),
        ("/require", "ticket", json!(false)),
        ("/require", "ticket", json!(7)),
        ("/budgets", "statements_per_week", json!(7)),
        ("/rules/2", "require", json!({ "reason": true })),
        ("/limits", "statement_timeout", json!("soon")),
    ];
    for (at, key, value) in table {
        let wrong = changed(whole.clone(), at, key, Some(value.clone()));
        assert!(
            !faults(&schema, &wrong).is_empty(),
            "schema takes {at}/{key}: {value}"
        );
        assert!(!taken(&wrong), "parser takes {at}/{key}: {value}");
    }
    // Taken by both, each in its own way.
    for (at, key, value) in [
        ("/limits", "bytes_returned", json!(4096)),
        ("/masks/2", "with", json!(null)),
        (
            "/rules/0",
            "statements",
            json!(["admin", "copy_program", "*", "opaque"]),
        ),
        ("/functions", "allow", json!([])),
        ("/masks/0", "tags", json!(["pii:ssn"])),
        ("/masks/5", "columns", json!([])),
    ] {
        let good = changed(whole.clone(), at, key, Some(value.clone()));
        assert_eq!(
            faults(&schema, &good),
            Vec::<String>::new(),
            "{at}/{key}: {value}"
        );
        assert!(taken(&good), "{at}/{key}: {value}");
    }
}

#[test]
fn every_shipped_policy_is_valid() {
    let schema = schema();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let mut seen = 0;
    for directory in [root.clone(), root.join("guardrails"), root.join("masking")] {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|end| end != "yaml") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for policy in serde_saphyr::from_multiple::<Value>(&text).unwrap() {
                seen += 1;
                assert_eq!(
                    faults(&schema, &policy),
                    Vec::<String>::new(),
                    "{}",
                    path.display()
                );
            }
        }
    }
    assert!(seen > 4);
}
