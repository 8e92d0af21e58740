//! The attacks on approvals, A1 to A9, where nothing else has them: what a reviewer did not see, did not
//! mean, or could not know must not run. docs/testing.md says which test is about which.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use node_agent_tests::client::{Message, Raw, bind, cells, execute, parse, startup, sync};
use node_agent_tests::pg::{DATABASE, SERVICE};
use node_agent_tests::world::{GROUP, SUBJECT};
use node_agent_tests::{Place, World, parts, until};
use serde_json::Value;

use super::agent_is_here;
use super::approval::{
    ASK, LOCAL, SEED, SOON, approve, client, done, id, left, listed, one, policy, says, state,
    words, world,
};

/// A Bind of one parameter.
fn bind_one(portal: &str, statement: &str, value: &str) -> Vec<u8> {
    let mut body = format!("{portal}\0{statement}\0\0\0\0\x01").into_bytes();
    body.extend(u32::try_from(value.len()).expect("short").to_be_bytes());
    body.extend(value.as_bytes());
    body.extend([0, 0]);
    Message::frame(b'B', &body)
}

fn run(client: &mut Raw, messages: &[Vec<u8>]) -> Result<Vec<Message>> {
    client.send(&messages.concat())?;
    client.send(&sync())?;
    client.up_to(b'Z')
}

fn sql(world: &World, text: &str) -> Result<String> {
    world.cluster().sql(DATABASE, text)
}

/// What a client that waited is told, where it did not run.
#[track_caller]
fn not_run(answer: &[Message], why: &str) {
    assert_eq!(state(answer).as_deref(), Some("57014"), "{}", words(answer));
    assert!(words(answer).contains(why), "no {why:?}: {}", words(answer));
}

#[test]
fn another_text_or_value_under_the_same_name_is_not_what_was_approved() -> Result<()> {
    let world = world(ASK)?;
    let (_dialer, mut client) = client(&world)?;
    let text = "/*wait='no'*/ delete from app.t where id = $1";
    let named = [parse("p", text), bind_one("", "p", "5"), execute("", 0)];
    not_run(&run(&mut client, &named)?, "reviewers were asked");
    approve(&world, &one(&world)?)?;
    // The same name, another text; the same text, another value; typed otherwise; as text.
    let close = Message::frame(b'C', b"Sp\0");
    let renamed = [
        close.clone(),
        parse("p", "/*wait='no'*/ delete from app.t where id >= $1"),
        bind_one("", "p", "5"),
        execute("", 0),
    ];
    not_run(&run(&mut client, &renamed)?, "reviewers were asked");
    let typed = [
        close.clone(),
        Message::frame(
            b'P',
            &[b"p\0", text.as_bytes(), &[0, 0, 1, 0, 0, 0, 20]].concat(),
        ),
        bind_one("", "p", "5"),
        execute("", 0),
    ];
    not_run(&run(&mut client, &typed)?, "reviewers were asked");
    let valued = [
        close,
        parse("p", text),
        bind_one("", "p", "6"),
        execute("", 0),
    ];
    not_run(&run(&mut client, &valued)?, "reviewers were asked");
    not_run(
        &client.query("/*wait='no'*/ delete from app.t where id = 5")?,
        "reviewers were asked",
    );
    assert_eq!(left(&world)?, 1000);
    // What was approved, once.
    let same = [bind_one("", "p", "5"), execute("", 0)];
    assert!(done(&run(&mut client, &same)?, "DELETE 1"));
    not_run(&run(&mut client, &same)?, "reviewers were asked");
    assert_eq!(left(&world)?, 999);
    Ok(())
}

#[test]
fn a_grant_ends_with_what_its_statement_would_set_off() -> Result<()> {
    let world = world("reviewers: { groups: [dba] }, offers: { shape: 5m }")?;
    sql(
        &world,
        "create function app.quiet() returns trigger language plpgsql as $$ begin return old; end $$; \
         create function app.loud() returns trigger language plpgsql as $$ begin return null; end $$; \
         create trigger first before delete on app.t for each row execute function app.quiet(); \
         create policy p on app.t using (true)",
    )?;
    let (_dialer, mut client) = client(&world)?;
    // Of the table itself nothing changes: it has triggers and a policy already.
    for change in [
        "create or replace trigger first before delete on app.t for each row execute function app.loud()",
        "alter policy p on app.t using (id > 5)",
        "alter table app.t alter id set default 7",
    ] {
        client.ask("delete from app.t where id = 3")?;
        let name = one(&world)?;
        sql(&world, change)?;
        approve(&world, &name)?;
        not_run(&client.up_to(b'Z')?, "changed while it was held");
    }
    // For a shape, it ends as well, and with the settings it was given under.
    client.ask("update app.t set note = 'x' where id = 100")?;
    let name = one(&world)?;
    let shown = world.cli(&["approvals", "show", &name])?.good()?.stdout;
    assert!(
        shown.contains("  update app.t set note = 'x' where id = 000\n"),
        "{shown}"
    );
    assert!(
        says(&world, 0, &["approve", &name, "--shape", "5"])?
            .status
            .success()
    );
    assert!(done(&client.up_to(b'Z')?, "UPDATE 1"));
    assert!(done(
        &client.query("update app.t set note = 'x' where id = 101")?,
        "UPDATE 1"
    ));
    for change in ["", "set search_path = app"] {
        match change {
            "" => drop(sql(&world, "alter policy p on app.t using (id > 6)")?),
            set => drop(client.query(set)?),
        }
        client.ask("update app.t set note = 'x' where id = 102")?;
        let name = one(&world)?;
        assert!(
            says(&world, 0, &["approve", &name, "--shape", "5"])?
                .status
                .success()
        );
        assert!(done(&client.up_to(b'Z')?, "UPDATE 1"), "{change}");
    }
    assert_eq!(left(&world)?, 1000);
    Ok(())
}

/// Row security often goes by a setting that a function sets, with a value of the client's.
#[test]
fn a_ticket_is_for_sessions_whose_settings_were_set_alike_whoever_set_them() -> Result<()> {
    let world = world(ASK)?;
    sql(
        &world,
        "create function app.become(text) returns text language sql \
         as $$ select set_config('app.tenant', $1, false) $$",
    )?;
    let mut dialer = world.dialer()?;
    let text = "/*wait='no'*/ delete from app.t where id = 5";
    let mut session = |tenant: &str| -> Result<Vec<Message>> {
        let mut client = world.client(&mut dialer)?;
        let become_it = [
            parse("", "select app.become($1)"),
            bind_one("", "", tenant),
            execute("", 0),
        ];
        let became = run(&mut client, &become_it)?;
        assert!(done(&became, "SELECT 1"), "{}", words(&became));
        client.query(text)
    };
    not_run(&session("1")?, "reviewers were asked");
    approve(&world, &one(&world)?)?;
    not_run(&session("2")?, "reviewers were asked");
    assert_eq!(left(&world)?, 1000);
    assert!(done(&session("1")?, "DELETE 1"));
    assert_eq!(left(&world)?, 999);
    Ok(())
}

/// Who holds an older transaction open can write an older number over a newer one: sums of such numbers
/// stay the same where another change adds as much.
#[test]
fn two_redefinitions_that_weigh_each_other_up_are_seen() -> Result<()> {
    let world = world(ASK)?;
    let define = |name: &str, by: u32| {
        format!(
            "create or replace function app.{name}(int) returns int language sql immutable \
             as 'select $1 * {by}'"
        )
    };
    sql(&world, "create table public.go (at int)")?;
    let (_dialer, mut client) = client(&world)?;
    thread::scope(|scope| -> Result<()> {
        let older = scope.spawn(|| {
            let script = format!(
                "begin; select txid_current(); do $$ begin while not exists (select from public.go) loop \
                 perform pg_sleep(0.05); end loop; end $$; {}; commit",
                define("twice", 3)
            );
            sql(&world, &script)
        });
        until("the older transaction", SOON, || {
            Ok((world.running("public.go")? == 1).then_some(()))
        })?;
        sql(&world, "select txid_current()")?;
        sql(
            &world,
            &format!(
                "begin; {}; {}; commit",
                define("twice", 2),
                define("other", 2)
            ),
        )?;
        client.ask("delete from app.t where id = app.twice(3)")?;
        let name = one(&world)?;
        sql(&world, "insert into public.go values (1)")?;
        older.join().expect("no panic")?;
        sql(&world, &define("other", 3))?;
        approve(&world, &name)
    })?;
    not_run(&client.up_to(b'Z')?, "changed while it was held");
    assert_eq!(left(&world)?, 1000);
    Ok(())
}

#[test]
fn a_reviewer_is_shown_all_of_it_and_what_is_too_long_for_that_is_refused() -> Result<()> {
    let world = world(ASK)?;
    let (_dialer, mut client) = client(&world)?;
    let hidden = format!(
        "delete from app.t where id = 1 /* \u{202e}\u{200b}\u{441}\r\x1b[2J{}*/ or id = 2",
        " ".repeat(10_000)
    );
    client.ask(&hidden)?;
    let name = one(&world)?;
    let shown = world.cli(&["approvals", "show", &name])?.good()?.stdout;
    for part in [
        "\\u{202e}\\u{200b}",
        "\\r\\x1b[2J",
        "*/ or id = 2",
        "app.t",
        "delete",
    ] {
        assert!(shown.contains(part), "no {part}: {shown}");
    }
    assert!(
        !shown.contains(['\u{202e}', '\u{200b}', '\r', '\x1b']),
        "{shown:?}"
    );
    assert!(says(&world, 0, &["deny", &name])?.status.success());
    not_run(&client.up_to(b'Z')?, "refused by olga");
    // A text, and parameters, that nobody reads to their end.
    let long = format!("delete from app.t where note = '{}'", "x".repeat(64 << 10));
    not_run(&client.query(&long)?, "longer than anybody reads");
    let places: Vec<String> = (1..=20).map(|at| format!("${at}::text")).collect();
    let text = format!("delete from app.t where note in ({})", places.join(", "));
    let mut values = b"\0p\0\0\0\0\x14".to_vec();
    for _ in 0..20 {
        values.extend(4000_u32.to_be_bytes());
        values.extend([b'x'; 4000]);
    }
    values.extend([0, 0]);
    let many = [
        parse("p", &text),
        Message::frame(b'B', &values),
        execute("", 0),
    ];
    not_run(&run(&mut client, &many)?, "longer than anybody reads");
    assert_eq!(left(&world)?, 1000);
    assert!(listed(&world, "pending")?.is_empty());
    Ok(())
}

#[test]
fn nobody_approves_their_own_under_another_name() -> Result<()> {
    let named = LOCAL.replace("name: olga,", "name: olga, also: [Olga@Example.org],");
    let world = World::builder()
        .seed(SEED)
        .policy_text("some.yaml", &policy(ASK))
        .settings(&named)
        .start()?;
    // No claim is kept by this configuration; the token says them all the same.
    let claims = world.idp.claims(SUBJECT, &[GROUP], 3600);
    let claims = claims
        .with("email", "olga@example.org")
        .with("act", serde_json::json!({ "sub": "dora" }));
    world.set_token(&world.idp.sign(node_agent_tests::idp::Alg::RS256, &claims))?;
    let (_dialer, mut client) = client(&world)?;
    client.ask("delete from app.t where id = 1")?;
    let name = one(&world)?;
    for user in [0, 4343] {
        let seen = says(&world, user, &["approve", &name])?;
        assert!(
            !seen.status.success() && seen.all().contains("nobody approves their own request"),
            "{user}: {}",
            seen.all()
        );
    }
    assert_eq!(left(&world)?, 1000);
    Ok(())
}

/// Makes the database answer no question about its definitions while `meanwhile` is done.
fn while_the_catalogue_is_locked<T>(
    world: &World,
    meanwhile: impl FnOnce() -> Result<T>,
) -> Result<T> {
    thread::scope(|scope| {
        scope.spawn(|| {
            // It ends by being ended.
            let _ = sql(
                world,
                "begin; lock table pg_catalog.pg_inherits in access exclusive mode; select pg_sleep(60)",
            );
        });
        until("the lock", SOON, || {
            Ok((world.running("pg_sleep(60)")? == 1).then_some(()))
        })?;
        let did = meanwhile();
        sql(
            world,
            "select pg_terminate_backend(pid) from pg_stat_activity where query like '%pg_sleep(60)%' \
             and pid <> pg_backend_pid()",
        )?;
        did
    })
}

#[test]
fn who_goes_or_cancels_between_the_approval_and_the_run_is_heard() -> Result<()> {
    let world = world(ASK)?;
    let mut dialer = world.dialer()?;
    for cancels in [true, false] {
        let mut client = world.raw(&mut dialer)?;
        client.send(&startup(
            (3, 0),
            &[("user", SERVICE), ("database", DATABASE)],
        ))?;
        let seen = client.logged_in(world.password(Place::Inside))?;
        let mut keys = seen.into_iter().filter(|message| message.kind == b'K');
        let key = keys.next().context("a key")?.body;
        client.ask("delete from app.t where id = 5")?;
        let name = one(&world)?;
        let stream = client.stream().try_clone()?;
        while_the_catalogue_is_locked(&world, || {
            approve(&world, &name)?;
            // The agent has been told, and asks the database.
            until("the question", SOON, || {
                let waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'";
                Ok((sql(&world, waits)? != "0").then_some(()))
            })?;
            if cancels {
                let mut asks = world.raw(&mut dialer)?;
                let length = u32::try_from(key.len() + 8)?.to_be_bytes();
                let code = 80_877_102_u32.to_be_bytes();
                asks.send(&[&length, &code, key.as_slice()].concat())?;
                asks.ended_within(SOON)?;
            } else {
                stream.shutdown(std::net::Shutdown::Both)?;
            }
            Ok(())
        })?;
        if cancels {
            not_run(&client.up_to(b'Z')?, "cancelled");
        }
        drop(client);
        until("it is over", SOON, || {
            let over = listed(&world, "over")?;
            Ok(over.iter().any(|case| id(case) == name).then_some(()))
        })?;
        assert_eq!(left(&world)?, 1000, "{cancels}");
    }
    assert!(listed(&world, "used")?.is_empty());
    Ok(())
}

#[test]
fn who_asks_and_goes_by_turns_is_held_up_and_the_list_stays_readable() -> Result<()> {
    let world = World::builder()
        .seed(SEED)
        .policy_text("some.yaml", &policy(ASK))
        .settings(&LOCAL.replace("256", "4"))
        .start()?;
    let mut dialer = world.dialer()?;
    let long = format!(
        "delete from app.t where note = '{}'",
        "\x01".repeat(60 << 10)
    );
    for _ in 0..4 {
        let mut client = world.client(&mut dialer)?;
        client.ask(&long)?;
        one(&world)?;
        drop(client);
        until("it is withdrawn", SOON, || {
            Ok(listed(&world, "pending")?.is_empty().then_some(()))
        })?;
    }
    let mut client = world.client(&mut dialer)?;
    not_run(
        &client.query("delete from app.t where id = 1")?,
        "4 were withdrawn within the last minute",
    );
    let all: Vec<Value> = listed(&world, "over")?;
    assert_eq!(all.len(), 4);
    assert_eq!(
        cells(&client.query("select 7")?)[0][0].as_deref(),
        Some("7")
    );
    Ok(())
}

#[test]
fn of_a_transaction_each_statement_is_approved_for_itself() -> Result<()> {
    let world = world(ASK)?;
    let (_dialer, mut client) = client(&world)?;
    client.query("begin")?;
    assert!(done(
        &client.query("insert into app.t values (2000, 'n', '')")?,
        "INSERT 0 1"
    ));
    client.ask("delete from app.t where id = 1")?;
    let name = one(&world)?;
    let shown = world.cli(&["approvals", "show", &name])?.good()?.stdout;
    assert!(
        shown.contains("2 statements of its transaction ran before it"),
        "{shown}"
    );
    approve(&world, &name)?;
    assert!(done(&client.up_to(b'Z')?, "DELETE 1"));
    // The next one is another question; so is each of those that come at once.
    client.ask("delete from app.t where id = 2")?;
    assert!(says(&world, 0, &["deny", &one(&world)?])?.status.success());
    not_run(&client.up_to(b'Z')?, "refused by olga");
    client.query("rollback")?;
    assert_eq!(left(&world)?, 1000);
    let piped = [
        parse("a", "delete from app.t where id = 3"),
        parse("b", "delete from app.t where id = 4"),
        bind("", "a", &[]),
        execute("", 0),
        bind("", "b", &[]),
        execute("", 0),
        sync(),
    ];
    client.send(&piped.concat())?;
    let first = one(&world)?;
    approve(&world, &first)?;
    let second = until("the other one", SOON, || {
        let held = listed(&world, "pending")?;
        Ok(held.first().map(id).filter(|name| *name != first))
    })?;
    // What ran before it is committed with it, though no BEGIN says so.
    let shown = world.cli(&["approvals", "show", &second])?.good()?.stdout;
    assert!(
        shown.contains("1 statement of its transaction ran before it"),
        "{shown}"
    );
    assert!(says(&world, 0, &["deny", &second])?.status.success());
    let answer = client.up_to(b'Z')?;
    not_run(&answer, "refused by olga");
    assert_eq!(
        left(&world)?,
        1000,
        "one transaction: all of it, or nothing"
    );
    // One message is one question, shown whole.
    client.ask("delete from app.t where id = 5; delete from app.t where id = 6")?;
    let name = one(&world)?;
    let shown = world.cli(&["approvals", "show", &name])?.good()?.stdout;
    assert!(
        shown.contains("id = 5; delete from app.t where id = 6"),
        "{shown}"
    );
    approve(&world, &name)?;
    assert!(done(&client.up_to(b'Z')?, "DELETE 1"));
    assert_eq!(left(&world)?, 998);
    Ok(())
}

/// A sequence tells what was evaluated, whatever became of its transaction. (A text that is prepared and bound is
/// planned when it is bound, and what a function that calls itself immutable does then is in docs/threat-model.md.)
#[test]
fn nothing_that_is_held_is_evaluated_in_the_meantime() -> Result<()> {
    let world = world(ASK)?;
    sql(
        &world,
        "create sequence public.seen; grant all on sequence public.seen to public; \
         create function app.counts() returns bigint language sql volatile \
           as $$ select nextval('public.seen') $$; \
         create function app.constant() returns bigint language plpgsql immutable \
           as $$ begin return nextval('public.seen'); end $$",
    )?;
    let seen = || sql(&world, "select is_called from public.seen");
    let (_dialer, mut client) = client(&world)?;
    let cases = [
        ("counts", false),
        ("constant", false),
        ("counts", true),
        ("constant", true),
    ];
    for (function, extended) in cases {
        let text = format!("delete from app.t where id = app.{function}()");
        match extended {
            false => client.ask(&text)?,
            true => client
                .send(&[parse("", &text), bind("", "", &[]), execute("", 0), sync()].concat())?,
        }
        let name = one(&world)?;
        println!("{function} {extended}: {}", seen()?);
        if (function, extended) != ("constant", true) {
            assert_eq!(seen()?, "f", "{function} {extended}");
        }
        assert!(says(&world, 0, &["deny", &name])?.status.success());
        not_run(&client.up_to(b'Z')?, "refused by olga");
    }
    assert_eq!(left(&world)?, 1000);
    Ok(())
}

#[test]
fn while_approvals_cannot_be_kept_nothing_is_approved() -> Result<()> {
    let mut world = world(ASK)?;
    {
        let (_dialer, mut client) = client(&world)?;
        not_run(
            &client.query("/*wait='no'*/ delete from app.t where id = 1")?,
            "reviewers were asked",
        );
    }
    let name = one(&world)?;
    world.agent_mut().kill()?;
    // Somebody else has the store: the next agent finds it so.
    let store = world.agent().state_dir().join("approvals/approvals.redb");
    let file = std::fs::File::open(&store)?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
    world.agent_mut().start()?;
    let (_dialer, mut client) = client(&world)?;
    let began = Instant::now();
    not_run(
        &client.query("delete from app.t where id = 1")?,
        "cannot be kept now",
    );
    assert!(began.elapsed() < Duration::from_secs(10));
    let word = says(&world, 0, &["approve", &name])?;
    assert!(
        !word.status.success() && word.all().contains("cannot be recorded"),
        "{}",
        word.all()
    );
    // Other statements do not care.
    assert_eq!(
        cells(&client.query("select 7")?)[0][0].as_deref(),
        Some("7")
    );
    drop(file);
    until("it is kept again", SOON, || {
        Ok(listed(&world, "pending")?
            .first()
            .map(id)
            .filter(|one| *one == name))
    })?;
    approve(&world, &name)?;
    assert!(done(
        &client.query("/*wait='no'*/ delete from app.t where id = 1")?,
        "DELETE 1"
    ));
    assert_eq!(left(&world)?, 999);
    Ok(())
}

#[test]
fn the_rest_of_an_answer_is_not_read_under_other_policies() -> Result<()> {
    let offers = "reviewers: { groups: [dba] }, offers: { unmasked: true }";
    let world = world(offers)?;
    let (_dialer, mut client) = client(&world)?;
    client.query("begin")?;
    let text = "delete from app.t where id <= 3 returning ssn";
    client.send(&[parse("", text), bind("c", "", &[]), execute("c", 1), sync()].concat())?;
    let name = one(&world)?;
    assert!(
        says(&world, 0, &["approve", &name, "--unmasked"])?
            .status
            .success()
    );
    let first = cells(&client.up_to(b'Z')?);
    assert_eq!(first, [[Some("123-45-6789".to_owned())]]);
    // Read on under the same policies: one run.
    let second = cells(&run(&mut client, &[execute("c", 1)])?);
    assert_eq!(second, [[Some("123-45-6789".to_owned())]]);
    world.set_policy("some.yaml", &policy(&format!("{ASK}, timeout: 9m")))?;
    until("the policies are read", SOON, || {
        let now = world.cli(&["status", "--json"])?.good()?.stdout;
        let now: Value = serde_json::from_str(&now)?;
        let request = &listed(&world, "used")?[0]["request"]["policy_version"];
        Ok((now["policy_version"] != *request).then_some(()))
    })?;
    client.send(&[execute("c", 1), sync()].concat())?;
    let again = one(&world)?;
    assert_ne!(again, name);
    assert!(says(&world, 0, &["deny", &again])?.status.success());
    let answer = client.up_to(b'Z')?;
    assert!(cells(&answer).is_empty(), "{answer:?}");
    Ok(())
}

/// Who cannot be stopped from connecting takes no file of those that others need.
#[test]
fn connections_that_say_nothing_to_the_admin_listeners_are_few_and_end() -> Result<()> {
    use std::io::Read as _;
    use std::net::TcpStream;
    use std::os::unix::net::UnixStream;
    if !agent_is_here() {
        return Ok(());
    }
    let world = world(ASK)?;
    let files = || -> Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", world.agent().worker()?))?.count())
    };
    let before = files()?;
    let pages: Vec<TcpStream> = (0..400)
        .map(|_| TcpStream::connect(world.agent().admin()))
        .collect::<std::io::Result<_>>()?;
    let socket = world.path().join("admin.sock");
    let sockets: Vec<UnixStream> = (0..400)
        .map_while(|_| UnixStream::connect(&socket).ok())
        .collect();
    // Those for which there is no room are closed at once.
    let closed = |mut stream: &TcpStream| -> Result<bool> {
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(!matches!(stream.read(&mut [0]), Ok(1..)))
    };
    let begun = Instant::now();
    assert!(closed(&pages[399])? && begun.elapsed() < SOON);
    let most = files()?;
    assert!(most < before + 450, "{before} became {most}");
    // Databases are reached meanwhile.
    assert_eq!(world.ask("select 7")?.good()?.stdout, "7\n");
    assert!(closed(&pages[0])?, "it said nothing, and is closed");
    until("files are given back", Duration::from_secs(60), || {
        Ok((files()? < before + 20).then_some(()))
    })?;
    drop(sockets);
    world.cli(&["approvals", "ls"])?.good()?;
    Ok(())
}

/// The table of attacks in docs/testing.md names tests that are there.
#[test]
fn every_attack_is_tested_by_what_the_table_names() -> Result<()> {
    let root = parts::repository();
    let page = std::fs::read_to_string(root.join("docs/testing.md"))?;
    let mut sources = String::new();
    for place in ["tests/tests/e2e", "node-agent/src/approval"] {
        let mut places = vec![root.join(place)];
        while let Some(place) = places.pop() {
            for entry in std::fs::read_dir(place)? {
                let path = entry?.path();
                if path.is_dir() {
                    places.push(path);
                } else if path.extension().is_some_and(|ext| ext == "rs") {
                    sources.push_str(&std::fs::read_to_string(path)?);
                }
            }
        }
    }
    for attack in 1..=9 {
        let row = format!("| A{attack} |");
        let row = page.lines().find(|line| line.starts_with(&row));
        let row = row.with_context(|| format!("no row of A{attack}"))?;
        let names: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{row}");
        for name in names {
            assert!(
                sources.contains(&format!("fn {name}(")),
                "A{attack}: no {name}"
            );
        }
    }
    Ok(())
}
