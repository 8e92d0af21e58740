//! Policies that are in force for nobody until they are granted: asked for by who was refused, given by
//! reviewers, and over when their time is.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use node_agent_tests::client::{Dialer, Raw, cells, parse, sync};
use node_agent_tests::pg::DATABASE;
use node_agent_tests::world::{GROUP, SUBJECT, WORKLOAD};
use node_agent_tests::{Place, World, parts, until};
use serde_json::Value;

use super::approval::{LOCAL, SOON, client, done, id, listed, pending, says, state, words};

const SEED: &str = "create schema app; create table app.t (id int primary key, note text); \
    insert into app.t select g, 'note' from generate_series(1, 100) g; \
    create schema hr; create table hr.pay (id int primary key, pay int, note text); \
    insert into hr.pay select g, g, 'note' from generate_series(1, 100) g; \
    grant all on schema app, hr to public; grant all on all tables in schema app, hr to public";

const BASE: &str = "apiVersion: node-agent/v1\nkind: Policy\nmetadata: { name: some }\n\
    subjects: [ { workloads: ['*'] } ]\ntargets: [ '*' ]\nrules:\n  \
    - { name: read, effect: allow, statements: [read, insert], tables: ['app.*'] }\n  \
    - { name: session, effect: allow, statements: [set, transaction] }\n  \
    - { name: never, effect: deny, statements: [delete], tables: ['hr.*'] }\n\
    masks:\n  - { name: pay, columns: [hr.pay.pay], with: redact, predicates: allow }\n";

fn oncall(access: &str) -> String {
    format!(
        "apiVersion: node-agent/v1\nkind: Policy\nmetadata: {{ name: oncall }}\n\
         subjects: [ {{ workloads: ['*'] }} ]\ntargets: [ '*' ]\n\
         access: {{ reviewers: {{ groups: [dba] }}, longest: 4h{access} }}\nrules:\n  \
         - {{ name: fix, effect: allow, statements: [select, update, delete], tables: ['hr.*'] }}\n"
    )
}

fn world_of(access: &str) -> Result<World> {
    World::builder()
        .seed(SEED)
        .policy_text("some.yaml", BASE)
        .policy_text("oncall.yaml", &oncall(access))
        .workload("other")
        .settings(LOCAL)
        .start()
}

fn world() -> Result<World> {
    world_of("")
}

const FIX: &str = "update hr.pay set note = 'mended' where id = 1";

/// The reference that a refusal was given.
fn reference(told: &str) -> String {
    let at = told.find("s-").unwrap_or_else(|| panic!("{told}"));
    let named = told[at..].find('#').map(|hash| &told[at..at + hash]);
    let named = named.unwrap_or_else(|| panic!("{told}"));
    let rest = &told[at + named.len() + 1..];
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    format!("{named}%23{digits}")
}

/// What a client that was refused is told to send.
fn ask(reference: &str) -> String {
    format!("/*access='{reference}',reason='close%20the%20month'*/ select 1")
}

/// Refused with this state; what it was told.
fn refused(client: &mut Raw, text: &str, with: &str) -> Result<String> {
    let answer = client.query(text)?;
    assert_eq!(state(&answer).as_deref(), Some(with), "{}", words(&answer));
    Ok(words(&answer))
}

fn runs(client: &mut Raw, text: &str, tag: &str) -> Result<()> {
    let answer = client.query(text)?;
    assert!(done(&answer, tag), "{}", words(&answer));
    Ok(())
}

/// As a reviewer of this host.
fn does(world: &World, words: &[&str]) -> Result<String> {
    let seen = says(world, 0, words)?;
    assert!(seen.status.success(), "{}", seen.all());
    Ok(seen.stdout)
}

fn give(world: &World, more: &[&str]) -> Result<String> {
    let all = [&["grant", "oncall", "--reason", "OPS-12"][..], more].concat();
    let told = does(world, &all)?;
    let id = told.split(':').next().context("a name")?;
    Ok(id.to_owned())
}

fn refuses(world: &World, user: u32, words: &[&str], why: &str) -> Result<()> {
    let seen = says(world, user, words)?;
    assert!(
        !seen.status.success() && seen.all().contains(why),
        "{user} {words:?}: {}",
        seen.all()
    );
    Ok(())
}

#[test]
fn what_was_refused_is_asked_for_granted_used_and_over_when_its_time_is() -> Result<()> {
    let world = world()?;
    let (mut dialer, mut client) = client(&world)?;
    let told = refused(&mut client, FIX, "42501")?;
    assert!(told.contains("Policy oncall would let it run"), "{told}");
    assert!(told.contains("\"access\":[\"oncall\"]"), "{told}");
    let by = reference(&told);
    assert!(told.contains(&format!("/*access='{by}'")), "{told}");
    // From another connection, as a client that runs one command on each does.
    drop(client);
    let mut client = world.client(&mut dialer)?;
    let told = refused(&mut client, &ask(&by), "57014")?;
    let waiting = pending(&world, 1)?.remove(0);
    for part in [
        &waiting,
        "policy oncall",
        "did not run",
        "asked: group dba",
        "again once it is granted",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    // Asking twice asks once.
    let again = refused(&mut client, &ask(&by), "57014")?;
    assert!(
        again.contains(&waiting) && again.contains("nobody has decided yet"),
        "{again}"
    );
    let again = refused(&mut client, &format!("/*access='ask'*/ {FIX}"), "42501")?;
    assert!(again.contains(&waiting), "{again}");
    refused(&mut client, FIX, "42501")?;
    let shown = world.cli(&["approvals", "show", &waiting])?;
    for part in [
        FIX,
        "close the month",
        "oncall/access",
        "allows select, update, delete on hr.*",
        "group dba",
        "in workload claude only",
        "at most 4 h",
        SUBJECT,
    ] {
        assert!(shown.stdout.contains(part), "{part}: {}", shown.all());
    }
    let listed_now = world.cli(&["approvals", "ls"])?;
    assert!(
        listed_now
            .stdout
            .contains("access: policy oncall in claude"),
        "{}",
        listed_now.all()
    );
    // A while, and no longer.
    let since = Instant::now();
    does(
        &world,
        &["approve", &waiting, "--for", "6s", "--note", "as in OPS-12"],
    )?;
    runs(&mut client, FIX, "UPDATE 1")?;
    // What others mask stays masked, what others deny stays denied.
    let seen = client.query("select pay from hr.pay where id = 5")?;
    assert_ne!(cells(&seen)[0][0].as_deref(), Some("5"));
    refused(&mut client, "update hr.pay set note = pay", "42501")?;
    refused(&mut client, "delete from hr.pay where id = 1", "42501")?;
    let told = refused(&mut client, &ask(&by), "57014")?;
    assert!(told.contains("is granted to you"), "{told}");
    let left = world.cli(&["approvals", "ls"])?;
    assert!(left.stdout.contains("granted by olga"), "{}", left.all());
    until("it is over", SOON, || {
        let answer = client.query(FIX)?;
        Ok((state(&answer).as_deref() == Some("42501")).then_some(()))
    })?;
    assert!(
        since.elapsed() >= Duration::from_secs(5),
        "{:?}",
        since.elapsed()
    );
    until("the desk knows", SOON, || {
        let over = listed(&world, "over")?;
        let over = over.iter().any(|case| id(case) == waiting);
        Ok(over.then_some(()))
    })?;
    let late = says(&world, 0, &["approve", &waiting, "--for", "1h"])?;
    assert!(!late.status.success(), "{}", late.all());
    refused(&mut client, FIX, "42501")?;
    client.message(b'X', b"")?;
    // On the record: what asked, and what ran by it.
    let found = until("the recordings", SOON, || {
        let seen = world.cli(&["sessions", "grep", &waiting])?;
        Ok((seen.stdout.contains("update hr.pay")).then_some(seen.stdout))
    })?;
    let mut sessions: Vec<&str> = found
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .filter(|word| word.starts_with("s-") && word.len() == 18)
        .collect();
    sessions.sort_unstable();
    sessions.dedup();
    let mut margin = String::new();
    for session in sessions {
        margin.push_str(&world.cli(&["replay", session])?.good()?.stdout);
    }
    let by_which = format!("access: oncall was granted, by {waiting}");
    // Each that ran by it, and none that did not.
    let ran = margin.matches("allowed by oncall/fix").count();
    assert!(ran >= 2, "{margin}");
    assert_eq!(margin.matches(&by_which).count(), ran, "{margin}");
    assert!(
        margin.contains(&format!("approval {waiting} is asked for")),
        "{margin}"
    );
    let verified = world.cli(&["sessions", "verify"])?;
    assert!(verified.status.success(), "{}", verified.all());
    // Judged again by the same policies nothing is otherwise.
    let policies = world.path().join("policies");
    let again = world.cli(&[
        "policy",
        "backtest",
        "--json",
        "--policies",
        &policies.to_string_lossy(),
    ])?;
    let again: Value = serde_json::from_str(&again.stdout).with_context(|| again.all())?;
    assert_eq!(again["flips"], serde_json::json!([]), "{again}");
    assert_eq!(again["summary"]["unjudged"], 0, "{again}");
    assert!(again["summary"]["judged"].as_u64() > Some(5), "{again}");
    Ok(())
}

#[test]
fn access_that_is_given_is_taken_back_at_once_and_lives_through_a_restart() -> Result<()> {
    let mut world = world()?;
    let (_dialer, mut client) = client(&world)?;
    refused(&mut client, FIX, "42501")?;
    let given = give(&world, &["--to", SUBJECT, "--for", "2h"])?;
    runs(&mut client, FIX, "UPDATE 1")?;
    let used = until("the desk knows of its use", SOON, || {
        let in_force = listed(&world, "approved")?;
        let used = in_force
            .iter()
            .any(|case| id(case) == given && case["runs"] == 1);
        Ok(used.then_some(in_force))
    })?;
    assert_eq!(used.len(), 1);
    // A prepared statement is judged at each of its executions.
    client.send(&[parse("p", FIX), sync()].concat())?;
    client.up_to(b'Z')?;
    does(&world, &["revoke", &given])?;
    refused(&mut client, FIX, "42501")?;
    client.send(
        &[
            node_agent_tests::client::bind("", "p", &[]),
            node_agent_tests::client::execute("", 0),
            sync(),
        ]
        .concat(),
    )?;
    let answer = client.up_to(b'Z')?;
    assert_eq!(
        state(&answer).as_deref(),
        Some("42501"),
        "{}",
        words(&answer)
    );
    // Given once more, it is there for who comes after a restart.
    let given = give(
        &world,
        &["--to", SUBJECT, "--for", "2h", "--workload", WORKLOAD],
    )?;
    runs(&mut client, FIX, "UPDATE 1")?;
    world.agent_mut().kill()?;
    world.agent_mut().start()?;
    let (_dialer, mut client) = self::client(&world)?;
    until("the desk has its store", SOON, || {
        Ok(done(&client.query(FIX)?, "UPDATE 1").then_some(()))
    })?;
    let twice = says(
        &world,
        0,
        &["grant", "oncall", "--to", SUBJECT, "--reason", "x"],
    )?;
    // In another reach it is another grant; in the same it is one already.
    assert!(twice.status.success(), "{}", twice.all());
    refuses(
        &world,
        0,
        &["grant", "oncall", "--to", SUBJECT, "--reason", "x"],
        "granted already",
    )?;
    let second = twice.stdout.split(':').next().context("a name")?.to_owned();
    does(&world, &["revoke", &second])?;
    runs(&mut client, FIX, "UPDATE 1")?;
    // The policy changes: it is another, and nobody has been granted that.
    world.set_policy(
        "oncall.yaml",
        &oncall("").replace("'hr.*'", "'hr.*', 'app.*'"),
    )?;
    until("the policies are read", SOON, || {
        let answer = client.query(FIX)?;
        Ok((state(&answer).as_deref() == Some("42501")).then_some(()))
    })?;
    until("the desk ends it", SOON, || {
        let over = listed(&world, "over")?;
        let ended = |case: &&Value| id(case) == given && case["state"]["why"] == "policy_changed";
        Ok(over.iter().find(ended).map(|_| ()))
    })?;
    // It does not come back with its old text.
    let before = world.cli(&["status", "--json"])?;
    let before: Value = serde_json::from_str(&before.stdout)?;
    world.set_policy("oncall.yaml", &oncall(""))?;
    until("the policies are read", SOON, || {
        let now = world.cli(&["status", "--json"])?;
        let now: Value = serde_json::from_str(&now.stdout)?;
        Ok((now["policy_version"] != before["policy_version"]).then_some(()))
    })?;
    refused(&mut client, FIX, "42501")?;
    Ok(())
}

#[test]
fn only_reviewers_give_and_never_to_themselves_or_for_longer() -> Result<()> {
    let world = world_of(", quorum: 2")?;
    let (_dialer, mut client) = client(&world)?;
    let to_claude = ["grant", "oncall", "--to", SUBJECT, "--reason", "OPS-12"];
    refuses(&world, 4242, &to_claude, "the rule asks group dba")?;
    refuses(&world, 5555, &to_claude, "is no reviewer")?;
    refuses(
        &world,
        4444,
        &to_claude,
        "nobody approves their own request",
    )?;
    let long = [&to_claude[..], &["--for", "241m"]].concat();
    refuses(&world, 0, &long, "does not offer access for so long")?;
    let none = [&to_claude[..], &["--for", "0s"]].concat();
    refuses(&world, 0, &none, "does not offer")?;
    let unknown = ["grant", "some", "--to", SUBJECT, "--reason", "x"];
    refuses(&world, 0, &unknown, "there are oncall")?;
    let whose = [&to_claude[..], &["--issuer", "https://nobody.example"]].concat();
    refuses(&world, 0, &whose, "is no issuer")?;
    assert!(
        listed(&world, "pending")?.is_empty(),
        "a word that does not count opens nothing"
    );
    // A labelled process runs as a reviewer's user, and is none.
    let inside = world
        .program(Place::Inside, parts::built("node-agent")?)
        .arg("approvals")
        .args(to_claude)
        .arg("--socket")
        .arg(world.path().join("admin.sock"))
        .run()?;
    assert!(
        !inside.status.success() && inside.all().contains("belongs to workload"),
        "{}",
        inside.all()
    );
    // Of two, one is not enough; both say the same.
    let told = does(&world, &[&to_claude[..], &["--for", "10m"]].concat())?;
    assert!(told.contains("1 of 2"), "{told}");
    let waiting = pending(&world, 1)?.remove(0);
    refused(&mut client, FIX, "42501")?;
    refuses(&world, 0, &["approve", &waiting], "different reviewers")?;
    refuses(
        &world,
        4343,
        &["approve", &waiting, "--for", "11m"],
        "other terms",
    )?;
    refuses(
        &world,
        4343,
        &["approve", &waiting, "--for", "5h"],
        "does not offer",
    )?;
    refuses(
        &world,
        4444,
        &["approve", &waiting],
        "nobody approves their own request",
    )?;
    refused(&mut client, FIX, "42501")?;
    let second = says(&world, 4343, &["approve", &waiting])?;
    assert!(second.status.success(), "{}", second.all());
    runs(&mut client, FIX, "UPDATE 1")?;
    // Anybody whom the policy names takes it back; nobody else.
    refuses(
        &world,
        4242,
        &["revoke", &waiting],
        "the rule asks group dba",
    )?;
    runs(&mut client, FIX, "UPDATE 1")?;
    let back = says(&world, 4343, &["revoke", &waiting])?;
    assert!(back.status.success(), "{}", back.all());
    refused(&mut client, FIX, "42501")?;
    Ok(())
}

#[test]
fn nobody_else_has_anything_of_it_or_learns_what_was_refused() -> Result<()> {
    let world = world()?;
    let (mut dialer, mut client) = client(&world)?;
    let told = refused(&mut client, "select note, 4711 from hr.pay", "42501")?;
    let by = reference(&told);
    // Another workload of the same user, and another user in the same workload.
    let mut beside = Dialer::start(&world.cgroup_of("other"))?;
    let mut other = world.client(&mut beside)?;
    world.set_token(&world.idp.token("bob@agents", &[GROUP], 600))?;
    let mut bob = world.client(&mut dialer)?;
    let mut unknown = Vec::new();
    for somebody in [&mut other, &mut bob] {
        for asked in [by.clone(), "s-0123456789abcdef%231".to_owned()] {
            let told = refused(somebody, &ask(&asked), "57014")?;
            assert!(!told.contains("4711") && !told.contains("oncall"), "{told}");
            // The same words, whether it is somebody's or nobody's.
            let plain = told.replace(&asked.replace("%23", "#"), "REF");
            let at = plain
                .find("nothing can be asked for")
                .context("its words")?;
            let end = plain[at..].find("lately").context("its words")?;
            unknown.push(plain[at..at + end].to_owned());
        }
    }
    unknown.dedup();
    assert_eq!(unknown.len(), 1, "{unknown:?}");
    assert!(listed(&world, "pending")?.is_empty());
    // Granted to one, in one workload: to nobody else.
    let told = refused(&mut client, &ask(&by), "57014")?;
    assert!(told.contains("was asked for"), "{told}");
    let waiting = pending(&world, 1)?.remove(0);
    does(&world, &["approve", &waiting])?;
    runs(&mut client, FIX, "UPDATE 1")?;
    refused(&mut other, FIX, "42501")?;
    refused(&mut bob, FIX, "42501")?;
    let mut bob_beside = world.client(&mut beside)?;
    refused(&mut bob_beside, FIX, "42501")?;
    // What asks does not run, however it asks; what cannot be read says so.
    for said in [
        by.as_str(),
        "s-0123456789abcdef%231",
        "yes",
        "s-12",
        "",
        "%zz",
        "ask%2",
    ] {
        let text = format!("/*access='{said}'*/ insert into app.t values (1000, 'ran')");
        let answer = client.query(&text)?;
        assert_eq!(
            state(&answer).as_deref(),
            Some("57014"),
            "{said}: {}",
            words(&answer)
        );
        client.send(&[parse("", &text), sync()].concat())?;
        let answer = client.up_to(b'Z')?;
        assert_eq!(
            state(&answer).as_deref(),
            Some("57014"),
            "{said}: {}",
            words(&answer)
        );
    }
    let count = world
        .cluster()
        .sql(DATABASE, "select count(*) from app.t")?;
    assert_eq!(count, "100");
    // Beside what is allowed, `ask` has nothing to ask for.
    runs(
        &mut client,
        "/*access='ask'*/ insert into app.t values (1001, 'ran')",
        "INSERT 0 1",
    )?;
    let told = refused(&mut client, "/*access='ask'*/ drop table hr.pay", "42501")?;
    assert!(told.contains("No policy that can be granted"), "{told}");
    Ok(())
}

#[test]
fn a_flood_of_refusals_and_requests_stays_small_and_no_is_no_for_a_while() -> Result<()> {
    let world = world()?;
    let (_dialer, mut client) = client(&world)?;
    let mut first = None;
    for at in 0..200 {
        let text = format!("select pay from hr.pay where id = {at} -- {at}");
        let told = refused(&mut client, &text, "42501")?;
        first.get_or_insert(reference(&told));
        let asks = format!("/*access='ask',reason='{at}'*/ {text}\n");
        let told = client.query(&asks)?;
        assert!(state(&told).is_some());
    }
    let waiting = pending(&world, 1)?.remove(0);
    // What was pushed out is asked for with the statement itself.
    let told = refused(&mut client, &ask(&first.context("one")?), "57014")?;
    assert!(
        told.contains("nothing can be asked for") && told.contains("access='ask'"),
        "{told}"
    );
    does(&world, &["deny", &waiting, "--note", "use the report"])?;
    let told = client.query(&format!("/*access='ask'*/ {FIX}"))?;
    assert!(words(&told).contains("refused by olga"), "{}", words(&told));
    assert!(listed(&world, "pending")?.is_empty());
    // A reviewer may give all the same.
    give(&world, &["--to", SUBJECT])?;
    runs(&mut client, FIX, "UPDATE 1")?;
    // Where nothing can be granted, the word is somebody else's.
    let tagged = "/*access='internal',route='%2Fx'*/ select note from app.t where id = 1";
    refused(&mut client, tagged, "57014")?;
    let plain = BASE.replace("name: some", "name: oncall");
    world.set_policy("oncall.yaml", &plain)?;
    until("the policies are read", SOON, || {
        Ok(done(&client.query(tagged)?, "SELECT 1").then_some(()))
    })?;
    refused(&mut client, FIX, "42501")?;
    Ok(())
}

#[test]
fn sessions_of_an_agent_that_was_taken_over_from_have_no_access_left() -> Result<()> {
    if !super::agent_is_here() {
        return Ok(());
    }
    let mut world = world()?;
    let (mut dialer, mut old) = client(&world)?;
    let given = give(&world, &["--to", SUBJECT])?;
    runs(&mut old, FIX, "UPDATE 1")?;
    let before = world.agent_mut().taken_over()?;
    world.agent_mut().ready()?;
    // The next one keeps it from here on: what it takes back would not end with the one before.
    until("the one before has given it over", SOON, || {
        Ok((state(&old.query(FIX)?).as_deref() == Some("42501")).then_some(()))
    })?;
    let mut new = world.client(&mut dialer)?;
    until("the next one has it", SOON, || {
        Ok(done(&new.query(FIX)?, "UPDATE 1").then_some(()))
    })?;
    refused(&mut old, FIX, "42501")?;
    does(&world, &["revoke", &given])?;
    refused(&mut new, FIX, "42501")?;
    drop(before);
    Ok(())
}
