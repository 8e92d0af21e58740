//! The console: who signs in, who sees what, whose word counts, and what no form of somebody else's does.

mod access;
pub(super) mod browser;
mod chromium;
mod forged;
mod https;
mod preview;
mod together;

use std::time::Duration;

use anyhow::{Context, Result};
use node_agent_tests::client::{Dialer, Raw};
use node_agent_tests::idp::Person;
use node_agent_tests::pg::DATABASE;
use node_agent_tests::world::{GROUP, SUBJECT};
use node_agent_tests::{World, until};

use super::agent_is_here;
use browser::Browser;

const SOON: Duration = Duration::from_secs(10);

const SEED: &str = "create table pay (id int primary key, name text, amount int); \
    insert into pay select g, 'n' || g, g from generate_series(1, 10) g; \
    grant all on pay to public";

const POLICY: &str = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: wages }
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
rules:
  - { name: read, effect: allow, statements: [select] }
  - { name: changes, effect: approve, statements: [update, delete], tables: ['*.pay'],
      reviewers: { groups: [dba, ai-agents] }, offers: { session: true, shape: 30m, unmasked: true } }
";

const SETTINGS: &str = "\
approvals:
  timeout: 5m
  console:
    url: http://ADMIN
    issuer: ISSUER
    client_id: console
    fresh: 15m
    auditors: { groups: [audit] }
";

fn world() -> Result<World> {
    World::builder()
        .seed(SEED)
        .policy_text("wages.yaml", POLICY)
        .settings(SETTINGS)
        .start()
}

fn browser(world: &World) -> Browser {
    Browser::new(&format!("http://{}", world.agent().admin()))
}

/// A browser in which this person has signed in.
fn signed_in(world: &World, person: Person) -> Result<Browser> {
    let mut browser = browser(world);
    world.idp.sit_down(person);
    browser.sign_in("")?.says(200, "One moment");
    Ok(browser)
}

fn dba() -> Person {
    Person::new("dora", &["dba"])
}

/// A client that waits for this statement, and the name of the request.
struct Held {
    client: Raw,
    id: String,
    _dialer: Dialer,
}

/// Sends a statement that is held, and waits until the reviewer sees it.
fn held(world: &World, reviewer: &mut Browser, statement: &str) -> Result<Held> {
    let mut dialer = world.dialer()?;
    let mut client = world.client(&mut dialer)?;
    let before = listed(reviewer)?;
    client.ask(statement)?;
    let id = until("the request", SOON, || {
        let mut now = listed(reviewer)?;
        now.retain(|id| !before.contains(id));
        Ok(now.pop())
    });
    let id = match id {
        Ok(id) => id,
        // It was not held: what it was told instead says why.
        Err(error) => {
            let told = client.up_to(b'Z')?;
            let told: Vec<String> = told.iter().map(|message| message.words()).collect();
            anyhow::bail!("{error}: {told:?}\n{}", world.agent().log_tail())
        }
    };
    Ok(Held {
        client,
        id,
        _dialer: dialer,
    })
}

/// The requests in the list of what is pending.
fn listed(reviewer: &mut Browser) -> Result<Vec<String>> {
    let page = reviewer.get("/console")?;
    let links = page.body.split("href=\"/console/requests/").skip(1);
    Ok(links.map(|rest| rest.chars().take(18).collect()).collect())
}

impl Held {
    fn path(&self) -> String {
        format!("/console/requests/{}", self.id)
    }

    /// What the client is told in the end: `C` and `Z`, or an error's words.
    fn told(&mut self) -> Result<String> {
        let messages = self.client.up_to(b'Z')?;
        let error = messages.iter().find(|message| message.kind == b'E');
        Ok(error.map_or_else(|| "done".to_owned(), |error| error.words()))
    }
}

fn amounts(world: &World) -> Result<String> {
    world.cluster().sql(DATABASE, "select sum(amount) from pay")
}

#[test]
fn a_reviewer_signs_in_sees_all_of_it_and_approves_or_refuses() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world()?;
    let mut visitor = browser(&world);
    visitor.get("/console")?.says(401, "Sign in");
    let mut dora = signed_in(&world, dba())?;
    dora.get("/console")?.says(200, "Nothing waits for you");

    let text =
        "update pay set amount = 0 /* <script>\u{202e}x\u{1b}[2J &amp; \u{441} */ where id = 1";
    let mut first = held(&world, &mut dora, text)?;
    let page = dora.get(&first.path())?;
    for words in [
        "/* &lt;script&gt;<span class=\"esc\">\\u{202e}</span>x<span class=\"esc\">\\x1b</span>[2J &amp;amp; \u{441} */",
        "\u{441} U+0441 (1)",
        SUBJECT,
        "claude",
        "wages/changes",
        "group dba, group ai-agents",
        "<dd>update</dd>",
        "public.pay",
        "name=\"max_rows\"",
        "value=\"session\"",
        "name=\"unmasked\"",
    ] {
        page.says(200, words);
    }
    assert!(!page.body.contains("<script"), "{}", page.body);
    let token = page.token()?;
    let approve = format!("{}/approve", first.path());
    dora.post(&approve, &format!("token={token}&scope=ever"))?
        .says(422, "Choose how far");
    dora.post(&approve, &format!("token={token}&scope=shape&minutes=31"))?
        .says(422, "does not offer");
    let done = dora.post(
        &approve,
        &format!("token={token}&scope=once&max_rows=&note=fine+by+me"),
    )?;
    assert_eq!(
        (done.status, done.header("location")),
        (303, Some(first.path().as_str()))
    );
    assert_eq!(first.told()?, "done");
    assert_eq!(amounts(&world)?, "54");
    dora.get(&first.path())?.says(200, "fine by me");
    dora.post(&approve, &format!("token={token}&scope=once"))?
        .says(409, "decided already");

    let mut second = held(&world, &mut dora, "delete from pay where id > 5")?;
    let refuse = format!("{}/refuse", second.path());
    let done = dora.post(&refuse, &format!("token={token}&note=not+%3Ctoday%3E"))?;
    assert_eq!(done.status, 303, "{}", done.body);
    let told = second.told()?;
    assert!(
        told.contains("not <today>") && told.contains("dora"),
        "{told}"
    );
    assert_eq!(amounts(&world)?, "54");
    let history = dora.get("/console/history")?;
    history.says(200, "refused by dora");
    history.says(200, &first.id);

    // For the rest of the session; and taken back.
    let mut third = held(&world, &mut dora, "update pay set amount = 1 where id = 2")?;
    let page = dora.get(&third.path())?;
    for words in ["max=\"30\"", "update pay set amount = 0 where id = 0"] {
        page.says(200, words);
    }
    dora.post(
        &format!("{}/approve", third.path()),
        &format!("token={token}&scope=session"),
    )?;
    assert_eq!(third.told()?, "done");
    third.client.ask("update pay set amount = 1 where id = 3")?;
    assert_eq!(third.told()?, "done");
    dora.get(&third.path())?.says(200, "Take the approval back");
    dora.post(
        &format!("{}/revoke", third.path()),
        &format!("token={token}"),
    )?;
    third.client.ask("update pay set amount = 1 where id = 4")?;
    until("the next request", SOON, || {
        let page = dora.get("/console")?;
        Ok(page.body.contains("where id = 4").then_some(()))
    })?;
    Ok(())
}

#[test]
fn who_is_not_asked_sees_nothing_and_nobody_decides_their_own() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world()?;
    let mut dora = signed_in(&world, dba())?;
    let mut eve = signed_in(&world, Person::new("eve", &["sales"]))?;
    let mut own = Person::new("claude-human", &[GROUP]);
    own.email = Some(SUBJECT.to_owned());
    let mut own = signed_in(&world, own)?;
    let held = held(&world, &mut dora, "delete from pay where id = 9")?;
    let decisions = ["approve", "refuse"].map(|word| format!("{}/{word}", held.path()));

    eve.get("/console")?.says(200, "Nothing waits for you");
    let page = eve.get(&held.path())?;
    page.says(403, "is not for you: its rule asks group dba");
    let form = format!("token={}&scope=once", page.token()?);
    for decision in &decisions {
        eve.post(decision, &form)?.says(403, "is not for you");
    }
    for page in ["/console/sessions", "/console/recordings"] {
        eve.get(page)?.says(403, "Sessions are for the groups");
    }

    let page = own.get(&held.path())?;
    page.says(200, "nobody decides their own request");
    let form = format!("token={}&scope=once", page.token()?);
    for decision in &decisions {
        own.post(decision, &form)?
            .says(403, "nobody approves their own request");
    }
    dora.get(&held.path())?.says(200, "pending");
    dora.get("/console/requests/a-0000000000000000")?
        .says(404, "no such request");
    dora.get("/console/requests/..%2f..%2fmetrics")?
        .says(404, "no such request");
    dora.get("/console/nowhere")?.says(404, "no such page");
    assert_eq!(amounts(&world)?, "55");
    Ok(())
}

#[test]
fn approving_needs_credentials_that_were_given_a_short_time_ago() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world()?;
    let mut person = dba();
    person.ago = 16 * 60;
    let mut dora = signed_in(&world, person.clone())?;
    let mut held = held(&world, &mut dora, "delete from pay where id = 9")?;
    let page = dora.get(&held.path())?;
    page.says(200, "Sign in anew to approve");
    let form = format!("token={}&scope=once", page.token()?);
    dora.post(&format!("{}/approve", held.path()), &form)?
        .says(403, "too long ago to approve");
    dora.get(&held.path())?.says(200, "pending");

    // An issuer that does not ask anew is no new sign-in.
    person.never_anew = true;
    world.idp.sit_down(person.clone());
    dora.sign_in("?anew")?
        .says(403, "did not ask you for your credentials anew");
    person.never_anew = false;
    world.idp.sit_down(person);
    let anew = format!("?anew&next={}", held.path());
    let url = dora.begin(&anew)?;
    assert!(
        url.contains("prompt=login") && url.contains("max_age=900"),
        "{url}"
    );
    let back = dora.at_issuer(&url)?;
    let page = dora.back(&back)?;
    assert_eq!(
        page.header("refresh"),
        Some(format!("0; url={}", held.path()).as_str())
    );
    // The forms of the sign-in before are over with it.
    dora.post(&format!("{}/approve", held.path()), &form)?
        .says(403, "not of your sign-in");
    let form = format!("token={}&scope=once", dora.get(&held.path())?.token()?);
    let done = dora.post(&format!("{}/approve", held.path()), &form)?;
    assert_eq!(done.status, 303, "{}", done.body);
    assert_eq!(held.told()?, "done");
    Ok(())
}

#[test]
fn auditors_see_sessions_and_their_replay() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world()?;
    assert!(
        world
            .ask("select name from pay where id = 7")?
            .status
            .success()
    );
    let mut ada = signed_in(&world, Person::new("ada", &["audit"]))?;
    let list = until("the closed recording", SOON, || {
        let page = ada.get("/console/recordings")?;
        Ok(page.body.contains("<td>closed</td>").then_some(page))
    })?;
    list.says(200, SUBJECT);
    let (_, rest) = list
        .body
        .split_once("/console/recordings/s-")
        .context("a recording")?;
    let id: String = rest.chars().take(16).collect();
    let page = ada.get(&format!("/console/recordings/s-{id}"))?;
    page.says(200, "select name from pay where id = 7");
    assert!(page.body.ends_with("</html>\n"), "{}", page.body);
    let policy = page.header("content-security-policy").context("a policy")?;
    assert!(
        policy.contains("default-src 'none'; style-src 'sha256-")
            && policy.contains("frame-ancestors 'none'"),
        "{policy}"
    );
    ada.get("/console/recordings/s-0000000000000000")?
        .says(404, "no such recording");
    ada.get(&format!("/console/recordings/s-{}", &id[..8]))?
        .says(404, "no such recording");

    let mut dialer = world.dialer()?;
    let _client = world.client(&mut dialer)?;
    until("the live session", SOON, || {
        let page = ada.get("/console/sessions")?;
        Ok(page.body.contains(SUBJECT).then_some(()))
    })?;
    // An auditor who is asked by no rule decides nothing.
    ada.get("/console")?.says(200, "Nothing waits for you");
    Ok(())
}

#[test]
fn without_settings_there_is_no_console() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder().start()?;
    for path in ["/console", "/console/sign-in", "/console/requests/a-1"] {
        browser(&world)
            .get(path)?
            .says(404, "has no approvals.console");
    }
    Ok(())
}
