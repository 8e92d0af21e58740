//! Transactions whose COMMIT a rule holds: what they did becomes durable by a human's word, exactly once, or
//! not at all, whatever way a client takes to its end.

use std::time::Duration;

use anyhow::{Context, Result};
use node_agent_tests::client::{
    Message, Raw, about, bind, cells, execute, flush, parse, query, startup, sync,
};
use node_agent_tests::pg::{DATABASE, SERVICE};
use node_agent_tests::{Place, World, parts, until};
use rustix::process::Signal;
use serde_json::Value;

use super::approval::{
    LOCAL, SOON, approve, client, done, id, left, listed, one, pending, says, state, words,
};

const SEED: &str = "create schema app; create table app.t (id int primary key, note text); \
    insert into app.t select g, 'note' from generate_series(1, 1000) g; \
    create table app.other (id int primary key); \
    create table app.child (id int references app.t deferrable initially deferred); \
    create table app.logged (n int); \
    create function app.log() returns trigger language plpgsql as \
    'begin insert into app.logged values (1); return null; end'; \
    create constraint trigger late after insert on app.other deferrable initially deferred \
    for each row execute function app.log(); \
    create function app.twice(int) returns int language sql immutable as 'select $1 * 2'; \
    create procedure app.ends() language plpgsql as 'begin commit; end'; \
    grant all on schema app to public; grant all on all tables in schema app to public";

fn policy(rule: &str) -> String {
    format!(
        "apiVersion: node-agent/v1\nkind: Policy\nmetadata: {{ name: some }}\n\
         subjects: [ {{ workloads: ['*'] }} ]\ntargets: [ '*' ]\nfunctions: {{ allow: ['*'] }}\n\
         rules:\n  - {{ name: read, effect: allow, statements: [read, insert, do, call, vacuum, create, two_phase], tables: ['*.*'] }}\n  \
         - {{ name: session, effect: allow, statements: [set, transaction, prepare, execute, show] }}\n  \
         - {{ name: ask, effect: approve, statements: [delete], tables: ['app.*'], hold: commit, {rule} }}\n  \
         - {{ name: more, effect: approve, statements: [update], tables: ['app.*'], hold: commit, {rule} }}\n"
    )
}

const ASK: &str = "reviewers: { groups: [dba] }";

fn world(rule: &str) -> Result<World> {
    World::builder()
        .seed(SEED)
        .policy_text("some.yaml", &policy(rule))
        .settings(LOCAL)
        .pg_settings("max_prepared_transactions = 4\n")
        .start()
}

/// How the transaction stands, by the last ReadyForQuery.
fn stands(messages: &[Message]) -> char {
    let last = messages.last().unwrap();
    assert_eq!(last.kind, b'Z', "{}", words(messages));
    char::from(last.body[0])
}

/// Begins, and deletes this row: it runs, and nobody is asked.
fn begun(world: &World, client: &mut Raw, id: u64) -> Result<()> {
    assert_eq!(stands(&client.query("begin")?), 'T');
    let answer = client.query(&format!("delete from app.t where id = {id}"))?;
    assert!(done(&answer, "DELETE 1"), "{}", words(&answer));
    assert!(
        words(&answer).contains("COMMIT of its transaction will be held"),
        "{}",
        words(&answer)
    );
    assert_eq!(stands(&answer), 'T');
    assert_eq!(listed(world, "pending")?.len(), 0);
    Ok(())
}

/// The COMMIT failed, nothing is left of the transaction, and the session goes on.
fn rolled_back(client: &mut Raw, answer: &[Message], why: &str) -> Result<()> {
    let seen = words(answer);
    assert_eq!(state(answer).as_deref(), Some("57014"), "{seen}");
    assert!(
        seen.contains("the transaction was rolled back") && seen.contains(why),
        "{seen}"
    );
    assert!(!done(answer, "COMMIT"), "{seen}");
    assert_eq!(stands(answer), 'I', "{seen}");
    let alive = client.query("select 7")?;
    assert_eq!(cells(&alive)[0][0].as_deref(), Some("7"));
    assert_eq!(stands(&alive), 'I');
    Ok(())
}

/// Says no to whatever waits.
fn deny(world: &World) -> Result<()> {
    let name = one(world)?;
    let seen = says(world, 0, &["deny", &name, "--note", "not today"])?;
    assert!(seen.status.success(), "{}", seen.all());
    Ok(())
}

#[test]
fn an_approved_commit_makes_durable_exactly_what_was_shown() -> Result<()> {
    let world = world(ASK)?;
    let (mut dialer, mut client) = client(&world)?;
    begun(&world, &mut client, 1)?;
    let more = client.query("delete from app.t where id in (2, 3)")?;
    assert!(done(&more, "DELETE 2"), "{}", words(&more));
    assert!(
        !words(&more).contains("will be held"),
        "it is said once: {}",
        words(&more)
    );
    client.query("insert into app.other values (1), (2)")?;
    assert_eq!(left(&world)?, 1000, "others see nothing of it");
    client.ask("commit")?;
    let name = one(&world)?;
    assert_eq!(left(&world)?, 1000, "committed before anybody said so");
    let shown = world.cli(&["approvals", "show", &name])?;
    for part in [
        "COMMIT",
        "delete from app.t where id = 1",
        "delete from app.t where id in (2, 3)",
        "app.t",
        "3 deleted",
        "app.other",
        "2 inserted",
        // The deferred trigger has run before anybody was asked.
        "app.logged",
        "locks",
        "some/ask",
    ] {
        assert!(shown.stdout.contains(part), "{part}: {}", shown.all());
    }
    let json = world.cli(&["approvals", "show", &name, "--json"])?;
    let json: Value = serde_json::from_str(&json.stdout)?;
    assert_eq!(json["request"]["matter"]["what"], "commit", "{json}");
    // Terms that mean nothing for a COMMIT.
    for terms in [&["--max-rows", "5"][..], &["--unmasked"], &["--shape", "5"]] {
        let seen = says(&world, 0, &[&["approve", &name], terms].concat())?;
        assert!(
            !seen.status.success() && seen.all().contains("does not offer"),
            "{}",
            seen.all()
        );
    }
    approve(&world, &name)?;
    let answer = client.up_to(b'Z')?;
    assert!(done(&answer, "COMMIT"), "{}", words(&answer));
    assert!(
        words(&answer).contains("the COMMIT is held") && words(&answer).contains(&name),
        "{}",
        words(&answer)
    );
    assert_eq!(stands(&answer), 'I');
    assert_eq!(left(&world)?, 997);
    let again = says(&world, 0, &["approve", &name])?;
    assert!(!again.status.success(), "{}", again.all());
    // Transactions that no rule is about are nobody's business, before and behind.
    for text in ["begin", "insert into app.other values (3)", "commit"] {
        let answer = client.query(text)?;
        assert_eq!(state(&answer), None, "{}", words(&answer));
    }
    // Outside of a transaction the statement itself is held, and says why.
    client.ask("delete from app.t where id = 9")?;
    let name = one(&world)?;
    let shown = world.cli(&["approvals", "show", &name, "--json"])?;
    let shown: Value = serde_json::from_str(&shown.stdout)?;
    assert_eq!(shown["request"]["matter"]["what"], "statement", "{shown}");
    assert_eq!(left(&world)?, 997);
    approve(&world, &name)?;
    let answer = client.up_to(b'Z')?;
    assert!(done(&answer, "DELETE 1"), "{}", words(&answer));
    let said: String = answer
        .iter()
        .filter(|message| message.kind == b'N')
        .map(|message| String::from_utf8_lossy(&message.body).into_owned())
        .collect();
    assert!(said.contains("outside of a transaction"), "{said}");
    assert_eq!(left(&world)?, 996);
    client.message(b'X', b"")?;
    drop(client);
    // Evidence: verified, the same when judged again, and shown.
    let shown = until("the session is over", SOON, || {
        let seen = world.cli(&["sessions", "ls", "--json"])?;
        let over = seen
            .stdout
            .lines()
            .find(|line| !line.contains("\"why\":null"));
        let entry: Option<Value> = over.and_then(|line| serde_json::from_str(line).ok());
        Ok(entry.and_then(|entry| entry["session"].as_str().map(str::to_owned)))
    })?;
    let verified = world.cli(&["sessions", "verify"])?;
    assert!(verified.status.success(), "{}", verified.all());
    let policies = world.write("same.yaml", &policy(ASK))?;
    let policies = policies.display().to_string();
    let backtest = world.cli(&["policy", "backtest", "--json", "--policies", &policies])?;
    let told: Value = serde_json::from_str(&backtest.stdout).with_context(|| backtest.all())?;
    assert_eq!(told["flips"].as_array().map(Vec::len), Some(0), "{told}");
    let step = world.cli(&["sessions", "grep", "COMMIT will be held"])?;
    assert!(step.stdout.contains(&shown), "{}", step.all());
    let step = world.cli(&["sessions", "grep", "was given by olga"])?;
    assert!(step.stdout.contains(&shown), "{}", step.all());
    let _fresh = world.client(&mut dialer)?;
    Ok(())
}

#[test]
fn what_is_not_approved_is_rolled_back_and_the_client_knows() -> Result<()> {
    let world = world("reviewers: { groups: [dba] }, timeout: 8s")?;
    let mut dialer = world.dialer()?;
    // Refused.
    let mut client = world.client(&mut dialer)?;
    begun(&world, &mut client, 1)?;
    client.ask("commit")?;
    deny(&world)?;
    let answer = client.up_to(b'Z')?;
    rolled_back(&mut client, &answer, "not today")?;
    // The same with a chained transaction: none is open behind it.
    begun(&world, &mut client, 1)?;
    client.ask("commit and chain")?;
    deny(&world)?;
    let answer = client.up_to(b'Z')?;
    rolled_back(&mut client, &answer, "not today")?;
    // In the extended protocol, prepared long before; and what is sent behind it waits.
    let prepared = [parse("c", "end work"), sync()].concat();
    client.send(&prepared)?;
    client.up_to(b'Z')?;
    begun(&world, &mut client, 1)?;
    let commit = [bind("", "c", &[]), execute("", 0)].concat();
    let skipped = [
        parse("", "select 'skipped'"),
        bind("", "", &[]),
        execute("", 0),
    ]
    .concat();
    let behind = query("select 'behind'");
    client.send(&[commit, skipped, sync(), behind].concat())?;
    deny(&world)?;
    let answer = client.up_to(b'Z')?;
    assert_eq!(state(&answer).as_deref(), Some("57014"));
    assert_eq!(stands(&answer), 'I');
    assert!(!words(&answer).contains("skipped"), "{}", words(&answer));
    assert_eq!(
        cells(&client.up_to(b'Z')?)[0][0].as_deref(),
        Some("behind"),
        "the answers keep their order"
    );
    // The prepared COMMIT is there still.
    client.send(&[bind("", "c", &[]), execute("", 0), sync()].concat())?;
    assert_eq!(state(&client.up_to(b'Z')?), None);
    // Nobody decides.
    begun(&world, &mut client, 1)?;
    let answer = client.query("commit")?;
    rolled_back(&mut client, &answer, "nobody decided in time")?;
    let over = listed(&world, "over")?;
    let late = says(&world, 0, &["approve", &id(&over[0])])?;
    assert!(!late.status.success(), "{}", late.all());
    assert_eq!(left(&world)?, 1000);
    // Gone: by a goodbye, by a reset.
    for reset in [false, true] {
        let mut client = world.client(&mut dialer)?;
        begun(&world, &mut client, 1)?;
        client.ask("commit")?;
        let name = one(&world)?;
        if reset {
            client.reset()?;
        } else {
            client.message(b'X', b"")?;
            drop(client);
        }
        until("it is withdrawn", SOON, || {
            let open = listed(&world, "pending")?.len() + listed(&world, "approved")?.len();
            Ok((open == 0).then_some(()))
        })?;
        let late = says(&world, 0, &["approve", &name])?;
        assert!(!late.status.success(), "{}", late.all());
        until("its locks are gone", SOON, || {
            let open = "select count(*) from pg_stat_activity where state like '%in transaction%'";
            Ok((world.cluster().sql(DATABASE, open)? == "0").then_some(()))
        })?;
        assert_eq!(left(&world)?, 1000, "{reset}");
    }
    assert_eq!(listed(&world, "used")?.len(), 0);
    Ok(())
}

#[test]
fn a_cancel_or_other_policies_roll_it_back_and_so_does_a_stop() -> Result<()> {
    let mut world = World::builder()
        .seed(SEED)
        .policy_text("some.yaml", &policy(ASK))
        .settings(LOCAL)
        .start()?;
    let mut dialer = world.dialer()?;
    let mut client = world.raw(&mut dialer)?;
    client.send(&startup(
        (3, 0),
        &[("user", SERVICE), ("database", DATABASE)],
    ))?;
    let seen = client.logged_in(world.password(Place::Inside))?;
    let key = seen.into_iter().find(|message| message.kind == b'K');
    let key = key.context("a key")?;
    begun(&world, &mut client, 1)?;
    client.ask("commit")?;
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
    rolled_back(&mut client, &answer, "cancelled")?;
    assert!(!says(&world, 0, &["approve", &name])?.status.success());
    // Other policies: while it is held, and between the statement and its COMMIT.
    for (round, other) in ["reviewers: { groups: [dba, ops] }", ASK]
        .iter()
        .enumerate()
    {
        begun(&world, &mut client, 1)?;
        if round == 0 {
            client.ask("commit")?;
            one(&world)?;
        }
        let before = world.cli(&["status", "--json"])?;
        let before: Value = serde_json::from_str(&before.stdout)?;
        world.set_policy("some.yaml", &policy(other))?;
        until("the policies are read", SOON, || {
            let now = world.cli(&["status", "--json"])?;
            let now: Value = serde_json::from_str(&now.stdout)?;
            Ok((now["policy_version"] != before["policy_version"]).then_some(()))
        })?;
        let answer = if round == 0 {
            approve(&world, &one(&world)?)?;
            client.up_to(b'Z')?
        } else {
            client.query("commit")?
        };
        rolled_back(&mut client, &answer, "policies changed")?;
    }
    assert_eq!(left(&world)?, 1000);
    // Killed while it is held, and after it was approved by one of two: nothing is durable.
    begun(&world, &mut client, 2)?;
    client.ask("commit")?;
    let name = one(&world)?;
    world.agent_mut().kill()?;
    world.agent_mut().start()?;
    let late = says(&world, 0, &["approve", &name])?;
    assert!(!late.status.success(), "{}", late.all());
    assert_eq!(left(&world)?, 1000);
    // Stopped: what is held is not waited for longer than a stop waits.
    let mut dialer = world.dialer()?;
    let mut client = world.client(&mut dialer)?;
    begun(&world, &mut client, 2)?;
    client.ask("commit")?;
    one(&world)?;
    world.agent().signal(Signal::TERM)?;
    world.agent_mut().wait(Duration::from_secs(60))?;
    let rest = client.ended_within(SOON)?;
    assert!(
        !Message::all(&rest)
            .iter()
            .any(|message| message.kind == b'C'),
        "the COMMIT was told of"
    );
    until("nothing of it is left", SOON, || {
        let open = "select count(*) from pg_stat_activity where state like '%in transaction%'";
        Ok((world.cluster().sql(DATABASE, open)? == "0").then_some(()))
    })?;
    assert_eq!(left(&world)?, 1000);
    Ok(())
}

/// Every way round a COMMIT that is held. After each nothing is durable, whoever had said what before.
#[test]
fn there_is_no_other_way_to_the_end_of_a_gated_transaction() -> Result<()> {
    let world = world(ASK)?;
    let mut dialer = world.dialer()?;
    let mut client = world.client(&mut dialer)?;
    // One text: refused as a whole, with the mend.
    for text in [
        "begin; delete from app.t where id = 1; commit",
        "begin; delete from app.t where id = 1",
        "delete from app.t where id = 1; commit",
        "rollback; delete from app.t where id = 1",
        "savepoint a; delete from app.t where id = 1",
    ] {
        let answer = client.query(text)?;
        assert_eq!(state(&answer).as_deref(), Some("57014"), "{text}");
        assert!(
            words(&answer).contains("by themselves"),
            "{text}: {}",
            words(&answer)
        );
        client.query("rollback")?;
    }
    // Behind a statement that ran.
    for text in [
        "select 1; commit",
        "commit; begin",
        "commit; select 1",
        "end; commit",
        "rollback; begin; commit",
        "prepare transaction 'gate'",
        "commit prepared 'gate'",
        "do $$ begin commit; end $$",
        "call app.ends()",
        "vacuum app.t",
        "create database gate",
    ] {
        begun(&world, &mut client, 1)?;
        let answer = client.query(text)?;
        assert!(state(&answer).is_some(), "{text}: {}", words(&answer));
        assert_eq!(stands(&answer), 'E', "{text}: {}", words(&answer));
        assert_eq!(listed(&world, "pending")?.len(), 0, "{text}");
        // A transaction that failed is rolled back by its COMMIT: nobody is asked.
        let answer = client.query("commit")?;
        assert!(done(&answer, "ROLLBACK"), "{text}: {}", words(&answer));
        assert_eq!(stands(&answer), 'I');
        assert_eq!(left(&world)?, 1000, "{text}");
    }
    let left_over = "select count(*) from pg_prepared_xacts";
    assert_eq!(world.cluster().sql(DATABASE, left_over)?, "0");
    // By a name of the protocol's, which SQL can run as well.
    client.send(&[parse("c", "commit"), sync()].concat())?;
    client.up_to(b'Z')?;
    begun(&world, &mut client, 1)?;
    let answer = client.query("execute c")?;
    assert!(state(&answer).is_some(), "{}", words(&answer));
    client.query("rollback")?;
    assert_eq!(left(&world)?, 1000);
    // What revives a failed transaction does not forget what ran in it.
    begun(&world, &mut client, 1)?;
    client.query("savepoint a")?;
    client.query("select 1; commit")?;
    assert_eq!(stands(&client.query("rollback to a")?), 'T');
    client.ask("commit")?;
    deny(&world)?;
    let answer = client.up_to(b'Z')?;
    rolled_back(&mut client, &answer, "not today")?;
    // A ROLLBACK is the client's own, and ends the gate; chained, too.
    for undo in ["rollback", "rollback and chain"] {
        begun(&world, &mut client, 1)?;
        let answer = client.query(undo)?;
        assert!(done(&answer, "ROLLBACK"), "{}", words(&answer));
        if stands(&answer) == 'I' {
            client.query("begin")?;
        }
        client.query("insert into app.other values (77)")?;
        let answer = client.query("commit")?;
        assert!(done(&answer, "COMMIT"), "{undo}: {}", words(&answer));
        world
            .cluster()
            .sql(DATABASE, "delete from app.other where id = 77")?;
    }
    // A second rule in the same transaction: its statement is held itself.
    begun(&world, &mut client, 1)?;
    client.ask("update app.t set note = 'x' where id = 2")?;
    deny(&world)?;
    assert_eq!(state(&client.up_to(b'Z')?).as_deref(), Some("57014"));
    client.query("rollback")?;
    // What a ROLLBACK would not take back is held itself.
    client.query("begin")?;
    client.ask("delete from app.t where id = app.twice(1)")?;
    deny(&world)?;
    assert_eq!(state(&client.up_to(b'Z')?).as_deref(), Some("57014"));
    client.query("rollback")?;
    assert_eq!(left(&world)?, 1000);
    Ok(())
}

/// Messages that are sent before the answers of those before them have come.
#[test]
fn no_order_of_messages_commits_unseen() -> Result<()> {
    let world = world(ASK)?;
    let mut dialer = world.dialer()?;
    let mut client = world.client(&mut dialer)?;
    let run = |text: &str| [parse("", text), bind("", "", &[]), execute("", 0)].concat();
    // Who was told no is told so again for a while: each is another statement.
    let mut n = 400;
    let mut another = || {
        n += 1;
        format!("delete from app.t where id = {n}")
    };

    // A COMMIT of something else is outstanding, and the statement behind it would commit by itself.
    for simple in [true, false] {
        client.query("begin")?;
        client.query("insert into app.other values (50)")?;
        let pair = match simple {
            true => [query("commit"), query(&another())].concat(),
            false => [run("commit"), sync(), run(&another()), sync()].concat(),
        };
        client.send(&pair)?;
        let name = one(&world)?;
        assert_eq!(left(&world)?, 1000, "{simple}");
        let shown = world.cli(&["approvals", "show", &name, "--json"])?;
        let shown: Value = serde_json::from_str(&shown.stdout)?;
        assert_eq!(shown["request"]["matter"]["what"], "statement", "{shown}");
        deny(&world)?;
        assert!(done(&client.up_to(b'Z')?, "COMMIT"));
        assert_eq!(state(&client.up_to(b'Z')?).as_deref(), Some("57014"));
        world
            .cluster()
            .sql(DATABASE, "delete from app.other where id = 50")?;
    }
    // The same in one group, where no ReadyForQuery tells them apart.
    client.query("begin")?;
    client.send(&[run("commit"), run(&another()), sync()].concat())?;
    deny(&world)?;
    client.up_to(b'Z')?;
    // The answer of the COMMIT has come, and no Sync: the last ReadyForQuery still speaks of a transaction.
    client.query("begin")?;
    client.send(&[run("commit"), flush()].concat())?;
    client.up_to(b'C')?;
    client.send(&[run(&another()), sync()].concat())?;
    deny(&world)?;
    assert_eq!(state(&client.up_to(b'Z')?).as_deref(), Some("57014"));
    // A BEGIN that is outstanding in another group may fail.
    client.send(&[query("begin"), query(&another())].concat())?;
    deny(&world)?;
    client.up_to(b'Z')?;
    client.up_to(b'Z')?;
    client.query("rollback")?;
    assert_eq!(left(&world)?, 1000);

    // All of it in one group: begun, run, and committed, as some drivers send it.
    for yes in [false, true] {
        client.send(
            &[
                run("begin"),
                run("delete from app.t where id = 1"),
                run("commit"),
                sync(),
                query("select 'behind'"),
            ]
            .concat(),
        )?;
        let name = one(&world)?;
        let shown = world.cli(&["approvals", "show", &name, "--json"])?;
        let shown: Value = serde_json::from_str(&shown.stdout)?;
        assert_eq!(shown["request"]["matter"]["what"], "commit", "{shown}");
        assert_eq!(left(&world)?, 1000);
        if yes {
            approve(&world, &name)?;
        } else {
            deny(&world)?;
        }
        let answer = client.up_to(b'Z')?;
        assert!(done(&answer, "DELETE 1"), "{}", words(&answer));
        assert_eq!(done(&answer, "COMMIT"), yes, "{}", words(&answer));
        assert_eq!(stands(&answer), 'I');
        assert_eq!(cells(&client.up_to(b'Z')?)[0][0].as_deref(), Some("behind"));
        assert_eq!(left(&world)?, if yes { 999 } else { 1000 });
    }
    // In one group behind something that fails: skipped, as the server would.
    client.send(
        &[
            run("begin"),
            run("delete from app.t where id = 2"),
            run("select 1/0"),
            run("commit"),
            sync(),
        ]
        .concat(),
    )?;
    let answer = client.up_to(b'Z')?;
    assert_eq!(
        state(&answer).as_deref(),
        Some("22012"),
        "{}",
        words(&answer)
    );
    assert_eq!(stands(&answer), 'E');
    assert_eq!(listed(&world, "pending")?.len(), 0);
    client.query("rollback")?;
    // A simple COMMIT behind messages that no Sync has ended.
    client.query("begin")?;
    client.send(&[run("delete from app.t where id = 2"), query("commit")].concat())?;
    deny(&world)?;
    let answer = client.up_to(b'Z')?;
    assert_eq!(
        state(&answer).as_deref(),
        Some("57014"),
        "{}",
        words(&answer)
    );
    assert_eq!(stands(&answer), 'I');
    assert_eq!(left(&world)?, 999);
    // A portal that is read in turns is one statement, and shown once.
    client.query("begin")?;
    let text = "delete from app.t where id between 10 and 19 returning id";
    client.send(
        &[
            parse("p", text),
            bind("q", "p", &[]),
            about(b'D', 'P', "q"),
            execute("q", 3),
            execute("q", 3),
            execute("q", 0),
            sync(),
        ]
        .concat(),
    )?;
    assert_eq!(cells(&client.up_to(b'Z')?).len(), 10);
    client.send(
        &[
            parse("", "commit"),
            bind("", "", &[]),
            about(b'D', 'P', ""),
            execute("", 0),
            sync(),
        ]
        .concat(),
    )?;
    let name = one(&world)?;
    let shown = world.cli(&["approvals", "show", &name])?;
    assert_eq!(shown.stdout.matches(text).count(), 1, "{}", shown.all());
    assert!(shown.stdout.contains("10 deleted"), "{}", shown.all());
    approve(&world, &name)?;
    let answer = client.up_to(b'Z')?;
    assert!(done(&answer, "COMMIT"), "{}", words(&answer));
    assert_eq!(left(&world)?, 989);
    Ok(())
}

#[test]
fn deferred_checks_come_before_the_question_and_savepoints_are_told_of() -> Result<()> {
    let world = world("reviewers: { groups: [dba] }, offers: { session: true }")?;
    let (_dialer, mut client) = client(&world)?;
    // What would fail the COMMIT fails it before anybody is asked, in the database's own words.
    for extended in [false, true] {
        begun(&world, &mut client, 1)?;
        client.query("insert into app.child values (123456)")?;
        let answer = match extended {
            false => client.query("commit")?,
            true => {
                client.send(
                    &[
                        parse("", "commit"),
                        bind("", "", &[]),
                        execute("", 0),
                        sync(),
                    ]
                    .concat(),
                )?;
                client.up_to(b'Z')?
            }
        };
        assert_eq!(
            state(&answer).as_deref(),
            Some("23503"),
            "{}",
            words(&answer)
        );
        assert_eq!(stands(&answer), 'I');
        assert_eq!(listed(&world, "pending")?.len(), 0);
        assert_eq!(stands(&client.query("select 1")?), 'I');
    }
    assert_eq!(left(&world)?, 1000);
    // What was rolled back to a savepoint is listed still, and the server's counters have it too.
    begun(&world, &mut client, 1)?;
    client.query("savepoint a")?;
    let answer = client.query("delete from app.t where id in (2, 3, 4)")?;
    assert!(done(&answer, "DELETE 3"), "{}", words(&answer));
    client.query("rollback to a")?;
    client.ask("commit")?;
    let name = one(&world)?;
    let shown = world.cli(&["approvals", "show", &name])?;
    assert!(
        shown.stdout.contains("4 deleted") && shown.stdout.contains("in (2, 3, 4)"),
        "{}",
        shown.all()
    );
    // For the rest of the session: the next COMMIT of this rule asks nobody.
    assert!(
        says(&world, 0, &["approve", &name, "--session"])?
            .status
            .success()
    );
    assert!(done(&client.up_to(b'Z')?, "COMMIT"));
    assert_eq!(left(&world)?, 999);
    begun(&world, &mut client, 5)?;
    let answer = client.query("commit")?;
    assert!(done(&answer, "COMMIT"), "{}", words(&answer));
    assert_eq!(left(&world)?, 998);
    // Too many statements to be read at once: the next one does not run.
    client.query("begin")?;
    for n in 0..64 {
        let answer = client.query(&format!("delete from app.t where id = {}", 100 + n))?;
        assert!(done(&answer, "DELETE 1"), "{}", words(&answer));
    }
    let answer = client.query("delete from app.t where id = 200")?;
    assert_eq!(
        state(&answer).as_deref(),
        Some("57014"),
        "{}",
        words(&answer)
    );
    assert_eq!(stands(&answer), 'E');
    client.query("rollback")?;
    Ok(())
}

/// A rule that is about transactions too, limits beside it, and a server that does not count.
#[test]
fn a_rule_about_transactions_holds_what_they_commit() -> Result<()> {
    let all = policy(ASK).replace("statements: [delete]", "statements: [delete, transaction]");
    assert!(all.contains("delete, transaction"));
    let world = World::builder()
        .seed(SEED)
        .policy_text("some.yaml", &all)
        .settings(LOCAL)
        .pg_settings("track_counts = off\n")
        .start()?;
    let (_dialer, mut client) = client(&world)?;
    // Nothing that the rule is about: nobody is asked.
    for text in [
        "begin",
        "select 1",
        "savepoint a",
        "rollback to a",
        "commit",
    ] {
        let answer = client.query(text)?;
        assert_eq!(state(&answer), None, "{text}: {}", words(&answer));
    }
    for yes in [false, true] {
        begun(&world, &mut client, 1)?;
        client.ask("commit")?;
        let name = one(&world)?;
        let shown = world.cli(&["approvals", "show", &name])?;
        assert!(
            shown.stdout.contains("does not count"),
            "where the server does not count, nobody claims to know: {}",
            shown.all()
        );
        if yes {
            approve(&world, &name)?;
            let answer = client.up_to(b'Z')?;
            assert!(done(&answer, "COMMIT"), "{}", words(&answer));
        } else {
            deny(&world)?;
            let answer = client.up_to(b'Z')?;
            rolled_back(&mut client, &answer, "not today")?;
        }
    }
    assert_eq!(left(&world)?, 999);
    // A COMMIT that runs nothing any more is nobody's business.
    begun(&world, &mut client, 2)?;
    client.query("select 1/0")?;
    let answer = client.query("commit")?;
    assert!(done(&answer, "ROLLBACK"), "{}", words(&answer));
    // In a transaction that has failed a statement fails in the server's words.
    client.query("begin")?;
    client.query("select 1/0")?;
    let answer = client.query("delete from app.t where id = 3")?;
    assert_eq!(
        state(&answer).as_deref(),
        Some("25P02"),
        "{}",
        words(&answer)
    );
    client.query("rollback")?;
    // A rule that holds the COMMIT itself, and another that holds what it commits: refused, not asked in part.
    let both = policy(ASK).replace(
        "statements: [update], tables: ['app.*'], hold: commit",
        "statements: [transaction]",
    );
    let before = world.cli(&["status", "--json"])?;
    let before: Value = serde_json::from_str(&before.stdout)?;
    world.set_policy("some.yaml", &both)?;
    until("the policies are read", SOON, || {
        let now = world.cli(&["status", "--json"])?;
        let now: Value = serde_json::from_str(&now.stdout)?;
        Ok((now["policy_version"] != before["policy_version"]).then_some(()))
    })?;
    client.ask("begin")?;
    approve(&world, &one(&world)?)?;
    client.up_to(b'Z')?;
    let answer = client.query("delete from app.t where id = 4")?;
    assert!(done(&answer, "DELETE 1"), "{}", words(&answer));
    let answer = client.query("commit")?;
    assert_eq!(
        state(&answer).as_deref(),
        Some("57014"),
        "{}",
        words(&answer)
    );
    assert_eq!(stands(&answer), 'E');
    assert_eq!(listed(&world, "pending")?.len(), 0);
    assert_eq!(left(&world)?, 999);
    Ok(())
}

/// Limits hold for a statement that runs by the gate as for any other, and so does a copy.
#[test]
fn a_gated_statement_is_counted_and_a_copy_can_be_gated() -> Result<()> {
    let limited = format!(
        "{}limits: {{ rows_affected: 5 }}\n",
        policy(ASK).replace("statements: [delete]", "statements: [delete, copy_in]")
    );
    let world = World::builder()
        .seed(SEED)
        .policy_text("some.yaml", &limited)
        .settings(LOCAL)
        .start()?;
    let (_dialer, mut client) = client(&world)?;
    begun(&world, &mut client, 1)?;
    client.query("savepoint a")?;
    let answer = client.query("delete from app.t where id between 10 and 19")?;
    assert_eq!(
        state(&answer).as_deref(),
        Some("54000"),
        "{}",
        words(&answer)
    );
    assert_eq!(stands(&answer), 'E');
    client.query("rollback to a")?;
    // The rest of it is held as before, with a copy in it.
    client.ask("copy app.logged from stdin")?;
    client.up_to(b'G')?;
    client.message(b'd', b"91\n92\n")?;
    client.message(b'c', b"")?;
    let answer = client.up_to(b'Z')?;
    assert!(done(&answer, "COPY 2"), "{}", words(&answer));
    client.ask("commit")?;
    let name = one(&world)?;
    let shown = world.cli(&["approvals", "show", &name])?;
    assert!(
        shown.stdout.contains("copy app.logged from stdin") && shown.stdout.contains("2 inserted"),
        "{}",
        shown.all()
    );
    assert_eq!(left(&world)?, 1000);
    approve(&world, &name)?;
    let answer = client.up_to(b'Z')?;
    assert!(done(&answer, "COMMIT"), "{}", words(&answer));
    assert_eq!(left(&world)?, 999);
    Ok(())
}

#[test]
fn drivers_see_a_commit_that_failed() -> Result<()> {
    let world = world(ASK)?;
    let cluster = world.cluster();
    for (script, arguments) in [
        (
            "psycopg_gate.py",
            vec![world.dsn(Place::Inside, cluster, "disable")],
        ),
        (
            "asyncpg_gate.py",
            super::drivers::words(&world, cluster, "disable"),
        ),
    ] {
        let running = world
            .program(Place::Inside, parts::python()?)
            .arg(parts::driver(script))
            .args(arguments)
            .spawn()?;
        for yes in [false, true] {
            let name = one(&world)?;
            let word = if yes { "approve" } else { "deny" };
            let seen = says(&world, 0, &[word, &name])?;
            assert!(seen.status.success(), "{}", seen.all());
        }
        let seen = running.finish()?;
        for line in ["ok rolled back", "ok idle", "ok committed"] {
            assert!(
                seen.all().contains(line),
                "{script}: {line}: {}",
                seen.all()
            );
        }
    }
    assert_eq!(left(&world)?, 998);
    let _all = pending(&world, 0)?;
    Ok(())
}
