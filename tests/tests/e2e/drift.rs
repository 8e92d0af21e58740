//! What is changed beside the agent while a session is open: no row leaves in clear by what was true before.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use node_agent_tests::client::{Raw, bind, execute, parse, sync};
use node_agent_tests::pg::DATABASE;
use node_agent_tests::{World, until};

use super::agent_is_here;

const POLICY: &str = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: drift }
mode: enforce
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
rules:
  - name: all
    effect: allow
    statements: [read, write, create, alter, drop, maintain, copy_out, transaction, set]
    tables: ['*.*']
masks:
  - { name: named, columns: [hr.people.ssn, hr.parted.ssn], with: redact }
  - { name: tagged, tags: ['pii:*'], with: redact }
";

const CLEAR: &str = "123-45-6789";

const SEED: &str = "create schema hr; create schema app; \
    create table hr.people (id int, ssn text, note text); \
    insert into hr.people values (1, '123-45-6789', 'note'); \
    create table hr.other (id int, ssn text); insert into hr.other values (1, 'harmless'); \
    create table hr.plain (id int, value text); insert into hr.plain values (1, '123-45-6789'); \
    create table hr.whole (id int, value text); insert into hr.whole values (1, '123-45-6789'); \
    create table hr.parted (id int, ssn text) partition by list (id); \
    create table hr.loose (id int, ssn text); insert into hr.loose values (1, '123-45-6789'); \
    create view app.v as select ssn from hr.other; \
    create view app.over_plain as select value as x from hr.plain; \
    grant usage on schema hr, app to public; grant select on all tables in schema hr, app to public; \
    alter schema app owner to svc";

/// A session with statements that were prepared in it.
struct Session<'a> {
    world: &'a World,
    raw: Raw,
}

impl<'a> Session<'a> {
    fn prepare(&mut self, name: &str, text: &str) -> Result<()> {
        self.raw.send(&[parse(name, text), sync()].concat())?;
        self.raw.up_to(b'Z')?;
        Ok(())
    }

    /// All that a prepared statement or a text says.
    fn says(&mut self, asked: &str) -> Result<String> {
        let from = self.raw.all().len();
        if asked.contains(' ') {
            self.raw.send(&node_agent_tests::client::query(asked))?;
        } else {
            let run = [bind("", asked, &[]), execute("", 0), sync()];
            self.raw.send(&run.concat())?;
        }
        self.raw.up_to(b'Z')?;
        Ok(String::from_utf8_lossy(&self.raw.all()[from..]).into_owned())
    }

    fn change(&self, text: &str) -> Result<()> {
        self.world.cluster().sql(DATABASE, text)?;
        Ok(())
    }

    /// Nobody sees it, at once and after the agent has looked again.
    fn never_shows(&mut self, asked: &[&str]) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(1500) {
            for one in asked {
                let said = self.says(one)?;
                ensure!(!said.contains("123-45"), "{one} shows {said}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Nobody sees it after the time that is promised, and a little more for a machine that is busy.
    fn shows_no_more(&mut self, asked: &[&str]) -> Result<()> {
        for one in asked {
            until(one, Duration::from_secs(5), || {
                Ok((!self.says(one)?.contains("123-45")).then_some(()))
            })?;
        }
        self.never_shows(asked)
    }
}

fn world() -> Result<World> {
    World::builder()
        .policy_text("drift.yaml", POLICY)
        .seed(SEED)
        .start()
}

#[test]
fn what_is_changed_beside_the_agent_is_noticed_before_a_row_of_it_leaves() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world()?;
    let mut dialer = world.dialer()?;
    let mut session = Session {
        world: &world,
        raw: world.client(&mut dialer)?,
    };
    for (name, text) in [
        ("people", "select ssn from hr.people"),
        ("all", "select * from hr.people"),
        ("note", "select note from hr.people"),
        ("view", "select ssn from app.v"),
    ] {
        session.prepare(name, text)?;
        session.says(name)?;
    }
    let prepared = ["people", "all", "note"];
    session.never_shows(&["people", "all"])?;
    assert!(session.says("view")?.contains("harmless"));

    // Another column of the same name.
    session.change(
        "alter table hr.people drop column ssn, add column ssn text default '123-45-6789'",
    )?;
    session.never_shows(&[
        "people",
        "select upper(ssn) from hr.people",
        "select ssn as x from hr.people",
    ])?;
    // Another table of the same name.
    session.change(
        "drop table hr.people; create table hr.people (id int, ssn text, note text); \
         insert into hr.people values (1, '123-45-6789', 'note'); grant select on hr.people to public",
    )?;
    session.never_shows(&["people", "all", "select upper(ssn), * from hr.people"])?;
    // Two columns change their names: the mask is on the one that had it, and on the one that has it.
    session.change(
        "alter table hr.people rename ssn to t; alter table hr.people rename note to ssn; \
         alter table hr.people rename t to note",
    )?;
    session.never_shows(&prepared)?;
    session.never_shows(&[
        "select note from hr.people",
        "select ssn from hr.people",
        "table hr.people",
    ])?;
    // Under a new name it is still what the mask was on.
    session.change("alter table hr.people rename note to social")?;
    session.never_shows(&["select social from hr.people", "select * from hr.people"])?;
    session.change("alter table hr.people rename to persons")?;
    session.never_shows(&[
        "select social from hr.persons",
        "select upper(social) from hr.persons",
        "select p from hr.persons p",
    ])?;
    session.change("alter table hr.persons set schema app")?;
    session.never_shows(&[
        "select social from app.persons",
        "select * from app.persons",
    ])?;
    // A view of the same name is another relation.
    session.change(
        "drop view app.v; create view app.v as select social as ssn from app.persons; \
         grant select on app.v to public",
    )?;
    session.never_shows(&["view", "select ssn from app.v", "select * from app.v"])?;
    Ok(())
}

#[test]
fn what_no_answer_shows_to_have_changed_is_noticed_within_seconds() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world()?;
    let mut dialer = world.dialer()?;
    let mut session = Session {
        world: &world,
        raw: world.client(&mut dialer)?,
    };
    for (name, text) in [
        ("view", "select ssn from app.v"),
        ("plain", "select value from hr.plain"),
        ("over", "select x from app.over_plain"),
        ("loose", "select ssn from hr.loose"),
    ] {
        session.prepare(name, text)?;
    }
    assert!(session.says("view")?.contains("harmless"));
    for seen in [
        "plain",
        "over",
        "loose",
        "select upper(value) from hr.plain",
        "select value from hr.whole",
    ] {
        assert!(session.says(seen)?.contains(CLEAR), "{seen}");
    }
    // The same view, the same column, another table below.
    session.change("create or replace view app.v as select ssn from hr.people")?;
    session.shows_no_more(&["view", "select ssn || '' from app.v"])?;
    // Rows that a cursor holds are of the time when it was opened.
    session.says("declare c cursor with hold for select ssn as x from app.v")?;
    session.change("create or replace view app.v as select ssn from hr.other")?;
    session.shows_no_more(&["view"])?;
    assert!(session.says("select ssn from app.v")?.contains("harmless"));
    session.shows_no_more(&["fetch all from c"])?;
    // A tag, on a column and on a table; what reads them has it too.
    session.change(
        "comment on column hr.plain.value is 'The number (PII:SSN)'; \
         comment on table hr.whole is 'pii:all of it'",
    )?;
    session.shows_no_more(&[
        "plain",
        "over",
        "select upper(value) from hr.plain",
        "select * from hr.whole",
        "select p from hr.plain p",
    ])?;
    let refused = session.says("select id from hr.plain where value like '1%'")?;
    assert!(refused.contains("column value is masked"), "{refused}");
    // A table that becomes part of a masked one.
    session.change("alter table hr.parted attach partition hr.loose for values in (1)")?;
    session.shows_no_more(&[
        "loose",
        "select ssn from hr.parted",
        "select upper(ssn) from hr.loose",
    ])?;
    Ok(())
}

#[test]
fn a_tag_is_as_good_as_a_name_and_nobody_whom_it_binds_takes_it_away() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world()?;
    world.cluster().sql(
        DATABASE,
        "create table app.own (id int, value text); insert into app.own values (1, '123-45-6789'); \
         comment on column app.own.value is 'pii:ssn'; create view app.w as select value as x from app.own; \
         alter table app.own owner to svc; alter view app.w owner to svc",
    )?;
    for text in [
        "select value from app.own",
        "select x from app.w",
        "select upper(x) from app.w",
        "select o from app.own o",
        "select * from app.own union all select 1, 'a'",
        "copy app.own to stdout",
        "select id from app.own where value like '1%'",
        "create table app.copy as select value from app.own",
        "alter table app.own rename column value to v",
    ] {
        let all = world.ask(text)?.all();
        assert!(!all.contains("123-45"), "{text} shows {all}");
    }
    for text in [
        "comment on column app.own.value is null",
        "comment on table app.own is ''",
    ] {
        let seen = world.ask(text)?;
        assert!(
            seen.stderr.contains("tags in comments say what is masked"),
            "{text}: {}",
            seen.all()
        );
    }
    // A comment that the session itself writes counts at once.
    let seen = world.ask_all(
        "create table app.mine as select '123-45-6789'::text as v;\n\
         select v from app.mine;\n\
         comment on column app.mine.v is 'pii:ssn';\n\
         select v from app.mine;\n",
    )?;
    assert_eq!(seen.stdout, "123-45-6789\n***\n", "{}", seen.stderr);
    Ok(())
}

#[test]
fn a_mask_that_protects_nothing_any_more_is_told() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world()?;
    let mut dialer = world.dialer()?;
    let mut session = Session {
        world: &world,
        raw: world.client(&mut dialer)?,
    };
    session.never_shows(&["select ssn from hr.people"])?;
    let lost = || world.agent().metric("node_agent_masks_lost_total");
    assert_eq!(lost()?, 0.0);
    session.change("alter table hr.people rename ssn to social")?;
    session.never_shows(&["select social from hr.people"])?;
    until("the loss is counted", Duration::from_secs(5), || {
        session.says("select 1 from hr.people")?;
        Ok((lost()? == 1.0).then_some(()))
    })?;
    let log = world.agent().log_tail();
    assert!(
        log.contains("a mask protects nothing") && log.contains("hr.people.ssn"),
        "{log}"
    );
    // Once.
    session.never_shows(&["select social from hr.people"])?;
    assert_eq!(lost()?, 1.0);
    Ok(())
}
