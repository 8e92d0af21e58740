//! What those who write policies are told of a real database.

use std::fs;

use anyhow::Result;
use node_agent_tests::{Program, World, parts, pg};
use serde_json::Value;

use super::agent_is_here;

const SEED: &str = "create schema shop;
    create table shop.customers (id bigint primary key, ssn text, born date) partition by range (id);
    create table shop.customers_a partition of shop.customers for values from (1) to (100);
    create table shop.leads (id bigint, ssn character varying(11));
    create view shop.recent as select id, ssn from shop.customers where id > 50;
    create function shop.price(a int, b int) returns int language sql as 'select a * b';
    create view shop.priced as select shop.price(1, 2) as p;";

const POLICY: &str = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: shop }
subjects: [ { groups: [ai-agents] } ]
targets: [ pg15 ]
rules:
  - { name: read, effect: allow, statements: [read], tables: [\"shop.*\", shop.custmers] }
functions: { allow: [shop.prize] }
masks:
  - { name: ssn, columns: [shop.customers.ssn], with: redact }
";

#[test]
fn policies_are_held_against_what_a_database_holds() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder().seed(SEED).start()?;
    let dump = [
        "catalogue",
        "dump",
        "--target",
        "pg15",
        "--database",
        pg::DATABASE,
    ];
    let dumped = world.cli(&dump)?;
    assert_eq!(dumped.status.code(), Some(0), "{}", dumped.all());
    let found: Value = serde_json::from_str(&dumped.stdout)?;
    assert_eq!(found["target"], "pg15");
    let relation = |name: &str| {
        let all = found["relations"].as_array().unwrap();
        let one = all
            .iter()
            .find(|r| r["schema"] == "shop" && r["name"] == name);
        one.unwrap_or_else(|| panic!("no {name}: {found}"))
    };
    assert_eq!(relation("customers")["kind"], "partitioned table");
    assert_eq!(relation("customers")["columns"][2]["type"], "date");
    assert_eq!(
        relation("leads")["columns"][1]["type"],
        "character varying(11)"
    );
    // A child has its parent's masks, a view those of what it reads.
    for name in ["customers_a", "recent"] {
        let reaches = relation(name)["reaches"].as_array().unwrap();
        assert!(
            reaches.contains(&serde_json::json!(["shop", "customers"])),
            "{name}: {reaches:?}"
        );
    }
    assert_eq!(relation("priced")["by_code"], true);
    assert_eq!(
        found["functions"],
        serde_json::json!([{ "schema": "shop", "name": "price", "arguments": 2 }])
    );
    assert!(!dumped.stdout.contains("pg_toast") && !dumped.stdout.contains("pg_authid"));

    let catalogue = world.path().join("app.json");
    fs::write(&catalogue, &dumped.stdout)?;
    let policy = world.write("shop.yaml", POLICY)?;
    let url = format!(
        "postgres://{}:{}@{}/{}?sslmode=disable",
        pg::SERVICE,
        pg::PASSWORD,
        world.cluster().address(),
        pg::DATABASE
    );
    for place in [catalogue.display().to_string(), url] {
        let checked = Program::new(parts::built("node-agent")?)
            .args(["policy", "check", "--catalogue", &place, "--target", "pg15"])
            .arg(&policy)
            .run()?;
        assert_eq!(checked.status.code(), Some(0), "{}", checked.all());
        for words in [
            ":7:73: warning: policy `shop`: rule `read`: `shop.custmers` matches nothing",
            "did you mean `customers`?",
            "`shop.prize(*)` matches nothing: there is no such function; did you mean `price`?",
            "have no mask: `shop.leads.ssn` [masks-miss]",
        ] {
            assert!(
                checked.stdout.contains(words),
                "{words}: {}",
                checked.stdout
            );
        }
        // A partition and a view are under the mask of what they hang on.
        assert!(
            !checked.stdout.contains("customers_a"),
            "{}",
            checked.stdout
        );
    }
    // The same answer as the agent's own, for a name without its schema.
    let explained = Program::new(parts::built("node-agent")?)
        .args(["policy", "explain", "--policies"])
        .arg(&policy)
        .args(["--target", "pg15", "--group", "ai-agents", "--catalogue"])
        .arg(&catalogue)
        .arg("select ssn from recent")
        .run()?;
    assert_eq!(explained.status.code(), Some(0), "{}", explained.all());
    for words in ["recent: in shop; reaches ", "shop.customers", "is about it"] {
        assert!(
            explained.stdout.contains(words),
            "{words}: {}",
            explained.stdout
        );
    }

    // What cannot be read is no empty catalogue.
    let none = [
        "catalogue",
        "dump",
        "--target",
        "pg15",
        "--database",
        "nowhere",
    ];
    let refused = world.cli(&none)?;
    assert_eq!(refused.status.code(), Some(2), "{}", refused.all());
    Ok(())
}
