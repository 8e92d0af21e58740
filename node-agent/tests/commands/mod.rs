//! The commands for those who write policies, as they are typed: words, exit status, JSON.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::root;

/// A policy with one slip of each kind that `check` warns of.
const SLIPS: &str = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: slips }
subjects: [ { groups: [ai-agents] } ]
targets: [ orders ]
rules:
  - { name: read, effect: allow, statements: [read], tables: [\"sales.*\"] }
  - { name: again, effect: allow, statements: [select], tables: [sales.order] }
masks:
  - { name: ssn, columns: [sales.customers.ssn], with: redact }
";

const CATALOGUE: &str = r#"{
  "apiVersion": "node-agent/v1", "kind": "Catalogue", "target": "orders", "database": "app",
  "relations": [
    { "schema": "sales", "name": "orders", "kind": "table", "columns": [ { "name": "id", "type": "bigint" } ] },
    { "schema": "sales", "name": "customers", "kind": "table", "columns": [ { "name": "ssn", "type": "text" } ] },
    { "schema": "sales", "name": "recent", "kind": "view", "columns": [ { "name": "ssn", "type": "text" } ],
      "reaches": [ [ "sales", "customers" ] ] } ],
  "functions": []
}"#;

struct Said {
    status: i32,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}", self.out))
    }
}

/// Runs `node-agent policy …` in a directory, with something on its standard input.
fn policy_in(directory: &Path, words: &[&str], input: &str) -> Said {
    let mut child = Command::new(env!("CARGO_BIN_EXE_node-agent"))
        .arg("policy")
        .args(words)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("a standard input");
    // Who does not read it closes it.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let done = child.wait_with_output().expect("it ends");
    Said {
        status: done.status.code().expect("a status"),
        out: String::from_utf8(done.stdout).expect("UTF-8"),
        err: String::from_utf8(done.stderr).expect("UTF-8"),
    }
}

fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| fs::write(place.path().join(name), text).expect("written");
    write("slips.yaml", SLIPS);
    write(
        "wrong.yaml",
        &SLIPS.replace("statements: [select]", "statements: [selct]"),
    );
    write(
        "senseless.yaml",
        &SLIPS.replace("name: again", "name: read"),
    );
    write("app.json", CATALOGUE);
    write(
        "cases.md",
        "# Slips\n```policies\nslips.yaml\n```\n## It reads\n```sql\nSELECT id FROM sales.orders\n```\n\
         ```expect\nallow slips/read\n```\n## It also writes\n```sql\nINSERT INTO sales.orders VALUES (1)\n```\n\
         ```expect\nallow slips/write\n```\n",
    );
    place
}

#[test]
fn check_says_what_is_wrong_and_where() {
    let place = place();
    let table: &[(&[&str], i32, &str)] = &[
        (
            &["slips.yaml"],
            0,
            "slips.yaml:8:5: warning: policy `slips`: rule `again` allows nothing",
        ),
        (&["slips.yaml"], 0, "1 warning"),
        (&["--strict", "slips.yaml"], 1, "not good; version "),
        (
            &["wrong.yaml"],
            1,
            "wrong.yaml:8:48: `selct` is no statement word",
        ),
        (&["wrong.yaml"], 1, "did you mean `select`?"),
        (
            &["senseless.yaml"],
            1,
            "senseless.yaml:8:5: policy `slips`: rule `read`: a rule needs",
        ),
        (
            &["--catalogue", "app.json", "slips.yaml"],
            0,
            "there is no `order` in `sales`; did you mean `orders`?",
        ),
        (
            &["--catalogue", "app.json", "--target", "other", "slips.yaml"],
            0,
            "; 1 warning\n",
        ),
    ];
    for (words, status, told) in table {
        let said = policy_in(place.path(), &[&["check"], *words].concat(), "");
        assert_eq!(said.status, *status, "{words:?}: {}{}", said.out, said.err);
        assert!(said.out.contains(told), "{words:?}: {told}: {}", said.out);
    }
    for words in [
        &["check", "nowhere.yaml"][..],
        &["check"],
        &["check", "--catalogue", "nowhere.json", "slips.yaml"],
        &["check", "--catalogue", "slips.yaml", "slips.yaml"],
        &["check", "--catalogue", "postgres://h/app", "slips.yaml"],
    ] {
        let said = policy_in(place.path(), words, "");
        assert_eq!(said.status, 2, "{words:?}: {}{}", said.out, said.err);
    }
    let said = policy_in(place.path(), &["check", "--json", "slips.yaml"], "").json();
    assert_eq!(said["good"], true);
    assert_eq!(said["warnings"][0]["code"], "redundant");
    assert_eq!(said["warnings"][0]["line"], 8);
    let said = policy_in(place.path(), &["check", "--json", "wrong.yaml"], "").json();
    assert_eq!(said["good"], false);
    assert_eq!(said["errors"][0]["file"], "wrong.yaml");
    assert_eq!(said["errors"][0]["line"], 8);
}

#[test]
fn explain_says_what_would_be_and_why() {
    let place = place();
    let who = [
        "explain",
        "--policies",
        "slips.yaml",
        "--target",
        "orders",
        "--group",
        "ai-agents",
    ];
    let ask =
        |words: &[&str], input: &str| policy_in(place.path(), &[&who[..], words].concat(), input);
    let said = ask(&["SELECT ssn FROM sales.customers"], "");
    assert_eq!(said.status, 0, "{}{}", said.out, said.err);
    for words in [
        "allow, by slips/read\n",
        "reads    sales.customers\n",
        "columns  ssn: output\n",
        "slips/read (allow) decides  slips.yaml:7:5",
        "slips/again (allow) is about something else  slips.yaml:8:5",
        "slips/ssn (redact) on sales.customers.ssn is about it  slips.yaml:10:5",
    ] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    let said = ask(&["-"], "DROP TABLE sales.orders");
    assert_eq!(said.status, 1, "{}{}", said.out, said.err);
    assert!(said.out.starts_with("deny, by default\n"), "{}", said.out);
    // Whether an unqualified name is the one of the rule, only a catalogue knows.
    assert_eq!(ask(&["SELECT id FROM orders"], "").status, 1);
    let with = ["--catalogue", "app.json"];
    let said = ask(
        &[&with[..], &["--json", "SELECT ssn FROM recent"]].concat(),
        "",
    );
    assert_eq!(said.status, 0, "{}{}", said.out, said.err);
    let said = said.json();
    assert_eq!(
        said["decision"]["allow"]["obligations"]["touches_masked"],
        true
    );
    assert_eq!(said["statements"][0]["objects"][0]["schemas"][0], "sales");
    assert_eq!(
        said["statements"][0]["objects"][0]["reaches"][0],
        "sales.customers"
    );
    assert_eq!(said["rules"][0]["decided"], true);
    assert_eq!(said["masks"][0]["touched"], true);
    assert_eq!(ask(&["--at", "yesterday", "SELECT 1"], "").status, 2);
}

#[test]
fn test_shows_what_differs_and_by_which_rule() {
    let place = place();
    let test = |words: &[&str]| policy_in(place.path(), &[&["test"], words].concat(), "");
    let said = test(&["cases.md"]);
    assert_eq!(said.status, 1, "{}{}", said.out, said.err);
    for words in [
        "FAIL  cases.md:14: It also writes\n    | INSERT INTO sales.orders VALUES (1)\n    - allow slips/write\n    + deny default: ",
        "(no rule is called `slips/write`)",
        "2 cases in 1 file, 1 failed\n",
    ] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    let said = test(&["--only", "it reads", "--verbose", "cases.md"]);
    assert_eq!(said.status, 0, "{}{}", said.out, said.err);
    assert!(
        said.out
            .contains("ok    cases.md:7: It reads\n1 cases in 1 file, 0 failed\n"),
        "{}",
        said.out
    );
    let said = test(&["--json", "cases.md"]).json();
    assert_eq!((&said["passed"], &said["failed"]), (&1.into(), &1.into()));
    assert_eq!(said["cases"][0]["rules"][0], "slips/read  slips.yaml:7:5");
    assert_eq!(
        said["cases"][1]["differs"][0]["expected"],
        "allow slips/write"
    );
    // Nothing that ran is no green run.
    assert_eq!(test(&["--only", "nothing", "cases.md"]).status, 2);
    assert_eq!(test(&["slips.yaml"]).status, 2);
    assert_eq!(test(&["nowhere.md"]).status, 2);
    // One wrong policy, and not a hundred wrong decisions.
    let text = fs::read_to_string(place.path().join("cases.md")).expect("readable");
    fs::write(
        place.path().join("cases.md"),
        text.replace("slips.yaml", "wrong.yaml"),
    )
    .expect("written");
    let said = test(&["cases.md"]);
    assert!(
        said.out.contains("wrong.yaml:8:48: `selct`"),
        "{}",
        said.out
    );
    assert!(
        said.out.contains("not asked: a policy above is wrong"),
        "{}",
        said.out
    );
}

#[test]
fn the_schema_in_the_repository_is_the_one_that_is_told() {
    let said = policy_in(&root(), &["schema"], "").json();
    assert_eq!(
        said["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    let file = root().join("docs/reference/policy.schema.json");
    let text = fs::read_to_string(&file).expect("readable");
    let written: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(said, written, "`cargo xtask gen` writes it anew");
}
