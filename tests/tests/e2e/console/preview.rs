//! A preview, asked for on the page of its request.

use anyhow::Result;
use node_agent_tests::World;
use node_agent_tests::idp::Person;

use super::{POLICY, SEED, SETTINGS, agent_is_here, amounts, dba, held, signed_in};

#[test]
fn a_reviewer_previews_by_a_button_and_nobody_else_does() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let policy = POLICY.replace("unmasked: true", "preview: true")
        + "masks:\n  - { name: pay, columns: ['*.pay.amount'], with: null, predicates: allow }\n";
    let world = World::builder()
        .seed(SEED)
        .policy_text("wages.yaml", &policy)
        .settings(SETTINGS)
        .start()?;
    let mut dora = signed_in(&world, dba())?;
    let mut eve = signed_in(&world, Person::new("eve", &["sales"]))?;
    let text = "update pay set name = '<b>\u{202e}' where id = 3";
    let held = held(&world, &mut dora, text)?;
    let page = dora.get(&held.path())?;
    page.says(200, "<button>Preview</button>");
    page.says(200, "Rows, as the database expects");
    let path = format!("{}/preview", held.path());
    // Not by a link, not with a form of somebody else's, not by whom nobody asks.
    assert_eq!(dora.get(&path)?.status, 405);
    dora.post(&path, "token=0000")?
        .says(403, "not of your sign-in");
    let theirs = eve.get(&held.path())?.token()?;
    eve.post(&path, &format!("token={theirs}"))?
        .says(403, "is not for you");
    let form = format!("token={}", page.token()?);
    dora.post(&path, &format!("{form}&more=1"))?;
    let preview = dora.post(&path, &form)?;
    for words in [
        "public.pay: 0 inserted, 1 updated, 0 deleted",
        "<td class=\"\">n3</td>",
        "<td class=\"null\">NULL</td>",
        "&lt;b&gt;<span class=\"esc\">\\u{202e}</span>",
    ] {
        preview.says(200, words);
    }
    assert!(!preview.body.contains("<b>"), "{}", preview.body);
    assert_eq!(amounts(&world)?, "55");
    dora.get(&held.path())?.says(200, "pending");

    // Credentials that were given long ago are not enough.
    let mut late = dba();
    late.ago = 16 * 60;
    let mut late = signed_in(&world, late)?;
    let page = late.get(&held.path())?;
    page.says(200, "Sign in anew to preview");
    late.post(&path, &format!("token={}", page.token()?))?
        .says(403, "too long ago for a preview");
    Ok(())
}
