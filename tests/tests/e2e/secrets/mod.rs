//! Statements that try to get a masked value out, from tests/statements/masked: no piece of one is
//! ever in what the client gets, in what other tables hold afterwards, or in a file of the agent's.

mod marker;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use node_agent_tests::client::{Dialer, Message, Raw, about, bind, execute, parse, query, sync};
use node_agent_tests::pg::{DATABASE, SERVICE};
use node_agent_tests::{Place, World};

use super::agent_is_here;
use marker::Markers;

const SEED: &str = include_str!("seed.sql");

/// Everything is allowed that masks do not forbid, so that it is they that hold.
fn policy(unless: &str, more: &str) -> String {
    format!(
        "apiVersion: node-agent/v1\nkind: Policy\nmetadata: {{ name: masked }}\n\
         subjects: [ {{ workloads: ['*'] }} ]\ntargets: [ '*' ]\nrules:\n  \
         - {{ name: all, effect: allow, statements: ['*', opaque], without_where: true }}\n\
         masks:\n  \
         - {{ name: whole, columns: [pii.people.ssn, pii.people.doc, pii.people.tags, pii.part.ssn, pii.loud.ssn], with: redact{unless} }}\n  \
         - {{ name: same, columns: [pii.people.email, pii.people.key, pii.people.num], with: token{unless} }}\n  \
         - {{ name: none, columns: [pii.people.blob, pii.people.w, pii.people.both_of], with: 'null'{unless} }}\n  \
         - {{ name: year, columns: [pii.people.born], with: {{ date_trunc: year }}{unless} }}\n  \
         - {{ name: paths, columns: [pii.papers.doc, pii.papers.txt], with: {{ json: {{ paths: ['$..ssn'], with: redact }} }}{unless} }}\n  \
         - {{ name: typed, columns: [pii.papers.amount, pii.papers.spot, pii.papers.raw], with: token{unless} }}\n  \
         - {{ name: ends, columns: [pii.papers.tags], with: {{ keep_last: 2 }}{unless} }}\n  \
         - {{ name: months, columns: [pii.papers.due], with: {{ date_trunc: month }}{unless} }}\n  \
         - {{ name: tags, tags: ['pii:*'], with: redact{unless} }}\n{more}"
    )
}

const UNLESS: &str = ", unless: { workloads: ['*'] }";
const FUNCTIONS: &str = "functions: { allow: ['*'] }\n";

/// One line of the corpus.
struct Case {
    file: String,
    line: usize,
    steps: Vec<String>,
    /// What it says is not the same twice, or it holds what another waits for.
    restless: bool,
}

impl Case {
    fn name(&self) -> String {
        format!("{}:{}: {}", self.file, self.line, self.steps.join(" ;; "))
    }
}

/// The cases, in the order of their files.
fn cases() -> Result<Vec<Case>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("statements/masked");
    let mut files: Vec<_> = fs::read_dir(&directory)?.collect::<Result<_, _>>()?;
    files.sort_by_key(fs::DirEntry::file_name);
    let mut cases = Vec::new();
    for file in files {
        let name = file.file_name().to_string_lossy().into_owned();
        for (number, line) in fs::read_to_string(file.path())?.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (restless, text) = match line.strip_prefix("~ ") {
                Some(text) => (true, text),
                None => (false, line),
            };
            cases.push(Case {
                file: name.clone(),
                line: number + 1,
                steps: text.split(" ;; ").map(str::to_owned).collect(),
                restless,
            });
        }
    }
    Ok(cases)
}

/// How the last step of a case is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Simple,
    Text,
    Binary,
    Copy,
    CopyCsv,
}

const FORMS: [Form; 5] = [
    Form::Simple,
    Form::Text,
    Form::Binary,
    Form::Copy,
    Form::CopyCsv,
];

impl Form {
    /// The step in this form; `None`: it has none.
    fn of(self, step: &str) -> Option<Vec<u8>> {
        let extended = |format: u16| {
            Some(
                [
                    parse("", step),
                    about(b'D', 'S', ""),
                    bind("", "", &[format]),
                    about(b'D', 'P', ""),
                    execute("", 0),
                    sync(),
                ]
                .concat(),
            )
        };
        let copied = |options: &str| {
            let asks = ["select", "table", "values", "with", "("];
            let one = !step.contains(';') && asks.iter().any(|word| step.starts_with(word));
            one.then(|| query(&format!("copy ({step}) to stdout{options}")))
        };
        match self {
            Form::Simple => Some(query(step)),
            Form::Text => extended(0),
            Form::Binary => extended(1),
            Form::Copy => copied(""),
            Form::CopyCsv => copied(" with (format csv, header)"),
        }
    }
}

/// A client that goes on after its connection is ended.
struct Attacker<'a> {
    world: &'a World,
    place: Place,
    dialer: Dialer,
    raw: Raw,
    /// How much of what this connection got has been looked at.
    looked: usize,
}

/// Inside by the agent's own role at the database; outside as somebody who takes that role.
fn connected(world: &World, place: Place, dialer: &mut Dialer) -> Result<Raw> {
    if place == Place::Inside {
        return world.client(dialer);
    }
    let mut raw = Raw::new(dialer.dial(world.cluster().address())?)?;
    raw.login("by_trust", DATABASE, "")?;
    raw.query(&format!("set session authorization {SERVICE}"))?;
    Ok(raw)
}

impl<'a> Attacker<'a> {
    fn new(world: &'a World, place: Place) -> Result<Self> {
        let mut dialer = Dialer::start(&world.cgroup(place))?;
        let raw = connected(world, place, &mut dialer)?;
        Ok(Attacker {
            world,
            place,
            dialer,
            raw,
            looked: 0,
        })
    }

    /// Sends bytes and reads up to ReadyForQuery. A connection that ends is made anew.
    fn say(&mut self, bytes: &[u8]) -> Result<Vec<Message>> {
        self.raw.send(bytes)?;
        let answer = self.raw.up_to(b'Z');
        if answer.is_err() {
            self.raw = connected(self.world, self.place, &mut self.dialer)?;
            self.looked = 0;
        }
        answer
    }

    /// As `tries`, in a transaction that is rolled back.
    fn tries_for_nothing(&mut self, case: &Case, form: Form) -> Result<Option<Vec<Message>>> {
        self.say(&query("begin"))?;
        self.tries(case, form)
    }

    /// One case in one form. `None`: it has none.
    fn tries(&mut self, case: &Case, form: Form) -> Result<Option<Vec<Message>>> {
        let (last, before) = case.steps.split_last().context("no step")?;
        let Some(last) = form.of(last) else {
            return Ok(None);
        };
        let mut answers = Vec::new();
        for step in before {
            let step = match form {
                Form::Simple | Form::Copy | Form::CopyCsv => query(step),
                Form::Text | Form::Binary => form.of(step).context("extended")?,
            };
            answers.extend(self.say(&step)?);
        }
        answers.extend(self.say(&last)?);
        let idle = answers.last().is_some_and(|ready| ready.body == b"I");
        if case.steps.len() > 1 || !idle {
            self.say(&query("rollback"))?;
            self.say(&query("close all; deallocate all; reset search_path"))?;
        }
        Ok(Some(answers))
    }

    /// What came since the last look.
    fn news(&mut self) -> &[u8] {
        let all = self.raw.all();
        let from = std::mem::replace(&mut self.looked, all.len());
        &all[from..]
    }
}

/// Which of the agent's files hold a piece, and where.
fn files_with(markers: &Markers, place: &Path) -> Result<Vec<String>> {
    let mut held = Vec::new();
    let mut places = vec![place.to_owned()];
    while let Some(path) = places.pop() {
        // The kernel's pins are no files, and hold addresses.
        if path.is_symlink() || path.file_name() == Some("bpf".as_ref()) {
            continue;
        }
        if path.is_dir() {
            for entry in fs::read_dir(&path)? {
                places.push(entry?.path());
            }
            continue;
        }
        match fs::read(&path) {
            Ok(bytes) => {
                let piece = markers.found(&bytes);
                held.extend(piece.map(|piece| format!("{}: {piece}", path.display())));
            }
            // It went, or is a socket, which holds nothing.
            Err(_) if !path.is_file() => {}
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        }
    }
    Ok(held)
}

#[test]
fn no_piece_of_a_masked_value_comes_out_on_any_way() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let markers = Markers::new();
    let world = World::builder()
        .policy_text("masked.yaml", &policy("", ""))
        .seed(SEED)
        .start()?;
    let cases = cases()?;
    let mut attacker = Attacker::new(&world, Place::Inside)?;
    let (mut tried, mut leaks) = (0, Vec::new());
    for case in &cases {
        for form in FORMS {
            match attacker.tries(case, form) {
                Ok(None) => continue,
                Ok(Some(_)) => {}
                Err(error) => leaks.push(format!("{} {form:?}: {error:#}", case.name())),
            }
            tried += 1;
            if let Some(piece) = markers.found(attacker.news()) {
                leaks.push(format!("{} {form:?}: {piece}", case.name()));
            }
        }
    }
    println!("{} cases, {tried} tries", cases.len());
    assert!(cases.len() >= 250, "{}", cases.len());
    let disagreements = world
        .agent()
        .metric("node_agent_mask_disagreements_total")?;
    println!("{disagreements} disagreements");
    let sessions = world.cli(&["sessions", "ls", "--json"])?.good()?.stdout;
    for session in sessions.lines() {
        let session: serde_json::Value = serde_json::from_str(session)?;
        let id = session["session"]
            .as_str()
            .with_context(|| session.to_string())?;
        let words = ["replay", id, "--format", "json", "--width", "0"];
        let told = without_moments(&world.cli(&words)?.all());
        if let Some(piece) = markers.found(told.as_bytes()) {
            leaks.push(format!("the recording {id}: {piece}"));
        }
    }
    assert!(!sessions.is_empty());
    leaks.extend(files_with(&markers, world.agent().state_dir())?);
    let log = fs::read_to_string(world.agent().log())?;
    let log: Vec<&str> = log.lines().map(after_its_moment).collect();
    let piece = markers.found(log.join("\n").as_bytes());
    leaks.extend(piece.map(|piece| format!("the agent's log: {piece}")));
    // Nothing of it lies where unmasked readers could get it.
    for kept in [
        "select string_agg(concat(note, must), ',') from only pii.people",
        "select string_agg(n::text, ',') from pii.notes n",
        "select string_agg(u::text, ',') from pii.uniq u",
        "select string_agg(l::text, ',') from pub.log l",
        "select string_agg(o::text, ',') from pub.other o",
        "select last_value::text from pub.seq",
        "select string_agg(s::text, ',') from pg_largeobject s",
        "select string_agg(d::text, ',') from pg_description d",
        "select string_agg(d::text, ',') from pg_seclabel d",
        "select string_agg(d::text, ',') from pg_db_role_setting d",
    ] {
        if let Some(piece) = markers.found(world.cluster().sql(DATABASE, kept)?.as_bytes()) {
            leaks.push(format!("{kept}: {piece}"));
        }
    }
    let tables = "select string_agg(oid::regclass::text, ', ') from pg_class where relnamespace = \
                  'pub'::regnamespace and relkind in ('r', 'v', 'm') and relname not in ('log', 'other')";
    let made = world.cluster().sql(DATABASE, tables)?;
    println!("made: {made}");
    for table in made.split(", ").filter(|name| !name.is_empty()) {
        let rows = world.cluster().sql(
            DATABASE,
            &format!("select string_agg(t::text, ',') from {table} t"),
        )?;
        if let Some(piece) = markers.found(rows.as_bytes()) {
            leaks.push(format!("the table {table}: {piece}"));
        }
    }
    ensure!(
        leaks.is_empty(),
        "{} leaks:\n{}",
        leaks.len(),
        leaks.join("\n")
    );
    Ok(())
}

/// Where predicates are refused, many a statement never comes to what its columns are made of.
#[test]
fn no_piece_comes_out_where_predicates_are_allowed() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let markers = Markers::new();
    let world = World::builder()
        .policy_text("masked.yaml", &policy(", predicates: allow", ""))
        .seed(SEED)
        .start()?;
    let mut attacker = Attacker::new(&world, Place::Inside)?;
    let (mut tried, mut leaks) = (0, Vec::new());
    for case in cases()? {
        for form in [Form::Simple, Form::Binary] {
            // What ends the connection shows nothing further.
            let _ended = attacker.tries(&case, form);
            tried += 1;
            if let Some(piece) = markers.found(attacker.news()) {
                leaks.push(format!("{} {form:?}: {piece}", case.name()));
            }
        }
    }
    println!("{tried} tries");
    ensure!(
        leaks.is_empty(),
        "{} leaks:\n{}",
        leaks.len(),
        leaks.join("\n")
    );
    Ok(())
}

/// A line of a log without the moment at its beginning, for the same reason as `without_moments`.
fn after_its_moment(line: &str) -> &str {
    match line.split_once("Z ") {
        Some((moment, rest))
            if moment
                .bytes()
                .all(|b| b.is_ascii_digit() || b"-:.T".contains(&b)) =>
        {
            rest
        }
        _ => line,
    }
}

/// A recording without when and how long: of so many numbers some hold six digits of a marker.
fn without_moments(lines: &str) -> String {
    fn clear(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(map) => {
                for key in ["at", "micros"] {
                    map.remove(key);
                }
                map.values_mut().for_each(clear);
            }
            serde_json::Value::Array(list) => list.iter_mut().for_each(clear),
            _ => {}
        }
    }
    let one = |line: &str| match serde_json::from_str::<serde_json::Value>(line) {
        Ok(mut value) => {
            clear(&mut value);
            value.to_string()
        }
        Err(_) => line.to_owned(),
    };
    lines.lines().map(one).collect::<Vec<_>>().join("\n")
}

/// What an answer says, but for what two connections never have in common: settings, and numbers of
/// tables that came after `newest`.
fn said(messages: Option<Vec<Message>>, newest: u32) -> Option<Vec<(u8, Vec<u8>)>> {
    let apart = messages?.into_iter().filter(|m| m.kind != b'S');
    let plain = apart.map(|message| match message.kind {
        b'T' => (b'T', without_new_tables(message.body, newest)),
        kind => (kind, message.body),
    });
    Some(plain.collect())
}

/// A RowDescription in which tables after `newest` have the number 0.
fn without_new_tables(mut body: Vec<u8>, newest: u32) -> Vec<u8> {
    let mut at = 2;
    while let Some(end) = body[at..].iter().position(|byte| *byte == 0) {
        let number = at + end + 1;
        let table = u32::from_be_bytes(body[number..number + 4].try_into().unwrap());
        if table > newest {
            body[number..number + 4].fill(0);
        }
        at = number + 18;
        if at >= body.len() {
            break;
        }
    }
    body
}

#[test]
fn a_reader_who_is_exempt_sees_what_the_database_says() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let markers = Markers::new();
    let world = World::builder()
        .policy_text("masked.yaml", &policy(UNLESS, FUNCTIONS))
        .seed(SEED)
        .start()?;
    let sql = |text| world.cluster().sql(DATABASE, text);
    sql("alter role by_trust superuser")?;
    let newest: u32 = sql("select max(oid) from pg_class")?.parse()?;
    let cases = cases()?;
    let mut reader = Attacker::new(&world, Place::Inside)?;
    let mut direct = Attacker::new(&world, Place::Outside)?;
    let (mut same, mut shown, mut wrong) = (0, 0, Vec::new());
    for case in cases.iter().filter(|case| !case.restless) {
        for form in [Form::Simple, Form::Binary] {
            let here = said(direct.tries_for_nothing(case, form)?, newest);
            let there = said(reader.tries_for_nothing(case, form)?, newest);
            shown += usize::from(markers.found(direct.news()).is_some());
            reader.news();
            if here == there {
                same += 1;
                continue;
            }
            wrong.push(format!(
                "{} {form:?}:\n  {}\n  {}",
                case.name(),
                shown_as(&here),
                shown_as(&there)
            ));
        }
    }
    println!("{same} the same, {shown} of them show a marker");
    // What shows nothing to anybody would prove nothing above.
    assert!(shown > 800, "{shown}");
    ensure!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    Ok(())
}

/// For people: what differs is most often an error's words.
fn shown_as(answer: &Option<Vec<(u8, Vec<u8>)>>) -> String {
    let messages = answer.iter().flatten();
    let one = |(kind, body): &(u8, Vec<u8>)| {
        format!(
            "{} {}",
            char::from(*kind),
            String::from_utf8_lossy(body).escape_debug()
        )
    };
    messages.map(one).collect::<Vec<_>>().join(" | ")
}
