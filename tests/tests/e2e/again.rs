//! What was recorded is judged again under other policies, and run again at a scratch copy.

use std::time::Duration;

use anyhow::{Context, Result};
use node_agent_tests::client::{about, bind, execute, parse, query, sync};
use node_agent_tests::pg::{self, Cluster, DATABASE, Version};
use node_agent_tests::program::Program;
use node_agent_tests::{Place, World, parts, until};
use serde_json::Value;

use super::agent_is_here;

const SOON: Duration = Duration::from_secs(20);

const SEED: &str = "create schema sales; create schema hr; \
    create table sales.customers (id int primary key, name text, ssn text not null); \
    insert into sales.customers values (1, 'Ada', '123-45-6789'), (2, 'Bruno', '987-65-4321'); \
    create table sales.orders (id int primary key, note text); \
    insert into sales.orders select g, 'note ' || g from generate_series(1, 20) g; \
    create view sales.people as select name, ssn as number from sales.customers; \
    create table hr.staff (name text); insert into hr.staff values ('Cid'); \
    create table hr.orders (id int); \
    create function sales.price(int) returns int language sql immutable as 'select $1 * 2'; \
    grant usage on schema sales, hr to public; \
    grant all on all tables in schema sales, hr to public";

fn policy(name: &str, rest: &str) -> String {
    format!(
        "apiVersion: node-agent/v1\nkind: Policy\nmetadata: {{ name: {name} }}\nmode: enforce\n\
         subjects: [ {{ groups: ['*'] }} ]\ntargets: [ '*' ]\n{rest}\n"
    )
}

/// Waits until so many recordings are closed.
fn closed(world: &World, count: usize) -> Result<()> {
    until("closed recordings", SOON, || {
        let list = world.cli(&["sessions", "ls", "--json"])?.good()?;
        let all = list.stdout.lines().filter(|line| {
            let entry: Value = serde_json::from_str(line).unwrap_or_default();
            !entry["why"].is_null()
        });
        Ok((all.count() >= count).then_some(()))
    })
}

fn backtest(world: &World, words: &[&str]) -> Result<(Option<i32>, Value)> {
    let mut all = vec!["policy", "backtest", "--json"];
    all.extend(words);
    let done = world.cli(&all)?;
    let value = serde_json::from_str(&done.stdout)
        .with_context(|| format!("{} {}", done.stdout, done.stderr))?;
    Ok((done.status.code(), value))
}

/// (decision, rule) before and after, workload, statements, sessions: in the order of the words.
fn flips(told: &Value) -> Vec<String> {
    let word = |word: &Value| format!("{} by {}", word["decision"], word["by"]).replace('"', "");
    let groups = told["flips"].as_array().unwrap();
    let mut all: Vec<String> = groups
        .iter()
        .map(|group| {
            format!(
                "{} -> {}, {}: {} in {}",
                word(&group["from"]),
                word(&group["to"]),
                group["workload"].as_str().unwrap(),
                group["statements"],
                group["sessions"],
            )
        })
        .collect();
    all.sort();
    all
}

const OLD: &str = "\
rules:
  - { name: read, effect: allow, statements: [select], tables: ['sales.*'] }
  - { name: fix, effect: allow, statements: [update], tables: [sales.orders] }
  - { name: hr, effect: allow, statements: [select], tables: [hr.staff], when: 'principal.workload == \"batch\"' }
  - { name: never, effect: deny, statements: [drop] }
";

const NEW: &str = "\
rules:
  - { name: read, effect: allow, statements: [select], tables: [sales.orders] }
  - { name: customers, effect: approve, statements: [select], tables: [sales.customers], reviewers: { groups: [dba] } }
  - { name: clean, effect: allow, statements: [delete], tables: [sales.orders] }
  - { name: hr, effect: allow, statements: [select], tables: [hr.staff] }
  - { name: never, effect: deny, statements: [drop] }
limits: { rows_returned: 10 }
";

/// Two texts, and what becomes of each.
type Texts = [(&'static str, &'static str); 2];

/// Five kinds of sessions, ten of each: the workload, the user, what it asks, and by hand what becomes of
/// each statement under the new policy.
const KINDS: [(&str, &str, Texts); 5] = [
    (
        "claude",
        "ada",
        [
            ("select id from sales.orders where id <= 3", "same"),
            (
                "select count(*) from sales.customers",
                "allow by shop/read -> hold by shop/customers",
            ),
        ],
    ),
    (
        "claude",
        "bob",
        [
            (
                "update sales.orders set note = 'x' where id = 1",
                "allow by shop/fix -> deny by default",
            ),
            ("drop table sales.orders", "same"),
        ],
    ),
    (
        "batch",
        "ada",
        [
            ("select name from hr.staff", "same"),
            (
                "delete from sales.orders where id = 999",
                "deny by default -> allow by shop/clean",
            ),
        ],
    ),
    (
        "claude",
        "cid",
        [
            (
                "select name from hr.staff",
                "deny by default -> allow by shop/read, shop/hr",
            ),
            (
                "select id from sales.orders order by id",
                "allow by shop/read -> stop by limits.rows_returned",
            ),
        ],
    ),
    (
        "batch",
        "bob",
        [
            ("select 1", "same"),
            ("insert into sales.orders values (99, 'x')", "same"),
        ],
    ),
];

#[test]
fn fifty_recorded_sessions_give_the_flips_worked_out_by_hand() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder()
        .policy_text("shop.yaml", &policy("shop", OLD))
        .workload("batch")
        .seed(SEED)
        .start()?;
    for round in 0..10 {
        for (workload, user, texts) in &KINDS {
            let group = if round % 2 == 0 {
                "ai-agents"
            } else {
                "people"
            };
            world.set_token(&world.idp.token(user, &[group], 3600))?;
            let psql = Program::in_cgroup(&world.cgroup_of(workload), parts::on_path("psql")?);
            let dsn = world.dsn(Place::Inside, world.cluster(), "disable");
            let done = psql
                .args(["-X", "-q", "-A", "-t", "-d", &dsn])
                .args(["-c", texts[0].0, "-c", texts[1].0])
                .run()?;
            assert!(!done.stderr.contains("FATAL"), "{}", done.stderr);
        }
    }
    closed(&world, 50)?;
    let new = world.write("new.yaml", &policy("shop", NEW))?;
    let new = new.to_str().context("a path")?;
    let mut expected: Vec<String> = Vec::new();
    for (workload, _, texts) in &KINDS {
        for (_, becomes) in texts.iter().filter(|(_, becomes)| *becomes != "same") {
            expected.push(format!("{becomes}, {workload}: 10 in 10"));
        }
    }
    expected.sort();
    let (status, told) = backtest(&world, &["--policies", new])?;
    assert_eq!(flips(&told), expected, "{told:#}");
    assert_eq!(status, Some(1));
    assert_eq!(told["summary"]["sessions"], 50, "{told:#}");
    assert_eq!(told["summary"]["judged"], 100, "{told:#}");
    assert_eq!(told["summary"]["stricter"], 30, "{told:#}");
    assert_eq!(told["summary"]["freer"], 20, "{told:#}");
    assert_eq!(told["summary"]["unjudged"], 0, "{told:#}");
    // Which flips make it fail, and which sessions are looked at.
    for (words, status, judged) in [
        (&["--fail-on", "none"][..], 0, 100),
        (&["--fail-on", "deny", "--workload", "batch"], 0, 40),
        (&["--fail-on", "allow", "--workload", "batch"], 1, 40),
        (&["--fail-on", "allow", "--user", "bob"], 0, 40),
        (&["--fail-on", "deny", "--user", "bob"], 1, 40),
    ] {
        let mut all = vec!["--policies", new];
        all.extend(words);
        let (seen, told) = backtest(&world, &all)?;
        assert_eq!(seen, Some(status), "{words:?}: {told:#}");
        assert_eq!(told["summary"]["judged"], judged, "{words:?}: {told:#}");
    }
    // By its own policy nothing flips, and a filter that finds nothing is no green run.
    let own = world.path().join("policies/shop.yaml");
    let own = own.to_str().context("a path")?;
    let (status, told) = backtest(&world, &["--policies", own, "--all-changes"])?;
    assert_eq!((status, flips(&told)), (Some(0), Vec::new()), "{told:#}");
    assert_eq!(told["others"], Value::Array(Vec::new()), "{told:#}");
    let none = world.cli(&["policy", "backtest", "--policies", own, "--user", "nobody"])?;
    assert_eq!(none.status.code(), Some(2), "{}", none.stderr);
    // For people.
    let text = world
        .cli(&["policy", "backtest", "--policies", new])?
        .stdout;
    for line in [
        "allow -> deny: 10 statements",
        "  shop/fix -> default, workload claude: 10 statements in 10 sessions",
        "update sales.orders set note = 'x' where id = 1",
        "20 rows returned, and the limit is 10",
        "100 decisions in 50 sessions",
        "50 flip (30 stricter, 20 freer)",
    ] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
    Ok(())
}

/// Names, functions, masks, limits, budgets, a clock, and what only observes, all at once.
const OWN: &str = "\
rules:
  - { name: read, effect: allow, statements: [read, set, transaction, prepare, execute, deallocate, declare, fetch, close_cursor, copy_out], tables: ['sales.*', 'pg_temp.*'] }
  - { name: day, effect: allow, statements: [select], tables: [hr.staff], when: 'now.getFullYear() > 2000' }
  - { name: fix, effect: allow, statements: [insert, update], tables: [sales.orders], max_rows_affected: 3 }
  - { name: make, effect: allow, statements: [create, insert, drop], tables: ['*.scratch'] }
  - { name: ask, effect: approve, statements: [delete], tables: ['sales.*'], reviewers: { groups: [dba] }, timeout: 1s }
  - { name: never, effect: deny, statements: [truncate] }
functions: { allow: ['sales.price(*)'] }
masks:
  - { name: ssn, columns: [sales.customers.ssn], with: { keep_last: 4 } }
limits: { rows_returned: 15, bytes_returned: 64KiB, statement_timeout: 20s }
budgets: { statements_per_hour: 25, rows_returned_per_hour: 500 }
";

const WATCHING: &str = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: watching }
mode: observe
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
rules:
  - { name: less, effect: deny, statements: [select], tables: [hr.staff] }
limits: { rows_returned: 1 }
budgets: { statements_per_hour: 5 }
";

const TEXTS: &[&str] = &[
    "select ssn, name from sales.customers order by id",
    "select number from sales.people",
    "select upper(ssn) from sales.customers",
    "select name from sales.customers where ssn like '1%'",
    "select * from orders",
    "set search_path = sales, hr",
    "select * from orders order by id limit 3",
    "select name from staff",
    "set search_path = hr",
    "select * from orders",
    "reset search_path",
    "select sales.price(3)",
    "select price(3)",
    "select pg_read_file('/etc/passwd')",
    "create temp table scratch (id int)",
    "insert into scratch values (1)",
    "select * from scratch",
    "begin",
    "update sales.orders set note = 'y' where id <= 2 returning id",
    "update sales.orders set note = 'y'",
    "rollback",
    "update sales.orders set note = 'y' where id <= 9",
    "update sales.orders set note = note",
    "select id from sales.orders",
    "delete from sales.orders where id = 1",
    "truncate sales.orders",
    "prepare p as select name from sales.customers where id = $1",
    "execute p(1)",
    "execute q(1)",
    "begin; declare c cursor for select id from sales.orders order by id",
    "fetch 2 from c",
    "commit",
    "select 1; select 2; select id from sales.orders where id = 1",
    "copy sales.customers to stdout",
    "copy (select id, name from sales.customers) to stdout csv",
    "select 1 / 0",
    "not a statement",
    "set client_encoding = 'LATIN1'",
    "alter role svc password 'hunter2'",
    "select from nowhere.at_all",
    "select '\u{202e}' as \"odd\"",
];

#[test]
fn sessions_judged_by_their_own_policies_flip_nothing() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder()
        .policy_text("own.yaml", &policy("own", OWN))
        .policy_text("watching.yaml", WATCHING)
        .seed(SEED)
        .start()?;
    // As single statements, as texts of several, prepared; until the budget is spent and beyond.
    let script: String = TEXTS.iter().map(|text| format!("{text} ;\n")).collect();
    world.ask_all(&script)?;
    let mut dialer = world.dialer()?;
    let mut client = world.client(&mut dialer)?;
    for text in TEXTS {
        client.query(text)?;
    }
    for text in [
        "select name from sales.customers where id = 1",
        "select ssn from sales.customers",
        "delete from sales.orders",
        "select hr.nothing(1)",
    ] {
        let all = [
            parse("", text),
            bind("", "", &[]),
            about(b'D', 'P', ""),
            execute("", 0),
            sync(),
        ];
        client.send(&all.concat())?;
        client.up_to(b'Z')?;
    }
    client.send(&query("select 1"))?;
    client.up_to(b'Z')?;
    client.message(b'X', &[])?;
    closed(&world, 2)?;
    let own = world.path().join("policies");
    let own = own.to_str().context("a path")?;
    for words in [&["--all-changes"][..], &["--all-changes", "--observed"]] {
        let mut all = vec!["--policies", own];
        all.extend(words);
        let (status, told) = backtest(&world, &all)?;
        assert_eq!(status, Some(0), "{told:#}");
        for none in ["flips", "observed", "others"] {
            assert_eq!(told[none], Value::Array(Vec::new()), "{none}: {told:#}");
        }
        assert_eq!(told["summary"]["unjudged"], 0, "{told:#}");
        assert!(told["summary"]["judged"].as_u64() > Some(60), "{told:#}");
        assert!(
            told["not_policy"]["a budget was spent"]["count"].as_u64() > Some(0),
            "{told:#}"
        );
    }
    Ok(())
}

const SCRATCH: &str = "\
rules:
  - { name: all, effect: allow, statements: ['*'], tables: ['*.*'], without_where: true }
  - { name: never, effect: deny, statements: [truncate] }
functions: { allow: ['*'] }
masks:
  - { name: ssn, columns: [sales.customers.ssn], with: { keep_last: 4 } }
";

#[test]
fn a_session_runs_again_at_a_scratch_copy_and_a_changed_row_is_named() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder()
        .policy_text("scratch.yaml", &policy("scratch", SCRATCH))
        .seed(SEED)
        .start()?;
    let scratch = Cluster::start(Version::V15)?;
    scratch.sql(DATABASE, SEED)?;
    let mut dialer = world.dialer()?;
    let mut client = world.client(&mut dialer)?;
    for text in [
        "select id, note from sales.orders order by id",
        "select ssn, name from sales.customers order by id",
        "begin",
        "update sales.orders set note = 'new' where id = 3 returning note",
        // Refused, and so the transaction fails.
        "truncate sales.orders",
        "select 1",
        "rollback",
        "begin; insert into sales.orders values (77, 'x'); select count(*) from sales.orders; rollback",
        "select no_column from sales.orders",
        "create temp table mine as select * from hr.staff",
        "copy mine to stdout",
        "set datestyle = 'German'",
        "select date '2026-01-31', 1.50::numeric, null::text",
        "prepare p as select sales.price($1)",
        "execute p(21)",
        "alter role svc connection limit -1 password 'correct-horse-marker-1f9a'",
    ] {
        client.query(text)?;
    }
    // Prepared, the answer in binary, in pieces, within a transaction.
    let pieces = [
        query("begin"),
        parse("s", "select id, note from sales.orders order by id"),
        bind("p", "s", &[1]),
        execute("p", 8),
        execute("p", 8),
        execute("p", 8),
        sync(),
        query("commit"),
    ];
    for piece in [&pieces[..1], &pieces[1..7], &pieces[7..]] {
        client.send(&piece.concat())?;
        client.up_to(b'Z')?;
    }
    // With parameters of types that the text alone does not tell: one in binary, one a text, one NULL.
    let text = "select $1, $2, coalesce($3, 'none')";
    let mut frame = format!("t\0{text}\0").into_bytes();
    frame.extend([0, 3, 0, 0, 0, 20, 0, 0, 0x04, 0x3a, 0, 0, 0, 25]);
    client.message(b'P', &frame)?;
    let mut frame = b"\0t\0".to_vec();
    frame.extend([0, 3, 0, 1, 0, 0, 0, 0]);
    frame.extend([0, 3, 0, 0, 0, 8]);
    frame.extend(7_i64.to_be_bytes());
    frame.extend([0, 0, 0, 10]);
    frame.extend(b"2026-01-31");
    frame.extend([0xff; 4]);
    frame.extend([0, 3, 0, 1, 0, 0, 0, 0]);
    client.message(b'B', &frame)?;
    client.send(&[execute("", 0), sync()].concat())?;
    let answer = client.up_to(b'Z')?;
    assert!(
        answer.iter().all(|message| message.kind != b'E'),
        "{answer:?}"
    );
    client.message(b'X', &[])?;
    closed(&world, 1)?;
    let list = world.cli(&["sessions", "ls", "--json"])?.good()?.stdout;
    let entry: Value = serde_json::from_str(list.lines().next().context("a session")?)?;
    let session = entry["session"].as_str().context("its name")?.to_owned();
    let password = world.write("scratch.password", pg::PASSWORD)?;
    let password = password.to_str().context("a path")?;
    let url = |cluster: &Cluster| {
        let address = cluster.address();
        format!(
            "postgres://{}@{address}/{DATABASE}?sslmode=disable",
            pg::SERVICE
        )
    };
    let again = |cluster: &Cluster, words: &[&str]| {
        let url = url(cluster);
        let mut all = vec![
            "replay",
            &session,
            "--against",
            &url,
            "--password-file",
            password,
        ];
        all.extend(words);
        world.cli(&all)
    };
    let first = again(&scratch, &["--yes", "--json"])?;
    assert_eq!(
        first.status.code(),
        Some(0),
        "{}{}",
        first.stdout,
        first.stderr
    );
    let last: Value = serde_json::from_str(first.stdout.lines().last().context("a summary")?)?;
    let summary = &last["summary"];
    assert_eq!(summary["different"], 0, "{}", first.stdout);
    assert!(summary["run"].as_u64() > Some(18), "{}", first.stdout);
    assert_eq!(summary["masked_cells"], 3, "{}", first.stdout);
    // The refused one, and the one whose text was withheld.
    assert_eq!(summary["not_run"], 2, "{}", first.stdout);
    assert_eq!(
        scratch.sql(DATABASE, "select note from sales.orders where id = 3")?,
        "note 3",
        "the transaction failed again"
    );
    // A changed row is named, in the answer as a text and in the one in binary.
    scratch.sql(
        DATABASE,
        "update sales.orders set note = 'changed' where id = 5",
    )?;
    let second = again(&scratch, &["--yes"])?;
    assert_eq!(
        second.status.code(),
        Some(1),
        "{}{}",
        second.stdout,
        second.stderr
    );
    assert!(
        second
            .stdout
            .contains("row 5, note: note 5 then, changed now"),
        "{}",
        second.stdout
    );
    assert!(second.stdout.contains("2 different"), "{}", second.stdout);
    let stopped = again(&scratch, &["--yes", "--stop-on-difference"])?;
    assert_eq!(stopped.status.code(), Some(1));
    assert!(
        stopped.stdout.contains("1 run: 0 the same, 1 different"),
        "{}",
        stopped.stdout
    );
    // Another error is a difference too.
    scratch.sql(
        DATABASE,
        "update sales.orders set note = 'note 5' where id = 5; drop function sales.price(int)",
    )?;
    let third = again(&scratch, &["--yes"])?;
    assert!(
        third.stdout.contains("no error then, 42883"),
        "{}",
        third.stdout
    );
    // Nothing runs where it ran, unasked, or dry.
    let before = world.cluster().log().matches("node-agent replay").count();
    let same = again(world.cluster(), &["--yes"])?;
    assert_eq!(same.status.code(), Some(2), "{}", same.stdout);
    assert!(
        same.stderr.contains("is where the session ran"),
        "{}",
        same.stderr
    );
    let unasked = again(&scratch, &[])?;
    assert_eq!(unasked.status.code(), Some(2), "{}", unasked.stdout);
    assert!(unasked.stderr.contains("--yes"), "{}", unasked.stderr);
    let dry = again(world.cluster(), &["--dry-run"])?.good()?;
    for how in [
        "would run as a text",
        "would run prepared, with 3 parameters",
    ] {
        assert!(dry.stdout.contains(how), "no {how} in {}", dry.stdout);
    }
    assert_eq!(
        world.cluster().log().matches("node-agent replay").count(),
        before
    );
    // Forced, it does: the same rows come of the same database.
    let forced = again(world.cluster(), &["--yes", "--force-same-target"])?;
    assert_eq!(
        forced.status.code(),
        Some(0),
        "{}{}",
        forced.stdout,
        forced.stderr
    );
    Ok(())
}
