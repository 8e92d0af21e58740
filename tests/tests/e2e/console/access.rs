//! Access on the console: what is asked for, given for some minutes, in force, and taken back.

use anyhow::Result;
use node_agent_tests::World;
use node_agent_tests::client::{Message, cells};
use node_agent_tests::idp::Person;
use node_agent_tests::world::{GROUP, SUBJECT};

use super::{SEED, SETTINGS, agent_is_here, dba, listed, signed_in};

const POLICIES: &str = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: some }
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
rules:
  - { name: session, effect: allow, statements: [set, transaction] }
---
apiVersion: node-agent/v1
kind: Policy
metadata: { name: wages }
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
access: { reviewers: { groups: [dba, ai-agents] }, longest: 2h }
rules:
  - { name: read, effect: allow, statements: [select], tables: ['*.pay'] }
";

fn words(messages: &[Message]) -> String {
    messages.iter().map(Message::words).collect()
}

#[test]
fn access_is_asked_for_given_for_some_minutes_shown_and_taken_back() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder()
        .seed(SEED)
        .policy_text("wages.yaml", POLICIES)
        .settings(SETTINGS)
        .start()?;
    let mut dialer = world.dialer()?;
    let mut client = world.client(&mut dialer)?;
    let text = "select name from pay where id = 1";
    let told = client.query(&format!("/*access='ask',reason='<b>wages</b>'*/ {text}"))?;
    assert!(words(&told).contains("was asked for"), "{}", words(&told));
    let mut dora = signed_in(&world, dba())?;
    let id = listed(&mut dora)?.remove(0);
    let path = format!("/console/requests/{id}");
    let page = dora.get(&path)?;
    for said in [
        "What would be in force",
        "allows select on *.pay",
        "workload claude only",
        "2 h",
        "What was refused without it",
        "select name from pay where id = 1",
        "&lt;b&gt;wages&lt;/b&gt;",
        "max=\"120\"",
    ] {
        page.says(200, said);
    }
    let token = page.token()?;
    // Who asked does not give it.
    let mut own = signed_in(&world, Person::new(SUBJECT, &[GROUP]))?;
    let theirs = own.get(&path)?;
    theirs.says(200, "nobody decides their own request");
    for (form, status) in [
        (format!("token={token}&scope=access&minutes=121"), 422),
        (format!("token={token}&scope=access&minutes=0"), 422),
        (format!("token={token}&scope=access&minutes="), 422),
        (format!("token={token}&scope=session"), 422),
        ("token=x&scope=access&minutes=30".to_owned(), 403),
    ] {
        let answer = dora.post(&format!("{path}/approve"), &form)?;
        assert_eq!(answer.status, status, "{form}: {}", answer.body);
    }
    let refused = client.query(text)?;
    assert!(
        words(&refused).contains("is not allowed"),
        "{}",
        words(&refused)
    );
    let form = format!("token={token}&scope=access&minutes=30");
    let answer = dora.post(&format!("{path}/approve"), &form)?;
    assert_eq!(answer.status, 303, "{}", answer.body);
    let seen = client.query(text)?;
    assert_eq!(
        cells(&seen)[0][0].as_deref(),
        Some("n1"),
        "{}",
        words(&seen)
    );
    let list = dora.get("/console")?;
    list.says(200, "Access in force");
    list.says(200, "policy wages");
    let page = dora.get(&path)?;
    page.says(200, "granted by dora");
    let token = page.token()?;
    let answer = dora.post(&format!("{path}/revoke"), &format!("token={token}"))?;
    assert_eq!(answer.status, 303, "{}", answer.body);
    let refused = client.query(text)?;
    assert!(
        words(&refused).contains("is not allowed"),
        "{}",
        words(&refused)
    );
    dora.get(&path)?.says(200, "it was taken back");
    Ok(())
}
