//! The console in a real browser.

use std::time::Duration;

use anyhow::Result;
use node_agent_tests::idp::Person;
use node_agent_tests::{Program, parts};

use super::{agent_is_here, amounts, held, signed_in, world};

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
    let program = Program::new(parts::on_path("node")?)
        .arg(parts::driver("console.mjs"))
        .arg(format!("http://{}", world.agent().admin()))
        .arg(parts::on_path("chromium")?)
        .arg(world.path().join("browser"))
        .arg(parts::target().join("console-pictures"))
        .args([&approved.id, &refused.id])
        .at(&parts::browser_home()?)
        .limit(Duration::from_secs(240))
        .run()?
        .good()?;
    assert!(program.stdout.ends_with("done\n"), "{}", program.all());
    assert_eq!(approved.told()?, "done");
    let told = refused.told()?;
    assert!(told.contains("not today"), "{told}");
    assert_eq!(amounts(&world)?, "56");
    Ok(())
}
