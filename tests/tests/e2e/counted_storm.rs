//! Thirty-two clients at once change rows that are counted, with triggers, cascades, errors, cancels
//! and clients that go. The database's own tables say what was committed.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use node_agent_tests::client::{Dialer, Message, Raw, bind, execute, parse, query, sync};
use node_agent_tests::pg::DATABASE;
use node_agent_tests::{Version, World, until};

use super::agent_is_here;

const CLIENTS: u64 = 32;
const LASTS: Duration = Duration::from_secs(12);
const LIMIT: u64 = 10;
/// Families of one parent, so many for each client; the n-th has n modulo eight children.
const FAMILIES: u64 = 400;

const SEED: &str = "create schema s; \
    create table s.rows (op text, n int); \
    create table s.echo (op text); \
    create function s.echo() returns trigger language plpgsql security definer as \
      'begin insert into s.echo values (new.op); return null; end'; \
    create trigger echo after insert on s.rows for each row execute function s.echo(); \
    create table s.parents (id int primary key, op text); \
    create table s.children (id serial primary key, parent int references s.parents on delete cascade); \
    create index on s.children (parent); \
    insert into s.parents select g from generate_series(0, 32 * 400 - 1) g; \
    insert into s.children (parent) select g from generate_series(0, 32 * 400 - 1) g, \
      generate_series(1, g % 8); \
    create table s.deaths (parent int); \
    create function s.death() returns trigger language plpgsql security definer as \
      'begin insert into s.deaths values (old.parent); return null; end'; \
    create trigger death after delete on s.children for each row execute function s.death(); \
    create table s.once (id int primary key); insert into s.once values (1); \
    create table s.late (id int unique deferrable initially deferred, op text); \
    insert into s.late values (1); \
    grant all on schema s to public; grant all on all tables in schema s to public; \
    grant all on all sequences in schema s to public";

const POLICY: &str = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: storm }
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
rules:
  - { name: read, effect: allow, statements: [read] }
  - { name: ten, effect: allow, statements: [write], tables: ['s.*'], max_rows_affected: 10, without_where: true }
functions: { allow: ['*'] }
";

/// What the client knows of a statement of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// It was told that it is committed.
    Committed,
    /// It was told of an error, or rolled back.
    Undone,
    /// It went before it was told.
    Unknown,
}

/// What was done, and what of it the database must show.
struct Deed {
    op: String,
    /// Rows that carry its mark, if it stands.
    marks: u64,
    /// Rows that it changes in all.
    changes: u64,
    known: Known,
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

/// A statement marked with `op`: its text, the rows that carry the mark, the rows that it changes.
fn statement(
    random: &mut Random,
    client: u64,
    next_family: &mut u64,
    op: &str,
) -> (String, u64, u64) {
    match random.below(6) {
        0..=2 => {
            // Each row sets off another.
            let n = random.below(8) + 1;
            let text =
                format!("insert into s.rows select '{op}', g from generate_series(1, {n}) g");
            (text, 2 * n, 2 * n)
        }
        3 => {
            // The mark is on the parent, which is found missing if the deletion stands.
            let family = *next_family % FAMILIES;
            *next_family += 1;
            let id = client * FAMILIES + family;
            (
                format!("delete from s.parents where id = {id}"),
                0,
                1 + 2 * (id % 8),
            )
        }
        4 => {
            let n = random.below(5) + 1;
            let text = format!(
                "with a as (insert into s.rows select '{op}', g from generate_series(1, {n}) g returning 1) \
                 select count(*) from a"
            );
            (text, 2 * n, 2 * n)
        }
        _ => {
            let n = random.below(6) + 1;
            (
                format!(
                    "insert into s.rows select '{op}', 1 from generate_series(1, {n}) g; \
                     insert into s.rows values ('{op}', 2)"
                ),
                2 * n + 2,
                2 * n + 2,
            )
        }
    }
}

fn extended(text: &str) -> Vec<u8> {
    [parse("", text), bind("", "", &[]), execute("", 0)].concat()
}

fn errors(messages: &[Message]) -> Vec<String> {
    messages.iter().filter_map(Message::sqlstate).collect()
}

struct Client<'a> {
    world: &'a World,
    dialer: &'a Mutex<Dialer>,
    number: u64,
    random: Random,
    raw: Raw,
    deeds: Vec<Deed>,
    next: u64,
    next_family: u64,
    deleted: Vec<(u64, Known)>,
}

impl Client<'_> {
    fn note(&mut self, text: &str, op: String, marks: u64, changes: u64, known: Known) {
        if let Some(id) = text.strip_prefix("delete from s.parents where id = ") {
            self.deleted.push((id.parse().expect("a number"), known));
        }
        self.deeds.push(Deed {
            op,
            marks,
            changes,
            known,
        });
    }

    fn make(&mut self) -> (String, String, u64, u64) {
        self.next += 1;
        let op = format!("c{}-{}", self.number, self.next);
        let (text, marks, changes) =
            statement(&mut self.random, self.number, &mut self.next_family, &op);
        (op, text, marks, changes)
    }

    /// One thing that a client may do.
    fn act(&mut self) -> Result<()> {
        let (op, text, marks, changes) = self.make();
        let one = !text.contains("; ");
        match self.random.below(10) {
            // By itself.
            0..=2 => {
                let seen = self.raw.query(&text)?;
                self.judge(&seen, b'I', &text, op, marks, changes)
            }
            3 | 4 if one => {
                self.raw.send(&[extended(&text), sync()].concat())?;
                let seen = self.raw.up_to(b'Z')?;
                self.judge(&seen, b'I', &text, op, marks, changes)
            }
            // In a transaction, its end sent in the same breath.
            5 => {
                let end = if self.random.below(4) == 0 {
                    "rollback"
                } else {
                    "commit"
                };
                self.raw
                    .send(&[query("begin"), query(&text), query(end)].concat())?;
                let begun = self.raw.up_to(b'Z')?;
                let seen = self.raw.up_to(b'Z')?;
                let ended = self.raw.up_to(b'Z')?;
                assert!(errors(&begun).is_empty() && errors(&ended).is_empty());
                let good = errors(&seen).is_empty();
                let stands = good && end == "commit";
                assert_eq!(good, changes <= LIMIT, "{text}: {:?}", errors(&seen));
                let known = if stands {
                    Known::Committed
                } else {
                    Known::Undone
                };
                self.note(&text, op, marks, changes, known);
                Ok(())
            }
            // Two in one group: both or none.
            6 if one => {
                let (op2, text2, marks2, changes2) = self.make();
                if text2.contains("; ") {
                    self.note(&text, op, marks, changes, Known::Undone);
                    self.note(&text2, op2, marks2, changes2, Known::Undone);
                    return Ok(());
                }
                self.raw
                    .send(&[extended(&text), extended(&text2), sync()].concat())?;
                let seen = self.raw.up_to(b'Z')?;
                let good = changes <= LIMIT && changes2 <= LIMIT;
                assert_eq!(
                    errors(&seen).is_empty(),
                    good,
                    "{text} {text2}: {:?}",
                    errors(&seen)
                );
                let known = if good {
                    Known::Committed
                } else {
                    Known::Undone
                };
                self.note(&text, op, marks, changes, known);
                self.note(&text2, op2, marks2, changes2, known);
                Ok(())
            }
            // An error of the database's own, in the text or at the commit.
            7 => {
                let more = [
                    "insert into s.once values (1)",
                    "insert into s.late values (1)",
                ];
                let more = more[usize::try_from(self.random.below(2))?];
                let text = format!("{text}; {more}");
                let seen = self.raw.query(&text)?;
                // What waits for the commit is checked before the count.
                assert_eq!(errors(&seen), ["23505"], "{text}");
                let deleted = text.split("; ").next().unwrap_or_default().to_owned();
                self.note(&deleted, op, marks, changes, Known::Undone);
                Ok(())
            }
            // Gone before the answer.
            8 => {
                let bytes = if one && self.random.below(2) == 0 {
                    [extended(&text), sync()].concat()
                } else {
                    query(&text)
                };
                self.raw.send(&bytes)?;
                std::thread::sleep(Duration::from_micros(self.random.below(4_000)));
                let fresh = {
                    let mut dialer = self.dialer.lock().expect("nobody panics with it");
                    self.world.raw(&mut dialer)?
                };
                std::mem::replace(&mut self.raw, login(self.world, fresh)?).reset()?;
                self.note(&text, op, marks, changes, Known::Unknown);
                Ok(())
            }
            _ => {
                // A savepoint is a way back, also from a count.
                let (op2, text2, marks2, changes2) = self.make();
                for text in ["begin", "savepoint a"] {
                    assert!(errors(&self.raw.query(text)?).is_empty());
                }
                let seen = self.raw.query(&text)?;
                let good = errors(&seen).is_empty();
                assert_eq!(good, changes <= LIMIT, "{text}: {:?}", errors(&seen));
                self.raw.query("rollback to a")?;
                let seen = self.raw.query(&text2)?;
                let good = errors(&seen).is_empty();
                assert_eq!(good, changes2 <= LIMIT, "{text2}: {:?}", errors(&seen));
                self.raw.query("commit")?;
                self.note(&text, op, marks, changes, Known::Undone);
                let known = if good {
                    Known::Committed
                } else {
                    Known::Undone
                };
                self.note(&text2, op2, marks2, changes2, known);
                Ok(())
            }
        }
    }

    fn judge(
        &mut self,
        seen: &[Message],
        state: u8,
        text: &str,
        op: String,
        marks: u64,
        changes: u64,
    ) -> Result<()> {
        let last = seen.last().context("an end")?;
        assert_eq!(last.body, [state], "{text}");
        let codes = errors(seen);
        let known = if codes.is_empty() {
            Known::Committed
        } else {
            Known::Undone
        };
        assert_eq!(codes.is_empty(), changes <= LIMIT, "{text}: {codes:?}");
        self.note(text, op, marks, changes, known);
        Ok(())
    }
}

fn login(world: &World, mut raw: Raw) -> Result<Raw> {
    let password = world.password(node_agent_tests::Place::Inside);
    raw.login(node_agent_tests::pg::SERVICE, DATABASE, password)?;
    Ok(raw)
}

#[test]
fn thirty_two_clients_commit_not_one_row_too_many() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    Version::ALL.into_iter().try_for_each(storm)
}

fn storm(version: Version) -> Result<()> {
    let world = World::builder()
        .clusters(&[version])
        .policy_text("storm.yaml", POLICY)
        .seed(SEED)
        .start()
        .unwrap();
    let dialer = Mutex::new(world.dialer()?);
    let end = Instant::now() + LASTS;
    let clients: Vec<Client<'_>> = (0..CLIENTS)
        .map(|number| {
            let raw = world.client(&mut dialer.lock().expect("nobody panics with it"))?;
            Ok(Client {
                world: &world,
                dialer: &dialer,
                number,
                random: Random(0x9e37_79b9_7f4a_7c15 ^ (number + 1)),
                raw,
                deeds: Vec::new(),
                next: 0,
                next_family: 0,
                deleted: Vec::new(),
            })
        })
        .collect::<Result<_>>()?;
    let done: Vec<Client<'_>> = std::thread::scope(|scope| {
        let running: Vec<_> = clients
            .into_iter()
            .map(|mut client| {
                scope.spawn(move || -> Result<Client<'_>> {
                    while Instant::now() < end && client.next_family < FAMILIES {
                        client.act()?;
                    }
                    Ok(client)
                })
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("no client panics"))
            .collect::<Result<_>>()
    })?;
    // While they are all still connected: nobody is in a transaction.
    until(
        "no session is in a transaction",
        Duration::from_secs(10),
        || {
            let open = world.cluster().sql(
                DATABASE,
                "select count(*) from pg_stat_activity where usename = 'svc' \
             and (xact_start is not null or state like 'idle in%')",
            )?;
            Ok((open == "0").then_some(()))
        },
    )?;
    let marks = world.cluster().sql(
        DATABASE,
        "select op, count(*) from (select op from s.rows union all select op from s.echo) a group by op",
    )?;
    let marks: HashMap<&str, u64> = marks
        .lines()
        .filter_map(|line| line.split_once('|'))
        .map(|(op, count)| Ok((op, count.parse()?)))
        .collect::<Result<_>>()?;
    let parents = world.cluster().sql(DATABASE, "select id from s.parents")?;
    let parents: std::collections::HashSet<u64> =
        parents.lines().map(str::parse).collect::<Result<_, _>>()?;
    let (mut committed, mut undone, mut unknown) = (0, 0, 0);
    for client in &done {
        for deed in &client.deeds {
            let found = marks.get(deed.op.as_str()).copied().unwrap_or(0);
            assert!(found <= LIMIT, "{}: {found} rows", deed.op);
            match deed.known {
                Known::Committed => {
                    committed += 1;
                    assert!(deed.changes <= LIMIT && found == deed.marks, "{}", deed.op);
                }
                Known::Undone => {
                    undone += 1;
                    assert_eq!(found, 0, "{}", deed.op);
                }
                Known::Unknown => {
                    unknown += 1;
                    let whole = found == deed.marks && deed.changes <= LIMIT;
                    assert!(found == 0 || whole, "{}: {found} rows", deed.op);
                }
            }
        }
        for (id, known) in &client.deleted {
            let gone = !parents.contains(id);
            let allowed = 2 * (id % 8) < LIMIT;
            match known {
                Known::Committed => assert!(gone && allowed, "parent {id}"),
                Known::Undone => {}
                Known::Unknown => assert!(!gone || allowed, "parent {id}"),
            }
            assert!(!gone || allowed, "parent {id} is gone with its family");
        }
    }
    let orphans = "select count(*) from s.deaths d where exists (select from s.parents p where p.id = d.parent)";
    assert_eq!(
        world.cluster().sql(DATABASE, orphans)?,
        "0",
        "a cascade without its statement"
    );
    println!("{committed} committed, {undone} undone, {unknown} unknown");
    assert!(committed > 100 && undone > 100 && unknown > 10);
    world.cli(&["sessions", "verify"])?.good()?;
    Ok(())
}
