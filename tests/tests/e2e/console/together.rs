//! Reviewers of the command line and of the console decide together; and links from elsewhere lead there.

use anyhow::Result;
use node_agent_tests::idp::Person;
use node_agent_tests::{Finished, Program, World, parts, until};

use super::super::agent_is_here;
use super::super::webhooks::{Answer, Receiver, secret};
use super::{POLICY, SEED, SETTINGS, SOON, amounts, browser, dba, held, signed_in};

/// What a reviewer of this host says: olga, whom the issuer knows as 00u17; and paul.
fn says(world: &World, user: &str, words: &[&str]) -> Result<Finished> {
    Program::new("setpriv")
        .args(["--reuid", user, "--regid", user, "--clear-groups"])
        .arg(parts::built("node-agent")?)
        .arg("approvals")
        .args(words)
        .arg("--socket")
        .arg(world.path().join("admin.sock"))
        .run()
}

#[test]
fn two_reviewers_decide_by_whichever_way_and_nobody_is_two() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let local = "  local:\n    - { uid: 4242, name: olga, also: [00u17], groups: [dba] }\n    \
                 - { uid: 4343, name: paul, groups: [dba] }\n";
    let world = World::builder()
        .seed(SEED)
        .policy_text(
            "wages.yaml",
            &POLICY.replace("offers:", "quorum: 2, offers:"),
        )
        .settings(&format!("{SETTINGS}{local}"))
        .start()?;
    let mut olga = signed_in(&world, Person::new("00u17", &["dba"]))?;
    let mut dora = signed_in(&world, dba())?;
    let form = |token: String| format!("token={token}&scope=once");

    // The console first: the same person by the command line is no second one, another is.
    let mut first = held(&world, &mut dora, "delete from pay where id = 1")?;
    let approve = format!("{}/approve", first.path());
    let token = olga.get(&first.path())?.token()?;
    assert_eq!(olga.post(&approve, &form(token.clone()))?.status, 303);
    olga.post(&approve, &form(token))?
        .says(409, "different reviewers");
    let twice = says(&world, "4242", &["approve", &first.id])?;
    assert!(
        !twice.status.success() && twice.all().contains("1 of 2 different reviewers"),
        "{}",
        twice.all()
    );
    assert_eq!(amounts(&world)?, "55");
    assert!(
        says(&world, "4343", &["approve", &first.id])?
            .status
            .success()
    );
    assert_eq!(first.told()?, "done");
    assert_eq!(amounts(&world)?, "54");

    // The command line first.
    let mut second = held(&world, &mut dora, "delete from pay where id = 2")?;
    let approve = format!("{}/approve", second.path());
    assert!(
        says(&world, "4242", &["approve", &second.id])?
            .status
            .success()
    );
    let token = olga.get(&second.path())?.token()?;
    olga.post(&approve, &form(token))?
        .says(409, "different reviewers");
    dora.get(&second.path())?.says(200, "1 of 2 approved it");
    assert_eq!(amounts(&world)?, "54");
    let token = dora.get(&second.path())?.token()?;
    assert_eq!(dora.post(&approve, &form(token))?.status, 303);
    assert_eq!(second.told()?, "done");
    assert_eq!(amounts(&world)?, "52");
    Ok(())
}

#[test]
fn the_link_of_a_webhook_leads_to_its_request() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let (_place, secret) = secret()?;
    let receiver = Receiver::start()?;
    receiver.usually(Some(Answer::Status(200)));
    let hook = format!(
        "  webhooks:\n    - {{ name: chat, url: \"{}\", secret_file: {secret}, console_url: \"http://ADMIN\" }}\n",
        receiver.url()
    );
    let world = World::builder()
        .seed(SEED)
        .policy_text("wages.yaml", POLICY)
        .settings(&format!("{SETTINGS}{hook}"))
        .start()?;
    let mut dora = signed_in(&world, dba())?;
    let mut held = held(&world, &mut dora, "delete from pay where id = 3")?;
    let came = receiver.taken(1)?;
    let link = came[0].value()["link"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let path = link.strip_prefix(&format!("http://{}", world.agent().admin()));
    let path = path.unwrap_or_else(|| panic!("{link}")).to_owned();
    // From the chat the browser comes without its cookie, and goes on from here.
    let page = browser(&world).send("GET", &path, &[("sec-fetch-site", "cross-site")], "")?;
    assert_eq!(
        page.header("refresh"),
        Some(format!("0; url={path}").as_str())
    );
    let page = dora.get(&path)?;
    page.says(200, "delete from pay where id = 3");
    let form = format!("token={}&scope=once&note=yes", page.token()?);
    assert_eq!(dora.post(&format!("{path}/approve"), &form)?.status, 303);
    assert_eq!(held.told()?, "done");
    let came = until("the approval is told", SOON, || {
        let came = receiver.came();
        Ok((came.len() >= 2).then_some(came))
    })?;
    assert_eq!(came[1].value()["step"], "approved");
    assert_eq!(came[1].value()["link"], link.as_str());
    Ok(())
}
