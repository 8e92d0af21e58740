//! An agent that takes over from another while statements are held, and grants are in force.

use std::time::Duration;

use anyhow::Result;
use node_agent_tests::client::cells;
use node_agent_tests::until;

use super::agent_is_here;
use super::approval::{
    SOON, approve, client, done, id, left, listed, one, says, state, words, world,
};
use super::storm::governs;

#[test]
fn an_agent_that_takes_over_lets_what_is_held_lapse_and_keeps_tickets_and_grants() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut world = world("reviewers: { groups: [dba] }, offers: { session: true, shape: 30m }")?;
    let (_first, mut at_work) = client(&world)?;
    // A ticket, asked for and approved; one that nobody decided yet; and a grant for a shape.
    let ticket = "/*wait='no'*/ delete from app.t where id = 1";
    let undecided = "/*wait='no'*/ delete from app.t where id = 2";
    at_work.query(ticket)?;
    approve(&world, &one(&world)?)?;
    at_work.ask("update app.t set note = 'x' where id = 3")?;
    assert!(
        says(&world, 0, &["approve", &one(&world)?, "--shape", "30"])?
            .status
            .success()
    );
    assert!(done(&at_work.up_to(b'Z')?, "UPDATE 1"));
    at_work.query(undecided)?;
    let later = one(&world)?;
    // Two wait on their connections.
    let (_second, mut waits) = client(&world)?;
    let (_third, mut too) = client(&world)?;
    waits.ask("delete from app.t where id = 4")?;
    too.ask("delete from app.t where note = 'note'")?;
    let held = until("both are held", SOON, || {
        let mut held: Vec<String> = listed(&world, "pending")?.iter().map(id).collect();
        held.retain(|one| *one != later);
        Ok((held.len() == 2).then_some(held))
    })?;

    let mut old = world.agent_mut().taken_over()?;
    governs(&world)?;
    for client in [&mut waits, &mut too] {
        let answer = client.up_to(b'Z')?;
        assert_eq!(
            state(&answer).as_deref(),
            Some("57014"),
            "{}",
            words(&answer)
        );
        assert!(
            words(&answer).contains("another agent took over"),
            "{}",
            words(&answer)
        );
    }
    assert_eq!(left(&world)?, 1000, "nothing of them ran");
    // Their sessions go on, at the agent that only serves on, and nothing is asked for there.
    assert_eq!(cells(&waits.query("select 7")?)[0][0].as_deref(), Some("7"));
    let answer = waits.query("delete from app.t where id = 5")?;
    assert!(
        words(&answer).contains("connect again"),
        "{}",
        words(&answer)
    );
    for one in &held {
        let late = says(&world, 0, &["approve", one])?;
        assert!(
            !late.status.success() && late.all().contains("decided already"),
            "{}",
            late.all()
        );
    }
    // What does not hang on a connection is the next agent's.
    let (_fourth, mut next) = client(&world)?;
    until(
        "the next agent has the approvals",
        Duration::from_secs(15),
        || Ok((listed(&world, "pending")?.len() == 1).then_some(())),
    )?;
    assert!(done(&next.query(ticket)?, "DELETE 1"));
    assert!(done(
        &next.query("update app.t set note = 'x' where id = 6")?,
        "UPDATE 1"
    ));
    approve(&world, &later)?;
    assert!(done(&next.query(undecided)?, "DELETE 1"));
    assert_eq!(left(&world)?, 998);
    assert_eq!(
        state(&next.query(ticket)?).as_deref(),
        Some("57014"),
        "once"
    );
    drop((at_work, waits, too));
    assert!(old.wait(SOON)?.success());
    world.cli(&["sessions", "verify"])?.good()?;
    Ok(())
}
