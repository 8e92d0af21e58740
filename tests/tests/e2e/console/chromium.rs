//! The console in a real browser.

use std::time::Duration;

use anyhow::{Context, Result};
use node_agent_tests::idp::Person;
use node_agent_tests::{Program, World, parts, until};

use super::browser::Browser;
use super::{Held, POLICY, SEED, SETTINGS, SOON, agent_is_here, amounts, held, listed, signed_in};

/// Beside what is held before it runs: a COMMIT that is held, and access that is asked for.
const MORE: &str = "\
---
apiVersion: node-agent/v1
kind: Policy
metadata: { name: books }
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
rules:
  - { name: session, effect: allow, statements: [transaction] }
  - { name: closing, effect: approve, hold: commit, statements: [insert, update], tables: ['*.book'],
      reviewers: { groups: [dba] } }
---
apiVersion: node-agent/v1
kind: Policy
metadata: { name: cleaning }
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
access: { reviewers: { groups: [dba] }, longest: 2h }
rules:
  - { name: clean, effect: allow, statements: [delete], tables: ['*.book'] }
";

fn world() -> Result<World> {
    let books = "create table book (id int primary key, entry text); \
        insert into book select g, 'entry ' || g from generate_series(1, 5) g; \
        grant all on book to public";
    let policy = POLICY.replace("unmasked: true", "unmasked: true, preview: true");
    World::builder()
        .seed(format!("{SEED}; {books}").leak())
        .policy_text("wages.yaml", &format!("{policy}{MORE}"))
        .settings(SETTINGS)
        .start()
}

#[test]
fn chromium_signs_in_approves_refuses_and_replays_and_axe_finds_nothing_serious() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world()?;
    assert!(world.ask("select name, amount from pay")?.status.success());
    let mut person = Person::new("dora", &["dba", "audit"]);
    person.email = Some("dora@example.com".to_owned());
    let mut dora = signed_in(&world, person)?;
    let mut refused = held(
        &world,
        &mut dora,
        "delete from pay where id > 5 -- \u{202e}all",
    )?;
    let text = "update pay\n   set amount = amount * 2, name = 'nаme'\n where id = 1";
    let mut approved = held(&world, &mut dora, text)?;
    let mut closing = held_commit(&world, &mut dora)?;
    let access = access(&world, &mut dora)?;
    let program = Program::new(parts::on_path("node")?)
        .arg(parts::driver("console.mjs"))
        .arg(format!("http://{}", world.agent().admin()))
        .arg(parts::on_path("chromium")?)
        .arg(world.path().join("browser"))
        .arg(parts::target().join("console-pictures"))
        .args([&approved.id, &refused.id, &closing.id, &access])
        .at(&parts::browser_home()?)
        .limit(Duration::from_secs(240))
        .run()?
        .good()?;
    assert!(program.stdout.ends_with("done\n"), "{}", program.all());
    assert_eq!(approved.told()?, "done");
    let told = refused.told()?;
    assert!(told.contains("not today"), "{told}");
    assert_eq!(amounts(&world)?, "56");
    assert_eq!(closing.told()?, "done");
    let booked = "select count(*) from book where entry like 'closed%'";
    assert_eq!(world.ask(booked)?.good()?.stdout, "2\n");
    // What was asked for is in force.
    world.ask("delete from book where id = 5")?.good()?;
    Ok(())
}

/// A transaction whose COMMIT is held.
fn held_commit(world: &World, dora: &mut Browser) -> Result<Held> {
    let mut dialer = world.dialer()?;
    let mut client = world.client(&mut dialer)?;
    client.query("begin")?;
    for text in [
        "insert into book values (6, 'closed by 6')",
        "update book\n   set entry = 'closed ' || entry\n where id = 1",
    ] {
        let told = client.query(text)?;
        assert!(told.iter().any(|message| message.kind == b'C'), "{told:?}");
    }
    let before = listed(dora)?;
    client.ask("commit")?;
    let id = until("the request", SOON, || {
        let mut now = listed(dora)?;
        now.retain(|id| !before.contains(id));
        Ok(now.pop())
    })?;
    Ok(Held {
        client,
        id,
        _dialer: dialer,
    })
}

/// Access that somebody asks for: the name of the request.
fn access(world: &World, dora: &mut Browser) -> Result<String> {
    let before = listed(dora)?;
    let text = "/*access='ask',reason='tidy%20up%20after%20OPS-12'*/ delete from book where id = 5";
    assert!(!world.ask(text)?.status.success());
    let mut now = listed(dora)?;
    now.retain(|id| !before.contains(id));
    now.pop().context("nothing is asked for")
}
