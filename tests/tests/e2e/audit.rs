//! `mask audit` against a real database.

use anyhow::Result;
use node_agent_tests::World;
use node_agent_tests::pg::DATABASE;
use serde_json::Value;

use super::agent_is_here;

const SEED: &str = "create schema hr; \
    create table hr.people (id bigint primary key, ssn text, email text, phone text, note text, flags jsonb); \
    insert into hr.people select g, '123-45-6789', 'zebra' || g || '@marker.example', '+49 30 901820', \
        case when g % 2 = 0 then 'marker4111@mail.example' else 'blank' end, '{}' from generate_series(1, 40) g; \
    comment on column hr.people.ssn is 'Social security number (pii:ssn)'; \
    create view hr.contacts as select email as mail, phone from hr.people; \
    create table hr.hidden (secret text); insert into hr.hidden values ('nobody'); \
    grant usage on schema hr to public; grant select on hr.people, hr.contacts to public; alter role svc nosuperuser";

const POLICY: &str = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: hr }
subjects: [ { groups: [ai-agents] } ]
targets: [ '*' ]
rules: [ { name: read, effect: allow, statements: [read] } ]
masks:
  - { name: tagged, tags: ['pii:*'], with: redact, unless: { groups: [dpo] } }
  - { name: mail, columns: [hr.people.email, hr.people.gone], with: token }
";

#[test]
fn every_column_is_listed_with_its_masks_and_with_what_looks_as_if_it_should_have_one() -> Result<()>
{
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder()
        .policy_text("hr.yaml", POLICY)
        .seed(SEED)
        .start()?;
    let audit = |more: &[&str]| {
        let words = ["mask", "audit", "--target", "pg15"];
        world.cli(&[&words[..], more].concat())
    };
    let only = ["--database", DATABASE];
    let json = |more: &[&str]| {
        let audited = audit(&[&only[..], &["--json"], more].concat())?;
        let report: Value = serde_json::from_str(&audited.stdout)?;
        anyhow::Ok((audited, report))
    };
    let (audited, report) = json(&[])?;
    assert_eq!(audited.status.code(), Some(0), "{}", audited.all());
    assert_eq!(report["unruled"], 2, "{report}");
    let found = &report["databases"][0];
    assert_eq!(found["database"], DATABASE);
    let column = |report: &Value, table: &str, name: &str| {
        let all = report["databases"][0]["columns"]
            .as_array()
            .unwrap()
            .clone();
        let mut all = all.into_iter();
        all.find(|c| c["table"] == table && c["column"] == name)
            .unwrap_or_else(|| panic!("no {table}.{name}"))
    };
    let ssn = column(&report, "people", "ssn");
    assert_eq!(ssn["tags"], serde_json::json!(["pii:ssn"]));
    assert_eq!(ssn["masks"][0]["by"], "pii:*");
    assert_eq!(ssn["masks"][0]["unless"], "groups dpo");
    assert_eq!(ssn["read_by"], serde_json::json!(["hr.contacts"]));
    assert_eq!(
        column(&report, "people", "email")["masks"][0]["mask"],
        "mail"
    );
    assert_eq!(column(&report, "people", "phone")["unruled"], true);
    assert_eq!(column(&report, "people", "note")["unruled"], false);
    assert_eq!(
        column(&report, "contacts", "mail")["masks"][0]["whole"],
        true
    );
    assert_eq!(column(&report, "hidden", "secret")["unruled"], true);
    assert_eq!(found["idle"][0]["by"], "hr.people.gone");

    // Values are looked at only when it is said, and never shown.
    let (audited, report) = json(&["--sample", "20"])?;
    let note = column(&report, "people", "note");
    assert_eq!(note["found"][0]["detector"], "e-mail");
    assert_eq!(note["found"][0]["share"], 0.5);
    assert_eq!(note["unruled"], true);
    assert_eq!(
        report["databases"][0]["unread"],
        serde_json::json!(["hr.hidden"])
    );
    let table = audit(&[&only[..], &["--sample", "20"]].concat())?;
    for all in [audited.all(), table.all()] {
        for value in ["zebra", "marker", "123-45", "901820", "blank"] {
            assert!(!all.contains(value), "{value}: {all}");
        }
    }
    for words in [
        "hr.people.ssn",
        "hr/tagged (pii:*)",
        "groups ai-agents unless groups dpo",
        "50 % e-mail",
        "no rule",
        "hr/mail: hr.people.gone: protects nothing",
        "app: hr.hidden was not read",
        "3 of them look like personal data or a secret and have no rule",
    ] {
        let words = words.replace("app:", &format!("{DATABASE}:"));
        assert!(table.stdout.contains(&words), "{words}: {}", table.all());
    }
    // All databases there are, and the exit status where asked for.
    let strict = audit(&["--strict", "--unruled"])?;
    assert_eq!(strict.status.code(), Some(1), "{}", strict.all());
    assert!(strict.stdout.contains("DATABASE") && strict.stdout.contains("hr.people.phone"));
    assert!(!strict.stdout.contains("hr.people.id"));
    let wrong = world.cli(&["mask", "audit", "--target", "nowhere"])?;
    assert_eq!(wrong.status.code(), Some(2), "{}", wrong.all());
    Ok(())
}
