//! Destructive statements in disguise. Each is run twice: without the agent, where it must change
//! something, or it proves nothing; and through it, where it must change nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use node_agent_tests::client::{Message, Raw};
use node_agent_tests::pg::{DATABASE, PASSWORD};

use super::cases::{self, Case, Step};
use super::scene::{Scene, Under, agent_is_here};
use super::state::{self, Look, State, differences, rest};
use super::talk::{Way, say, tidy, told};

/// Databases for what runs without the agent: one for all that is rolled back, one for each that commits.
const COPY: &str = "copied";
const COPY_ONCE: &str = "copied_once";
/// Takes back what a session changed for itself, so that all see the same.
const AS_BEFORE: &str = "reset search_path; reset role; reset session authorization; \
    select pg_stat_clear_snapshot()";

/// Puts back what most of them delete.
const PEOPLE: &str = "insert into hr.people (name, salary) select 'Person', 1 where not exists (select from hr.people)";

#[test]
fn what_is_destructive_in_disguise_changes_nothing() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut scene = Scene::set()?;
    let cases = read(&scene)?;
    let begun = Instant::now();
    let mut wrong = controls(&scene, &cases)?;
    println!(
        "{} cases without the agent: {:?}",
        cases.len(),
        begun.elapsed()
    );
    let begun = Instant::now();
    wrong += &governed(&mut scene, &cases)?;
    println!("the same through it: {:?}", begun.elapsed());
    count(&cases);
    ensure!(wrong.is_empty(), "findings:\n{wrong}");
    ensure!(cases.len() >= 300, "only {} cases", cases.len());
    Ok(())
}

/// The cases, with what differs from world to world filled in.
fn read(scene: &Scene) -> Result<Vec<Case>> {
    let files = scene.files().to_str().context("a path")?;
    let address = scene.world.cluster().address().ip().to_string();
    let mut cases = Vec::new();
    for case in cases::all("destructive")? {
        let mut case = case
            .replaced("{files}", files)
            .replaced("{address}", &address)
            .replaced("{password}", PASSWORD);
        for step in &mut case.steps {
            let Step::Wire(lines) = step else { continue };
            for line in lines {
                if let Some(function) = line.strip_prefix("call ") {
                    let oid = format!("select '{function}'::regprocedure::oid");
                    *line = format!("call {}", scene.world.cluster().sql(DATABASE, &oid)?);
                }
            }
        }
        cases.push(case);
    }
    Ok(cases)
}

/// The case in a database of this name.
fn within(case: &Case, database: &str) -> Case {
    case.clone().replaced("{database}", database)
}

fn count(cases: &[Case]) {
    let mut families: BTreeMap<&str, usize> = BTreeMap::new();
    for case in cases {
        *families.entry(&case.family).or_default() += 1;
    }
    println!("{families:?}");
}

/// Runs each case without the agent; tells which have no effect.
fn controls(scene: &Scene, cases: &[Case]) -> Result<String> {
    let mut wrong = String::new();
    scene.copy(COPY)?;
    let mut alone = Alone::begin(scene)?;
    scene.lay_files()?;
    for case in cases {
        let way = match case.word("by") {
            Some(word) => Way::read(word)?,
            None if case.is_wire() => Way::Wire,
            None => Way::Simple,
        };
        let (effect, seen) = match case.word("control") {
            None => alone.in_a_transaction(&within(case, COPY), way),
            Some("committed") => committed(scene, &within(case, COPY_ONCE), way),
            Some(words) => {
                ensure!(
                    words.starts_with("none, because "),
                    "{}: {words}",
                    case.title
                );
                continue;
            }
        }
        .with_context(|| format!("{}: {}", case.family, case.title))?;
        match effect {
            Effect::None => writeln!(
                wrong,
                "NO CONTROL {}: {}: without the agent it changes nothing either: {}",
                case.family,
                case.title,
                told(&seen)
            )?,
            Effect::Some => {}
        }
    }
    drop(alone);
    scene.drop_copy(COPY)?;
    scene.lay_files()?;
    Ok(wrong)
}

/// What a case did.
enum Effect {
    None,
    Some,
}

impl Effect {
    fn of(differences: &[String]) -> Self {
        if differences.is_empty() {
            Effect::None
        } else {
            Effect::Some
        }
    }
}

type Seen = (Effect, Result<Vec<Message>>);

/// A session in a copy of the database, where all is rolled back.
struct Alone<'a> {
    scene: &'a Scene,
    client: Raw,
    bystander: Raw,
    look: Look,
    /// What every case begins with.
    own: State,
    rest: State,
    server: State,
}

impl<'a> Alone<'a> {
    fn begin(scene: &'a Scene) -> Result<Self> {
        let look = Look::at(scene.world.cluster(), COPY)?;
        let bystander = scene.bystander()?;
        let mut client = scene.ungoverned(COPY)?;
        Ok(Self {
            bystander,
            own: look.own(&mut client)?,
            rest: rest(&mut client, scene.files())?,
            server: look.server(&mut client)?,
            scene,
            client,
            look,
        })
    }

    /// Looks at what it did from within the transaction, which is then rolled back.
    fn in_a_transaction(&mut self, case: &Case, way: Way) -> Result<Seen> {
        let files = self.scene.files();
        self.client.query("begin")?;
        let seen = say(&mut self.client, case, way);
        let goes_on = seen
            .as_ref()
            .is_ok_and(|seen| seen.last().is_some_and(|last| last.body == b"T"));
        if goes_on {
            self.client.query(AS_BEFORE)?;
        } else {
            // An error rolls it all back: then there is nothing to look at but what stays.
            self.client = self.scene.ungoverned(COPY)?;
        }
        let mut found = differences(&self.own, &self.look.own(&mut self.client)?);
        let mut again = found.iter().any(|name| name.starts_with(state::SEQUENCE));
        if found.is_empty() {
            found = differences(&self.rest, &rest(&mut self.client, files)?);
            found.retain(|name| name != state::LOG);
            again |= !found.is_empty();
        }
        if found.is_empty() {
            found = differences(&self.server, &self.look.server(&mut self.client)?);
        }
        self.client.query("rollback")?;
        if case.steps.len() > 1 || case.is_wire() || way != Way::Simple || again {
            tidy(&mut self.client)?;
            self.scene.become_service(&mut self.client)?;
        }
        self.scene.lay_files()?;
        if again {
            if self.bystander.query("select 1").is_err() {
                self.bystander = self.scene.bystander()?;
            }
            self.own = self.look.own(&mut self.client)?;
            self.rest = rest(&mut self.client, files)?;
        }
        Ok((Effect::of(&found), seen))
    }
}

/// In a database of its own, with what is not in it undone.
fn committed(scene: &Scene, case: &Case, way: Way) -> Result<Seen> {
    scene.copy(COPY_ONCE)?;
    let look = Look::at(scene.world.cluster(), COPY_ONCE)?;
    let mut client = scene.ungoverned(COPY_ONCE)?;
    let mut witness = scene.ungoverned(COPY_ONCE)?;
    let everything = |witness: &mut Raw| -> Result<State> {
        let mut all = rest(witness, scene.files())?;
        all.remove(state::LOG);
        all.extend(look.tables(witness)?);
        Ok(all)
    };
    let before = everything(&mut witness)?;
    let seen = say(&mut client, case, way);
    let found = differences(&before, &everything(&mut witness)?);
    drop((client, witness));
    for undo in case.words("undo") {
        scene.world.cluster().sql(COPY_ONCE, undo)?;
    }
    scene.drop_copy(COPY_ONCE)?;
    Ok((Effect::of(&found), seen))
}

/// The ways in which a case is said under each policy. Where there is no way of its own: as a plain text,
/// and under each policy in one of the other ways, in turn.
fn ways(case: &Case, number: usize) -> [Vec<Way>; 2] {
    if case.is_wire() {
        return [vec![Way::Wire], vec![Way::Wire]];
    }
    let own = case.word("by").and_then(|word| Way::read(word).ok());
    let mut more = [Way::Extended, Way::Prepared, Way::Pipelined];
    more.rotate_left(number % 3);
    [vec![own.unwrap_or(Way::Simple), more[0]], vec![more[1]]]
}

/// Runs each case through the agent under both policies; tells what changed.
fn governed(scene: &mut Scene, cases: &[Case]) -> Result<String> {
    let mut wrong = String::new();
    let _bystander = scene.bystander()?;
    let look = Look::at(scene.world.cluster(), DATABASE)?;
    let mut witness = scene.ungoverned(DATABASE)?;
    let mut known_rows = look.tables(&mut witness)?;
    let mut known = rest(&mut witness, scene.files())?;
    let mut known_sequences = look.sequences(&mut witness)?;
    let mut sessions = [
        (Under::ReadWrite, scene.governed(Under::ReadWrite)?),
        (Under::ReadOnly, scene.governed(Under::ReadOnly)?),
    ];
    // What is known to pass comes last, so that the others find what they are about.
    let (gaps, closed): (Vec<_>, Vec<_>) =
        cases.iter().partition(|case| case.word("gap").is_some());
    for (number, case) in closed.into_iter().chain(gaps).enumerate() {
        let case = within(case, DATABASE);
        let mut answers = String::new();
        for ((under, client), ways) in sessions.iter_mut().zip(ways(&case, number)) {
            for way in ways {
                let seen = say(client, &case, way);
                writeln!(answers, "    {under:?} {way:?}: {}", told(&seen))?;
                // A session may be ended for what was said in it.
                if left_something(&seen, way) && tidy(client).is_err() {
                    *client = scene.governed(*under)?;
                }
            }
        }
        let now = rest(&mut witness, scene.files())?;
        let sequences = look.sequences(&mut witness)?;
        let same = now == known && sequences == known_sequences;
        if same && case.word("gap").is_none() {
            continue;
        }
        let mut changed = differences(&known, &now);
        changed.retain(|name| name != state::LOG);
        let rows_now = look.tables(&mut witness)?;
        changed.extend(differences(&known_rows, &rows_now));
        if case.word("gap").is_some() {
            if changed.is_empty() {
                writeln!(
                    wrong,
                    "NO GAP any more: {}: {}: take its mark away",
                    case.family, case.title
                )?;
            }
        } else if !changed.is_empty() {
            writeln!(
                wrong,
                "FALSE PASS {}: {}: it changed {changed:?}:\n{answers}",
                case.family, case.title
            )?;
        }
        // What the next are about must be there again.
        witness.query(PEOPLE)?;
        known = rest(&mut witness, scene.files())?;
        known_rows = look.tables(&mut witness)?;
        known_sequences = look.sequences(&mut witness)?;
    }
    Ok(wrong)
}

/// Whether a session may be other than it was: what was refused whole leaves nothing.
fn left_something(seen: &Result<Vec<Message>>, way: Way) -> bool {
    let Ok(seen) = seen else { return true };
    let idle = seen.last().is_some_and(|last| last.body == b"I");
    let ran = seen
        .iter()
        .any(|message| message.kind == b'C' && !message.body.starts_with(b"SELECT"));
    !idle || ran || matches!(way, Way::Prepared | Way::Wire)
}
