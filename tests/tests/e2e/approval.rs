//! Statements that a rule holds: they run by a human's word, exactly once and exactly as they were, or not.

use std::time::Duration;

use anyhow::{Context, Result};
use node_agent_tests::client::{Message, Raw, bind, cells, execute, parse, query, startup, sync};
use node_agent_tests::pg::{DATABASE, SERVICE};
use node_agent_tests::{Finished, Place, Program, World, parts, until};
use serde_json::Value;

pub(super) const SOON: Duration = Duration::from_secs(15);

pub(super) const SEED: &str = "create schema app; create table app.t (id int primary key, note text, ssn text); \
    insert into app.t select g, 'note', '123-45-6789' from generate_series(1, 1000) g; \
    create function app.twice(int) returns int language sql immutable as 'select $1 * 2'; \
    grant all on schema app to public; grant all on all tables in schema app to public";

pub(super) fn policy(rule: &str) -> String {
    format!(
        "apiVersion: node-agent/v1\nkind: Policy\nmetadata: {{ name: some }}\n\
         subjects: [ {{ workloads: ['*'] }} ]\ntargets: [ '*' ]\nfunctions: {{ allow: ['app.*(*)'] }}\n\
         rules:\n  - {{ name: read, effect: allow, statements: [read, insert], tables: ['app.*'] }}\n  \
         - {{ name: session, effect: allow, statements: [set, transaction] }}\n  \
         - {{ name: ask, effect: approve, statements: [delete, update], tables: ['app.*'], {rule} }}\n\
         masks:\n  - {{ name: ssn, columns: [app.t.ssn], with: redact, predicates: allow }}\n"
    )
}

pub(super) const ASK: &str = "reviewers: { groups: [dba] }";

/// Olga is a reviewer; 4242 is of another group; 4343 is a second reviewer; 4444 is named as who asks.
pub(super) const LOCAL: &str = "approvals:\n  per_identity: 256\n  local:\n    \
    - { uid: 0, name: olga, groups: [dba] }\n    \
    - { uid: 4242, name: wim, groups: [web] }\n    \
    - { uid: 4343, name: dora, groups: [dba] }\n    \
    - { uid: 4444, name: claude@agents, groups: [dba] }\n";

pub(super) fn world(rule: &str) -> Result<World> {
    World::builder()
        .seed(SEED)
        .policy_text("some.yaml", &policy(rule))
        .settings(LOCAL)
        .start()
}

/// What `approvals ls` says, of those in this state.
pub(super) fn listed(world: &World, state: &str) -> Result<Vec<Value>> {
    let seen = world.cli(&["approvals", "ls", "--all", "--json"])?;
    let all: Vec<Value> = serde_json::from_str(&seen.stdout).with_context(|| seen.all())?;
    Ok(all
        .into_iter()
        .filter(|case| case["state"]["state"] == state)
        .collect())
}

pub(super) fn id(case: &Value) -> String {
    case["request"]["id"].as_str().unwrap().to_owned()
}

/// Waits until so many are pending, and gives their names.
pub(super) fn pending(world: &World, count: usize) -> Result<Vec<String>> {
    until("statements are held", SOON, || {
        let held = listed(world, "pending")?;
        Ok((held.len() == count).then(|| held.iter().map(id).collect()))
    })
}

pub(super) fn one(world: &World) -> Result<String> {
    Ok(pending(world, 1)?.remove(0))
}

/// What a reviewer of this host says, as that user.
pub(super) fn says(world: &World, user: u32, words: &[&str]) -> Result<Finished> {
    let user = user.to_string();
    Program::new("setpriv")
        .args(["--reuid", &user, "--regid", &user, "--clear-groups"])
        .arg(parts::built("node-agent")?)
        .arg("approvals")
        .args(words)
        .arg("--socket")
        .arg(world.path().join("admin.sock"))
        .limit(Duration::from_secs(30))
        .run()
}

pub(super) fn approve(world: &World, id: &str) -> Result<()> {
    let seen = says(world, 0, &["approve", id])?;
    assert!(seen.status.success(), "{}", seen.all());
    Ok(())
}

/// What is in the table, by the database's own word.
pub(super) fn left(world: &World) -> Result<u64> {
    let count = world
        .cluster()
        .sql(DATABASE, "select count(*) from app.t")?;
    Ok(count.parse()?)
}

pub(super) fn client(world: &World) -> Result<(node_agent_tests::client::Dialer, Raw)> {
    let mut dialer = world.dialer()?;
    let client = world.client(&mut dialer)?;
    Ok((dialer, client))
}

pub(super) fn state(messages: &[Message]) -> Option<String> {
    let error = messages.iter().find(|message| message.kind == b'E')?;
    error.sqlstate()
}

/// Whether the statement is done, with this tag.
pub(super) fn done(messages: &[Message], tag: &str) -> bool {
    let tag = format!("{tag}\0");
    let mut ends = messages.iter().filter(|message| message.kind == b'C');
    ends.any(|message| message.body == tag.as_bytes())
}

pub(super) fn words(messages: &[Message]) -> String {
    messages.iter().map(Message::words).collect()
}

#[test]
fn an_approved_statement_runs_once_and_is_on_record() -> Result<()> {
    let world = world(ASK)?;
    let (_dialer, mut client) = client(&world)?;
    client.ask("/*reason='close%20duplicates'*/ delete from app.t where id = 1")?;
    let name = one(&world)?;
    assert_eq!(left(&world)?, 1000, "it ran before anybody said so");
    let shown = world.cli(&["approvals", "show", &name])?;
    for part in [
        "delete from app.t where id = 1",
        "close duplicates",
        "some/ask",
        "app.t",
        "group dba",
    ] {
        assert!(shown.stdout.contains(part), "{part}: {}", shown.all());
    }
    approve(&world, &name)?;
    let answer = client.up_to(b'Z')?;
    assert!(done(&answer, "DELETE 1"), "{}", words(&answer));
    assert!(
        words(&answer).contains(&name),
        "no notice: {}",
        words(&answer)
    );
    assert_eq!(left(&world)?, 999);
    // Once is once: neither the reviewer nor the client can use it again.
    let again = says(&world, 0, &["approve", &name])?;
    assert!(
        !again.status.success() && again.all().contains("decided already"),
        "{}",
        again.all()
    );
    client.ask("/*reason='close%20duplicates'*/ delete from app.t where id = 1")?;
    let second = one(&world)?;
    assert_ne!(second, name);
    let refused = says(&world, 0, &["deny", &second, "--note", "once is enough"])?;
    assert!(refused.status.success(), "{}", refused.all());
    let answer = client.up_to(b'Z')?;
    assert_eq!(state(&answer).as_deref(), Some("57014"));
    assert!(
        words(&answer).contains("once is enough"),
        "{}",
        words(&answer)
    );
    let alive = client.query("select count(*) from app.t")?;
    assert_eq!(
        cells(&alive)[0][0].as_deref(),
        Some("999"),
        "the session went on"
    );
    client.message(b'X', b"")?;
    let sessions = until("the session is over", SOON, || {
        let seen = world.cli(&["sessions", "grep", &name])?;
        Ok(seen.stdout.contains("approval").then_some(seen.stdout))
    })?;
    assert!(sessions.contains("olga"), "{sessions}");
    let verified = world.cli(&["sessions", "verify"])?;
    assert!(verified.status.success(), "{}", verified.all());
    Ok(())
}

#[test]
fn only_those_whom_the_rule_asks_decide() -> Result<()> {
    let world = world("reviewers: { groups: [dba] }, quorum: 2")?;
    let (_dialer, mut client) = client(&world)?;
    client.ask("delete from app.t where id = 2")?;
    let name = one(&world)?;
    let table: &[(u32, &str)] = &[
        (4242, "the rule asks group dba"),
        (4444, "nobody approves their own request"),
        (5555, "is no reviewer"),
    ];
    for (user, why) in table {
        let seen = says(&world, *user, &["approve", &name])?;
        assert!(
            !seen.status.success() && seen.all().contains(why),
            "{user}: {}",
            seen.all()
        );
    }
    // A labelled process runs as a reviewer's user, and is none.
    let inside = world
        .program(Place::Inside, parts::built("node-agent")?)
        .args(["approvals", "approve", &name, "--socket"])
        .arg(world.path().join("admin.sock"))
        .run()?;
    assert!(
        !inside.status.success() && inside.all().contains("belongs to workload"),
        "{}",
        inside.all()
    );
    approve(&world, &name)?;
    let twice = says(&world, 0, &["approve", &name])?;
    assert!(
        !twice.status.success() && twice.all().contains("different reviewers"),
        "{}",
        twice.all()
    );
    assert_eq!(left(&world)?, 1000, "one of two is not enough");
    let other = says(&world, 4343, &["approve", &name, "--max-rows", "5"])?;
    assert!(
        !other.status.success() && other.all().contains("other terms"),
        "{}",
        other.all()
    );
    let second = says(&world, 4343, &["approve", &name])?;
    assert!(second.status.success(), "{}", second.all());
    assert!(done(&client.up_to(b'Z')?, "DELETE 1"));
    assert_eq!(left(&world)?, 999);
    Ok(())
}

#[test]
fn what_nobody_decides_lapses_and_cannot_be_approved_late() -> Result<()> {
    let world = world("reviewers: { groups: [dba] }, timeout: 1s")?;
    let (_dialer, mut client) = client(&world)?;
    client.ask("delete from app.t where id = 3")?;
    let answer = client.up_to(b'Z')?;
    assert_eq!(state(&answer).as_deref(), Some("57014"));
    assert!(
        words(&answer).contains("nobody decided in time"),
        "{}",
        words(&answer)
    );
    let over = listed(&world, "over")?;
    let late = says(&world, 0, &["approve", &id(&over[0])])?;
    assert!(
        !late.status.success() && late.all().contains("decided already"),
        "{}",
        late.all()
    );
    assert_eq!(left(&world)?, 1000);
    Ok(())
}

#[test]
fn it_is_withdrawn_when_its_client_goes_or_cancels() -> Result<()> {
    let world = world(ASK)?;
    let mut dialer = world.dialer()?;
    // Gone; also with so much behind the statement that its end cannot be seen: then nobody knows whether
    // it is still there, and it is withdrawn as soon as there is so much.
    for behind in [0, 2 << 20] {
        let mut client = world.client(&mut dialer)?;
        client.ask("delete from app.t where id = 4")?;
        let name = one(&world)?;
        let stream = client.stream().try_clone()?;
        stream.set_write_timeout(Some(Duration::from_secs(2)))?;
        let mut rest = query(&"select 1 /*x*/;".repeat(1 + behind / 16));
        rest.truncate(behind.max(1));
        // As far as it is taken: the agent reads ahead up to a bound.
        let _ = std::io::Write::write(&mut &stream, &rest);
        stream.shutdown(std::net::Shutdown::Both)?;
        drop(client);
        until("it is withdrawn", SOON, || {
            let open = listed(&world, "pending")?.len() + listed(&world, "approved")?.len();
            Ok((open == 0).then_some(()))
        })?;
        let late = says(&world, 0, &["approve", &name])?;
        assert!(!late.status.success(), "{}", late.all());
        assert_eq!(left(&world)?, 1000, "{behind}");
        assert_eq!(listed(&world, "used")?.len(), 0, "{behind}");
    }
    // Cancelled.
    let mut client = world.raw(&mut dialer)?;
    client.send(&startup(
        (3, 0),
        &[("user", SERVICE), ("database", DATABASE)],
    ))?;
    let seen = client.logged_in(world.password(Place::Inside))?;
    let key = seen
        .into_iter()
        .find(|message| message.kind == b'K')
        .context("a key")?;
    client.ask("delete from app.t where id = 5")?;
    let name = one(&world)?;
    let mut asks = world.raw(&mut dialer)?;
    let length = u32::try_from(key.body.len() + 8)?;
    asks.send(
        &[
            &length.to_be_bytes(),
            &80_877_102_u32.to_be_bytes(),
            key.body.as_slice(),
        ]
        .concat(),
    )?;
    let answer = client.up_to(b'Z')?;
    assert_eq!(state(&answer).as_deref(), Some("57014"));
    assert!(words(&answer).contains("cancelled"), "{}", words(&answer));
    let late = says(&world, 0, &["approve", &name])?;
    assert!(!late.status.success(), "{}", late.all());
    assert_eq!(left(&world)?, 1000);
    assert_eq!(
        cells(&client.query("select 7")?)[0][0].as_deref(),
        Some("7")
    );
    Ok(())
}

#[test]
fn what_changed_meanwhile_is_approved_no_more() -> Result<()> {
    let world = world(ASK)?;
    let (_dialer, mut client) = client(&world)?;
    // What a name stands for.
    client.ask("delete from app.t where id = app.twice(3)")?;
    let name = one(&world)?;
    let redefine = "create or replace function app.twice(int) returns int language sql immutable \
        as 'select $1 * 3'";
    world.cluster().sql(DATABASE, redefine)?;
    approve(&world, &name)?;
    let answer = client.up_to(b'Z')?;
    assert_eq!(state(&answer).as_deref(), Some("57014"));
    assert!(
        words(&answer).contains("changed while it was held"),
        "{}",
        words(&answer)
    );
    // The policies.
    client.ask("delete from app.t where id = 6")?;
    let name = one(&world)?;
    let before = world.cli(&["status", "--json"])?;
    let before: Value = serde_json::from_str(&before.stdout)?;
    world.set_policy("some.yaml", &policy("reviewers: { groups: [dba, ops] }"))?;
    until("the policies are read", SOON, || {
        let now = world.cli(&["status", "--json"])?;
        let now: Value = serde_json::from_str(&now.stdout)?;
        Ok((now["policy_version"] != before["policy_version"]).then_some(()))
    })?;
    approve(&world, &name)?;
    let answer = client.up_to(b'Z')?;
    assert!(
        words(&answer).contains("policies changed"),
        "{}",
        words(&answer)
    );
    assert_eq!(left(&world)?, 1000);
    Ok(())
}

#[test]
fn a_client_that_does_not_wait_comes_again_with_the_same_statement() -> Result<()> {
    let world = world(ASK)?;
    let (mut dialer, mut client) = client(&world)?;
    let text = "/*wait='no'*/ delete from app.t where id = 7";
    let answer = client.query(text)?;
    assert_eq!(state(&answer).as_deref(), Some("57014"));
    let name = one(&world)?;
    assert!(words(&answer).contains(&name), "{}", words(&answer));
    let again = client.query(text)?;
    assert!(
        words(&again).contains("nobody has decided yet"),
        "{}",
        words(&again)
    );
    approve(&world, &name)?;
    // Not another text, not other settings: those ask anew.
    let other = client.query("/*wait='no'*/ delete from app.t where id = 8")?;
    assert_eq!(state(&other).as_deref(), Some("57014"));
    client.query("set timezone = 'Asia/Tokyo'")?;
    assert_eq!(state(&client.query(text)?).as_deref(), Some("57014"));
    assert_eq!(left(&world)?, 1000);
    // A new session of the same identity, as it was: once.
    let mut fresh = world.client(&mut dialer)?;
    let answer = fresh.query(text)?;
    assert!(done(&answer, "DELETE 1"), "{}", words(&answer));
    assert_eq!(left(&world)?, 999);
    assert_eq!(state(&fresh.query(text)?).as_deref(), Some("57014"));
    Ok(())
}

#[test]
fn parameters_are_part_of_what_is_approved_and_what_follows_waits() -> Result<()> {
    let world = world(ASK)?;
    let (_dialer, mut client) = client(&world)?;
    // Behind the held execution: a new text under the same name, and a question.
    let held = [
        parse("p", "delete from app.t where id = 9 returning ssn"),
        bind("", "p", &[]),
        execute("", 0),
        sync(),
    ];
    let behind = [
        parse("", "select 'behind'"),
        bind("", "", &[]),
        execute("", 0),
        sync(),
    ];
    client.send(&[held.concat(), behind.concat()].concat())?;
    let name = one(&world)?;
    let shown = world.cli(&["approvals", "show", &name])?;
    assert!(shown.stdout.contains("id = 9"), "{}", shown.all());
    approve(&world, &name)?;
    let answer = client.up_to(b'Z')?;
    assert!(done(&answer, "DELETE 1"), "{}", words(&answer));
    let ssn = cells(&answer)[0][0].clone().unwrap_or_default();
    assert!(!ssn.contains("6789"), "the mask holds: {ssn}");
    assert_eq!(cells(&client.up_to(b'Z')?)[0][0].as_deref(), Some("behind"));
    assert_eq!(left(&world)?, 999);
    // What runs by a name shows no reviewer what it is.
    client.ask("prepare q as delete from app.t where id = 10")?;
    approve(&world, &one(&world)?)?;
    assert!(done(&client.up_to(b'Z')?, "PREPARE"));
    let answer = client.query("execute q")?;
    assert_eq!(state(&answer).as_deref(), Some("57014"));
    assert!(
        words(&answer).contains("write it out"),
        "{}",
        words(&answer)
    );
    assert_eq!(left(&world)?, 999);
    Ok(())
}

#[test]
fn terms_reach_as_far_as_the_rule_offers() -> Result<()> {
    let world = world("reviewers: { groups: [dba] }, offers: { session: true, shape: 5m }")?;
    let (mut dialer, mut client) = client(&world)?;
    // Too many rows: rolled back.
    client.ask("delete from app.t where id <= 20")?;
    let name = one(&world)?;
    let seen = says(&world, 0, &["approve", &name, "--unmasked"])?;
    assert!(
        !seen.status.success() && seen.all().contains("does not offer"),
        "{}",
        seen.all()
    );
    let seen = says(&world, 0, &["approve", &name, "--shape", "6"])?;
    assert!(
        !seen.status.success() && seen.all().contains("does not offer"),
        "{}",
        seen.all()
    );
    let seen = says(&world, 0, &["approve", &name, "--max-rows", "10"])?;
    assert!(seen.status.success(), "{}", seen.all());
    let answer = client.up_to(b'Z')?;
    assert_eq!(
        state(&answer).as_deref(),
        Some("54000"),
        "{}",
        words(&answer)
    );
    assert_eq!(left(&world)?, 1000);
    // The rest of the session, and of no other one.
    client.ask("delete from app.t where id = 21")?;
    let name = one(&world)?;
    assert!(
        says(&world, 0, &["approve", &name, "--session"])?
            .status
            .success()
    );
    assert!(done(&client.up_to(b'Z')?, "DELETE 1"));
    let answer = client.query("update app.t set note = 'x' where id = 22")?;
    assert!(done(&answer, "UPDATE 1"), "{}", words(&answer));
    let mut other = world.client(&mut dialer)?;
    other.ask("delete from app.t where id = 30")?;
    let name = one(&world)?;
    // The same shape, in any session; taken back, no more.
    assert!(
        says(&world, 0, &["approve", &name, "--shape", "5"])?
            .status
            .success()
    );
    assert!(done(&other.up_to(b'Z')?, "DELETE 1"));
    let mut third = world.client(&mut dialer)?;
    assert!(done(
        &third.query("delete from app.t where id = 31")?,
        "DELETE 1"
    ));
    let seen = says(&world, 0, &["revoke", &name])?;
    assert!(seen.status.success(), "{}", seen.all());
    third.ask("delete from app.t where id = 32")?;
    let name = one(&world)?;
    assert!(says(&world, 0, &["deny", &name])?.status.success());
    assert_eq!(state(&third.up_to(b'Z')?).as_deref(), Some("57014"));
    Ok(())
}

#[test]
fn a_restart_lets_what_was_held_lapse_and_keeps_tickets() -> Result<()> {
    let mut world = world(ASK)?;
    let (_dialer, mut client) = client(&world)?;
    let text = "/*wait='no'*/ delete from app.t where id = 40";
    client.query(text)?;
    let ticket = one(&world)?;
    approve(&world, &ticket)?;
    client.ask("delete from app.t where id = 41")?;
    let held = one(&world)?;
    world.agent_mut().kill()?;
    world.agent_mut().start()?;
    let late = says(&world, 0, &["approve", &held])?;
    assert!(
        !late.status.success() && late.all().contains("the agent stopped"),
        "{}",
        late.all()
    );
    let (_dialer, mut client) = self::client(&world)?;
    assert!(done(&client.query(text)?, "DELETE 1"));
    assert_eq!(left(&world)?, 999);
    // Used is used, also by the next one that is killed.
    world
        .cluster()
        .sql(DATABASE, "insert into app.t values (40, 'again', '')")?;
    world.agent_mut().kill()?;
    world.agent_mut().start()?;
    let (_dialer, mut client) = self::client(&world)?;
    let again = client.query(text)?;
    assert!(
        words(&again).contains("reviewers were asked"),
        "{}",
        words(&again)
    );
    assert_eq!(left(&world)?, 1000);
    assert_eq!(listed(&world, "used")?.len(), 1);
    Ok(())
}

/// A storm: 50 sessions, each with one statement that waits on its connection and three that come again.
/// Decided on in random order, with the agent killed midway.
#[test]
fn of_two_hundred_each_approved_one_runs_once_or_lapses_and_no_other_runs() -> Result<()> {
    const SESSIONS: usize = 50;
    const EACH: usize = 4;
    let document = policy(ASK).replace("statements: [read, insert]", "statements: [read]");
    let document = document.replace("statements: [delete, update]", "statements: [insert]");
    let mut world = World::builder()
        .seed(
            "create schema app; create table app.t (id int, ssn text); create table app.hits (n int); \
             grant all on schema app to public; grant all on all tables in schema app to public",
        )
        .policy_text("some.yaml", &document)
        .settings(LOCAL)
        .start()?;
    let later = |n: usize| format!("/*wait='no'*/ insert into app.hits values ({n})");
    let mut dialer = world.dialer()?;
    let mut clients = Vec::new();
    for session in 0..SESSIONS {
        let mut client = world.client(&mut dialer)?;
        for n in 1..EACH {
            let answer = client.query(&later(session * EACH + n))?;
            assert_eq!(
                state(&answer).as_deref(),
                Some("57014"),
                "{}",
                words(&answer)
            );
        }
        client.ask(&format!("insert into app.hits values ({})", session * EACH))?;
        clients.push(client);
    }
    let mut held = until("all are held", Duration::from_secs(60), || {
        let held = listed(&world, "pending")?;
        Ok((held.len() == SESSIONS * EACH).then_some(held))
    })?;
    // Any order will do; this one differs from run to run.
    held.sort_by_key(id);
    let number = |case: &Value| -> usize {
        let text = case["request"]["matter"]["text"].as_str().unwrap();
        let inside = text.rsplit_once('(').unwrap().1;
        inside.trim_end_matches(')').parse().unwrap()
    };
    let mut approved = Vec::new();
    for (at, case) in held.iter().enumerate() {
        if at == SESSIONS * EACH / 2 {
            world.agent_mut().kill()?;
            world.agent_mut().start()?;
        }
        let yes = at % 2 == 0;
        let seen = says(
            &world,
            0,
            &[if yes { "approve" } else { "deny" }, &id(case)],
        )?;
        // What waited on a connection of the agent that was killed is over.
        let lapsed = seen.all().contains("the agent stopped");
        assert!(seen.status.success() || lapsed, "{}", seen.all());
        if yes && seen.status.success() {
            approved.push(number(case));
        }
    }
    drop(clients);
    let mut dialer = world.dialer()?;
    let mut client = world.client(&mut dialer)?;
    for case in &held {
        if case["request"]["waits"] == "retry" {
            let n = number(case);
            for _ in 0..2 {
                client.query(&later(n))?;
            }
        }
    }
    let rows = world
        .cluster()
        .sql(DATABASE, "select n from app.hits order by n")?;
    let ran: Vec<usize> = rows
        .lines()
        .map(|line| line.parse())
        .collect::<Result<_, _>>()?;
    let once: std::collections::BTreeSet<_> = ran.iter().copied().collect();
    assert_eq!(once.len(), ran.len(), "something ran twice: {ran:?}");
    for n in &ran {
        assert!(approved.contains(n), "{n} ran, and nobody approved it");
    }
    let used = listed(&world, "used")?;
    let used: Vec<usize> = used.iter().map(number).collect();
    for n in &approved {
        let lapsed = !used.contains(n);
        assert!(
            once.contains(n) || lapsed || n % EACH == 0,
            "{n} was used and did not run"
        );
        // What comes again outlives the agent.
        assert!(
            n % EACH == 0 || once.contains(n),
            "{n} was approved, came again and did not run"
        );
    }
    assert!(ran.len() > SESSIONS, "only {} ran", ran.len());
    Ok(())
}
